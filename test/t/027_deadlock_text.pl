# The text of deadlocks: keys are named in the server's log but not to the other
# client; whatever is cut stays valid text; the language of the server does not
# matter, nor the encoding of the database.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Any locale but C: what a server says depends on its name alone. One made of a
# copy of C.UTF-8 will do.
my ($locale) = grep { /^(?:de|es|fr|it|ja|ko|ru|sv|zh)_.*utf-?8$/i } split /\n/, `locale -a`;
if (!$locale && -d '/usr/lib/locale/C.utf8')
{
	$ENV{LOCPATH} = PostgreSQL::Test::Utils::tempdir;
	$locale = 'de_DE.utf8';
	symlink '/usr/lib/locale/C.utf8', "$ENV{LOCPATH}/$locale";
}

my $node = new_node('main', $any_order, 'max_connections = 30', "deadlock_timeout = '10min'");
my ($victim, $other, $admin);

sub connect_to
{
	my ($database) = @_;

	($victim, $other, $admin) =
	  map { KeyTest::Session->new($node, name => $_, database => $database) } qw(victim other admin);
	$victim->query_safe(q{SET deadlock_timeout = '10ms'});
	return;
}

sub disconnect_all
{
	$_->quit foreach $victim, $other, $admin;
	return;
}

# The victim asks with $call for a key that the other session has, which waits
# for another one.
sub deadlock
{
	my ($key, $other_key, $call) = @_;

	$other->query_safe("BEGIN; SELECT cs_lock($key)");
	$victim->query_safe("BEGIN; SELECT cs_lock($other_key)");
	$other->start_waiting("SELECT cs_lock($other_key, -1)");
	$victim->query($call // "SELECT cs_lock($key, -1)");
	like($victim->{error}, qr/:  40P01: /, 'a deadlock'); # after ERROR in any language

	my $error = $victim->{error};

	$victim->query_safe('ROLLBACK');
	$other->finish;
	$other->query_safe('ROLLBACK');
	return $error;
}

# Raises if a text is not valid in the encoding of the database.
sub texts_are_valid
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $admin->query(q{
			SELECT count(*) > 0 AND bool_and(text = convert_from(convert_to(text, e), e))
			FROM cs_deadlocks AS d, unnest(ARRAY[d.key, d.detail, d.query]) AS text,
				current_setting('server_encoding') AS e})
		  . $admin->{error},
		't', $name);
	return;
}

# What the client of the victim and the server's log say.
connect_to('postgres');
my $log_end = -s $node->logfile;
my $error = deadlock(q{'mine'}, q{E'of somebody\nelse'});
my $tag = qr/advisory lock \[[\d,]+\]/;
like($error, qr/DETAIL:  Process $victim->{pid} waits for ExclusiveLock on $tag; blocked by/,
	'the detail for the client is as the server wrote it');
like($error, qr/CONTEXT:  locking key "mine" in exclusive mode/, 'the context names its own key');
unlike($error, qr/somebody/, 'nothing names the other one');
like( slurp_file($node->logfile, $log_end),
	qr/DETAIL:  Process $victim->{pid} waits for ExclusiveLock on $tag \(key "mine"\); blocked by process $other->{pid}\.
\tProcess $other->{pid} waits for ExclusiveLock on $tag \(key "of somebody\\nelse"\); blocked by process $victim->{pid}\.
\tProcess $victim->{pid}: SELECT cs_lock\('mine', -1\)
(?:.*\n)*?.*CONTEXT:  locking key "mine" in exclusive mode/,
	'the log of the server names both');

# Keys: the victim knows the whole of its own; the detail has what is in the
# directory, cut at a character boundary. Both are escaped.
foreach (
	[ q{repeat('€', 341)}, '€' x 341, '€' x 24 . '...' ],
	[ q{'a' || repeat('€', 341)}, 'a' . '€' x 341, 'a' . '€' x 23 . '...' ],
	[ q{'aa' || repeat('€', 340)}, 'aa' . '€' x 340, 'aa' . '€' x 23 . '...' ],
	[ q{repeat('é', 36)}, ('é' x 36) x 2 ],
	[ q{'a' || repeat('é', 36)}, 'a' . 'é' x 36, 'a' . 'é' x 35 . '...' ],
	[ q{repeat(E'\x1b', 200)}, '\x1b' x 200, '\x1b' x 72 . '...' ],
	[ q{E'\n\r\t\u0085"'}, ('\n\r\t\x85"') x 2 ])
{
	my ($key, $whole, $cut) = @$_;
	my $line = qr/Process \d+ waits for \w+ on $tag/;

	$log_end = -s $node->logfile;
	deadlock($key, q{'b'});
	is($admin->query('SELECT key FROM cs_deadlocks LIMIT 1'), $whole, "$key of the victim");
	like($admin->query('SELECT detail FROM cs_deadlocks LIMIT 1'),
		qr/^$line \(key "\Q$cut\E"\); blocked by/, 'in the detail');
	like(slurp_file($node->logfile, $log_end),
		qr/DETAIL:  $line \(key "\Q$cut\E"\); blocked by/, 'and in the log');
	deadlock(q{'b'}, $key);
	like($admin->query('SELECT detail FROM cs_deadlocks LIMIT 1'),
		qr/^$line \(key "b"\).*\n$line \(key "\Q$cut\E"\); blocked by/, 'of the other session');
}

# Queries, cut where there is no more room.
foreach my $before (0 .. 2)
{
	my $query = q{SELECT cs_lock('a', -1) -- } . 'x' x $before . '€' x 300;

	deadlock(q{'a'}, q{'b'}, $query);

	my $shown = $admin->query('SELECT query FROM cs_deadlocks LIMIT 1');

	cmp_ok(length $shown, '>', 508, 'a query is cut');
	is($shown, substr($query, 0, length $shown), 'and else as it was');
}
texts_are_valid('every text is valid');

# A detail with no room for all: it ends where it has to, and the queries follow.
my @ring = ($victim, $other, map { KeyTest::Session->new($node, name => "ring $_" =~ s/ //r) } 3 .. 9);
$ring[$_]->query_safe("BEGIN; SELECT cs_lock('$_' || repeat(E'\\x01€', 200))") foreach 0 .. 8;
$ring[$_]->start_waiting('SELECT cs_lock(' . ($_ + 1) % 9 . q{ || repeat(E'\x01€', 200), -1)})
  foreach 1 .. 8;
$victim->query(q{SELECT cs_lock('1' || repeat(E'\x01€', 200), -1)});
is($victim->sqlstate, '40P01', 'a ring of nine');
$victim->query_safe('ROLLBACK');
foreach my $session (reverse @ring[ 1 .. 8 ])
{
	$session->finish;
	$session->query_safe('ROLLBACK');
}
my $detail = $admin->query('SELECT detail FROM cs_deadlocks LIMIT 1');
my @names = $detail =~ /\(key "(.*?)"\)/g;
cmp_ok(scalar @names, '<', 9, 'not all waits fit into the detail');
is_deeply(\@names, [ map { ($_ + 1) % 9 . '\x01€' x 17 . '\x01...' } 0 .. $#names ],
	'the names in it are whole');
is(() = $detail =~ /^Process \d+ \(role ".*?", application ".*?"\): SELECT cs_lock/mg,
	8, 'the queries are there');
texts_are_valid('it is valid text');
$_->quit foreach @ring[ 2 .. 8 ];

# Each database has its encoding. What is not ASCII is escaped elsewhere.
$node->safe_psql('postgres',
	q{CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('latin', 'CREATE EXTENSION concurrency_safe');
deadlock(q{'é'}, q{'b'}, q{SELECT cs_lock('é', -1) -- é});
disconnect_all();
connect_to('latin');
$_->query_safe(q{SET client_encoding = 'UTF8'}) foreach $victim, $other, $admin;
is($admin->query('SELECT key, query FROM cs_deadlocks LIMIT 1'),
	q{\xc3\xa9|SELECT cs_lock('\xc3\xa9', -1) -- \xc3\xa9
;},
	'a deadlock in another encoding');
deadlock(q{'ü'}, q{'b'}, q{SELECT cs_lock('ü', -1) -- ü});
is($admin->query('SELECT key FROM cs_deadlocks LIMIT 1'), 'ü', 'a deadlock in LATIN1');
texts_are_valid('every text is valid in LATIN1');
disconnect_all();
connect_to('postgres');
is($admin->query('SELECT key, query FROM cs_deadlocks LIMIT 1'),
	q{\xfc|SELECT cs_lock('\xfc', -1) -- \xfc
;},
	'the same seen in UTF8');
texts_are_valid('every text is valid in UTF8');

# What a session in another database runs is not shown: a cycle over shared catalogs.
my $far = KeyTest::Session->new($node, name => 'far', database => 'latin');
$_->query_safe('BEGIN') foreach $victim, $other, $far;
$far->query_safe('LOCK pg_db_role_setting IN EXCLUSIVE MODE');
$other->query_safe(q{SELECT cs_lock('near')});
$victim->query_safe('LOCK pg_shseclabel IN EXCLUSIVE MODE');
$other->start_waiting('LOCK pg_db_role_setting IN EXCLUSIVE MODE');
$far->start_waiting('LOCK pg_shseclabel IN EXCLUSIVE MODE -- far away');
$victim->query(q{SELECT cs_lock('near', -1)});
is($victim->sqlstate, '40P01', 'a deadlock over two databases');
$_->query_safe('ROLLBACK') foreach $victim, $far, $other;
my $of_far = $admin->query('SELECT detail FROM cs_deadlocks LIMIT 1');
like($of_far, qr/Process $far->{pid} \(role "[^"]*", application "far"\): $/m, 'the session is shown');
unlike($of_far, qr/far away/, 'but not its query');
$far->quit;

# The language of the victim.
SKIP:
{
	skip 'no locale but C', 4 unless $locale;
	$victim->query("SET lc_messages = '$locale'");
	skip "no messages in $locale", 4
	  if $victim->{error} || $victim->query('SELECT 1 / 0') || $victim->{error} =~ /division by zero/;

	my $translated = deadlock(q{'mine'}, q{'yours'});

	unlike($translated, qr/waits for|advisory lock/, 'the error is translated');
	is($admin->query('SELECT key, mode, pid FROM cs_deadlocks LIMIT 1'),
		"mine|exclusive|$victim->{pid}", 'the row is as in English');
	like($admin->query('SELECT detail FROM cs_deadlocks LIMIT 1'),
		qr/\A.*$victim->{pid}.*\[[\d,]+\] \(key "mine"\).*$other->{pid}.*\n.*\[[\d,]+\] \(key "yours"\).*\n/,
		'the detail names the keys');
}
disconnect_all();

# The server itself may cut a query in the middle of a character.
$node->append_conf('postgresql.conf', 'track_activity_query_size = 200');
$node->restart;
connect_to('postgres');
foreach my $before (0 .. 2)
{
	my $query = q{SELECT cs_lock('a', -1) -- } . 'x' x $before . '€' x 100;

	deadlock(q{'a'}, q{'b'}, $query);

	my $shown = $admin->query('SELECT query FROM cs_deadlocks LIMIT 1');

	cmp_ok(length $shown, '>', 196, 'a query is cut by the server');
	is($shown, substr($query, 0, length $shown), 'and else as it was');
}
texts_are_valid('every text is valid');

locks_are($node, '0,0', 'nothing is left');
disconnect_all();
$node->stop;
done_testing();
