# Which deadlocks cs_deadlocks remembers, and how many: each in which a key took
# part once, whoever catches or hides its error, and no other.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', $any_order, "deadlock_timeout = '10min'");
$node->safe_psql('postgres',
	'CREATE TABLE item (id int PRIMARY KEY, n int); INSERT INTO item VALUES (1, 0), (2, 0)');

my ($victim, $other, $bystander, $admin);
my $entries;

sub connect_all
{
	($victim, $other, $bystander, $admin) =
	  map { KeyTest::Session->new($node, name => $_) } qw(victim other bystander admin);
	$victim->query_safe(q{SET deadlock_timeout = '10ms'});
	$entries = $admin->query_safe('SELECT count(*) FROM cs_deadlocks');
	return;
}

sub disconnect_all
{
	$_->quit foreach $victim, $other, $bystander, $admin;
	return;
}

# The other session waits for what the victim has, then the victim for what the
# other has. Returns the SQLSTATE that the victim's client gets.
sub deadlock
{
	my ($other_has, $victim_has, $other_wants, $victim_wants) = @_;

	$other->query_safe("BEGIN; $other_has");
	$victim->query_safe("BEGIN; $victim_has");
	$other->start_waiting($other_wants);
	$victim->query($victim_wants);

	my $state = $victim->sqlstate;

	$victim->query_safe('ROLLBACK');
	$other->finish;
	$other->query_safe('COMMIT');
	return $state;
}

# The same for two keys, one of each.
sub deadlock_over
{
	my ($victim_wants, $other_wants) = @_;

	return deadlock("SELECT cs_lock('$victim_wants')", "SELECT cs_lock('$other_wants')",
		"SELECT cs_lock('$other_wants', -1)", "SELECT cs_lock('$victim_wants', -1)");
}

sub entries_are_more
{
	my ($more, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $now = $admin->query_safe('SELECT count(*) FROM cs_deadlocks');

	is($now - $entries, $more, $name);
	$entries = $now;
	return;
}

# A block that does $sql and has an exception handler.
sub block
{
	my ($sql, $handler) = @_;

	return 'BEGIN ' . $sql =~ s/^SELECT/PERFORM/r
	  . "; EXCEPTION WHEN deadlock_detected THEN $handler; END";
}

sub caught
{
	my ($sql, $handler) = @_;

	return 'DO $$ ' . block($sql, $handler // 'NULL') . ' $$';
}

connect_all();

# Without a key in the cycle there is no entry, also if keys are held beside it,
# or waited for.
foreach (
	[ map { "UPDATE item SET n = n + 1 WHERE id = $_" } 1, 2 ],
	[ map { "SELECT pg_advisory_xact_lock($_)" } 1, 2 ],
	[ map { "SELECT pg_advisory_xact_lock($_, 40000)" } 1, 2 ])
{
	my ($one, $two) = @$_;

	foreach my $wants ($one, caught($one))
	{
		my $state = $wants eq $one ? '40P01' : '';

		is(deadlock($one, $two, $two, $wants), $state, "no key: $wants");
		is(deadlock("$one; SELECT cs_lock('a')", "$two; SELECT cs_lock('b')", $two, $wants),
			$state, 'both hold keys');
		$victim->query_safe(q{SELECT cs_lock('c', scope => 'session')});
		$bystander->start_waiting(q{SELECT cs_lock('c', -1)});
		is(deadlock($one, $two, $two, $wants), $state, 'somebody waits for a key of the victim');
		$victim->query_safe('SELECT cs_unlock_all()');
		$bystander->finish;
		entries_are_more(0, 'no entry');
	}
}

# Nobody can forge one.
my $forged = q{RAISE 'deadlock detected' USING ERRCODE = 'deadlock_detected',
	HINT = 'See server log for query details.',
	DETAIL = (SELECT format('Process %s waits for ExclusiveLock on advisory lock [%s,%s,%s,%s]; '
			'blocked by process %1$s.',
			pg_backend_pid(), d.oid, t.classid, t.objid, t.objsubid & 65535)
		FROM cs_key_tag('a') AS t, pg_database AS d WHERE d.datname = current_database())};
foreach my $sql ("DO \$\$ BEGIN $forged; END \$\$", caught($forged, 'RAISE'), caught($forged, $forged))
{
	$victim->query($sql);
	is($victim->sqlstate, '40P01', 'a forged error');
	like($victim->{error}, qr/on advisory lock \[\d+,\d+,\d+,\d{5}\]; blocked by/,
		'with the text of a deadlock of a key');
	entries_are_more(0, 'no entry');
}

# With a key there is one entry: not two because the error is seen at its origin
# and in the log, and not none because somebody catches it or keeps it out of the
# log. If the victim waits for a row, that rests on a count that the server resets
# at times; the library looks at it when a subtransaction begins. Before PostgreSQL
# 15 there is no such count.
my $sees_all = $admin->query_safe('SHOW server_version_num') >= 150000;
my $row = 'UPDATE item SET n = n + 1 WHERE id = 1';
my $other_row = 'UPDATE item SET n = n + 1 WHERE id = 2';

foreach (
	[ 'a', q{SELECT cs_lock('a')}, q{SELECT cs_lock('a', -1)}, $other_row, $other_row ],
	[ 'b', $row, $row, q{SELECT cs_lock('b')}, q{SELECT cs_lock('b', -1)} ])
{
	my ($key, $other_has, $wants, $victim_has, $other_wants) = @$_;

	foreach (
		[ 'not caught', $wants ],
		[ 'in a savepoint', "SAVEPOINT s;\n$wants;\nROLLBACK TO s" ],
		[ 'caught', caught($wants) ],
		[ 'caught twice', caught(block($wants, 'RAISE')) ],
		[ 'caught and raised again', caught($wants, 'RAISE') ],
		[ 'another error of that kind raised instead', caught($wants, $forged) ])
	{
		my ($how, $sql) = @$_;

		foreach my $log ('warning', 'panic')
		{
			my $hidden = $log eq 'panic' || $how =~ /^caught(?: twice)?$|instead/;

			$victim->query_safe("SET log_min_messages = $log");
			is( deadlock($other_has, "SAVEPOINT t; $victim_has", $other_wants, $sql),
				$how =~ /^caught(?: twice)?$/ ? '' : '40P01',
				"$wants, $how, log_min_messages = $log");
			if ($key eq 'b' && $hidden && !$sees_all)
			{
				entries_are_more(0, 'not seen');
				next;
			}
			entries_are_more(1, 'one entry');
			is($admin->query_safe('SELECT key, mode, application_name FROM cs_deadlocks LIMIT 1'),
				"$key|exclusive|victim", 'with its key');
		}
	}
}

# Those who wait for a key of somebody else are no part of it.
$admin->query_safe(q{SELECT cs_lock('c', scope => 'session')});
$bystander->start_waiting(q{SELECT cs_lock('c', -1)});
is(deadlock($row, q{SELECT cs_lock('b')}, q{SELECT cs_lock('b', -1)}, caught($row)), '',
	'a wait for a row, while somebody waits elsewhere');
entries_are_more($sees_all ? 1 : 0, 'one entry');
is($admin->query_safe('SELECT key FROM cs_deadlocks LIMIT 1'), $sees_all ? 'b' : 'a', 'of the key in the cycle');
$admin->query_safe('SELECT cs_unlock_all()');
$bystander->finish;

# Without the server's count only the errors of waits for keys are seen where they are hidden.
$victim->query_safe('SET track_counts = off');
is(deadlock($row, $other_row, $other_row, caught($row)), '', 'no key');
entries_are_more(0, 'no entry');
is(deadlock($row, q{SELECT cs_lock('b')}, q{SELECT cs_lock('b', -1)}, caught($row)), '',
	'a wait for a row, not counted');
entries_are_more(0, 'not seen');
is(deadlock(q{SELECT cs_lock('a')}, $other_row, $other_row, caught(q{SELECT cs_lock('a', -1)})), '',
	'a wait for a key, not counted');
entries_are_more(1, 'one entry');
disconnect_all();

# The ring keeps the last ones.
$node->append_conf('postgresql.conf', 'concurrency_safe.deadlock_history = 3');
$node->restart;
connect_all();
is($admin->query_safe('SELECT count(*) FROM cs_deadlocks'), '0', 'empty after a restart');
my @expected;
foreach my $key (qw(k1 k2 k3 k4 k5))
{
	is(deadlock_over($key, 'z'), '40P01', "a deadlock over $key");
	@expected = ($key, @expected)[ 0 .. (@expected < 2 ? $#expected + 1 : 2) ];
	is($admin->query_safe('SELECT key FROM cs_deadlocks'),
		join("\n", @expected), "the last ones: @expected");
}
disconnect_all();

# Without room everything else is as ever.
$node->append_conf('postgresql.conf', 'concurrency_safe.deadlock_history = 0');
$node->restart;
connect_all();
my $log_end = -s $node->logfile;
is(deadlock_over('a', 'b'), '40P01', 'a deadlock where no history is kept');
is(deadlock($row, q{SELECT cs_lock('b')}, q{SELECT cs_lock('b', -1)}, $row), '40P01', 'one of a row');
is(deadlock($row, q{SELECT cs_lock('b')}, q{SELECT cs_lock('b', -1)}, caught($row)), '', 'one caught');
entries_are_more(0, 'no entry');
is($admin->query_safe('SELECT key, deadlocked FROM cs_stat_keys WHERE deadlocked > 0'),
	'a|1', 'the key counts its victim');
like(slurp_file($node->logfile, $log_end), qr/DETAIL: .* \(key "a"\); .*\n.* \(key "b"\); /,
	'the log of the server names the keys');

locks_are($node, '0,0', 'nothing is left');
disconnect_all();
$node->stop;
done_testing();
