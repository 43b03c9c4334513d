# statement_timeout and the limit of a call fire close together, or in the very
# same moment: statement_timeout is never lost, and no lock is kept.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);

$holder->query_safe(q{BEGIN; SELECT cs_lock('hot')});

my $statement_timeout = 10;
my %states = ();
my $lost = 0;
my $kept = 0;

# The statement goes on after a false for far longer than it may: whichever
# limit comes first, only statement_timeout can end it. The sleep before the
# wait moves the two moments over each other, in steps too small for any clock
# here, so that now and then they fall into one.
sub both_at_once
{
	my ($sleep_ms, $limit, $scope) = @_;
	my $elapsed = elapsed_ms($waiter,
		"SELECT pg_sleep($sleep_ms / 1000.0), cs_try_lock('hot', $limit, scope => '$scope'),
			pg_sleep(3)");

	$states{ $waiter->sqlstate }++;
	$lost++ if $elapsed > 2000;
	$kept++ if $waiter->query(q{SELECT cs_held_mode('hot')}) ne '';
	return;
}

$waiter->query_safe("SET statement_timeout = $statement_timeout");
foreach my $scope (qw(transaction session))
{
	foreach my $limit ($statement_timeout - 2 .. $statement_timeout + 1)
	{
		both_at_once(0, $limit, $scope) foreach 1 .. 10;
	}
	both_at_once(0.4 + $_ / 400, $statement_timeout - 2, $scope) foreach 1 .. 400;
}
is(join(' ', sort keys %states), '57014', 'only statement_timeout ended the statements');
is($lost, 0, 'and in time');
is($kept, 0, 'no lock was kept');

# The same with the error of cs_lock: one of both, and never success.
%states = ();
foreach my $limit ($statement_timeout - 1 .. $statement_timeout)
{
	foreach my $round (1 .. 20)
	{
		$waiter->query("SELECT cs_lock('hot', $limit)");
		$states{ $waiter->sqlstate }++;
	}
}
delete @states{qw(57014 55P03)};
is(join(' ', %states), '', 'cs_lock ends with one of the two errors');

# statement_timeout that is not longer than the limit started first.
%states = ();
foreach my $round (1 .. 20)
{
	$waiter->query("SELECT cs_try_lock('hot', $statement_timeout)");
	$states{ $waiter->sqlstate }++;
}
is(join(' ', keys %states), '57014', 'with equal limits statement_timeout wins');

locks_are($node, '1,0', 'the holder alone is left');
$_->quit foreach $holder, $waiter;
$node->stop;
done_testing();
