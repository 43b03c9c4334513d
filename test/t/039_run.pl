# cs_run: ends from outside, many clients, memory, and what is counted.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('run', $any_order);
my $holder = KeyTest::Session->new($node);
my $runner = KeyTest::Session->new($node, name => 'runner');

$node->safe_psql('postgres', q{
	CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);
	INSERT INTO account SELECT i, 1000000 FROM generate_series(1, 2) AS i;
	CREATE SEQUENCE attempt;
	CREATE FUNCTION fail(until bigint, state text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('attempt') < until THEN
			RAISE 'failed' USING ERRCODE = state;
		END IF;
	END $$});

sub statistics
{
	return $node->safe_psql('postgres', 'SELECT runs, run_retries, run_failures FROM cs_stat');
}

sub signal_runner
{
	my ($function) = @_;
	$node->safe_psql('postgres', "SELECT $function($runner->{pid})");
	return $runner->finish;
}

# Starts a command and returns when it is in that wait event.
sub start_until
{
	my ($sql, $type, $event) = @_;
	$runner->start($sql);
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = '$type' AND wait_event = '$event' FROM pg_stat_activity WHERE pid = $runner->{pid}")
	  or die "\"$sql\" does not wait";
	return;
}

# Where a call can be stopped: waiting for the key, in the command, in the pause.
my @moments = (
	[ 'waits for the key', q{CALL cs_run('run:held', 'SELECT 1', timeout_ms => -1)}, 'Lock', 'advisory' ],
	[ 'runs its command', q{CALL cs_run('run:1', 'UPDATE account SET balance = 0; SELECT pg_sleep(600)')}, 'Timeout', 'PgSleep' ],
	[ 'pauses', q{CALL cs_run('run:1', 'SELECT fail(1000000000, $1)', '{40001}', backoff_ms => 100000000, max_backoff_ms => 100000000)},
		'Extension', 'Extension' ]);

$node->safe_psql('postgres', 'SELECT cs_stat_reset()');
is(statistics(), '0|0|0', 'nothing is counted at first');
$holder->query_safe(q{SELECT cs_lock('run:held', scope => 'session')});
foreach my $moment (@moments)
{
	my ($name, $call, $type, $event) = @$moment;

	start_until($call, $type, $event);
	is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $runner->{pid}"),
		$type eq 'Timeout' ? 'f' : 't', "a call that $name: whether it has a snapshot");
	signal_runner('pg_cancel_backend');
	is($runner->sqlstate, '57014', 'cancelled');
	is($runner->query(q{SELECT cs_held_mode('run:1'), cs_held_mode('run:held')}), '|', 'the key is not held');
	locks_are($node, '1,0', 'nor is any other, and nobody waits');

	$runner->query_safe(q{SET statement_timeout = '100ms'});
	$runner->query($call);
	is($runner->sqlstate, '57014', "a call that $name: statement_timeout");
	$runner->query_safe('RESET statement_timeout');
	locks_are($node, '1,0', 'no lock is left');

	start_until($call, $type, $event);
	signal_runner('pg_terminate_backend');
	is($runner->sqlstate, '57P01', "a call that $name: terminated");
	$runner->wait_for_end;
	locks_are($node, '1,0', 'no lock is left');
	$runner = KeyTest::Session->new($node, name => 'runner');
}
is($node->safe_psql('postgres', 'SELECT sum(balance) FROM account'), '2000000', 'and no work');
# The command was cancelled twice; a call that is terminated, or that ends in a pause, counts no failure.
is(statistics(), '0|3|2', 'retries and failures are counted');
$holder->query_safe('SELECT cs_unlock_all()');

# A LOCK in a command waits without a snapshot, too.
$holder->query_safe(q{SELECT cs_lock('run:held', scope => 'session')});
start_until(q{CALL cs_run('run:1', 'LOCK cs_key."run:held"', isolation => 'repeatable read')}, 'Lock', 'advisory');
is($node->safe_psql('postgres', "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $runner->{pid}"),
	't', 'LOCK in a command has no snapshot');
signal_runner('pg_cancel_backend');
is($runner->sqlstate, '57014', 'cancelled');
$holder->query_safe('SELECT cs_unlock_all()');

# Counts.
$node->safe_psql('postgres', 'SELECT cs_stat_reset()');
$node->safe_psql('postgres', q{SELECT setval('attempt', 1, false)});
is($runner->query(q{CALL cs_run('run:1', 'SELECT fail(3, $1)', '{40001}', backoff_ms => 0)}), 'done|3', 'third attempt');
is(statistics(), '1|2|0', 'one call, two retries');
$runner->query(q{CALL cs_run('run:1', 'SELECT fail(1000000000, $1)', '{40P01}', backoff_ms => 0, max_attempts => 4)});
is($runner->sqlstate, '40P01', 'no attempt is left');
is(statistics(), '1|5|1', 'three retries and a failure');
$runner->query(q{CALL cs_run('run:1', 'SELECT 1/0')});
is(statistics(), '1|5|2', 'a failure without a retry');
$holder->query_safe(q{SELECT cs_lock('run:1', scope => 'session')});
is($runner->query(q{CALL cs_run('run:1', 'SELECT 1', timeout_ms => 0, on_conflict => 'skip')}), 'busy|0', 'busy');
$runner->query(q{CALL cs_run('run:1', 'SELECT 1', timeout_ms => 0)});
is($runner->sqlstate, '55P03', 'locked');
is(statistics(), '1|5|2', 'neither is a run');
$holder->query_safe('SELECT cs_unlock_all()');
# The time of the command, too, is after the wait for its key.
$holder->query_safe(q{CREATE TABLE log (at timestamptz); BEGIN; SELECT cs_lock('run:1')});
start_until(q{CALL cs_run('run:1', 'INSERT INTO log VALUES (now())', timeout_ms => -1)}, 'Lock', 'advisory');
my $then = $holder->query_safe('SELECT clock_timestamp(); COMMIT');
$runner->finish;
is($runner->query("SELECT at > '$then' FROM log"), 't', 'now() is after the end of the last holder');

$node->safe_psql('postgres', 'SELECT cs_stat_reset()');
is(statistics(), '0|0|0', 'reset');

# Another one takes the key in the pause: the call finds it busy, and says how often it tried.
start_until(q{CALL cs_run('run:1', 'SELECT fail(1000000000, $1)', '{40001}', timeout_ms => 0, on_conflict => 'skip',
	backoff_ms => 2000, max_backoff_ms => 2000)}, 'Extension', 'Extension');
$holder->query_safe(q{SELECT cs_lock('run:1', -1, scope => 'session')});
like($runner->finish, qr/^busy\|[1-5]$/, 'busy after an attempt');
$holder->query_safe('SELECT cs_unlock_all()');

# Many clients, one hot key; in a pipeline, too, where from PostgreSQL 18 on only the first command
# is outside a transaction block: each withdraws 1 and says so by its exit.
my $in_pipeline = $node->safe_psql('postgres', 'SHOW server_version_num') < 180000 ? 2 : 1;
my $withdraw = q{CALL cs_run('hot', 'UPDATE account SET balance = balance - 1 WHERE id = 1', timeout_ms => -1);};
my %script = (
	alone => $withdraw,
	pipeline => join("\n", '\startpipeline', ($withdraw) x $in_pipeline, '\endpipeline'));
my $runs = 0;

foreach my $name (sort keys %script)
{
	$node->pgbench("--no-vacuum --client=16 --jobs=2 --transactions=50 --protocol=extended",
		0, [qr{processed: 800/800}], [qr{^$}], "many clients, $name", { "039_$name" => $script{$name} });
	$runs += $name eq 'pipeline' ? 800 * $in_pipeline : 800;
	is($node->safe_psql('postgres', 'SELECT balance FROM account WHERE id = 1'), 1000000 - $runs, 'no update is lost');
	locks_are($node, '0,0', 'no lock is left');
}
# Serialization failures on the way: half of the clients write without the key.
$node->pgbench("--no-vacuum --client=8 --jobs=2 --transactions=50", 0, [qr{processed: 400/400}], [qr{^$}],
	'clients that disturb each other',
	{
		'039_with_key@1' => q{CALL cs_run('hot', 'UPDATE account SET balance = balance - 1 WHERE id = 1', timeout_ms => -1,
			max_attempts => 1000, backoff_ms => 1, max_backoff_ms => 2, isolation => 'repeatable read');},
		'039_other_key@1' => q{CALL cs_run('cold', 'UPDATE account SET balance = balance - 1 WHERE id = 1', timeout_ms => -1,
			max_attempts => 1000, backoff_ms => 1, max_backoff_ms => 2, isolation => 'serializable');}
	});
$runs += 400;
is($node->safe_psql('postgres', 'SELECT balance FROM account WHERE id = 1'), 1000000 - $runs, 'no update is lost');
is($node->safe_psql('postgres', 'SELECT runs, run_failures FROM cs_stat'), "$runs|0", 'all are counted');
locks_are($node, '0,0', 'no lock is left');

# A session does not grow: calls that succeed, retry and fail, with commands kept and not.
$runner->query_safe(q{
	CREATE PROCEDURE calls(number integer) LANGUAGE plpgsql AS $$
	DECLARE
		o text;
		a integer;
	BEGIN
		FOR i IN 1 .. number LOOP
			CALL cs_run('run:' || i % 10, 'UPDATE account SET balance = balance + $1::integer WHERE id = 2', '{0}', outcome => o, attempts => a);
			CALL cs_run('run:1', 'SELECT 1; SELECT fail(nextval($1), $2)', '{attempt,40001}', backoff_ms => 0, outcome => o, attempts => a);
			CALL cs_run('run:1', format('SELECT %s', i % 100), outcome => o, attempts => a);
		END LOOP;
	END $$});
my $memory = 'SELECT sum(total_bytes) FROM pg_backend_memory_contexts';

$runner->query_safe('CALL calls(500)');
my $before = $runner->query($memory);
$runner->query_safe('CALL calls(6000)');
cmp_ok($runner->query($memory) - $before, '<', 100_000, 'memory after 500 and after 6500 rounds');

# The same without shared memory: nothing is counted, all works.
$node->stop;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
my $plain = KeyTest::Session->new($node);

is($plain->query(q{CALL cs_run('hot', 'UPDATE account SET balance = balance + $1::integer WHERE id = 2', '{5}')}), 'done|1', 'not preloaded');
is($plain->query('SELECT balance FROM account WHERE id = 2'), '1000005', 'it was done');

$_->quit foreach $holder, $runner, $plain;
$node->stop;
done_testing();
