# Very often, and very many: a lock that is refused and tried again over and over, more
# than a hundred sessions at once that come and go, and a deadlock of which a parallel worker
# is a part. Nothing grows and nothing stays.
#
# CS_ROUNDS is the number of refused locks (20000), CS_CONNECTIONS that of connections (400).

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{CS_ROUNDS} || 20000;
my $connections = $ENV{CS_CONNECTIONS} || 400;
my $crowd = 120;
my $node = new_node('main', $any_order, 'max_connections = 150', 'log_statement = none', 'fsync = off',
	'log_min_messages = error', 'log_min_error_statement = panic', 'max_parallel_workers = 4');

# --- rounds --------------------------------------------------------------------

my $holder = KeyTest::Session->new($node, name => 'holder');
my $session = KeyTest::Session->new($node, name => 'retries');
$holder->query_safe(q{BEGIN; SELECT cs_lock('hot')});
$session->query_safe(q{
	CREATE PROCEDURE refused(rounds integer, scope text) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. rounds LOOP
			BEGIN
				PERFORM cs_lock_all('{free,hot}', 0, scope => refused.scope);
				RAISE 'round % was not refused', i;
			EXCEPTION WHEN lock_not_available THEN
				NULL;
			END;
		END LOOP;
	END $$});
my $memory = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};

foreach my $scope (qw(transaction session))
{
	$session->query_safe("SELECT cs_lock('own', scope => '$scope')");
	$session->query_safe("BEGIN; SELECT cs_lock('own', scope => '$scope')");
	# What is kept from the first rounds, caches above all, is no growth.
	$session->query_safe("CALL refused(1000, '$scope'); $memory");
	my $before = $session->query($memory);
	$session->query("CALL refused($rounds, '$scope')");
	is($session->sqlstate, '', "$rounds locks in $scope scope, each refused");
	cmp_ok($session->query($memory) - $before, '<', 100_000, 'and need no memory');
	is($session->query(q{SELECT string_agg(l.mode, ',') FROM pg_locks AS l WHERE pid = pg_backend_pid() AND locktype = 'advisory'}),
		'ExclusiveLock', 'leave one lock, which is that of before');
	$session->query_safe('COMMIT');
	$session->query("SELECT cs_unlock_all()");
}
is($session->query(q{SELECT cs_try_lock('free')}), 't', 'then a lock is a lock');
$holder->query_safe('COMMIT');
$session->query_safe("BEGIN; SELECT cs_lock_all('{free,hot}')");
is($session->query(q{SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'}),
	'2', 'and the one that was refused is granted');
$session->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');
is($session->query(q{SELECT timed_out >= 2 * } . $rounds . q{ FROM cs_stat}), 't', 'each refusal was counted');

# --- a crowd -------------------------------------------------------------------

# New connections all the time take the places of those that left. Each may hold two keys of its own
# number: a lock that an earlier owner of its place had left would be found.
my $script = PostgreSQL::Test::Utils::tempdir . '/crowd.sql';
open my $out, '>', $script or die $!;
print $out q{\set n random(1, 40)
SELECT (cs_held_mode('mine ' || :client_id) IS NULL AND cs_unlock_all() = 0)::integer AS clean \gset
SELECT cs_lock('mine ' || :client_id, -1, scope => 'session') \gset
BEGIN;
SELECT cs_lock('shared ' || :n, -1) \gset
INSERT INTO visit SELECT :client_id, :n, :clean = 1, count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory';
COMMIT;
};
close $out or die $!;
$node->safe_psql('postgres', 'CREATE TABLE visit (client integer, n integer, clean boolean, locks integer)');
my $each = int($connections / $crowd) + 1;
$node->command_ok(
	[
		$node->installed_command('pgbench'), '--no-vacuum', '--connect', '--client', $crowd, '--jobs', 4,
		'--transactions', $each, '--file', $script, $node->connstr('postgres')
	],
	"$crowd sessions at once, a new connection for each of $each transactions");
is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT client), bool_and(clean), min(locks), max(locks) FROM visit'),
	$crowd * $each . "|$crowd|t|2|2", 'each began with nothing and had the two keys that it locked');
locks_become($node, '0,0', 'nothing is left');
is( $node->safe_psql('postgres', q{SELECT count(*), sum(acquired) FROM cs_stat_keys WHERE key LIKE 'mine %'}),
	"$crowd|" . $crowd * $each, 'the statistics have all of them');

# --- a parallel worker ---------------------------------------------------------

# The session has a key; its worker waits for another session, which waits for the key.
$session->query_safe(q{
	CREATE TABLE wide AS SELECT i AS id, repeat('x', 100) AS filler FROM generate_series(1, 20000) AS i;
	CREATE FUNCTION wait_in_worker(integer) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS $$
	BEGIN
		IF $1 = 1 THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
		RETURN true;
	END $$;
	ANALYZE wide;
	SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SET parallel_leader_participation = off; SET max_parallel_workers_per_gather = 2;
	SET deadlock_timeout = '600s'});
my $query = 'SELECT count(*) FROM wide WHERE wait_in_worker(id)';
like($session->query("EXPLAIN $query"), qr/Gather/, 'a query that is parallel');
$holder->query_safe(q{SET deadlock_timeout = '10ms'; BEGIN; SELECT pg_advisory_xact_lock(4711)});
$session->query_safe(q{BEGIN; SELECT cs_lock('key')});
$session->start($query);
ok( $node->poll_query_until('postgres',
		qq{SELECT count(*) = 1 FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
			WHERE NOT l.granted AND a.leader_pid = $session->{pid}}),
	'its worker waits');
$holder->query(q{SELECT cs_lock('key', -1)});
is($holder->sqlstate, '40P01', 'a deadlock of a key and a parallel worker is found');
like($holder->{error}, qr/CONTEXT:  locking key "key" in exclusive mode/, 'the error names the key');
$holder->query_safe('ROLLBACK');
is($session->finish, '20000', 'the parallel query goes on');
$session->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');

$_->quit foreach $session, $holder;
$node->stop;
done_testing();
