# A storm of 32 sessions over a key with four permits. A watcher looks at the lock
# table, which is one picture of one moment, again and again: never are there more
# than four permits in use, and nearly all are while somebody waits.
#
# Independently of that, each holder locks one of four rows until it ends, skipping those that
# are locked: a fifth one would find none. The storm has two forms: the second one cancels and
# terminates sessions, whether they wait or hold.
#
# At last the time from the end of a holder until the waiter has its permit.
#
# CS_PERMIT_SECONDS is the length of each of the two storms.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{CS_PERMIT_SECONDS} || 5;
my $clients = 32;
my $wakeups = 300;

my $procedures = q{
CREATE TABLE slot (id integer);
INSERT INTO slot SELECT generate_series(1, 4);

CREATE PROCEDURE storm(id integer) LANGUAGE plpgsql AS $$
DECLARE
	has boolean;
BEGIN
	WHILE NOT pg_try_advisory_lock_shared(1000) LOOP
		BEGIN
			has := true;
			IF id % 4 = 0 THEN
				has := cs_try_permit('storm', 4, 50);
			ELSE
				PERFORM cs_permit('storm', 4, CASE WHEN id % 4 = 1 THEN 300 ELSE -1 END);
			END IF;
			IF has THEN
				PERFORM FROM slot FOR UPDATE SKIP LOCKED LIMIT 1;
				IF NOT FOUND THEN
					RAISE 'five holders';
				END IF;
				PERFORM pg_sleep(0.01 + random() * 0.03);
			END IF;
			IF random() < 0.1 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION
			WHEN query_canceled OR lock_not_available OR division_by_zero THEN
				NULL;
		END;
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
	PERFORM pg_advisory_unlock_shared(1000);
END $$;

CREATE PROCEDURE watch(seconds float8, INOUT samples bigint DEFAULT 0, INOUT most_in_use bigint DEFAULT 0,
	INOUT without_key bigint DEFAULT 0, INOUT contended bigint DEFAULT 0,
	INOUT in_use_then bigint DEFAULT 0, INOUT all_then bigint DEFAULT 0) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + seconds * interval '1 second';
	in_use bigint;
	keys bigint;
	waiting bigint;
BEGIN
	WHILE clock_timestamp() < until LOOP
		SELECT count(*) FILTER (WHERE locktype = 'userlock' AND mode = 'AccessShareLock'),
			count(*) FILTER (WHERE locktype = 'advisory' AND mode = 'AccessShareLock'),
			count(*) FILTER (WHERE locktype = 'userlock' AND mode = 'AccessExclusiveLock')
		INTO in_use, keys, waiting FROM pg_locks;
		samples := samples + 1;
		most_in_use := greatest(most_in_use, in_use);
		without_key := greatest(without_key, in_use - keys);
		IF waiting > 0 THEN
			contended := contended + 1;
			in_use_then := in_use_then + in_use;
			all_then := all_then + (in_use = 4)::integer;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.001);
	END LOOP;
END $$;

CREATE PROCEDURE ping_pong(times integer, INOUT events text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
	micros CONSTANT float8 := 1000000;
BEGIN
	FOR i IN 1 .. times LOOP
		PERFORM cs_permit('ball', 1, -1);
		events := concat_ws(' ', events, 'got', (extract(epoch FROM clock_timestamp()) * micros)::bigint);
		PERFORM pg_sleep(0.003);
		events := concat_ws(' ', events, 'let', (extract(epoch FROM clock_timestamp()) * micros)::bigint);
		COMMIT;
	END LOOP;
END $$;};

my $entries = q{SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'userlock')};

sub storm
{
	my ($node, $name, $kills) = @_;
	my $gate = KeyTest::Session->new($node, name => 'gate');
	my $watcher = KeyTest::Session->new($node, name => 'watcher');
	my $killer = KeyTest::Session->new($node, name => 'killer');
	my ($killed, @ended) = (0);
	my $start = sub {
		my ($id) = @_;

		return KeyTest::Session->new($node, name => 'storm')->start("CALL storm($id)");
	};

	$gate->query_safe('SELECT pg_advisory_lock(1000)');

	my @sessions = map { $start->($_) } 1 .. $clients;

	$watcher->start("CALL watch($seconds)");

	my $until = time + $seconds;

	while ($kills && time < $until)
	{
		my $one = int(rand($clients));
		my $function = rand() < 0.5 ? 'pg_terminate_backend' : 'pg_cancel_backend';

		$killer->query_safe("SELECT $function($sessions[$one]{pid}), pg_sleep(0.01)");
		$killed++;
		next if $function eq 'pg_cancel_backend';
		push @ended, $sessions[$one];
		$sessions[$one]->finish;
		$sessions[$one]->quit;
		$sessions[$one] = $start->(1 + $one);
	}

	my ($samples, $most_in_use, $without_key, $contended, $in_use, $all) =
	  split /\|/, $watcher->finish;

	is($watcher->{error}, '', "$name: the watcher saw the end");
	$gate->query_safe('SELECT pg_advisory_unlock(1000)');
	$_->finish foreach @sessions;
	is(scalar(grep { $_->{error} =~ /ERROR|FATAL/ && $_->{error} !~ /57P01|57014/ } @sessions, @ended),
		0, 'nobody had another error: there were never five holders');
	is($most_in_use, '4', 'there were four permits');
	is($without_key, '0', 'each showed its key, to the end');

	my $share = $contended ? 100 * $in_use / 4 / $contended : 0;

	note sprintf '%s: %d samples, %d with waiters: %.2f %% of the permits in use, all four in %.2f %%; '
	  . '%d cancelled or terminated', $name, $samples, $contended, $share,
	  $contended ? 100 * $all / $contended : 0, $killed;
	cmp_ok($contended, '>', $samples / 2, 'somebody waits nearly always');
	cmp_ok($share, '>', 80, 'the permits are in use then');
	$_->quit foreach @sessions, $gate, $watcher, $killer;
	ok($node->poll_query_until('postgres', $entries, '0'), 'nothing is left');
	return;
}

sub measure
{
	my ($node, $name) = @_;
	my @sessions = map { KeyTest::Session->new($node) } 1, 2;
	my (@events, @latencies);

	$_->start("CALL ping_pong($wakeups)") foreach @sessions;
	foreach my $session (@sessions)
	{
		my $output = $session->finish;

		push @events, [ $2, $1, $session->{pid} ] while $output =~ /(got|let) (\d+)/g;
	}
	@events = sort { $a->[0] <=> $b->[0] || $b->[1] cmp $a->[1] } @events;
	foreach my $i (1 .. $#events)
	{
		my ($let, $got) = @events[ $i - 1, $i ];

		push @latencies, ($got->[0] - $let->[0]) / 1000
		  if $let->[1] eq 'let' && $got->[1] eq 'got' && $let->[2] != $got->[2];
	}
	@latencies = sort { $a <=> $b } @latencies;
	cmp_ok(scalar @latencies, '>', $wakeups, "$name: they took turns");
	note sprintf '%s: %d wake-ups, median %.3f ms, 99 %% %.3f ms, longest %.3f ms', $name, scalar @latencies,
	  @latencies[ @latencies / 2, 0.99 * @latencies, -1 ];
	# Far below the sleep of one who was not woken.
	cmp_ok($latencies[ @latencies / 2 ], '<', 200, 'who waits is woken');
	$_->quit foreach @sessions;
	return;
}

foreach my $case ([ 'preloaded' ], [ 'plain', "shared_preload_libraries = ''" ])
{
	my ($name, @settings) = @{$case};
	my $node = new_node($name, 'log_statement = none', 'max_connections = 50', @settings);

	$node->safe_psql('postgres', $procedures);
	measure($node, $name);
	storm($node, "$name, quiet", 0);
	storm($node, "$name, kills", 1);
	$node->stop;
}
done_testing();
