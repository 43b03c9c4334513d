# What cs_deadlocks tells of a deadlock: a row for the victim, with the key and
# what it did, and a detail with who waited for what, the keys by name, and what
# each of them did.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use List::Util qw(sum);
use Test::More;

my $node = new_node('main', $any_order, 'max_connections = 30', "deadlock_timeout = '10min'");
$node->safe_psql('postgres', q{
	CREATE ROLE teller LOGIN;
	CREATE ROLE clerk LOGIN;
	CREATE TABLE item (id int PRIMARY KEY, n int);
	INSERT INTO item VALUES (1, 0);
	GRANT SELECT, UPDATE ON item TO teller, clerk;
	CREATE FUNCTION find_deadlocks_soon() RETURNS text LANGUAGE sql SECURITY DEFINER
	AS $$ SELECT set_config('deadlock_timeout', '10ms', false) $$});

# Only the till looks for deadlocks in time, so it is the victim.
my $till = KeyTest::Session->new($node, name => 'till', user => 'teller');
my $office = KeyTest::Session->new($node, name => 'office', user => 'clerk');
my $admin = KeyTest::Session->new($node, name => 'admin');
$till->query_safe('SELECT find_deadlocks_soon()');

# Each has something, then the office waits for what the till has, and last the
# till for what the office has. Returns the SQLSTATE that the till gets.
sub deadlock
{
	my ($office_has, $till_has, $office_wants, $till_wants) = @_;

	$office->query_safe("BEGIN; $office_has;");
	$till->query_safe("BEGIN; $till_has;");
	$office->start_waiting("$office_wants;");
	$till->query("$till_wants;");

	my $state = $till->sqlstate;

	$till->query_safe('ROLLBACK');
	$office->finish;
	is($office->sqlstate, '', 'the other session goes on');
	$office->query_safe('ROLLBACK');
	return $state;
}

# The detail of the last entry, numbers as names.
sub last_detail
{
	my (%session) = @_;
	my $detail = $admin->query_safe('SELECT detail FROM cs_deadlocks LIMIT 1');

	while (my ($name, $session) = each %session)
	{
		$detail =~ s/\b$session->{pid}\b/<$name>/g;
	}
	$detail =~ s/\[\d+,\d+,\d+,\d+\]/[tag]/g;
	$detail =~ s/(transaction|relation|database) \d+/$1 n/g;
	return $detail;
}

sub key_lock
{
	my ($key, $lock_mode) = @_;
	my $mode = $lock_mode || 'ExclusiveLock';

	return qq{$mode on advisory lock [tag] (key "$key")};
}

my $update = 'UPDATE item SET n = n + 1 WHERE id = 1';
my $row = 'ShareLock on transaction n';
my $table = 'AccessExclusiveLock on relation n of database n';
my $number = 'ExclusiveLock on advisory lock [tag]';
my $entries = 0;
my %victims;

# What the office has and the till wants, with the lock the till waits for; the
# same the other way round; and the key and the mode of the entry.
foreach (
	[ q{cs_lock('a')}, q{cs_lock('a', -1)}, key_lock('a'),
		q{cs_lock('b')}, q{cs_lock('b', -1)}, key_lock('b'), 'a', 'exclusive' ],
	[ q{cs_lock('a')}, q{cs_lock('a', 600000, 'shared')}, key_lock('a', 'ShareLock'),
		q{cs_lock('b', mode => 'IX')}, q{cs_lock('b', -1, 'SIX')},
		key_lock('b', 'ShareRowExclusiveLock'), 'a', 'shared' ],
	[ q{cs_lock('a')}, q{cs_try_lock('a', 600000, 'SIX', 'session')},
		key_lock('a', 'ShareRowExclusiveLock'),
		q{cs_lock('b', mode => 'S')}, q{cs_lock('b', -1, 'IX')},
		key_lock('b', 'RowExclusiveLock'), 'a', 'shared intent exclusive' ],
	[ q{cs_lock('org', mode => 'shared')}, q{cs_lock_path('org:1', -1)},
		key_lock('org', 'RowExclusiveLock'),
		q{cs_lock('b')}, q{cs_lock('b', -1, 'S')}, key_lock('b', 'ShareLock'),
		'org', 'intent exclusive' ],
	[ q{cs_lock('org')}, q{cs_lock_path('org:1', -1, 'shared')},
		key_lock('org', 'RowShareLock'),
		q{cs_lock_path('shop:1', mode => 'S')}, q{cs_lock('shop', -1)}, key_lock('shop'),
		'org', 'intent shared' ],
	[ q{cs_lock('a')}, q{cs_lock('a', -1)}, key_lock('a'), $update, $update, $row, 'a', 'exclusive' ],
	[ $update, $update, $row, q{cs_lock('b')}, q{cs_lock('b', -1)}, key_lock('b'), 'b', 'exclusive' ],
	[ $update, $update, $row, q{cs_lock('b')}, q{cs_lock('b', -1, 'S')},
		key_lock('b', 'ShareLock'), 'b', 'shared' ],
	[ q{cs_lock('a')}, q{cs_lock('a', -1)}, key_lock('a'),
		$update, 'LOCK TABLE item', $table, 'a', 'exclusive' ],
	[ $update, 'LOCK TABLE item', $table,
		q{cs_lock('b')}, q{cs_lock('b', -1)}, key_lock('b'), 'b', 'exclusive' ],
	[ q{cs_lock('a')}, q{cs_lock('a', -1)}, key_lock('a'),
		'pg_advisory_xact_lock(7)', 'pg_advisory_xact_lock(7)', $number, 'a', 'exclusive' ],
	[ 'pg_advisory_xact_lock(7)', 'pg_advisory_xact_lock(7)', $number,
		q{cs_lock('b')}, q{cs_lock('b', -1)}, key_lock('b'), 'b', 'exclusive' ])
{
	my ($office_has, $till_wants, $till_waits, $till_has, $office_wants, $office_waits, $key, $mode) =
	  map { s/^(?=cs_|pg_)/SELECT /r } @$_;

	is(deadlock($office_has, $till_has, $office_wants, $till_wants),
		'40P01', "$till_wants against $office_wants");
	is($admin->query_safe('SELECT count(*) FROM cs_deadlocks'), ++$entries, 'one entry more');
	is( $admin->query_safe(
			'SELECT key, mode, pid, role, application_name, query FROM cs_deadlocks LIMIT 1'),
		"$key|$mode|$till->{pid}|teller|till|$till_wants;", 'the row of the victim');
	is(last_detail(till => $till, office => $office), <<"END" =~ s/\n\z//r, 'and the detail');
Process <till> waits for $till_waits; blocked by process <office>.
Process <office> waits for $office_waits; blocked by process <till>.
Process <till> (role "teller", application "till"): $till_wants;
Process <office> (role "clerk", application "office"): $office_wants;
END
	$victims{$key}++ if $till_waits =~ /key/;
}

is( $admin->query_safe(q{
		SELECT count(*), bool_and(at BETWEEN pg_postmaster_start_time() AND now()),
			array_agg(at) = array_agg(at ORDER BY at DESC) FROM cs_deadlocks}),
	"$entries|t|t", 'entries have the time they were made at, the last one first');

# A victim that waited for a key is counted with that key.
is( $admin->query_safe(
		'SELECT key, deadlocked FROM cs_stat_keys WHERE deadlocked > 0 ORDER BY key'),
	join("\n", map { "$_|$victims{$_}" } sort keys %victims),
	'the key counts its victims');
is($admin->query_safe('SELECT deadlocked FROM cs_stat'),
	sum(values %victims), 'and so do the totals');

# The tag in the detail is that of the key behind it.
$entries++;
deadlock(q{SELECT cs_lock('left')}, q{SELECT cs_lock('right')},
	q{SELECT cs_lock('right', -1)}, q{SELECT cs_lock('left', -1)});
is( $admin->query_safe(q{
		SELECT count(*) FROM (SELECT detail FROM cs_deadlocks LIMIT 1) AS d, pg_database AS b,
			unnest(ARRAY['left', 'right']) AS k, cs_key_tag(k) AS t
		WHERE b.datname = current_database() AND strpos(d.detail, format('[%s,%s,%s,%s] (key "%s")',
			b.oid, t.classid, t.objid, t.objsubid & 65535, k)) > 0}),
	'2', 'the tags are those of the keys');

# Rings: everybody holds a key and wants that of the next one. All waits are in
# the detail; the ninth session and those after it tell no query.
my @ring = ($till, $office,
	map { KeyTest::Session->new($node, name => "office $_" =~ s/ //r, user => 'clerk') } 2 .. 9);
foreach my $size (8, 10)
{
	my $last = $size - 1;
	my (@waits, @queries);

	$ring[$_]->query_safe("BEGIN; SELECT cs_lock('ring:$_');") foreach 0 .. $last;
	$ring[$_]->start_waiting("SELECT cs_lock('ring:" . ($_ + 1) % $size . "', -1);\nCOMMIT;")
	  foreach 1 .. $last;
	$ring[0]->query(q{SELECT cs_lock('ring:1', -1);});
	is($ring[0]->sqlstate, '40P01', "a ring of $size");
	$ring[0]->query_safe('ROLLBACK');
	$_->finish foreach @ring[ 1 .. $last ];
	is(join(' ', map { $_->sqlstate || 'ok' } @ring[ 1 .. $last ]),
		join(' ', ('ok') x $last), 'the others go on');

	foreach my $i (0 .. $last)
	{
		my $next = ($i + 1) % $size;
		my ($role, $application) = $i == 0 ? qw(teller till) : ('clerk', 'office' . ($i > 1 ? $i : ''));

		push @waits, "Process <$i> waits for " . key_lock("ring:$next") . "; blocked by process <$next>.";
		push @queries,
		  qq{Process <$i> (role "$role", application "$application"): SELECT cs_lock('ring:$next', -1);}
		  if $i < 8;
	}
	is($admin->query_safe('SELECT count(*) FROM cs_deadlocks'), ++$entries, 'one entry more');
	is( $admin->query_safe(
			'SELECT key, mode, pid, role, application_name FROM cs_deadlocks LIMIT 1'),
		"ring:1|exclusive|$till->{pid}|teller|till", 'the row of the victim');
	is(last_detail(map { $_ => $ring[$_] } 0 .. $last), join("\n", @waits, @queries), 'and the detail');
}

# Who sees what: of a victim of one's own role what it did, of others nothing but
# that there was a deadlock; the detail only if all are of one's own role.
$node->safe_psql('postgres', q{
	CREATE ROLE guest;
	CREATE ROLE trainee;
	CREATE ROLE monitor;
	GRANT teller TO trainee;
	GRANT pg_read_all_stats TO monitor});

my $clerk = $office;
my $colleague = KeyTest::Session->new($node, name => 'till2', user => 'teller');

deadlock(q{SELECT cs_lock('one')}, q{SELECT cs_lock('two')},
	q{SELECT cs_lock('two', -1)}, q{SELECT cs_lock('one', -1)});
deadlock($update, q{SELECT cs_lock('three')}, q{SELECT cs_lock('three', -1)}, $update);
$office = $colleague;
deadlock($update, q{SELECT cs_lock('four')}, q{SELECT cs_lock('four', -1)}, $update);
$office = $clerk;

sub seen_by
{
	my ($role) = @_;

	$admin->query_safe("SET ROLE $role");

	my $rows = $admin->query(q{
		SELECT key, mode, pid, role, application_name, left(query, 6), split_part(detail, ' ', 3)
		FROM cs_deadlocks LIMIT 3});

	is($admin->sqlstate, '', "$role may use the view");
	$admin->query_safe('RESET ROLE');
	return $rows =~ s/\b$till->{pid}\b/pid/gr;
}

my $of_the_victim = 'pid|teller|till';
foreach my $role ('teller', 'trainee')
{
	is(seen_by($role), <<"END" =~ s/\n\z//r, "what $role sees");
four|exclusive|$of_the_victim|UPDATE|waits
|exclusive|$of_the_victim|UPDATE|
one|exclusive|$of_the_victim|SELECT|
END
}
foreach my $role ('clerk', 'guest')
{
	is(seen_by($role), join("\n", ('|exclusive|pid||||') x 3), "what $role sees");
}
is(seen_by('monitor'), <<"END" =~ s/\n\z//r, 'what a member of pg_read_all_stats sees');
four|exclusive|$of_the_victim|UPDATE|waits
three|exclusive|$of_the_victim|UPDATE|waits
one|exclusive|$of_the_victim|SELECT|waits
END

# Entries outlive the sessions and the roles.
locks_are($node, '0,0', 'nothing is left');
$_->quit foreach @ring, $colleague;
$node->safe_psql('postgres', 'ALTER ROLE clerk RENAME TO assistant; DROP OWNED BY teller; DROP ROLE teller');
is( $admin->query_safe(q{
		SELECT role, application_name, query, split_part(detail, E'\n', 2) LIKE '%(key "three")%',
			detail LIKE '%(role "assistant", application "office"): SELECT cs_lock(%'
		FROM cs_deadlocks OFFSET 1 LIMIT 1}),
	"|till|$update;|t|t", 'an entry of a role that is gone');
is($admin->query_safe('SET ROLE guest; SELECT count(application_name) FROM cs_deadlocks'),
	'0', 'is still not for everybody');

$admin->quit;
$node->stop;
done_testing();
