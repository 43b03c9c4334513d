# The server's own limits on idle sessions end a holder that was forgotten, and
# its keys go to those who wait.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');
my $major = $node->safe_psql('postgres', q{SHOW server_version_num}) / 10000;

# setting, what the holder does, SQLSTATE of its end
my @cases = (
	[
		'idle_in_transaction_session_timeout',
		q{BEGIN; SELECT cs_lock('hot'); SELECT cs_lock('s', scope => 'session')}, '25P03'
	],
	[ 'idle_session_timeout', q{SELECT cs_lock('hot', scope => 'session')}, '57P05' ],
);
push @cases, [ 'transaction_timeout', q{BEGIN; SELECT cs_lock('hot')}, '25P04' ]
  if $major >= 17;

foreach my $case (@cases)
{
	my ($setting, $sql, $state) = @{$case};
	my $holder = KeyTest::Session->new($node);
	my $waiter = KeyTest::Session->new($node);

	$holder->query_safe($sql);
	$waiter->start_waiting(q{SELECT cs_lock('hot', -1)});
	# Only now, so that the wait is sure to begin before the end.
	$holder->query_safe("SET $setting = '50ms'");
	$waiter->finish;
	is($waiter->sqlstate, '', "$setting: the one who waits gets the key");
	$holder->query('SELECT 1');
	is($holder->sqlstate, $state, "the holder ended with $state");
	$holder->wait_for_end;
	locks_are($node, '0,0', 'nothing is left');
	$_->quit foreach $holder, $waiter;
}

# A waiter is not idle.
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);
$holder->query_safe(q{BEGIN; SELECT cs_lock('hot')});
$waiter->query_safe(q{SET idle_in_transaction_session_timeout = '50ms'});
$waiter->start(q{BEGIN; SELECT cs_try_lock('hot', 300); COMMIT});
is($waiter->finish, 'f', 'a waiter is not ended by idle_in_transaction_session_timeout');
is($waiter->sqlstate, '', 'nor does it fail');

$_->quit foreach $holder, $waiter;
$node->stop;
done_testing();
