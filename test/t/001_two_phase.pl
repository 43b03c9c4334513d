# Keys and two-phase commit: a prepared transaction keeps its keys, over a
# restart and a crash, until somebody ends it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order, 'max_prepared_transactions = 5');
my $one = KeyTest::Session->new($node);
my $two = KeyTest::Session->new($node);

my $holders = q{SELECT mode, granted, scope, pid FROM cs_holders('%s')};

$one->query_safe(
	q{BEGIN; SELECT cs_lock('doc:1'); SELECT cs_lock('doc:2', mode => 'shared');
	PREPARE TRANSACTION 'first'});

is($one->query(sprintf $holders, 'doc:1'),
	'exclusive|t|transaction|', 'cs_holders shows a prepared transaction without a pid');
is($one->query(q{SELECT cs_held_mode('doc:1') IS NULL}),
	't', 'the session that prepared does not hold the key any more');
is($one->query(q{SELECT cs_unlock_all()}), '0', 'and has nothing to unlock');
is($two->query(q{SELECT cs_try_lock('doc:1')}), 'f', 'others do not get the key');
is($two->query(q{SELECT cs_try_lock('doc:2', mode => 'shared')}),
	't', 'a compatible mode is granted');
is($two->query(q{SELECT cs_try_lock('doc:2')}), 'f', 'a conflicting one is not');
$two->query(q{SELECT cs_lock('doc:1', 10)});
is($two->sqlstate, '55P03', 'a wait for it ends with the timeout');
like($two->{error}, qr/DETAIL:  A prepared transaction holds it in exclusive mode/,
	'and says who holds the key');

$_->quit foreach $one, $two;
$node->restart;
locks_are($node, '2,0', 'the keys are held after a restart');
$node->stop('immediate');
$node->start;
locks_are($node, '2,0', 'and after a crash');

$one = KeyTest::Session->new($node);
$two = KeyTest::Session->new($node);
is($one->query(sprintf $holders, 'doc:2'),
	'shared|t|transaction|', 'cs_holders shows it then, too');
$two->start_waiting(q{SELECT cs_lock('doc:1', -1)});
$one->query_safe(q{COMMIT PREPARED 'first'});
$two->finish;
is($two->sqlstate, '', 'COMMIT PREPARED hands the key to the one who waits');
locks_are($node, '0,0', 'nothing is left');

$one->query_safe(q{BEGIN; SELECT cs_lock('doc:1'); PREPARE TRANSACTION 'second'});
$two->query_safe(q{ROLLBACK PREPARED 'second'});
is($two->query(q{SELECT cs_try_lock('doc:1')}), 't', 'ROLLBACK PREPARED frees the key');

# An error names five who hold the key, and counts the others.
foreach (1 .. 5)
{
	$two->query_safe(qq{BEGIN; SELECT cs_lock('doc:3', mode => 'shared'); PREPARE TRANSACTION 'shared $_'});
}
$one->query(q{SELECT cs_lock('doc:3', 0)});
unlike($one->{error}, qr/more\./, 'five holders are named');
$two->query_safe(q{BEGIN; SELECT cs_lock('doc:3', mode => 'shared')});
$one->query(q{SELECT cs_lock('doc:3', 0)});
like($one->{error}, qr/(?:.* holds it in shared mode.*\n){5}So do 1 more\./, 'a sixth one is counted');
$two->query_safe('COMMIT');
$two->query_safe("ROLLBACK PREPARED 'shared $_'") foreach 1 .. 5;

# A lock that both the session and the transaction hold cannot be divided.
$one->query_safe(q{SELECT cs_lock('doc:1', scope => 'session')});
$one->query(q{BEGIN; SELECT cs_lock('doc:1'); PREPARE TRANSACTION 'third'});
is($one->sqlstate, '0A000', 'the same key in both scopes cannot be prepared');
$one->query('ROLLBACK');
locks_are($node, '1,0', 'the hold in session scope is still there');
is($one->query(q{SELECT cs_unlock('doc:1')}), 't', 'and can be given back');
is($one->query(q{SELECT count(*) FROM pg_prepared_xacts}), '0', 'nothing was prepared');
locks_are($node, '0,0', 'nothing is left');

# What was prepared does not count for the session any more; the rest does.
$one->query_safe(
	q{SET concurrency_safe.max_keys_per_session = 3;
	BEGIN; SELECT cs_lock('mine', scope => 'session');
	SELECT cs_lock_all(ARRAY['theirs:1', 'theirs:2']); PREPARE TRANSACTION 'fourth'});
$one->query_safe(q{BEGIN; SELECT cs_lock_all(ARRAY['new:1', 'new:2'])});
is($one->query(q{SELECT cs_held_mode('mine')}), 'exclusive', 'the key in session scope stays');
$one->query(q{SELECT cs_lock('new:3')});
is($one->sqlstate, '53400', 'the number of keys of the session is right after PREPARE');
$one->query_safe('ROLLBACK');
is($one->query(q{SELECT cs_unlock_all()}), '1', 'one hold in session scope was left');
$one->query_safe(q{COMMIT PREPARED 'fourth'});
locks_are($node, '0,0', 'nothing is left');

$_->quit foreach $one, $two;
$node->stop;
done_testing();
