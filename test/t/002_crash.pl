# A backend is killed by kill -9: the server restarts, all locks of sessions are
# gone, those of prepared transactions are not, and the extension works.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

# PostgreSQL::Test::Cluster turns restart_after_crash off.
my $node = new_node('main', 'restart_after_crash = on', 'max_prepared_transactions = 5');

$node->safe_psql('postgres',
	q{BEGIN; SELECT cs_lock('prepared'); PREPARE TRANSACTION 'kept'});

foreach my $victim (qw(holder waiter bystander))
{
	my %session = map { $_ => KeyTest::Session->new($node, name => $_) }
	  qw(holder waiter bystander);

	$session{holder}->query_safe(
		q{SELECT cs_lock('hot', scope => 'session'); BEGIN;
		SELECT cs_lock_all(ARRAY['a', 'b', 'c'])});
	$session{waiter}->query_safe(q{BEGIN; SELECT cs_lock('d')});
	$session{waiter}->start_waiting(q{SELECT cs_try_lock('hot', 600000)});
	locks_are($node, '6,1', "before the $victim is killed");

	is(kill('KILL', $session{$victim}{pid}), 1, "kill -9 of the $victim");
	$_->finish, $_->quit foreach values %session;
	ok($node->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'),
		'the server answers again');

	locks_are($node, '1,0', 'only the key of the prepared transaction is locked');
	is( $node->safe_psql('postgres',
			q{SELECT cs_try_lock('hot'), cs_try_lock_all(ARRAY['a', 'b', 'c', 'd']),
			cs_try_lock('prepared')}),
		't|t|f',
		'the extension works');
}

$node->safe_psql('postgres', q{ROLLBACK PREPARED 'kept'});
locks_are($node, '0,0', 'nothing is left');
$node->stop;
done_testing();
