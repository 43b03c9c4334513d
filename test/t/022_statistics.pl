# The statistics of keys are exact: for every way in which a wait can end, and
# under a storm of sessions that keep their own books. They do not outlive a
# reset, a restart or a crash. What needs no wait is in test/pgtap/statistics.sql.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

# PostgreSQL::Test::Cluster turns restart_after_crash off.
my $node = new_node('main', $any_order, 'restart_after_crash = on', "deadlock_timeout = '10ms'",
	'log_statement = none');
my ($holder, $waiter, $watcher) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder waiter watcher);

my $tests = 0;

# The next key. The holder locks it; its one grant counts.
sub new_key
{
	my $key = 'key ' . ++$tests;

	$holder->query_safe("BEGIN; SELECT cs_lock('$key')");
	return $key;
}

# "acquired|waited|timed_out|deadlocked" of a key, and that the rest fits: the
# histogram has as many waits, one wait is in the bucket of its length, and the
# longest is no longer than all.
sub counts_are
{
	my ($key, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $watcher->query(
			qq{SELECT acquired, waited, timed_out, deadlocked FROM cs_stat_keys WHERE key = '$key'}),
		$expected, $name);
	is( $watcher->query(
			qq{SELECT cardinality(wait_histogram), waited - (SELECT sum(n) FROM unnest(wait_histogram) n),
				CASE WHEN waited = 1
				THEN wait_histogram[1 + least(12, length(ltrim(floor(wait_ms_max)::bigint::bit(40)::text, '0')))] = 1
					AND abs(wait_ms_total - wait_ms_max) < 0.001
				WHEN waited = 0 THEN wait_ms_total = 0 ELSE true END,
				wait_ms_max <= wait_ms_total
				FROM cs_stat_keys WHERE key = '$key'}),
		'13|0|t|t', 'and the waits are in their buckets');
	return;
}

# setting, call, SQLSTATE, counts; the grant is the holder's.
my @requests = (
	[ '', q{cs_try_lock('%s')}, '', '1|0|1|0' ],
	[ '', q{cs_lock('%s', 0)}, '55P03', '1|0|1|0' ],
	[ '', q{cs_try_lock_all(ARRAY['%1$s', '%1$s'])}, '', '1|0|1|0' ],
	[ '', q{cs_try_lock_any(ARRAY['%s', 'free'])}, '', '1|0|0|0' ],
	[ '', q{cs_try_lock('%s', 70)}, '', '1|1|1|0' ],
	[ '', q{cs_try_lock('%s', 70, 'shared', 'session')}, '', '1|1|1|0' ],
	[ '', q{cs_lock('%s', 70)}, '55P03', '1|1|1|0' ],
	[ '', q{cs_lock_all(ARRAY['%1$s', '%1$s'], 70)}, '55P03', '1|1|1|0' ],
	[ '', q{cs_try_lock_path('%s', 70)}, '', '1|1|1|0' ],
	[ q{SET concurrency_safe.default_timeout = 70}, q{cs_lock('%s')}, '55P03', '1|1|1|0' ],
	[ q{SET lock_timeout = 70}, q{cs_lock('%s', -1)}, '55P03', '1|1|1|0' ],
	[ q{SET lock_timeout = 70}, q{cs_try_lock('%s', -1)}, '', '1|1|1|0' ],
	[ q{SET statement_timeout = 70}, q{cs_lock('%s', -1)}, '57014', '1|1|0|0' ],
	[ q{SET statement_timeout = 70}, q{cs_try_lock('%s', 60000)}, '57014', '1|1|0|0' ],
);
foreach my $request (@requests)
{
	my ($setting, $call, $state, $counts) = @{$request};
	my $key = new_key();

	$waiter->query_safe($setting);
	$waiter->query(sprintf "SELECT $call", $key);
	is($waiter->sqlstate, $state, sprintf "$setting $call", $key);
	$waiter->query_safe('RESET ALL');
	counts_are($key, $counts, 'is counted');
	is( $watcher->query(
			qq{SELECT wait_ms_max >= 64 AND wait_histogram[:7] = array_fill(0::bigint, ARRAY[7])
				FROM cs_stat_keys WHERE key = '$key'}),
		't', 'with a wait of 70 ms or more')
	  if $counts =~ /^1\|1/;
	$holder->query_safe('COMMIT');
}

# Waits that others end.
my $key = new_key();
$waiter->start_waiting("SELECT cs_lock('$key', -1)");
counts_are($key, '1|0|0|0', 'a wait that goes on is not counted');
$holder->query_safe('COMMIT');
$waiter->finish;
counts_are($key, '2|1|0|0', 'a wait that ends with the lock');

$key = new_key();
$waiter->start_waiting("SELECT cs_try_lock('$key', 600000)");
$watcher->query_safe("SELECT pg_cancel_backend($waiter->{pid})");
$waiter->finish;
counts_are($key, '1|1|0|0', 'a wait that is cancelled');
$waiter->start_waiting("SELECT cs_try_lock('$key', 600000)");
$watcher->query_safe("SELECT pg_terminate_backend($waiter->{pid})");
$waiter->wait_for_end;
counts_are($key, '1|2|0|0', 'a wait whose session is terminated');
$waiter->quit;
$holder->query_safe('COMMIT');

$waiter = KeyTest::Session->new($node, name => 'waiter');
$key = new_key();
$waiter->query_safe("BEGIN; SELECT cs_lock('crosswise')");
$waiter->start("SELECT cs_lock('$key', -1)");
$holder->query("SELECT cs_lock('crosswise', -1)");
$waiter->finish;
my %deadlocked = (holder => $holder->sqlstate, waiter => $waiter->sqlstate);
is(join('', sort values %deadlocked), '40P01', 'a deadlock');
$_->query_safe('ROLLBACK') foreach $holder, $waiter;
counts_are($deadlocked{waiter} ? $key : 'crosswise', '1|1|0|1', 'the victim waited for one key');
counts_are($deadlocked{waiter} ? 'crosswise' : $key, '2|1|0|0', 'the other one got its own');

# All in all, and the reset.
my $sums_agree = q{SELECT (s.acquired, s.waited, s.timed_out, s.deadlocked) = k.sums, s.wait_ms_max = k.longest,
		abs(s.wait_ms_total - k.total) < 0.01, s.wait_histogram = k.histogram
	FROM cs_stat s, (
		SELECT (sum(acquired)::bigint, sum(waited)::bigint, sum(timed_out)::bigint, sum(deadlocked)::bigint) AS sums,
			max(wait_ms_max) AS longest, sum(wait_ms_total) AS total,
			(SELECT array_agg(n ORDER BY i) FROM (
				SELECT i, sum(b)::bigint AS n FROM cs_stat_keys, unnest(wait_histogram) WITH ORDINALITY u (b, i)
				GROUP BY i) buckets) AS histogram
		FROM cs_stat_keys) k};
is($watcher->query($sums_agree), 't|t|t|t', 'cs_stat has the sums');
$watcher->query_safe('SELECT cs_stat_reset()');
is( $watcher->query(
		q{SELECT acquired, waited, timed_out, deadlocked, wait_ms_total, wait_ms_max, stats_reset <= clock_timestamp() FROM cs_stat}),
	'0|0|0|0|0|0|t', 'after a reset');
is( $watcher->query(q{SELECT count(*) > 0, sum(acquired), sum(waited), sum(timed_out), sum(wait_ms_max) FROM cs_stat_keys}),
	't|0|0|0|0', 'the keys are there, their counts are not');

# The storm. Each round is a transaction of one key, in a way of its own.
$node->safe_psql('postgres', q{
	CREATE TABLE booked (key text, acquired bigint, timed_out bigint);
	CREATE PROCEDURE storm(rounds int) LANGUAGE plpgsql AS $$
	DECLARE
		acquired int[] := array_fill(0, ARRAY[20]);
		timed_out int[] := array_fill(0, ARRAY[20]);
		n int;
		modes text[] := '{exclusive,exclusive,shared,intent exclusive}';
		mode text;
		got boolean;
	BEGIN
		FOR i IN 1 .. rounds LOOP
			n := 1 + floor(20 * random() ^ 3);
			mode := modes[1 + floor(4 * random())];
			BEGIN
				CASE floor(4 * random())
				WHEN 0 THEN got := cs_try_lock('storm ' || n, 0, mode);
				WHEN 1 THEN got := cs_try_lock('storm ' || n, 1 + floor(3 * random())::int, mode);
				WHEN 2 THEN got := true; PERFORM cs_lock('storm ' || n, 2, mode);
				ELSE got := true; PERFORM cs_lock('storm ' || n, 60000, mode);
				END CASE;
			EXCEPTION WHEN lock_not_available THEN
				got := false;
			END;
			IF got THEN
				acquired[n] := acquired[n] + 1;
				PERFORM pg_sleep(0.0005);
			ELSE
				timed_out[n] := timed_out[n] + 1;
			END IF;
			COMMIT;
		END LOOP;
		INSERT INTO booked SELECT 'storm ' || i, acquired[i], timed_out[i] FROM generate_series(1, 20) i;
	END $$});
my @clients = map { KeyTest::Session->new($node, name => 'client') } 1 .. 8;
$_->start('CALL storm(600)') foreach @clients;
$_->finish foreach @clients;
is(join('', map { $_->sqlstate } @clients), '', 'a storm of eight sessions');
is($watcher->query('SELECT sum(acquired) + sum(timed_out), sum(timed_out) > 0 FROM booked'),
	'4800|t', 'each round is in the books');
is( $watcher->query(
		q{SELECT count(*) FROM (SELECT key, sum(acquired) AS acquired, sum(timed_out) AS timed_out FROM booked GROUP BY key) b
		FULL JOIN (SELECT * FROM cs_stat_keys WHERE acquired + timed_out + waited > 0) s USING (key)
		WHERE (b.acquired, b.timed_out) IS DISTINCT FROM (s.acquired::numeric, s.timed_out::numeric)
			OR s.waited <> (SELECT sum(n) FROM unnest(s.wait_histogram) n)}),
	'0', 'the statistics of each key agree with the books');
is( $watcher->query(
		q{SELECT s.acquired - sum(b.acquired), s.timed_out - sum(b.timed_out), s.deadlocked, s.waited > 0
		FROM cs_stat s, booked b GROUP BY s.acquired, s.timed_out, s.deadlocked, s.waited}),
	'0|0|0|t', 'and so do the totals');
is($watcher->query($sums_agree), 't|t|t|t', 'cs_stat has the sums');
is($watcher->query('SELECT count(*) FROM cs_locks'), '0', 'no lock is left');
$_->quit foreach @clients;

# A crash.
kill 'KILL', $holder->{pid};
$_->wait_for_end, $_->quit foreach $holder, $waiter, $watcher;
$node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is( $node->safe_psql('postgres', 'SELECT acquired, waited, timed_out, directory_used FROM cs_stat'),
	'0|0|0|0', 'after a crash the directory is empty');

$node->stop;
done_testing();
