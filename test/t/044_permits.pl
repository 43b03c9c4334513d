# Waits for permits: how they end, whom a freed permit reaches, and what shows
# meanwhile. Those who wait are of two kinds: the first one sleeps until it is
# woken, the others wait for its place in PostgreSQL's queue.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use List::Util qw(min);
use Test::More;
use Time::HiRes qw(time);

my $entries = q{SELECT count(*) FROM pg_locks WHERE locktype IN ('advisory', 'userlock')};
my $waiting = q{SELECT count(*) FROM cs_holders('k') WHERE NOT granted};
my $node;
my %session;

sub nothing_is_left
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres', $entries, '0'), "$name: nothing is left");
	return;
}

# s0 and s1 have the two permits; then s2, s3 and so on wait in this order.
sub queue_up
{
	my (@waits) = @_;

	foreach my $name (map { "s$_" } 0 .. 1 + @waits)
	{
		$session{$name} = KeyTest::Session->new($node, name => $name)
		  unless $session{$name} && !$session{$name}{gone};
	}
	foreach (0, 1)
	{
		$session{"s$_"}->query_safe(q{BEGIN});
		$session{"s$_"}->query_safe(q{SELECT cs_permit('k', 2)});
	}
	foreach my $i (0 .. $#waits)
	{
		my $waiter = $session{ 's' . ($i + 2) };

		$waiter->query_safe('BEGIN');
		$waiter->start_waiting("SELECT $waits[$i]");
	}
	return @session{ map { "s$_" } 0 .. 1 + @waits };
}

sub gone
{
	my ($session) = @_;

	$session->{gone} = 1;
	return;
}

sub has_permit
{
	my ($session, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$session->finish;
	is($session->{error}, '', "$name: no error");
	is($session->query(q{SELECT cs_held_mode('k')}), 'permit', "$name has the permit");
	return;
}

my $wait = q{cs_permit('k', 2, 600000)};
my $forever = q{cs_permit('k', 2, -1)};
my $try = q{cs_try_permit('k', 2, 600000)};

foreach my $preloaded (1, 0)
{
	my $how = $preloaded ? 'preloaded' : 'not preloaded';

	%session = ();
	$node = new_node($preloaded ? 'main' : 'plain', $any_order,
		$preloaded ? () : "shared_preload_libraries = ''");

	# First come first served, and whoever ends hands over.
	my @s = queue_up($wait, $try, $forever);

	is($node->safe_psql('postgres', q{SELECT string_agg(concat_ws(' ', mode, granted, scope), ', '
			ORDER BY granted DESC) FROM cs_holders('k')}),
		'permit t transaction, permit t transaction, permit f, permit f, permit f',
		"$how: cs_holders shows who has a permit and who waits");
	is( $node->safe_psql('postgres', q{SELECT bool_and(wait_start < clock_timestamp()
			AND waiting_for >= '0' AND cardinality(blocked_by) > 0)
			FROM cs_holders('k') WHERE NOT granted}),
		't', 'since when, and behind whom');
	is( $node->safe_psql('postgres', qq{SELECT (SELECT array_agg(b ORDER BY b) FROM unnest(blocked_by) AS b)
			= (SELECT array_agg(p ORDER BY p) FROM unnest(ARRAY[$s[0]{pid}, $s[1]{pid}]) AS p)
			FROM cs_holders('k') WHERE pid = $s[2]{pid}}),
		't', 'the first one is behind all who have a permit');
	is($node->safe_psql('postgres', qq{SELECT blocked_by[1] FROM cs_holders('k') WHERE pid = $s[3]{pid}}),
		$s[2]{pid}, 'the second one behind the first');
	is($node->safe_psql('postgres', q{SELECT cs_try_permit('k', 2)}), 'f', 'a try does not jump the queue');
	foreach my $call (q{cs_permit('k', 3, 600000)}, q{cs_try_permit('k', 1, -1)})
	{
		my ($status, undef, $error) = $node->psql('postgres', "SELECT $call");

		like($error, qr/limit is 2 in use/, "$call is refused at once while others wait");
	}
	$s[1]->query_safe('COMMIT');
	has_permit($s[2], 'the first one');
	$node->poll_query_until('postgres', $waiting, '2');
	$s[2]->query_safe('ROLLBACK');
	has_permit($s[3], 'the second one');
	$s[0]->query_safe('COMMIT');
	has_permit($s[4], 'the third one');
	$_->query_safe('COMMIT') foreach @s[ 3, 4 ];
	nothing_is_left($how);

	# A permit that is free is for the first one, also while that one does not come for it.
	@s = queue_up($wait);
	kill 'STOP', $s[2]{pid};
	$s[1]->query_safe('COMMIT');
	is($node->safe_psql('postgres', q{SELECT cs_try_permit('k', 2)}), 'f', 'nobody else gets it');
	kill 'CONT', $s[2]{pid};
	has_permit($s[2], 'the one that was stopped');
	$_->query_safe('COMMIT') foreach @s[ 0, 2 ];
	nothing_is_left("$how, stopped");

	# Who gives a permit back wakes the first one, who else would look once in a second. The
	# fastest of some counts, since a busy machine makes others slow.
	foreach my $end ('COMMIT', 'ROLLBACK', 'ROLLBACK TO s')
	{
		my @times;

		foreach (1 .. 5)
		{
			$s[0]->query_safe(q{BEGIN; SAVEPOINT s; SELECT cs_permit('k', 1)});
			$s[1]->query_safe('BEGIN');
			$s[1]->start_waiting(q{SELECT cs_permit('k', 1, -1)});

			my $start = time;

			$s[0]->query_safe($end);
			$s[1]->finish;
			push @times, time - $start;
			$_->query_safe('ROLLBACK') foreach @s[ 0, 1 ];
		}
		cmp_ok(min(@times), '<', 0.5, "$how, $end: who waits is woken");
	}

	# Waits that end by themselves: the first one and the second one.
	my $line = qr/Process \d+ has a permit, in a transaction that began \d+ ms ago \(role ".*", application "s[012]"\)\.\n/;
	my $of_timeout = qr/55P03: could not get a permit of key "k" within 50 ms\nDETAIL:  $line${line}HINT:/;

	foreach my $case (
		[ q{cs_permit('k', 2, 50)}, '', '55P03' ],
		[ q{cs_permit('k', 2)}, q{SET concurrency_safe.default_timeout = 50}, '55P03' ],
		[ q{cs_permit('k', 2, -1)}, q{SET lock_timeout = 50}, '55P03' ],
		[ q{cs_try_permit('k', 2, 50)}, '', '' ],
		[ q{cs_try_permit('k', 2, -1)}, q{SET lock_timeout = 50}, '' ],
		[ q{cs_permit('k', 2, 600000)}, q{SET statement_timeout = 50}, '57014' ],
		[ q{cs_try_permit('k', 2, -1)}, q{SET statement_timeout = 50}, '57014' ])
	{
		my ($call, $setting, $state) = @{$case};

		foreach my $behind (0, 1)
		{
			my @s = queue_up($behind ? $forever : ());
			my $late = $session{late} //= KeyTest::Session->new($node, name => 'late');
			my $place = $behind ? 'second' : 'first';

			$late->query_safe($setting) if $setting;
			$late->query_safe('BEGIN; SAVEPOINT s');

			my $output = $late->query("SELECT $call");

			is($late->sqlstate, $state, "$how, $place, $setting $call: " . ($state || 'false'));
			is($output, 'f', 'false') if !$state;
			like($late->{error}, $of_timeout, 'and who has a permit') if $state eq '55P03';
			like($late->{error}, qr/CONTEXT:  taking a permit of key "k"/, 'and what it was about')
			  if $state eq '57014';
			$late->query_safe('ROLLBACK TO s');
			is($late->query(q{SELECT cs_held_mode('k')}), '', 'it has none');
			is($node->safe_psql('postgres', $waiting), $behind, 'and left the queue');
			$late->query_safe('COMMIT; RESET ALL');
			$s[0]->query_safe('COMMIT');
			has_permit($s[2], 'the one before') if $behind;
			$_->query_safe('COMMIT') foreach @s[ 1 .. $#s ];
			nothing_is_left($place);
		}
	}

	# Those who are cancelled, terminated or lose their client: the permit reaches the others.
	foreach my $victim (2, 3)
	{
		foreach my $end (qw(cancel terminate vanish timeout))
		{
			my @s = queue_up($forever, $try, $wait);
			my $name = "$how, $end of waiter " . ($victim - 1);
			my $who = $s[$victim];

			if ($end eq 'vanish')
			{
				$node->safe_psql('postgres', "SELECT pg_cancel_backend($who->{pid})");
				$who->finish;
				$who->query_safe("ROLLBACK; SET client_connection_check_interval = '20ms'; BEGIN");
				$node->poll_query_until('postgres', $waiting, '2');
				$who->start_waiting("SELECT $try");
				$who->kill_client;
				gone($who);
			}
			else
			{
				my $function = $end eq 'terminate' ? 'pg_terminate_backend' : 'pg_cancel_backend';

				$node->safe_psql('postgres', "SELECT $function($who->{pid})");
				$who->finish;
				is($who->sqlstate, $end eq 'terminate' ? '57P01' : '57014', $name);
				gone($who) if $end eq 'terminate';
			}
			ok($node->poll_query_until('postgres', $waiting, '2'), "$name: it left the queue");

			my @rest = grep { $_ != $who } @s[ 2 .. 4 ];

			$s[0]->query_safe('COMMIT');
			has_permit($rest[0], "$name, the next");
			$node->safe_psql('postgres', "SELECT pg_terminate_backend($s[1]{pid})");
			$s[1]->wait_for_end;
			gone($s[1]);
			has_permit($rest[1], "$name, the last, after the end of a holder");
			$_->query_safe('ROLLBACK') foreach @rest, $who->{gone} ? () : $who;
			nothing_is_left($name);
		}
	}

	# Cancelled in an exception block: the transaction goes on, and does not stand in the way.
	@s = queue_up();
	my $caught = $session{caught} = KeyTest::Session->new($node, name => 'caught');
	my $next = $session{next} = KeyTest::Session->new($node, name => 'next');

	$caught->query_safe('BEGIN');
	$caught->start_waiting(
		q{DO $$ BEGIN PERFORM cs_permit('k', 2, -1); EXCEPTION WHEN query_canceled THEN NULL; END $$});
	$next->query_safe('BEGIN');
	$next->start_waiting("SELECT $forever");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($caught->{pid})");
	$caught->finish;
	is($caught->sqlstate, '', "$how: a cancelled wait is caught");
	$s[0]->query_safe('COMMIT');
	has_permit($next, 'the next one, while that transaction goes on,');
	if ($preloaded)
	{
		my $counts = q{SELECT waited, timed_out FROM cs_stat_keys WHERE key = 'k'};

		$node->safe_psql('postgres', 'SELECT cs_stat_reset()');
		$caught->start_waiting(
			q{DO $$ BEGIN PERFORM cs_permit('k', 2, -1); EXCEPTION WHEN query_canceled THEN NULL; END $$});
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($caught->{pid})");
		$caught->finish;
		is($node->safe_psql('postgres', $counts), '1|0', 'the wait is counted when it ends');
		$caught->query_safe('ROLLBACK; BEGIN; SELECT 1; ROLLBACK');
		is($node->safe_psql('postgres', $counts), '1|0', 'and once');
	}

	# Messages of others wake the first one for nothing.
	$session{late}->query_safe('LISTEN noise');
	$session{late}->query_safe('BEGIN');
	$session{late}->start_waiting("SELECT $try");
	$node->safe_psql('postgres', "NOTIFY noise, '$_'") foreach 1 .. 20;
	is($node->safe_psql('postgres', $waiting), '1', 'it still waits');
	is( $node->safe_psql('postgres', q{SELECT count(wait_start) FROM cs_holders('k') WHERE NOT granted}),
		'1', 'and since when is still known');
	$s[1]->query_safe('COMMIT');
	has_permit($session{late}, 'who was disturbed');
	$_->query_safe('ROLLBACK') foreach $session{late}, $caught, $next;
	nothing_is_left("$how, messages");

	# Keys behind a cycle through a permit go on when it ends.
	my ($a, $b, $c) = @session{qw(s0 caught next)};

	$a->query_safe(q{BEGIN; SELECT cs_permit('k', 1)});
	$b->query_safe(q{BEGIN; SELECT cs_lock('key')});
	$a->start_waiting(q{SELECT cs_lock('key', -1)});
	$c->start_waiting(q{SELECT cs_lock('key', -1)});
	$b->query(q{SELECT cs_permit('k', 1, 100)});
	is($b->sqlstate, '55P03', 'a cycle of a key and a permit ends in the timeout');
	$a->finish;
	is($a->sqlstate, '', 'the other one of it goes on');
	$b->query_safe('ROLLBACK');
	$a->query_safe('COMMIT');
	$c->finish;
	is($c->sqlstate, '', 'and who waits for the key after that');
	nothing_is_left("$how, cycle");

	# Another database has permits of its own.
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION concurrency_safe');
	@s = queue_up();
	is($node->safe_psql('other', q{SELECT cs_try_permit('k', 1)}), 't', 'permits are those of a database');
	is($node->safe_psql('other', q{SELECT count(*) FROM cs_holders('k')}), '0', 'and shown so');

	# What others see.
	if ($preloaded)
	{
		$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN');
		$session{late}->query_safe('BEGIN');
		$session{late}->start_waiting("SELECT $forever");
		$c->query_safe('BEGIN');
		$c->start_waiting("SELECT $forever");
		my $stranger = KeyTest::Session->new($node, user => 'stranger');

		is( $node->safe_psql('postgres', q{SELECT string_agg(concat_ws(' ', key, mode, granted, application_name), ', '
				ORDER BY granted DESC, wait_start, application_name) FROM cs_locks}),
			'k permit t s0, k permit t s1, k permit f late, k permit f next', 'cs_locks has names');
		is( $stranger->query(q{SELECT count(*), count(key), count(role), count(application_name), count(pid) FROM cs_locks}),
			'4|0|0|0|4', 'but not for strangers');
		is( $node->safe_psql('postgres', q{SELECT string_agg(concat_ws(' ', application_name, key, mode, blocked_by_application_name,
				blocked_by_mode), ', ' ORDER BY application_name, blocked_by_application_name) FROM cs_wait_graph()}),
			'late k permit s0 permit, late k permit s1 permit, next k permit late', 'cs_wait_graph shows permits');
		is($stranger->query(q{SELECT count(*), count(key), count(query) FROM cs_wait_graph()}),
			'3|0|0', 'but not what for to strangers');
		$stranger->query(q{SELECT cs_permit('k', 2, 0)});
		like($stranger->{error}, qr/DETAIL:  Process \d+ has a permit, in a transaction that began \d+ ms ago\.\n/,
			'an error does not tell them more');
		$stranger->quit;
		$node->safe_psql('postgres', 'SELECT cs_stat_reset()');
		$s[0]->query_safe('COMMIT');
		has_permit($session{late}, 'the one that waited');
		$node->poll_query_until('postgres', $waiting, '1');
		$s[1]->query_safe('COMMIT');
		has_permit($c, 'the one after it');
		$node->safe_psql('postgres', q{SELECT cs_try_permit('k', 2)});
		is( $node->safe_psql('postgres', q{SELECT acquired, waited, timed_out, deadlocked, wait_ms_max > 0
				FROM cs_stat_keys WHERE key = 'k'}), '2|2|1|0|t', 'cs_stat_keys counts permits');
		$_->query_safe('COMMIT') foreach $session{late}, $c;
	}
	else
	{
		$_->query_safe('COMMIT') foreach @s[ 0, 1 ];
	}
	nothing_is_left("$how, views");

	# Memory of a session that takes and gives back very often.
	my $memory = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};
	my $often = q{DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM cs_try_permit('k' || i % 10, 1);
		IF i % 10 = 0 THEN COMMIT; END IF; END LOOP; END $$};

	$s[0]->query_safe($often);
	my $before = $s[0]->query($memory);
	$s[0]->query_safe($often) foreach 1 .. 2;
	cmp_ok($s[0]->query($memory) - $before, '<', 100_000, "$how: memory does not grow");

	# A crash.
	if ($preloaded)
	{
		@s = queue_up($forever, $try);
		$node->append_conf('postgresql.conf', 'restart_after_crash = on');
		$node->reload;
		kill 'KILL', $s[2]{pid};
		$_->finish foreach @s;
		ok($node->poll_query_until('postgres', 'SELECT 1', '1'), 'the server is back');
		nothing_is_left('a crash');
		is($node->safe_psql('postgres', q{SELECT cs_try_permit('k', 5)}), 't', 'and the permits are there');
	}
	$_->quit foreach values %session;
	$node->stop;
}

# The lock table is full.
$node = new_node('small', $any_order, 'max_connections = 10', 'max_locks_per_transaction = 10',
	'max_wal_senders = 0', 'autovacuum = off');
my $greedy = KeyTest::Session->new($node);

$greedy->query(q{BEGIN; SELECT cs_try_permit('k' || i, 1) FROM generate_series(1, 100000) i});
is($greedy->sqlstate, '53400', 'max_keys_per_session counts permits');
$greedy->query_safe('ROLLBACK; SET concurrency_safe.max_keys_per_session = -1');
$greedy->query(q{BEGIN; SELECT cs_try_permit('k' || i, 1) FROM generate_series(1, 100000) i});
is($greedy->sqlstate, '53200', 'a full lock table');
like($greedy->{error}, qr/HINT:.*max_locks_per_transaction.*CONTEXT:  taking a permit of key "k\d+"/s, 'says so');
$greedy->query_safe('ROLLBACK');
is($node->safe_psql('postgres', $entries), '0', 'nothing is left');
is($greedy->query(q{SELECT cs_try_permit('k', 1)}), 't', 'the session works');
$greedy->quit;
$node->stop;

# A standby.
my $primary = new_node('primary', 'wal_level = replica', 'max_wal_senders = 5');
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
foreach my $function (qw(cs_permit cs_try_permit))
{
	my ($status, undef, $error) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT $function('k', 1)");

	like($error, qr/55000/, "$function on a standby: 55000");
}
$standby->stop;
$primary->stop;
done_testing();
