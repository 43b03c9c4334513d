# A directory that is too small: the keys in use keep their names while others
# come and go, a key without a place is locked all the same, and the totals stay
# exact. Names never belong to somebody else. How the size is set.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'concurrency_safe.directory_size = 16', 'max_connections = 30');
my ($watcher, $holder, $idle, $other) =
  map { KeyTest::Session->new($node, name => $_) } qw(watcher holder idle other);

my $places = 'SELECT directory_size, directory_used, evicted, unnamed FROM cs_stat';
my $counts = 'SELECT acquired, waited, timed_out, (SELECT sum(n) FROM unnest(wait_histogram) n) FROM cs_stat';
my $held = q{SELECT string_agg(key, ' ' ORDER BY key) FROM cs_locks WHERE key ~ '^(held|idle)'};

# A name that is not that of the lock beside it.
my $wrong = q{SELECT count(*) FROM cs_locks l, cs_key_tag(l.key) t
	WHERE l.key IS NOT NULL AND (l.classid, l.objid, l.objsubid) <> (t.classid, t.objid, t.objsubid)};

is($watcher->query($places), '16|0|0|0', 'an empty directory');
$holder->query_safe(q{BEGIN; SELECT cs_lock_all(ARRAY['held 1', 'held 2', 'held 3', 'held 4'])});
$idle->query_safe(q{SELECT cs_lock('idle 1', scope => 'session'), cs_lock('idle 2', scope => 'session')});
is($other->query(q{SELECT cs_try_lock('held 1', 20)}), 'f', 'one wait');
is($watcher->query($places), '16|6|0|0', 'a place for each key');

# 300 sessions of two roles, one after the other on a few backend slots, each
# with a key of its own that tells whose it is.
$node->safe_psql('postgres', 'CREATE ROLE red LOGIN; CREATE ROLE blue LOGIN');
my $script = PostgreSQL::Test::Utils::tempdir . '/connect.sql';
append_to_file($script,
	q{SELECT cs_lock(concat_ws(' ', 'of', session_user, pg_backend_pid()), scope => 'session');});

sub start_sessions
{
	my ($role) = @_;

	return IPC::Run::start(
		[
			$node->installed_command('pgbench'), '-n', '-C', '-c', '2', '-t', '75', '-f', $script,
			'-d', $node->connstr('postgres') . " user=$role"
		],
		'<' => \undef, '>' => \my $out, '2>' => \my $err);
}

# Returns how many locks of theirs were seen meanwhile, and how many in error.
sub many_sessions
{
	my @runs = map { start_sessions($_) } qw(red blue);
	my ($seen, $strange) = (0, 0);

	while (my @running = grep { $_->pumpable } @runs)
	{
		my ($rows, $others) = split /\|/, $watcher->query(
			q{SELECT count(*), count(*) FILTER (WHERE key <> 'of ' || role || ' ' || pid)
				FROM cs_locks WHERE key ~ '^of' OR role ~ '^(red|blue)$'});

		$seen += $rows;
		$strange += $others;
		# It may just have ended.
		eval { $_->pump_nb } foreach @running;
	}
	ok($_->finish, 'pgbench') foreach @runs;
	return ($seen, $strange);
}

my ($seen, $strange) = many_sessions();
cmp_ok($seen, '>', 0, 'sessions are seen while they come and go');
is($strange, 0, 'none with the key of another one');
locks_become($node, '6,0', 'they leave no lock');
is($watcher->query($counts), '306|1|1|1', 'the totals are exact');
is($watcher->query('SELECT directory_used, evicted + unnamed, evicted > 0 FROM cs_stat'),
	'16|290|t', 'each key either took the place of another one or found none');
is($watcher->query($held), 'held 1 held 2 held 3 held 4 idle 1 idle 2',
	'the keys that are held have their names');
is( $watcher->query(q{SELECT sum(acquired), sum(timed_out) FROM cs_stat_keys WHERE key ~ '^(held|idle)'}),
	'6|1', 'and their counts');

# More keys at a time than there are places.
$holder->query_safe(q{SELECT cs_lock('more ' || i) FROM generate_series(1, 20) i});
is( $watcher->query(q{SELECT count(*), count(*) FILTER (WHERE key IS NULL) >= 10 FROM cs_locks}),
	'26|t', 'more keys than there are places: all are shown, some without a name');
is($watcher->query($wrong), '0', 'the other names are right');
is($watcher->query($held), 'held 1 held 2 held 3 held 4 idle 1 idle 2', 'those of before among them');
is($other->query(q{SELECT count(*) FROM generate_series(1, 20) i WHERE cs_try_lock('more ' || i)}),
	'0', 'all are locked');
is( $watcher->query(q{SELECT count(*) FROM generate_series(1, 20) i, cs_holders('more ' || i) h
		WHERE h.key = 'more ' || i AND h.granted}),
	'20', 'and cs_holders shows them by the name it is given');
is($watcher->query($counts), '326|1|21|1', 'the totals are exact');
my $before = $watcher->query('SELECT evicted + unnamed FROM cs_stat');
$holder->query_safe('COMMIT');
$idle->query_safe('SELECT cs_unlock_all()');
locks_are($node, '0,0', 'nothing is left');

# Names of keys that nobody uses any more make room, and leave their counts.
($seen, $strange) = many_sessions();
is($strange, 0, 'none with the key of another one');
is( $watcher->query(q{SELECT count(*) FROM cs_stat_keys WHERE key !~ '^of'}),
	'0', 'the keys of before have made room');
is($watcher->query($counts), '626|1|21|1', 'the totals are exact');
is($watcher->query("SELECT evicted + unnamed - $before FROM cs_stat"), '300', 'one for each');
is( $watcher->query(q{SELECT t.directory_used = count(*) AND t.acquired > sum(k.acquired) AND t.timed_out > sum(k.timed_out)
		FROM cs_stat t, cs_stat_keys k GROUP BY t.directory_used, t.acquired, t.timed_out}),
	't', 'they include keys that have lost their place');
$_->quit foreach $holder, $idle, $other;

# The size.
foreach my $value (qw(15 0 -1 16777217 many))
{
	$watcher->query("ALTER SYSTEM SET concurrency_safe.directory_size = '$value'");
	is($watcher->sqlstate, '22023', "a size of $value is refused");
}
$watcher->query('SET concurrency_safe.directory_size = 32');
is($watcher->sqlstate, '55P02', 'it cannot be changed while the server runs');
$watcher->query_safe('ALTER SYSTEM SET concurrency_safe.directory_size = 100');
$watcher->quit;
$node->restart;
is($node->safe_psql('postgres', $places), '112|0|0|0',
	'after a restart it can; whole sets of 16 places are made');
is($node->safe_psql('postgres', $counts), '0|0|0|0', 'and the statistics begin anew');
$node->safe_psql('postgres', 'ALTER SYSTEM SET concurrency_safe.directory_size = 131072');
$node->restart;
is( $node->safe_psql('postgres',
		q{SELECT directory_size, directory_bytes <= 256 * directory_size FROM cs_stat}),
	'131072|t', 'a place takes at most 256 bytes');

$node->stop;
done_testing();
