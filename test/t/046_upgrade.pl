# An upgrade ends where a new install does. Every version in sql/ is upgraded to the
# newest, and what the catalogs say afterwards is compared, fact by fact. So that the
# comparison is known to work, a version is made up that brings a bit of everything,
# and upgrades to it that forget one thing each: every one of them has to be found.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use ExtensionCatalog;
use File::Copy;
use File::Path;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$FindBin::RealBin/../..";
my $node = PostgreSQL::Test::Cluster->new('main');
my $folder = PostgreSQL::Test::Utils::tempdir;

sub config_value
{
	my ($option) = @_;
	my ($value) = run_command([ $node->installed_command('pg_config'), $option ]);

	return $value;
}

# Where the server finds the library now.
sub library
{
	my $pkglibdir = config_value('--pkglibdir');
	my @folders = split /:/, $node->safe_psql('postgres', 'SHOW dynamic_library_path') =~ s/\$libdir/$pkglibdir/r;
	my ($library) = grep { -e } map { "$_/concurrency_safe.so" } @folders;

	return $library // die 'no library';
}

$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
$node->start;
my ($setting) = split /\n/, $node->safe_psql('postgres',
	q{SELECT name FROM pg_settings WHERE name IN ('extension_control_path', 'extension_destdir') ORDER BY name});
if (!$setting)
{
	$node->stop;
	plan skip_all => 'this server looks for extensions in one place only';
}

# A folder of extensions of our own, with the control file and all scripts of the source.
my $sharedir = $setting eq 'extension_destdir' ? $folder . config_value('--sharedir') : $folder;
my $scripts = "$sharedir/extension";
File::Path::make_path($scripts);
copy($_, $scripts) or die "$_: $!" foreach "$source/concurrency_safe.control", glob "$source/sql/*.sql";
if ($setting eq 'extension_destdir')
{
	my $libdir = $folder . config_value('--pkglibdir');

	File::Path::make_path($libdir);
	symlink library(), "$libdir/concurrency_safe.so" or die $!;
}
$node->append_conf('postgresql.conf',
	"$setting = '" . ($setting eq 'extension_destdir' ? $folder : "$folder:\$system") . "'\n");
$node->restart;

my ($newest) = slurp_file("$scripts/concurrency_safe.control") =~ /default_version = '(.*)'/;
my %script = map { m{concurrency_safe--(.*)\.sql$} ? ($1 => slurp_file($_)) : () } glob "$scripts/*.sql";
my @versions = grep { !/--/ } sort keys %script;

# The facts after some commands, of which nothing stays.
sub facts_after
{
	my (@commands) = @_;

	return $node->safe_psql('postgres', join(';', 'BEGIN', @commands, $catalog, 'ROLLBACK'));
}

sub facts_of_new { return facts_after("CREATE EXTENSION concurrency_safe VERSION '$_[0]'") }

sub facts_of_upgrade
{
	my ($from, $to) = @_;

	return facts_after("CREATE EXTENSION concurrency_safe VERSION '$from'",
		"ALTER EXTENSION concurrency_safe UPDATE TO '$to'");
}

sub add_script
{
	my ($name, $text) = @_;
	my $file = "$scripts/concurrency_safe--$name.sql";

	open my $out, '>', $file or die "$file: $!";
	print $out $text;
	close $out or die "$file: $!";
	return;
}

# The versions there are.
ok(exists $script{$newest}, "the newest version, $newest, has an install script");
cmp_ok(scalar(split /\x01/, facts_of_new($newest)), '>', 300, 'its catalog is described');
unlike(facts_of_new($newest), qr/does not know/, 'every object of it');
is_deeply([ differences(facts_of_new($newest), facts_of_new($newest)) ], [], 'two new installs are the same');
foreach my $version (grep { $_ ne $newest } @versions)
{
	is( $node->safe_psql('postgres', qq{SELECT path IS NOT NULL FROM pg_extension_update_paths('concurrency_safe')
			WHERE source = '$version' AND target = '$newest'}), 't', "there is a way from $version to $newest");
	is_deeply([ differences(facts_of_new($newest), facts_of_upgrade($version, $newest)) ],
		[], "an upgrade from $version ends where a new install does");
}

# A made-up next version: each part of it is something that an upgrade could forget.
my %part = (
	'a function' => q{CREATE FUNCTION cs_next(key text) RETURNS text LANGUAGE C STABLE PARALLEL UNSAFE
		AS 'MODULE_PATHNAME', 'cs_held_mode'},
	'comment on a function' => q{COMMENT ON FUNCTION cs_unlock_all() IS 'another text'},
	'rights on a function' => q{REVOKE EXECUTE ON FUNCTION cs_cancel_holders(text) FROM PUBLIC},
	'rights granted with it' => q{GRANT EXECUTE ON FUNCTION cs_stat_reset() TO pg_monitor},
	'volatility' => q{ALTER FUNCTION cs_key_tag(text) VOLATILE},
	'setting of a function' => q{ALTER FUNCTION cs_wait_graph_dot() SET search_path = pg_catalog, pg_temp},
	'cost' => q{ALTER FUNCTION cs_try_lock(text, integer, text, text) COST 1000},
	'default of an argument' => q{CREATE OR REPLACE FUNCTION cs_permit(key text, permits integer,
		timeout_ms integer DEFAULT 5) RETURNS void LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cs_permit'},
	'body of a view' => q{CREATE OR REPLACE VIEW cs_stat_next AS SELECT 2 AS two},
	'comment on a column' => q{COMMENT ON COLUMN cs_locks.key IS 'another text'},
	'rights on a view' => q{REVOKE SELECT ON cs_deadlocks FROM PUBLIC},
	'rights on a column' => q{GRANT SELECT (key) ON cs_lease_table TO pg_monitor},
	'a column' => q{ALTER TABLE cs_lease_table ADD next integer},
	'default of a column' => q{ALTER TABLE cs_lease_table ALTER owner SET DEFAULT 'nobody'},
	'an index' => q{CREATE INDEX cs_lease_next ON cs_lease_table (expires_at)},
	'a constraint' => q{ALTER TABLE cs_lease_table ADD CHECK (token > 0) NOT VALID},
	'options of a table' => q{ALTER TABLE cs_lease_table SET (fillfactor = 60)},
	'a table' => q{CREATE TABLE cs_next_table (label text)},
	'what is dumped' => q{SELECT pg_catalog.pg_extension_config_dump('cs_lease_table', 'WHERE released')},
	'a trigger' => q{CREATE TRIGGER cs_next BEFORE INSERT ON cs_lease_table FOR EACH ROW EXECUTE FUNCTION cs_guard('k')},
	'a type' => q{CREATE TYPE cs_next_mode AS ENUM ('one', 'two')},
	'rights on a schema' => q{REVOKE USAGE ON SCHEMA cs_key FROM PUBLIC},
	'what is gone' => q{ALTER EXTENSION concurrency_safe DROP FUNCTION cs_lock_order_reset()},
	'what belongs to it' => q{CREATE SCHEMA cs_next},
);
my $before = q{CREATE VIEW cs_stat_next AS SELECT 1 AS two;};

# "next" is the new install, "upgraded" the upgrade that forgets nothing.
sub delta
{
	my ($forgotten) = (@_, '');

	return join(";\n", $before, (map { $part{$_} } grep { $_ ne $forgotten } sort keys %part), '');
}
add_script('next', $script{$newest} . delta());
add_script("$newest--upgraded", delta());
my $next = facts_of_new('next');
is_deeply([ differences($next, facts_of_upgrade($newest, 'upgraded')) ],
	[], 'a made-up version is the same new and upgraded');
cmp_ok(scalar(differences(facts_of_new($newest), $next)), '>=', scalar(keys %part), 'and differs from the one before');

my $number = 0;
foreach my $forgotten (sort keys %part)
{
	my $version = 'forgets' . ++$number;

	add_script("$newest--$version", delta($forgotten));
	my @found = differences($next, facts_of_upgrade($newest, $version));
	ok(@found > 0, "an upgrade that forgets $forgotten is found") and note($found[0] =~ s/\n.*//sr);
}

# Upgraded while a key and a lease are held, and another database stays at the old version.
add_script("$newest--works", $part{'a function'});
my ($old, $new) = map { $node->safe_psql('postgres', "CREATE DATABASE $_"); $_ } qw(stays moves);
$node->safe_psql($_, "CREATE EXTENSION concurrency_safe VERSION '$newest'") foreach $old, $new;
my $token = $node->safe_psql($new, q{SELECT cs_lease('job', 3600000)});
my $session = KeyTest::Session->new($node, database => $new);
$session->query_safe(q{SELECT cs_lock('k', scope => 'session')});
$node->safe_psql($new, q{ALTER EXTENSION concurrency_safe UPDATE TO 'works'});
is($session->query(q{SELECT cs_next('k'), cs_held_mode('k')}),
	'exclusive|exclusive', 'a session that holds a key has the new function at once');
is($node->safe_psql($new, qq{SELECT cs_check_token('job', $token)}), '', 'leases go through an upgrade');
is($node->safe_psql($old, q{SELECT cs_try_lock('k'), to_regproc('cs_next') IS NULL}),
	't|t', 'another database works with the version before, in the same server');

# A library older than the script: it lacks a function that the script wants.
add_script("$newest--toonew", q{COMMENT ON FUNCTION cs_unlock_all() IS 'changed';
	CREATE FUNCTION cs_future() RETURNS void LANGUAGE C AS 'MODULE_PATHNAME', 'cs_future';});
my ($status, undef, $error) = $node->psql($old, q{ALTER EXTENSION concurrency_safe UPDATE TO 'toonew'});
isnt($status, 0, 'with a library that is too old, the upgrade fails');
like($error, qr/could not find function "cs_future"/, 'and says why');
is( $node->safe_psql($old, q{SELECT extversion, obj_description('cs_unlock_all()'::regprocedure) = 'changed', cs_try_lock('k')
		FROM pg_extension WHERE extname = 'concurrency_safe'}),
	"$newest|f|t", 'nothing was changed, and everything works');

$session->quit;
$node->stop;
done_testing();
