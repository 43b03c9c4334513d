# A call changes LockTimeout for the time of its wait only: after every way in
# which it can end, all settings are what they were.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order, "deadlock_timeout = '20ms'");
my $holder = KeyTest::Session->new($node);
my $session = KeyTest::Session->new($node);
my $settings = q{SELECT md5(string_agg(name || '=' || setting, ',' ORDER BY name))
	FROM pg_settings WHERE name !~ '^transaction_'};

$holder->query_safe(q{SELECT cs_lock('hot', scope => 'session')});
$session->query_safe(q{SET lock_timeout = 123457; SET statement_timeout = 234567;
	SET concurrency_safe.default_timeout = 345678});
# Libraries bring settings of their own when they are loaded.
$session->query_safe(q{LOAD 'plpgsql'; SELECT cs_held_mode('hot')});
my $before = $session->query($settings);

sub settings_are_kept
{
	my ($name, $expected_state) = @_;

	is($session->sqlstate, $expected_state, $name);
	is($session->query('SHOW lock_timeout'), '123457ms', 'lock_timeout is kept');
	is($session->query($settings), $before, 'and all other settings');
	return;
}

foreach my $scope (qw(transaction session))
{
	my $try = "cs_try_lock('hot', 20, scope => '$scope')";
	my $lock = "cs_lock('hot', 20, scope => '$scope')";

	foreach my $case (
		[ "SELECT cs_lock('free', 20, scope => '$scope')", '' ],
		[ "SELECT $try", '' ],
		[ "SELECT $lock", '55P03' ],
		[ "SELECT cs_lock_all(ARRAY['a', 'hot', 'b'], 20, scope => '$scope')", '55P03' ],
		[ "SELECT cs_try_lock_all(ARRAY['a', 'hot', 'b'], 20, scope => '$scope')", '' ],
		[ "SELECT cs_lock_path('hot:x', 20, scope => '$scope')", '55P03' ],
		[ "SELECT cs_try_lock_path('hot:x', 20, scope => '$scope')", '' ],
		[ "BEGIN; SELECT $try; COMMIT", '' ],
		[ "BEGIN; SAVEPOINT s; SELECT $lock; ROLLBACK TO s; COMMIT", '55P03' ],
		[ "DO \$\$ BEGIN PERFORM $lock; EXCEPTION WHEN lock_not_available THEN NULL; END \$\$", '' ],
		[ "DO \$\$ BEGIN FOR i IN 1 .. 3 LOOP BEGIN PERFORM $lock;
			EXCEPTION WHEN lock_not_available THEN
				IF current_setting('lock_timeout') <> '123457ms' THEN
					RAISE 'lock_timeout changed';
				END IF; END; END LOOP; END \$\$", '' ])
	{
		$session->query($case->[0]);
		settings_are_kept(@{$case});
	}

	# those that last until somebody ends them
	foreach my $call ($try, $lock)
	{
		(my $long = $call) =~ s/20/600000/;
		$session->start_waiting("SELECT $long");
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
		$session->finish;
		settings_are_kept("$long, cancelled", '57014');

		$session->query("BEGIN; SET LOCAL statement_timeout = 30; SELECT $long; ROLLBACK");
		settings_are_kept("$long, statement_timeout", '57014');

		$session->start_waiting("SELECT $long");
		$holder->query_safe(q{SELECT cs_unlock('hot')});
		$session->finish;
		$session->query_safe('SELECT cs_unlock_all()');
		settings_are_kept("$long, granted", '');
		$holder->query_safe(q{SELECT cs_lock('hot', scope => 'session')});

		# The session that waits first never looks for deadlocks itself.
		$session->query_safe("BEGIN; SELECT cs_lock('mine', scope => '$scope')");
		$holder->query_safe(q{SET deadlock_timeout = '10min'});
		$holder->start_waiting(q{SELECT cs_lock('mine', -1)});
		$session->query("SELECT $long");
		my $state = $session->sqlstate;
		$session->query('ROLLBACK; SELECT cs_unlock_all()');
		$holder->finish;
		is($state, '40P01', 'a deadlock');
		settings_are_kept("$long, deadlock", '');
	}
	$session->query_safe('SELECT cs_unlock_all()');
}

# SET LOCAL and the SET clause of a function are undone by their own rules.
$session->query_safe(q{CREATE FUNCTION try_hot() RETURNS text LANGUAGE plpgsql
	SET lock_timeout = '55ms' AS $$
	BEGIN
		RETURN cs_try_lock('hot', 20) || ' ' || current_setting('lock_timeout');
	END $$});
is($session->query('SELECT try_hot()'), 'false 55ms', 'the SET clause of a function');
settings_are_kept('after that function', '');
$session->query(q{BEGIN; SET LOCAL lock_timeout = '66ms'; SELECT cs_try_lock('hot', 20)});
is($session->query('SHOW lock_timeout'), '66ms', 'SET LOCAL');
$session->query('COMMIT');
settings_are_kept('after that transaction', '');
$session->query(q{BEGIN; SET lock_timeout = '77ms'; SELECT cs_lock('hot', 20)});
$session->query('ROLLBACK');
settings_are_kept('after SET and an error', '');

locks_are($node, '1,0', 'the holder alone is left');
$_->quit foreach $holder, $session;
$node->stop;
done_testing();
