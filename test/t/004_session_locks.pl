# Locks in session scope that are released behind the extension's back: what it
# knows has to follow the server's lock table.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order);
my $one = KeyTest::Session->new($node);
my $two = KeyTest::Session->new($node);

# The session holds "held" twice and no other key.
sub counts_are_right
{
	my ($name) = @_;

	is($one->query(q{SELECT cs_unlock('held')}), 'f', "$name: there is nothing to unlock");
	like($one->{error}, qr/WARNING:  .*key "held" is not locked/, 'with a warning');
	is($one->query(q{SELECT cs_unlock_all()}), '0', 'cs_unlock_all finds nothing');
	is($one->query(q{SELECT cs_held_mode('held') IS NULL}), 't', 'nothing is held');

	$one->query_safe(q{SELECT cs_lock('held', scope => 'session') FROM generate_series(1, 2)});
	is($one->query(q{SELECT cs_unlock('held')}), 't', 'taken twice, given back once');
	is($two->query(q{SELECT cs_try_lock('held')}), 'f', 'still held');
	is($one->query(q{SELECT cs_unlock('held')}), 't', 'given back twice');
	is($two->query(q{SELECT cs_try_lock('held')}), 't', 'free');
	is($one->query(q{SELECT cs_unlock('held')}), 'f', 'no third time');
	locks_are($node, '0,0', 'nothing is left');
	return;
}

my $take = q{SELECT cs_lock('held', scope => 'session') FROM generate_series(1, 3);
	SELECT cs_lock_path('a:b:c', scope => 'session');
	SELECT cs_lock('shared', mode => 'S', scope => 'session')};

$one->query_safe($take);
locks_are($node, '5,0', 'five locks');
$one->query_safe('DISCARD ALL');
locks_are($node, '0,0', 'DISCARD ALL frees them');
counts_are_right('after DISCARD ALL');

$one->query_safe($take);
$one->query_safe('SELECT pg_advisory_unlock_all()');
locks_are($node, '0,0', 'pg_advisory_unlock_all frees them');
counts_are_right('after pg_advisory_unlock_all');

# Within a transaction that holds one of the keys itself.
$one->query_safe($take);
$one->query_safe(
	q{BEGIN; SELECT cs_lock('held'); SELECT cs_lock('transaction');
	SELECT pg_advisory_unlock_all()});
locks_are($node, '2,0', 'the locks of the transaction stay');
is($one->query(q{SELECT cs_held_mode('held')}), 'exclusive', 'the key is held');
is($one->query(q{SELECT cs_unlock('held')}), 'f', 'but not in session scope');
is($one->query(q{SELECT cs_unlock_all()}), '0', 'cs_unlock_all finds nothing');
is($two->query(q{SELECT cs_try_lock('held')}), 'f', 'the lock of the transaction is untouched');
$one->query_safe(q{SELECT cs_lock('held', scope => 'session')});
$one->query_safe('COMMIT');
is($two->query(q{SELECT cs_try_lock('held'), cs_try_lock('transaction')}),
	'f|t', 'a new hold in session scope outlives the transaction');
is($one->query(q{SELECT cs_unlock_all()}), '1', 'and is the only one');
counts_are_right('after it in a transaction');

# What is gone must not count for the limit.
$one->query_safe('SET concurrency_safe.max_keys_per_session = 3');
foreach my $round (1 .. 3)
{
	$one->query_safe(
		qq{SELECT cs_lock('$round:' || i, scope => 'session') FROM generate_series(1, 3) i;
		SELECT pg_advisory_unlock_all()});
}
$one->query(q{SELECT cs_lock('limit:' || i) FROM generate_series(1, 3) i});
is($one->sqlstate, '', 'keys freed behind our back do not count for the limit');
$one->query(q{SELECT cs_lock('limit:' || i) FROM generate_series(1, 4) i});
is($one->sqlstate, '53400', 'others do');

# The locks of pg_advisory_lock are not ours.
$one->query_safe(q{SELECT pg_advisory_lock(42), cs_lock('held', scope => 'session')});
is($one->query(q{SELECT cs_unlock_all()}), '1', 'cs_unlock_all counts keys');
locks_are($node, '1,0', 'and leaves the locks of pg_advisory_lock');
$one->query_safe('SELECT pg_advisory_unlock_all()');

# A failed transaction does not give them back, an end of the session does.
$one->query_safe(q{BEGIN; SELECT cs_lock('held', scope => 'session')});
$one->query('SELECT 1/0; ROLLBACK');
is($two->query(q{SELECT cs_try_lock('held')}), 'f', 'a rollback does not free the key');
$one->quit;
locks_become($node, '0,0', 'a disconnect does');

$two->quit;
$node->stop;
done_testing();
