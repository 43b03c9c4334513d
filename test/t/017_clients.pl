# As clients and poolers use it: prepared statements, the extended protocol,
# pipelines of transactions on a few sessions, and queries that could be parallel.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $session = KeyTest::Session->new($node);

# A generic plan, after the fifth execution.
$session->query_safe(q{PREPARE lock(text, int) AS SELECT cs_try_lock($1, $2), cs_held_mode($1)});
foreach my $i (1 .. 8)
{
	is($session->query("BEGIN; EXECUTE lock('key:$i', 0); COMMIT"), 't|exclusive',
		"execution $i of a prepared statement");
}
locks_are($node, '0,0', 'nothing is left');

# Each client counts up under a key: no update is lost. The key is built by the
# server because pgbench would take ":name" for a variable.
$node->safe_psql('postgres',
	q{CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
	INSERT INTO counter SELECT i, 0 FROM generate_series(1, 3) i});
my $script = PostgreSQL::Test::Utils::tempdir . '/count.sql';
append_to_file($script, <<'SQL');
\set id random(1, 3)
BEGIN;
SELECT cs_lock('counter' || chr(58) || :id, 60000);
SELECT n FROM counter WHERE id = :id \gset
\set n :n + 1
UPDATE counter SET n = :n WHERE id = :id;
COMMIT;
SQL
foreach my $protocol (qw(simple extended prepared))
{
	$node->safe_psql('postgres', 'UPDATE counter SET n = 0');
	$node->command_ok(
		[
			'pgbench', '-n', '-M', $protocol, '-c', '4', '-t', '100', '-f', $script,
			'-d', $node->connstr('postgres')
		],
		"pgbench, $protocol protocol");
	is($node->safe_psql('postgres', 'SELECT sum(n) FROM counter'), '400', 'no update was lost');
	locks_are($node, '0,0', 'nothing is left');
}

# A lock taken by a parallel worker would be gone after the query.
my $force = $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000
  ? 'debug_parallel_query' : 'force_parallel_mode';
$session->query_safe(
	qq{CREATE TABLE wide AS SELECT i AS id, repeat('x', 100) AS filler
		FROM generate_series(1, 2000) i;
	ANALYZE wide;
	SET $force = on; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
	SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2});
like($session->query('EXPLAIN SELECT count(*) FROM wide WHERE length(filler) = 100'),
	qr/Gather/, 'such a query is parallel');
foreach my $query (
	q{SELECT count(*) FROM wide WHERE cs_try_lock('row' || id)},
	q{SELECT sum(CASE WHEN cs_held_mode('row' || id) IS NULL THEN 0 ELSE 1 END) FROM wide},
	q{SELECT count(*) FROM (SELECT cs_lock('row' || id) FROM wide OFFSET 0) s})
{
	unlike($session->query("EXPLAIN $query"), qr/Gather/, "not parallel: $query");
}
$session->query_safe('BEGIN');
is($session->query(q{SELECT count(*) FROM wide WHERE id <= 500 AND cs_try_lock('row' || id)}),
	'500', 'locks of 500 rows');
is( $session->query(
		q{SELECT count(*), bool_and(pid = pg_backend_pid()) FROM pg_locks WHERE locktype = 'advisory'}),
	'500|t', 'are held by the session itself');
$session->query_safe('COMMIT');

# Nor does it lock in one that got there by a function that is marked wrongly.
$session->query_safe(
	q{CREATE FUNCTION lock_row(id int) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS
		$$ BEGIN PERFORM cs_lock('row' || id); RETURN true; END $$;
	CREATE FUNCTION pay(id int) RETURNS boolean LANGUAGE plpgsql PARALLEL SAFE AS
		$$ DECLARE a numeric; b numeric;
		BEGIN
			CALL cs_transfer('counter', '1', '2', 1, NULL, 'id', 'n', a, b);
			RETURN true;
		END $$});
foreach my $function (qw(lock_row pay))
{
	my $query = "SELECT count(*) FROM wide WHERE $function(id)";

	like($session->query("EXPLAIN $query"), qr/Gather/, "parallel: $query");
	foreach my $leader (qw(on off))
	{
		$session->query_safe("SET parallel_leader_participation = $leader; BEGIN; SAVEPOINT s");
		$session->query($query);
		is($session->sqlstate, '25000',
			"$function fails, parallel_leader_participation = $leader");
		$session->query_safe('ROLLBACK TO s');
		locks_are($node, '0,0', 'nothing is locked');
		$session->query_safe('COMMIT');
	}
}

# A pooler hands one session to many clients, and cleans it up in between.
foreach my $client (1 .. 3)
{
	$session->query_safe(q{BEGIN; SELECT cs_lock('pooled'); COMMIT});
	is($session->query(q{SELECT cs_held_mode('pooled') IS NULL}),
		't', "client $client leaves no lock in transaction scope");
	$session->query_safe(
		q{SELECT cs_lock('forgotten', scope => 'session'); DISCARD ALL});
}
$session->query(q{SET concurrency_safe.session_locks = off;
	SELECT cs_lock('pooled', scope => 'session')});
is($session->sqlstate, '55000', 'session scope can be forbidden');
locks_are($node, '0,0', 'nothing is left');

$session->quit;
$node->stop;
done_testing();
