# The instant in which a timer fires while the lock is granted: many sessions
# try one key for 1 ms each, and who gets it keeps it for up to that time. A call
# that answers false must never hold the lock.
#
# CS_RACE_CALLS is the number of calls.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $calls = $ENV{CS_RACE_CALLS} || 100000;
my $sessions = 10;
my $node = new_node('main', 'max_connections = 30');

# After every false both are asked: the session's own table of locks
# (cs_held_mode) and the one in shared memory (pg_locks).
$node->safe_psql('postgres', q{
CREATE PROCEDURE race(calls int, scope text, INOUT yes int DEFAULT 0, INOUT no int DEFAULT 0,
	INOUT held_after_false int DEFAULT 0, INOUT not_held_after_true int DEFAULT 0)
LANGUAGE plpgsql AS $$
DECLARE
	held boolean;
	until timestamptz;
BEGIN
	FOR i IN 1 .. calls LOOP
		IF cs_try_lock('hot', 1, 'exclusive', scope) THEN
			yes := yes + 1;
			IF cs_held_mode('hot') IS NULL THEN
				not_held_after_true := not_held_after_true + 1;
			END IF;
			until := clock_timestamp() + random() * interval '1 ms';
			WHILE clock_timestamp() < until LOOP
			END LOOP;
			IF scope = 'session' THEN
				PERFORM cs_unlock('hot');
			END IF;
		ELSE
			no := no + 1;
			SELECT cs_held_mode('hot') IS NOT NULL OR EXISTS (
				SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
			INTO held;
			IF held THEN
				held_after_false := held_after_false + 1;
				PERFORM pg_advisory_unlock_all();
			END IF;
		END IF;
		COMMIT;
	END LOOP;
END $$});

my %sum;
my @columns = qw(yes no held_after_false not_held_after_true);
my @racers = map { KeyTest::Session->new($node) } 1 .. $sessions;
my $scope = 'session';
foreach my $racer (@racers)
{
	$scope = $scope eq 'session' ? 'transaction' : 'session';
	$racer->{scope} = $scope;
	$racer->start('CALL race(' . int($calls / $sessions) . ", '$scope')");
}
foreach my $racer (@racers)
{
	my @counts = split /\|/, $racer->finish;

	is($racer->sqlstate, '', "a session in $racer->{scope} scope");
	$sum{ $columns[$_] } += $counts[$_] foreach 0 .. $#columns;
	$racer->quit;
}

note sprintf '%d calls: %d true, %d false', $sum{yes} + $sum{no}, $sum{yes}, $sum{no};
cmp_ok($sum{yes} + $sum{no}, '>=', $calls - $sessions, 'all calls were made');
cmp_ok($sum{yes}, '>', 0, "true: $sum{yes}");
cmp_ok($sum{no}, '>', 0, "false: $sum{no}");
is($sum{held_after_false}, 0, 'no lock was held after false');
is($sum{not_held_after_true}, 0, 'no lock was missing after true');
locks_become($node, '0,0', 'nothing is left');
is($node->safe_psql('postgres', q{SELECT cs_try_lock('hot')}), 't', 'the key is free');

$node->stop;
done_testing();
