# Deadlocks between keys, and of a key with a row and with a table: one victim,
# 40P01 that names the key, and everybody else goes on.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', $any_order, 'max_connections = 30');
$node->safe_psql('postgres',
	'CREATE TABLE item (id int PRIMARY KEY, n int); INSERT INTO item VALUES (1, 0)');

# Who waits last closes the circle; only that session looks for deadlocks, so
# it is the victim.
my $first = KeyTest::Session->new($node);
my $last = KeyTest::Session->new($node);
$first->query_safe(q{SET deadlock_timeout = '10min'});
$last->query_safe(q{SET deadlock_timeout = '10ms'});

my %other_lock = (
	'another key' => q{SELECT cs_lock('item:2', -1)},
	'a row' => 'UPDATE item SET n = n + 1 WHERE id = 1',
	'a table' => 'LOCK TABLE item',
	'an advisory lock' => 'SELECT pg_advisory_xact_lock(1)',
);

foreach my $other (sort keys %other_lock)
{
	foreach my $call (
		q{cs_lock('item:1', -1)},
		q{cs_lock('item:1', 600000)},
		q{cs_try_lock('item:1', 600000)},
		q{cs_lock_all(ARRAY['item:1', 'item:3'], 600000)},
		q{cs_lock('item:1', 600000, 'shared', 'session')})
	{
		my $log_end = -s $node->logfile;
		my $mode = $call =~ /shared/ ? 'shared' : 'exclusive';

		$first->query_safe(q{BEGIN; SELECT cs_lock('item:1')});
		$last->query_safe("BEGIN; $other_lock{$other}");
		$first->start_waiting("$other_lock{$other};\nCOMMIT");
		$last->query("SELECT $call");

		is($last->sqlstate, '40P01', "$call against $other: deadlock");
		like($last->{error}, qr/CONTEXT:  locking key "item:1" in $mode mode/,
			'the error names the key and the mode');
		like(slurp_file($node->logfile, $log_end),
			qr/ERROR:  deadlock detected\n(?:.*\n){1,12}?.*CONTEXT:  locking key "item:1"/,
			'and so does the log of the server');
		$first->finish;
		is($first->sqlstate, '', 'the other session goes on');
		$last->query_safe('ROLLBACK');
		locks_are($node, '0,0', 'nothing is left');
	}

	# The same circle, but the victim waits for the other lock.
	$first->query_safe("BEGIN; $other_lock{$other}");
	$last->query_safe(q{BEGIN; SELECT cs_lock('item:1')});
	$first->start_waiting(qq{SELECT cs_lock('item:1', 600000);\nCOMMIT});
	$last->query($other_lock{$other});
	is($last->sqlstate, '40P01', "against $other, the other way round: deadlock");
	$first->finish;
	is($first->sqlstate, '', 'the session that waits for the key gets it');
	$last->query_safe('ROLLBACK');
}

# A failed cs_lock_all in session scope keeps what was held, and nothing new.
$last->query_safe(q{SELECT cs_lock('b', scope => 'session')});
$first->query_safe(q{BEGIN; SELECT cs_lock('c')});
$first->start_waiting(qq{SELECT cs_lock('b', -1);\nCOMMIT});
$last->query(q{SELECT cs_lock_all(ARRAY['a', 'b', 'c', 'd'], -1, scope => 'session')});
is($last->sqlstate, '40P01', 'deadlock in cs_lock_all in session scope');
is($last->query('SELECT cs_unlock_all()'), '1', 'one hold is left, the one from before');
$first->finish;
$_->quit foreach $first, $last;

# Rings: n sessions, each holds one key and wants that of its neighbour.
foreach my $size (4, 8)
{
	my @ring = map { KeyTest::Session->new($node) } 1 .. $size;

	foreach my $i (0 .. $size - 1)
	{
		my $patience = $i == $size - 1 ? '10ms' : '10min';

		$ring[$i]->query_safe("SET deadlock_timeout = '$patience';
			BEGIN; SELECT cs_lock('ring:$i')");
	}
	foreach my $i (0 .. $size - 1)
	{
		my $next = ($i + 1) % $size;
		my $sql = "SELECT cs_lock('ring:$next', 600000);\nCOMMIT";

		$i < $size - 1 ? $ring[$i]->start_waiting($sql) : $ring[$i]->start($sql);
	}
	$_->finish foreach @ring;
	is(join(' ', map { $_->sqlstate || 'ok' } @ring),
		'ok ' x ($size - 1) . '40P01', "a ring of $size: one victim, the others go on");
	like($ring[-1]->{error}, qr/CONTEXT:  locking key "ring:0" in exclusive mode/,
		'the error names the key');
	locks_are($node, '0,0', 'nothing is left');
	$_->quit foreach @ring;
}

$node->stop;
done_testing();
