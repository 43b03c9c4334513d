# A storm of sessions takes keys out of many more than the directory has places
# for, so that places change hands all the time, and backends are killed by kill
# -9 in the middle of it. A reader looks at all names meanwhile: each is one of
# the valid ones, whole, and in cs_locks that of the lock it stands at.
#
# CS_KILLS is the number of kills, CS_SEED repeats a former choice of keys,
# moments and victims.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $kills = $ENV{CS_KILLS} || 10;
my $seed = $ENV{CS_SEED} || 1 + int(rand(2**31 - 2));
my $clients = 4;
my $keys = 5000;

srand($seed);
note "$kills kills, seed $seed";

# PostgreSQL::Test::Cluster turns restart_after_crash off, and logs statements.
my $node = new_node('main', 'restart_after_crash = on', 'log_statement = none',
	'max_connections = 20', 'concurrency_safe.directory_size = 64');

# Names of 1 to 300 characters. All parts depend on the number, in UTF-8 of one to
# three bytes a character, so that the place where a name is cut varies.
$node->safe_psql('postgres', qq{
CREATE TABLE key_name AS
	SELECT n AS id, left(n || ':' || text, greatest(length(n::text), 1 + n * 37 % 300)) AS name
	FROM generate_series(1, $keys) AS n, LATERAL (
		SELECT string_agg(left(md5(n || '/' || i), 4 + n % 5), (ARRAY['-', 'é', '€'])[1 + n % 3])
		FROM generate_series(1, 80) AS i) AS t (text);
ALTER TABLE key_name ADD PRIMARY KEY (id);
CREATE TABLE shown_name AS
	SELECT t.*, CASE WHEN octet_length(name) <= 72 THEN name
		ELSE (SELECT left(name, max(c)) FROM generate_series(24, 72) AS c
			WHERE octet_length(left(name, c)) <= 72) || '...' END AS shown
	FROM key_name, cs_key_tag(name) AS t;
ALTER TABLE shown_name ADD PRIMARY KEY (shown);
VACUUM ANALYZE key_name, shown_name;
CHECKPOINT});
is($node->safe_psql('postgres', 'SELECT count(DISTINCT name) FROM key_name'), $keys, "$keys keys");

# What a reader sees, and what of that is wrong: a name that no key has or, in
# cs_locks, that of another key. All places again and again, in one statement.
my $locks = 'SELECT key, classid, objid, objsubid FROM cs_locks WHERE key IS NOT NULL';
my $places = join ' UNION ALL ', ('SELECT key, NULL, NULL, NULL FROM cs_stat_keys') x 10;
$node->safe_psql('postgres', qq{
CREATE VIEW name_read AS
	SELECT r.key, r.classid IS NOT NULL AS of_lock, s.shown IS NULL
			OR (r.classid, r.objid, r.objsubid) <> (s.classid, s.objid, s.objsubid) AS wrong
	FROM ($locks UNION ALL $places UNION ALL $locks UNION ALL $places) AS r
		LEFT JOIN shown_name AS s ON s.shown = r.key;
CREATE VIEW reading AS
	SELECT count(*) AS names, count(*) FILTER (WHERE of_lock) AS of_locks,
		count(*) FILTER (WHERE wrong) AS wrong,
		(SELECT array_agg(pid) FROM pg_stat_activity WHERE backend_type = 'client backend') AS pids,
		min(key) FILTER (WHERE wrong) AS a_wrong_one
	FROM name_read});

my $folder = PostgreSQL::Test::Utils::tempdir;

sub script
{
	my ($name, $text) = @_;

	append_to_file("$folder/$name", $text);
	return "$folder/$name";
}

my $choose = join '', map { "\\set $_ random(1, $keys)\n" } qw(a b c);
my %storm = (
	# One key after the other, each for a moment.
	script('many', qq{\\set a random(1, $keys - 20)
SELECT cs_lock(name, -1, 'exclusive', 'session'), cs_unlock(name)
FROM key_name WHERE id BETWEEN :a AND :a + 20;
}) => 6,
	# Some at once, held for a while.
	script('held', qq{$choose
BEGIN;
SELECT cs_lock_all(array_agg(name), -1) FROM key_name WHERE id IN (:a, :b, :c);
SELECT pg_sleep(0.001);
COMMIT;
}) => 1,
	# A few that everybody wants.
	script('hot', qq{\\set a random_zipfian(1, $keys, 1.5)
SELECT cs_try_lock(name, 1) FROM key_name WHERE id = :a;
}) => 1);

my $reading = script('reading', "TABLE reading;\n" x 10000);
my $reading_less = script('reading_less', "TABLE reading;\n" x 200);

my $names = 0;
my $names_of_locks = 0;
my @wrong;
my @errors;

sub start
{
	my ($output, $error, @command) = @_;

	return IPC::Run::start(\@command, '<', \undef, '>', $output, '2>', $error,
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
}

sub start_storm
{
	my ($output, $error, $number, @how_long) = @_;

	return start($output, $error, $node->installed_command('pgbench'), '-n', '-M', 'prepared',
		'-c', $clients, '--random-seed=' . ($seed + $number),
		(map { ('-f', "$_\@$storm{$_}") } sort keys %storm), @how_long, $node->connstr('postgres'));
}

sub start_reader
{
	my ($output, $error, $script) = @_;

	return start($output, $error, $node->installed_command('psql'),
		'-XAtq', '-f', $script, $node->connstr('postgres'));
}

# What the reader wrote, but for a line that it was killed in the middle of.
sub note_names
{
	my ($output, $error) = @_;

	foreach ($output =~ /(.*)\n/g)
	{
		my ($seen, $of_locks, $wrong) = /^(\d+)\|(\d+)\|(\d+)\|\{[\d,]+\}\|/;

		push @wrong, $_ if !defined $wrong || $wrong > 0;
		$names += $seen // 0;
		$names_of_locks += $of_locks // 0;
	}
	push @errors, grep { /ERROR/ } split /\n/, $error;
	return;
}

my $begin = time;
foreach my $kill (1 .. $kills)
{
	my ($storm_output, $storm_error, $output, $error) = ('', '', '', '');
	my $storm = start_storm(\$storm_output, \$storm_error, $kill, '-T', 600);
	my $reader = start_reader(\$output, \$error, $reading);
	my @pids;

	# All are at work; the reader itself is one of them.
	until (@pids == $clients + 1)
	{
		$reader->pump;
		@pids = split /,/, $1 if $output =~ /^[1-9]\d+\|[1-9]\d*\|\d+\|\{([\d,]+)\}\|.*\n\z/m;
	}
	sleep rand 0.15;
	is(kill('KILL', $pids[ rand @pids ]), 1, "kill $kill");
	$_->finish foreach $storm, $reader;
	note_names($output, $error);
	push @errors, grep { /ERROR/ } split /\n/, $storm_error;

	# They ended, so the server noticed: whoever gets in comes after the restart.
	$node->poll_query_until('postgres', 'SELECT true') or BAIL_OUT('the server did not come back');
	is( $node->safe_psql('postgres', q{
			SELECT directory_used, acquired, waited, evicted, (SELECT count(*) FROM cs_stat_keys),
				(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') FROM cs_stat}),
		'0|0|0|0|0|0', 'names, statistics and locks are gone');
}
my $seconds = time - $begin;

# And once without a kill.
my ($storm_output, $storm_error, $output, $error) = ('', '', '', '');
my $storm = start_storm(\$storm_output, \$storm_error, 0, '-t', 6000);
my $reader = start_reader(\$output, \$error, $reading_less);
ok($reader->finish, 'a reader that nobody kills ends well');
ok($storm->finish, 'so does a storm');
note_names($output, $error);
is($storm_error =~ s/^.*random seed.*\n//r, '', 'without a word');
locks_become($node, '0,0', 'nothing is left');
is( $node->safe_psql('postgres',
		'SELECT directory_used = directory_size, evicted > acquired / 2 FROM cs_stat'),
	't|t', 'places changed hands all the time');

is(scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g),
	$kills, "restarts: $kills");
note sprintf '%d kills in %.0f s', $kills, $seconds;
cmp_ok($names, '>', 0, "names read: $names");
cmp_ok($names_of_locks, '>', 0, "names of locks among them: $names_of_locks");
is(join("\n", splice @wrong, 0, 5), '', 'none was wrong');
is(join("\n", @errors), '', 'no errors');

# In crash recovery a fast stop may hang.
$node->stop('immediate');
done_testing();
