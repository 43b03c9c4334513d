# The names of keys as others see them: of keys that are waited for, of keys of
# databases with other encodings, of a database that is gone, and where nobody
# keeps names. How long names are cut is tested in test/pgtap/key_names.sql.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');
my $major = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
my $watcher = KeyTest::Session->new($node, name => 'watcher');

# The key of each session, as cs_locks shows it: "session: key, ...".
my $names = q{SELECT string_agg(application_name || ': ' || coalesce(key, 'unknown'), ', '
		ORDER BY application_name, key COLLATE "C") FROM cs_locks};

# Each key has its own name, while it is held and while it is waited for.
my ($holder, @waiters) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder waiter1 waiter2);
$holder->query_safe(q{BEGIN; SELECT cs_lock_all(ARRAY['a', 'b', E'c\nd'])});
$waiters[0]->start_waiting(q{SELECT cs_lock('b', -1)});
$waiters[1]->start_waiting(q{SELECT cs_try_lock(E'c\nd', 600000)});
is($watcher->query($names),
	'holder: a, holder: b, holder: c\nd, waiter1: b, waiter2: c\nd', 'held and waited for');
$holder->query_safe('COMMIT');
$_->finish foreach @waiters;
is($watcher->query($names), '', 'nothing is shown of keys that are free');
$_->quit foreach $holder, @waiters;

# Other encodings. The keys are made of code points, so that this file is ASCII;
# the second one is cut before, or after, its 72nd byte.
my %keys = (
	ascii => q{'caf' || chr(200) || chr(233), repeat(chr(233), 73)},
	latin1 => q{'caf' || chr(233), repeat(chr(233), 73)},
	postgres => q{'caf' || chr(233) || chr(8364), repeat('a', 71) || chr(233) || 'z'},
);
$node->safe_psql('postgres', qq{CREATE DATABASE $_->[0] ENCODING '$_->[1]' TEMPLATE template0})
  foreach [ 'ascii', 'SQL_ASCII' ], [ 'latin1', 'LATIN1' ];
$node->safe_psql($_, 'CREATE EXTENSION concurrency_safe') foreach qw(ascii latin1);
my %session = map { $_ => KeyTest::Session->new($node, name => $_, database => $_) } sort keys %keys;

foreach my $database (sort keys %keys)
{
	$session{$database}->query_safe(
		qq{BEGIN; SELECT cs_lock(key) FROM unnest(ARRAY[$keys{$database}]) key});
}

# What stands in the names: runs of bytes as [bytes]x{number}, so that a byte
# (\351) can be told from its escape (\xe9).
sub shown_names
{
	my ($database, $columns) = @_;
	my $names = $session{$database}->query(
		qq{SELECT replace(encode(convert_to(key, getdatabaseencoding()), 'escape'), '\\\\', '\\')
			FROM ($columns) shown ORDER BY database, length(key)});

	$names =~ s/(\\x..|\\\d\d\d|a)\1{9,}/sprintf '[%s]x%d', $1, length($&) \/ length($1)/eg;
	return join ' ', split /\n/, $names;
}

my $locks = 'SELECT database, key FROM cs_locks';
my $cut_in_utf8 = '[a]x71...';
is( shown_names('postgres', $locks),
	'caf\xc8\xe9 [\xe9]x72... caf\xe9 [\xe9]x72... caf\303\251\342\202\254 ' . $cut_in_utf8,
	'from UTF8');
is( shown_names('latin1', $locks),
	'caf\xc8\xe9 [\xe9]x72... caf\351 [\351]x72... caf\xc3\xa9\xe2\x82\xac ' . $cut_in_utf8,
	'from LATIN1');
is( shown_names('ascii', $locks),
	'caf\310\351 [\351]x72... caf\351 [\351]x72... caf\303\251\342\202\254 ' . $cut_in_utf8,
	'from SQL_ASCII, which takes bytes as they are');
is( shown_names('latin1', 'SELECT current_database() AS database, key FROM cs_stat_keys'),
	'caf\351 [\351]x72...', 'cs_stat_keys shows the keys of its own database');

# ISO 8859 has control characters beyond ASCII, too.
$session{latin1}->query_safe(q{COMMIT; BEGIN; SELECT cs_lock('a' || chr(155) || 'b' || chr(160))});
is( shown_names('latin1', q{SELECT database, key FROM cs_locks WHERE key LIKE 'a%b%'}),
	'a\x9bb\240', 'a control character of one byte is escaped');
$_->quit foreach values %session;

# A database that is gone, and another one of its name.
my $stat = 'SELECT directory_used, acquired FROM cs_stat';
my $before = $watcher->query($stat);
$node->safe_psql('postgres', 'DROP DATABASE latin1');
$node->safe_psql('postgres', 'CREATE DATABASE latin1');
$node->safe_psql('latin1', 'CREATE EXTENSION concurrency_safe');
is($watcher->query($stat), $before, 'what was counted in a database that is gone stays');
is($node->safe_psql('latin1', 'SELECT count(*) FROM cs_stat_keys'),
	'0', 'and is not shown in another one of its name');
is($watcher->query('SELECT count(*) FROM cs_locks'), '0', 'nothing is locked');

# Not preloaded.
$watcher->quit;
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
($watcher, $holder, $waiters[0]) =
  map { KeyTest::Session->new($node, name => $_) } qw(watcher holder waiter1);
$holder->query_safe(q{BEGIN; SELECT cs_lock('a')});
$waiters[0]->start_waiting(q{SELECT cs_lock('a', -1)});
is( $watcher->query('SELECT mode, granted, application_name FROM cs_locks ORDER BY granted DESC'),
	"exclusive|t|holder\nexclusive|f|waiter1", 'not preloaded, cs_locks shows all locks');
is( $watcher->query(q{SELECT DISTINCT key, mode FROM cs_holders('a')}),
	'a|exclusive', 'and cs_holders the key it was asked for');

SKIP:
{
	skip 'PostgreSQL 17 has shared memory for libraries that are not preloaded', 17 if $major >= 17;
	is($watcher->query($names), 'holder: unknown, waiter1: unknown', 'without the names');
	foreach my $relation (qw(cs_stat cs_stat() cs_stat_keys cs_stat_keys() cs_deadlocks cs_deadlocks()
		cs_stat_reset()))
	{
		$watcher->query("SELECT * FROM $relation");
		is($watcher->sqlstate, '55000', "$relation fails");
		like($watcher->{error}, qr/HINT:  Add concurrency_safe to shared_preload_libraries/,
			'and says what to do');
	}
	$holder->query_safe('COMMIT');
	$waiters[0]->finish;
	is($waiters[0]->sqlstate, '', 'the lock is handed over');
	is($watcher->query('SELECT count(*) FROM cs_locks'), '0', 'and released');
}
SKIP:
{
	skip 'before PostgreSQL 17, names need preloading', 2 if $major < 17;
	is($watcher->query($names), 'holder: a, waiter1: a', 'with the names');
	is($watcher->query(q{SELECT count(*) FROM cs_stat_keys WHERE key = 'a'}),
		'1', 'and the statistics');
}

$_->quit foreach $watcher, $holder, $waiters[0];
$node->stop;
done_testing();
