# pg_cancel_backend in a wait: 57014 that names the key, no lock and no waiter
# left, in every function and scope, and also when the error is caught.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);

$holder->query_safe(q{BEGIN; SELECT cs_lock('job:1')});

sub cancel
{
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($waiter->{pid})");
	return $waiter->finish;
}

my %mode_of_wait = (
	q{cs_lock('job:1', %s, scope => '%s')} => 'exclusive',
	q{cs_lock('job:1', %s, 'shared', '%s')} => 'shared',
	q{cs_try_lock('job:1', %s, scope => '%s')} => 'exclusive',
	q{cs_lock_all(ARRAY['a', 'b', 'job:1', 'c'], %s, scope => '%s')} => 'exclusive',
	q{cs_try_lock_all(ARRAY['a', 'b', 'job:1', 'c'], %s, scope => '%s')} => 'exclusive',
	q{cs_lock_path('job:1', %s, scope => '%s')} => 'exclusive',
	q{cs_try_lock_path('job:1', %s, scope => '%s')} => 'exclusive',
);

foreach my $template (sort keys %mode_of_wait)
{
	foreach my $scope (qw(transaction session))
	{
		my $call = sprintf $template, '600000', $scope;

		$waiter->start_waiting("SELECT $call");
		cancel();
		is($waiter->sqlstate, '57014', "$call, cancelled");
		like($waiter->{error},
			qr/CONTEXT:  locking key "job:1" in $mode_of_wait{$template} mode/,
			'the context names the key and the mode');
		locks_are($node, '1,0', 'no lock and no waiter is left');
		is($waiter->query('SELECT cs_unlock_all()'), '0', 'nor a note of one');
	}
}

# -1: PostgreSQL's own wait.
$waiter->start_waiting(q{SELECT cs_try_lock('job:1', -1)});
cancel();
is($waiter->sqlstate, '57014', 'a wait without limit, cancelled');

# After a savepoint the transaction goes on.
$waiter->query_safe(q{BEGIN; SELECT cs_lock('own'); SAVEPOINT s; SELECT cs_lock('inner')});
$waiter->start_waiting(q{SELECT cs_try_lock('job:1', 600000)});
cancel();
is($waiter->sqlstate, '57014', 'cancelled after a savepoint');
$waiter->query_safe('ROLLBACK TO s');
is($waiter->query(q{SELECT cs_held_mode('own'), cs_held_mode('inner'), cs_held_mode('job:1')}),
	'exclusive||', 'what was locked before the savepoint is still locked, and nothing else');
locks_are($node, '2,0', 'so says the lock table');
$waiter->query_safe('COMMIT');

# Caught in PL/pgSQL, then tried again: the counts have to be right.
$waiter->start_waiting(
	q{DO $$
	BEGIN
		PERFORM cs_lock('own', scope => 'session');
		BEGIN
			PERFORM cs_lock_all(ARRAY['own', 'job:1'], 600000, scope => 'session');
		EXCEPTION WHEN query_canceled THEN
			RAISE NOTICE 'caught: %', cs_held_mode('job:1');
		END;
		PERFORM cs_lock('own', scope => 'session');
	END $$});
cancel();
like($waiter->{error}, qr/caught: <NULL>/, 'caught in PL/pgSQL, the key is not held');
is($waiter->query('SELECT cs_unlock_all()'), '2', 'and the other one is held twice');
locks_are($node, '1,0', 'the holder alone is left');

# A cancel that comes in no wait takes nothing away.
$waiter->query_safe(q{SELECT cs_lock('own', scope => 'session')});
$node->safe_psql('postgres', "SELECT pg_cancel_backend($waiter->{pid})");
$waiter->query('SELECT 1');
is($waiter->query('SELECT cs_unlock_all()'), '1', 'a cancel between commands changes nothing');

$holder->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');
$_->quit foreach $holder, $waiter;
$node->stop;
done_testing();
