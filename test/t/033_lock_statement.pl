# LOCK cs_key."key" as clients and administrators meet it: what a wait for it
# holds back, its errors, protocols, logs, two-phase commit, dumps, standbys, and
# sessions without the library. What it accepts is in test/sql/lock_statement_*.sql,
# how it waits in test/specs/lock_statement.spec.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use KeyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = PostgreSQL::Test::Utils::tempdir;
my @settings = (
	'autovacuum = off', 'max_connections = 80', 'max_prepared_transactions = 5',
	'wal_level = replica', 'max_wal_senders = 4', "deadlock_timeout = '100s'",
	'log_statement = none', 'concurrency_safe.default_timeout = -1',
	'concurrency_safe.check_order = off');
my $node = new_node('main', @settings);
my ($holder, $waiter, $watcher) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder waiter watcher);

# The waiters for keys: their number, and how many of them hold a snapshot.
my $waiters = q{SELECT count(*), count(backend_xmin) FROM pg_stat_activity
	WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'};

# Starts pgbench with so many clients, each of which runs the commands so many times.
sub start_pgbench
{
	my ($protocol, $clients, $runs, @commands) = @_;
	my $script = "$directory/$protocol.sql";
	my %self = (protocol => $protocol, total => $clients * $runs, out => '', error => '');

	unlink $script;
	append_to_file($script, join "\n", @commands, '');
	$self{run} = IPC::Run::start(
		[
			$node->installed_command('pgbench'), '-n', '-M', $protocol, '-c', $clients,
			'-t', $runs, '-f', $script, $node->connstr('postgres')
		],
		'>' => \$self{out},
		'2>' => \$self{error},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	return \%self;
}

sub finish_pgbench
{
	my ($self) = @_;

	$self->{run}->finish;
	like($self->{out}, qr{actually processed: $self->{total}/$self->{total}\b},
		"pgbench, $self->{protocol} protocol");
	unlike($self->{error}, qr/ERROR|WARNING/, 'without an error');
	return;
}

# --- snapshots -----------------------------------------------------------------

# A crowd of waiters, in all protocols, is in nobody's way.
$node->safe_psql('postgres', 'CREATE TABLE big AS SELECT i FROM generate_series(1, 1000) AS i');
$holder->query_safe(q{BEGIN; LOCK cs_key."crowd"});
my %crowd = (simple => 17, extended => 17, prepared => 16);
my @crowd = map {
	start_pgbench($_, $crowd{$_}, 1, 'BEGIN ISOLATION LEVEL REPEATABLE READ;',
		'LOCK cs_key."crowd";', 'SELECT count(*) FROM big;', 'COMMIT;')
} sort keys %crowd;
ok($node->poll_query_until('postgres', $waiters, '50|0'), '50 waiters, and no snapshot');
$watcher->query_safe(q{SET statement_timeout = '60s'});
$watcher->query('CREATE INDEX CONCURRENTLY big_i ON big (i)');
is($watcher->sqlstate, '', 'CREATE INDEX CONCURRENTLY does not wait for them');
is($watcher->query($waiters), '50|0', 'all of whom are still there');

# One who calls a function is: its statement has a snapshot.
$waiter->query_safe('BEGIN');
$waiter->start_waiting(q{SELECT cs_lock('crowd')});
is($watcher->query($waiters), '51|1', 'a waiter in cs_lock has a snapshot');
$watcher->query_safe('SET statement_timeout = 0');
$watcher->start_waiting('CREATE INDEX CONCURRENTLY big_i_again ON big (i)');
is($node->safe_psql('postgres', "SELECT pg_blocking_pids($watcher->{pid})"),
	"{$waiter->{pid}}", 'and CREATE INDEX CONCURRENTLY waits for it alone');
$holder->query_safe('COMMIT');
$waiter->finish;
$waiter->query_safe('COMMIT');
$watcher->finish;
is($watcher->sqlstate, '', 'until its transaction ends');
finish_pgbench($_) foreach @crowd;
locks_are($node, '0,0', 'nothing is left');

# No snapshot either, whatever a session looked up before: its first statement, one
# of several keys, a key after others, an order of keys that is new and reported.
$node->safe_psql('postgres',
	'CREATE ROLE reader LOGIN; CREATE ROLE writer LOGIN; GRANT SELECT ON big TO PUBLIC');
my $writer = KeyTest::Session->new($node, user => 'writer');
$writer->query_safe(
	q{SET concurrency_safe.check_order = 'warning';
	BEGIN; LOCK cs_key."shelf:1"; LOCK cs_key."book:1"; COMMIT});
foreach my $case (
	[ 'the first statement', 'BEGIN; LOCK cs_key."book:1"' ],
	[ 'REPEATABLE READ', 'BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK cs_key."book:1"' ],
	[ 'several keys', 'BEGIN; LOCK cs_key."pen:1", cs_key."pen:2", cs_key."book:1", cs_key."pen:3"' ],
	[ 'one key after another', 'BEGIN; LOCK cs_key."pen:1"; LOCK cs_key."book:1"' ],
	[ 'after a query', 'BEGIN; SELECT count(*) FROM big; LOCK cs_key."book:1" IN SHARE MODE' ])
{
	my ($name, $commands) = @{$case};
	my $session = KeyTest::Session->new($node, user => 'reader');

	$holder->query_safe('BEGIN; LOCK cs_key."book:1"');
	$session->start_waiting($commands);
	is($watcher->query($waiters), '1|0', "no snapshot: $name");
	$holder->query_safe('COMMIT');
	$session->finish;
	is($session->sqlstate, '', 'and no error');
	$session->quit;
}
my $careful = KeyTest::Session->new($node, user => 'reader');
$careful->query_safe(q{SET concurrency_safe.check_order = 'warning'});
$holder->query_safe('BEGIN; LOCK cs_key."shelf:1"');
$careful->start_waiting('BEGIN; LOCK cs_key."book:1"; LOCK cs_key."shelf:1"');
is($watcher->query($waiters), '1|0', 'no snapshot: an order of keys that is reported');
$holder->query_safe('COMMIT');
$careful->finish;
like($careful->{error}, qr/WARNING.*"book" -> "shelf"/, 'which it was');
$_->quit foreach $writer, $careful;

# So a transaction that begins with it sees what the last holder committed: nothing is
# lost and nothing fails. (SERIALIZABLE may fail all the same: it finds a conflict now
# and then with a transaction that is still being committed.)
$node->safe_psql('postgres', 'CREATE TABLE counter (n integer); INSERT INTO counter VALUES (0)');
foreach my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	my @clients = map {
		start_pgbench($_, 2, 20, "BEGIN ISOLATION LEVEL $level;", 'LOCK cs_key."counter";',
			'SELECT n FROM counter \gset', '\set n :n + 1', 'UPDATE counter SET n = :n;', 'COMMIT;')
	} qw(simple extended prepared);

	finish_pgbench($_) foreach @clients;
	is($node->safe_psql('postgres', 'UPDATE counter SET n = 0 RETURNING (SELECT n FROM counter)'),
		'120', "$level: no update was lost");
}

# If the snapshot was older it fails at once, and not when the data is gone.
foreach my $case (
	[ 'after LOCK', '', 'LOCK cs_key."counter"' ],
	[ 'after a query and LOCK', '40001', 'SELECT n FROM counter; LOCK cs_key."counter"' ],
	[ 'after LOCK in a function', '40001', 'DO $$ BEGIN LOCK cs_key."counter"; END $$' ])
{
	my ($name, $expected, $commands) = @{$case};

	$holder->query_safe('BEGIN; LOCK cs_key."counter"; UPDATE counter SET n = n + 1');
	$waiter->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
	$waiter->start_waiting($commands);
	$holder->query_safe('COMMIT');
	$waiter->finish;
	is($waiter->sqlstate, $expected, "REPEATABLE READ $name");
	$waiter->query('ROLLBACK');
}

# --- errors --------------------------------------------------------------------

# Each begins a transaction first, and must leave nothing behind.
sub fails
{
	my ($commands, $expected, $pattern, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$waiter->query("BEGIN; $commands");
	is($waiter->sqlstate, $expected, $name);
	like($waiter->{error}, $pattern, 'and what it says');
	$waiter->query_safe('ROLLBACK');
	locks_are($node, '1,0', 'nothing is left but the holder');
	return;
}

my $context = qr/CONTEXT:  locking key "hot" in shared mode/;
my $share = 'LOCK cs_key.free, cs_key."hot" IN SHARE MODE';
$holder->query_safe('BEGIN; LOCK TABLE cs_key."hot" IN EXCLUSIVE MODE');
$waiter->query(q{SET concurrency_safe.default_timeout = 0; LOCK cs_key."hot"});
is($waiter->sqlstate, '25P01', 'outside a transaction block the key is not asked for');
$waiter->query_safe('RESET concurrency_safe.default_timeout');
fails('LOCK cs_key.free, cs_key."hot" NOWAIT', '55P03',
	qr/could not lock key "hot" within 0 ms.*Process $holder->{pid} holds it in exclusive mode/s,
	'NOWAIT');
fails("SET LOCAL concurrency_safe.default_timeout = 20; $share",
	'55P03', qr/could not lock key "hot" within 20 ms/, 'the default timeout');
fails("SET LOCAL lock_timeout = 30; $share",
	'55P03', qr/could not lock key "hot" within 30 ms/, 'lock_timeout, without a default');
fails("SET LOCAL statement_timeout = 20; $share", '57014', $context, 'statement_timeout');
$waiter->query_safe('BEGIN');
$waiter->start_waiting($share);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($waiter->{pid})");
$waiter->finish;
is($waiter->sqlstate, '57014', 'cancel');
like($waiter->{error}, $context, 'names the key');
$waiter->query_safe('ROLLBACK');
$waiter->query_safe(q{SET deadlock_timeout = '10ms'; BEGIN; LOCK cs_key.cold});
$holder->start_waiting('LOCK cs_key.cold');
$waiter->query('LOCK cs_key."hot" IN SHARE MODE');
is($waiter->sqlstate, '40P01', 'deadlock');
like($waiter->{error}, $context, 'names the key');
$waiter->query_safe('ROLLBACK');
$holder->finish;
is($holder->sqlstate, '', 'and the other one goes on');
like($watcher->query(q{SELECT key, mode FROM cs_deadlocks}), qr/^hot\|shared$/, 'it is remembered');
is( $watcher->query(
		q{SELECT key, acquired, timed_out, deadlocked FROM cs_stat_keys WHERE key IN ('hot', 'cold') ORDER BY key}),
	"cold|2|0|0\nhot|1|3|1", 'and all was counted');

# --- two-phase commit ----------------------------------------------------------

$holder->query_safe(q{COMMIT; BEGIN; LOCK cs_key."doc:1"; LOCK cs_key."doc:2" IN SHARE MODE;
	PREPARE TRANSACTION 'locked'});
$node->restart;
$_->quit foreach $holder, $waiter, $watcher;
($holder, $waiter, $watcher) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder waiter watcher);
locks_are($node, '2,0', 'a prepared transaction keeps its keys');
$waiter->start_waiting('BEGIN; LOCK cs_key."doc:1"');
$holder->query_safe(q{COMMIT PREPARED 'locked'});
$waiter->finish;
is($waiter->sqlstate, '', 'until it is committed');
$waiter->query_safe('COMMIT');

# --- logs and statistics of statements -----------------------------------------

$holder->query_safe(q{SET log_statement = 'mod'; BEGIN; LOCK cs_key."not logged"; COMMIT;
	SET log_statement = 'all'; BEGIN; LOCK cs_key."logged"; COMMIT; RESET log_statement});
my $log = slurp_file($node->logfile);
unlike($log, qr/"not logged"/, 'log_statement = mod leaves it out');
is(scalar(() = $log =~ /"logged"/g), 1, 'log_statement = all has it, once');

SKIP:
{
	skip 'no pg_stat_statements', 6
	  if $node->safe_psql('postgres',
		q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'}) eq '0';

	foreach my $libraries ('concurrency_safe,pg_stat_statements', 'pg_stat_statements,concurrency_safe')
	{
		$_->quit foreach $holder, $waiter, $watcher;
		$node->append_conf('postgresql.conf',
			"shared_preload_libraries = '$libraries'\npg_stat_statements.track = 'all'");
		$node->restart;
		($holder, $waiter, $watcher) =
		  map { KeyTest::Session->new($node, name => $_) } qw(holder waiter watcher);
		$watcher->query_safe(q{CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
			SELECT pg_stat_statements_reset()});
		$holder->query_safe('BEGIN; LOCK cs_key."counted" IN SHARE MODE; COMMIT') foreach 1 .. 3;
		$holder->query_safe(q{BEGIN; LOCK cs_key."waited for"});
		$waiter->start_waiting(q{BEGIN; LOCK cs_key."waited for" NOWAIT; ROLLBACK; BEGIN; LOCK cs_key."waited for"});
		$holder->query_safe('COMMIT');
		$waiter->finish;
		$waiter->query_safe('COMMIT');
		is( $watcher->query(
				q{SELECT query, calls, rows FROM pg_stat_statements WHERE query LIKE '%cs_key%' ORDER BY query COLLATE "C"}),
			qq{LOCK cs_key."counted" IN SHARE MODE|3|0\nLOCK cs_key."waited for"|2|0},
			"pg_stat_statements counts what succeeded, with $libraries");
		is( $watcher->query(
				q{SELECT count(*) FROM pg_stat_statements WHERE query ILIKE '%pg_depend%' OR query ILIKE '%cs_lock%'}),
			'0', 'and nothing else runs for it');
	}
}
$_->quit foreach $holder, $waiter, $watcher;

# --- dumps ---------------------------------------------------------------------

# The schema comes with the extension, and rights that were changed stay changed.
$node->safe_psql('postgres', 'CREATE DATABASE original');
$node->safe_psql('original',
	q{CREATE EXTENSION concurrency_safe; CREATE TABLE paper (i integer);
	REVOKE USAGE ON SCHEMA cs_key FROM PUBLIC; GRANT USAGE ON SCHEMA cs_key TO writer});
foreach my $copy (qw(copy original))
{
	my $dump = "$directory/dump.sql";

	$node->safe_psql('postgres', 'CREATE DATABASE copy') if $copy eq 'copy';
	$node->command_ok(
		[
			'pg_dump', '--file', $dump, $copy eq 'copy' ? () : ('--clean', '--if-exists'),
			'--dbname', $node->connstr('original')
		],
		'dump');
	unlike(slurp_file($dump), qr/(CREATE|DROP) SCHEMA[^;]*cs_key/, 'which does not make the schema');
	$node->command_ok(
		[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr($copy) ],
		"restore into database $copy");
	is( $node->safe_psql($copy, q{BEGIN; LOCK cs_key."k"; SELECT cs_held_mode('k')}),
		'exclusive', 'LOCK works there');
	is( $node->safe_psql($copy,
			q{SELECT has_schema_privilege('writer', 'cs_key', 'USAGE'), has_schema_privilege('reader', 'cs_key', 'USAGE')}),
		't|f', 'for whom it did before');
}

# --- standby -------------------------------------------------------------------

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
my $session = KeyTest::Session->new($standby);
foreach my $mode ('ROW SHARE', 'ROW EXCLUSIVE', 'SHARE', 'EXCLUSIVE')
{
	$session->query(qq{BEGIN; LOCK cs_key."k" IN $mode MODE NOWAIT});
	is($session->sqlstate, '55000', "LOCK IN $mode MODE fails on a standby");
	like($session->{error}, qr/HINT:  .*\bprimary\b/, 'with the hint to use the primary');
	$session->query('ROLLBACK');
}
$session->quit;
$standby->stop;
$node->stop;

# --- without the library -------------------------------------------------------

my $unloaded = new_node('unloaded', @settings, "shared_preload_libraries = ''");
my $lock = q{BEGIN; LOCK cs_key."k"; SELECT cs_held_mode('k'); COMMIT};
$unloaded->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE served LOGIN');
$unloaded->safe_psql('postgres', q{ALTER ROLE served SET session_preload_libraries = 'concurrency_safe'});
$session = KeyTest::Session->new($unloaded, user => 'app');
$session->query($lock);
like($session->{error}, qr/ERROR:  42P01: relation "cs_key.k" does not exist/,
	'LOCK fails where the library is not loaded');
$session->query(q{BEGIN; LOCK cs_key."k" IN ROW SHARE MODE NOWAIT; ROLLBACK});
is($session->sqlstate, '42P01', 'in every mode');
$session->query_safe(q{SELECT cs_held_mode('k')});
is($session->query($lock), 'exclusive', 'a call of a function loads it');
$session->quit;
$session = KeyTest::Session->new($unloaded, user => 'served');
is($session->query($lock), 'exclusive', 'session_preload_libraries serves');
$session->quit;

# Where there is no extension the library leaves LOCK alone.
$unloaded->safe_psql('postgres', 'CREATE DATABASE plain');
$unloaded->safe_psql('plain', 'CREATE SCHEMA cs_key; CREATE TABLE cs_key.k (); GRANT ALL ON SCHEMA cs_key TO PUBLIC; GRANT ALL ON cs_key.k TO PUBLIC');
$session = KeyTest::Session->new($unloaded, user => 'served', database => 'plain');
is( $session->query(
		q{BEGIN; LOCK cs_key."k" IN SHARE MODE; SELECT count(*) FROM pg_locks WHERE relation = 'cs_key.k'::regclass; COMMIT}),
	'1', 'a schema of that name in a database without the extension is a schema');
$session->quit;
locks_are($unloaded, '0,0', 'nothing is left');
$unloaded->stop;
done_testing();
