# Sessions that are ended: pg_terminate_backend of a holder and of a waiter,
# and a client that vanishes in the middle of a wait.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');

foreach my $scope (qw(transaction session))
{
	my $holder = KeyTest::Session->new($node);
	my $waiter = KeyTest::Session->new($node);

	# the holder
	$holder->query_safe(qq{BEGIN; SELECT cs_lock('hot', scope => '$scope')});
	$waiter->start_waiting(qq{SELECT cs_lock('hot', 600000, scope => '$scope')});
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($holder->{pid})");
	$waiter->finish;
	is($waiter->sqlstate, '', "$scope scope: the waiter gets the key of a terminated holder");
	$holder->wait_for_end;
	$waiter->query_safe('SELECT cs_unlock_all()');
	locks_are($node, '0,0', 'nothing is left');

	# the waiter, by each way to wait
	$holder = KeyTest::Session->new($node);
	$holder->query_safe(q{BEGIN; SELECT cs_lock('hot')});
	foreach my $call (
		"cs_lock('hot', 600000, scope => '$scope')",
		"cs_lock('hot', -1, scope => '$scope')",
		"cs_try_lock('hot', 600000, scope => '$scope')",
		"cs_try_lock_all(ARRAY['a', 'hot', 'b'], 600000, scope => '$scope')")
	{
		$waiter = KeyTest::Session->new($node);
		$waiter->start_waiting("BEGIN; SELECT cs_lock('own', scope => '$scope'); SELECT $call");
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($waiter->{pid})");
		$waiter->finish;
		is($waiter->sqlstate, '57P01', "terminated in $call");
		$waiter->wait_for_end;
		locks_are($node, '1,0', 'the holder alone is left');
	}
	$holder->quit;
	locks_become($node, '0,0', 'nothing is left');
}

# The client is killed while its session waits.
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);

$holder->query_safe(q{BEGIN; SELECT cs_lock('hot')});
$waiter->query_safe(q{SET client_connection_check_interval = '50ms'});
$waiter->query_safe(q{SELECT cs_lock('own', scope => 'session')});
$waiter->start_waiting(q{SELECT cs_try_lock('hot', -1, scope => 'session')});
locks_are($node, '2,1', 'before the client is killed');
$waiter->kill_client;
ok( $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $waiter->{pid}"),
	'client_connection_check_interval ends the session of a vanished client');
locks_are($node, '1,0', 'the holder alone is left');

$holder->quit;
$node->stop;
done_testing();
