# Guards where the server writes on behalf of somebody else: MERGE, logical
# replication, transactions that are prepared; and the ways to hold a key that
# need the library preloaded.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $tables = q{CREATE TABLE stock (sku text PRIMARY KEY, amount integer)};
my $guard = q{CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON stock
	FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}')};
my $rows = q{SELECT string_agg(sku || '=' || amount, ' ' ORDER BY sku) FROM stock};

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical', extra => [ '--no-locale', '--encoding=UTF8' ]);
$publisher->append_conf('postgresql.conf', "$_\n")
  foreach "shared_preload_libraries = 'concurrency_safe'", 'max_prepared_transactions = 5',
  'concurrency_safe.check_autocommit = error';
$publisher->start;
$publisher->safe_psql('postgres', "CREATE EXTENSION concurrency_safe; $tables; $guard");

my $one = KeyTest::Session->new($publisher);

# All that may hold a key.
$one->query_safe(q{BEGIN; LOCK cs_key."stock:a"; INSERT INTO stock VALUES ('a', 1); COMMIT});
$one->query_safe(q{BEGIN; SELECT cs_lock_path('stock:b');
	INSERT INTO stock VALUES ('b', 1); COMMIT});
$one->query(q{BEGIN; LOCK cs_key."stock:a" IN SHARE MODE; UPDATE stock SET amount = 2 WHERE sku = 'a'});
is($one->sqlstate, '55000', 'LOCK in another mode is not enough');
$one->query(q{ROLLBACK; BEGIN; SELECT cs_lock('stock'); UPDATE stock SET amount = 2 WHERE sku = 'a'});
is($one->sqlstate, '55000', 'nor is a key above');
$one->query_safe('ROLLBACK');
is($publisher->safe_psql('postgres', $rows), 'a=1 b=1', 'LOCK and paths hold keys');

# Another session's lock is none.
my $two = KeyTest::Session->new($publisher);
$one->query_safe(q{BEGIN; SELECT cs_lock('stock:a')});
$two->query(q{UPDATE stock SET amount = 2 WHERE sku = 'a'});
is($two->sqlstate, '55000', 'the lock of another session is not enough');
$one->query_safe(q{UPDATE stock SET amount = 2 WHERE sku = 'a'; PREPARE TRANSACTION 'p'});
$one->query(q{UPDATE stock SET amount = 3 WHERE sku = 'b'});
is($one->sqlstate, '55000', 'nor is that of a prepared transaction');
$one->query_safe(q{COMMIT PREPARED 'p'});

# Locks that are gone without a word.
$one->query_safe(q{SELECT cs_lock('stock:a', scope => 'session')});
$one->query_safe(q{UPDATE stock SET amount = 3 WHERE sku = 'a'; SELECT pg_advisory_unlock_all()});
$one->query(q{UPDATE stock SET amount = 4 WHERE sku = 'a'});
is($one->sqlstate, '55000', 'after pg_advisory_unlock_all() the key is not held');
$one->query_safe(q{SELECT cs_lock('stock:a', scope => 'session'); DISCARD ALL});
$one->query(q{UPDATE stock SET amount = 4 WHERE sku = 'a'});
is($one->sqlstate, '55000', 'nor after DISCARD ALL');

# A guard trusts the key: that what is written under it is fresh was checked with the lock.
$two->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM stock');
$one->query_safe(q{BEGIN; SELECT cs_lock('stock:a');
	UPDATE stock SET amount = 4 WHERE sku = 'a'; COMMIT});
$two->query(q{SELECT cs_lock('stock:a')});
is($two->sqlstate, '40001', 'a stale snapshot is found when the key is locked');
$two->query_safe('ROLLBACK');

SKIP:
{
	skip 'MERGE came with PostgreSQL 15', 5 if $publisher->pg_version < 15;

	my $merge = q{MERGE INTO stock USING (VALUES ('a', 10), ('b', 0), ('m', 5)) AS n (sku, amount)
		ON stock.sku = n.sku
		WHEN MATCHED AND n.amount = 0 THEN DELETE
		WHEN MATCHED THEN UPDATE SET amount = n.amount
		WHEN NOT MATCHED THEN INSERT VALUES (n.sku, n.amount)};
	foreach my $keys ('{stock:a,stock:b}', '{stock:a,stock:m}', '{stock:b,stock:m}')
	{
		$one->query("BEGIN; SELECT cs_lock_all('$keys'); $merge");
		is($one->sqlstate, '55000', "MERGE with $keys alone");
		$one->query_safe('ROLLBACK');
	}
	$one->query_safe("BEGIN; SELECT cs_lock_all('{stock:a,stock:b,stock:m}'); $merge; COMMIT");
	is($one->sqlstate, '', 'MERGE with all keys');
	is($publisher->safe_psql('postgres', $rows), 'a=10 m=5', 'it has written');
}
$one->query_safe(q{BEGIN; SELECT cs_lock_all('{stock:a,stock:b,stock:m}');
	DELETE FROM stock; COMMIT});

# Logical replication: the rows of the publisher are written by an apply worker.
my $subscriber = new_node('subscriber');
my $connection = $publisher->connstr . ' dbname=postgres';
my $catch_up = sub { $publisher->wait_for_catchup('sub') };
my $publish = sub {
	my ($sku, $sql) = @_;

	$one->query_safe("BEGIN; SELECT cs_lock('stock:$sku'); $sql; COMMIT");
	return;
};

$subscriber->safe_psql('postgres', "$tables; $guard");
$publisher->safe_psql('postgres', 'CREATE PUBLICATION pub FOR TABLE stock');
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION sub CONNECTION '$connection' PUBLICATION pub");
$subscriber->wait_for_subscription_sync($publisher, 'sub')
  if $subscriber->can('wait_for_subscription_sync');
$subscriber->poll_query_until('postgres',
	q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')});

$publish->('r', q{INSERT INTO stock VALUES ('r', 1)});
$publish->('r', q{UPDATE stock SET amount = 2 WHERE sku = 'r'});
$catch_up->();
is($subscriber->safe_psql('postgres', $rows), 'r=2', 'the apply worker does not fire a plain guard');
$subscriber->psql('postgres', q{UPDATE stock SET amount = 3 WHERE sku = 'r'}, stderr => \my $error);
like($error, qr/key "stock:r" must be locked/, 'but everybody else does');

# ENABLE ALWAYS: a worker has no key. It fails, and comes again.
my $log = -s $subscriber->logfile;
$subscriber->safe_psql('postgres', 'ALTER TABLE stock ENABLE ALWAYS TRIGGER guard');
$publish->('r', q{UPDATE stock SET amount = 4 WHERE sku = 'r'});
my $stopped = 0;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	$stopped = slurp_file($subscriber->logfile, $log) =~ /ERROR: .* key "stock:r" must be locked/
	  and last;
	select(undef, undef, undef, 0.1);
}
ok($stopped, 'ENABLE ALWAYS and require stop the apply');
is($subscriber->safe_psql('postgres', $rows), 'r=2', 'nothing was written');
$subscriber->safe_psql('postgres', 'ALTER TABLE stock ENABLE TRIGGER guard');
$catch_up->();
is($subscriber->safe_psql('postgres', $rows), 'r=4', 'after ENABLE it goes on');

# A worker may lock the keys of rows to be inserted, and waits for those who hold them.
$subscriber->safe_psql('postgres', q{DROP TRIGGER guard ON stock;
	CREATE TRIGGER guard BEFORE INSERT ON stock
		FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}', 'acquire', '-1');
	ALTER TABLE stock ENABLE ALWAYS TRIGGER guard});
my $holder = KeyTest::Session->new($subscriber);
$holder->query_safe(q{BEGIN; SELECT cs_lock('stock:w')});
$publish->('w', q{INSERT INTO stock VALUES ('w', 1)});
locks_become($subscriber, '1,1', 'the apply worker waits for the key');
is($subscriber->safe_psql('postgres', q{SELECT key, mode FROM cs_locks WHERE NOT granted}),
	'stock:w|exclusive', 'under its name');
$holder->query_safe('COMMIT');
$catch_up->();
is($subscriber->safe_psql('postgres', $rows), 'r=4 w=1', 'and then writes');
locks_become($subscriber, '0,0', 'no lock is left at the subscriber');
locks_become($publisher, '0,0', 'nor at the publisher');

$_->quit foreach $one, $two, $holder;
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION sub');
$subscriber->stop;
$publisher->stop;
done_testing();
