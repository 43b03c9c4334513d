# Two keys with the same lock tag: with 79 bits nobody ever sees any, so the
# library is built once more with a hash of which only the rest is left.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $source = "$FindBin::RealBin/../..";
my $build = PostgreSQL::Test::Utils::tempdir;
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';

system_or_bail('cp', '-r', "$source/src", "$source/sql", "$source/Makefile",
	"$source/concurrency_safe.control", $build);
my $key_source = slurp_file("$build/src/key.cpp");
ok( $key_source =~ s/const (XXH128_hash_t hash = .*;\n)/$1\thash.low64 = 5;\n\thash.high64 = hash.high64 << 15 | 1;\n/,
	'all keys get one tag');
append_to_file("$build/src/key_of_one_tag.cpp", $key_source);
rename("$build/src/key_of_one_tag.cpp", "$build/src/key.cpp") or die $!;
my @make = ('make', '-s', '-C', $build, "PG_CONFIG=$pg_config", 'with_llvm=no');
system_or_bail(@make, 'clean');
system_or_bail(@make, '-j2', 'install', "DESTDIR=$build/install", 'DOCS=', 'LTO=',
	'COPT=-O0 -Wp,-U_FORTIFY_SOURCE -w');

# The settings that let the server find the extension, for the other build.
my $settings = slurp_file($ENV{TEMP_CONFIG});
my ($installed) = $settings =~ /^dynamic_library_path = '(.*)\Q@{[`$pg_config --pkglibdir` =~ s{\s+$}{}r]}\E:/m;
$settings =~ s/\Q$installed\E/$build\/install/g;

my $node = new_node('main', $settings);
my $first = KeyTest::Session->new($node);
my $second = KeyTest::Session->new($node);

$first->query_safe(q{BEGIN; SELECT cs_lock('a')});
is($second->query_safe(q{SELECT cs_try_lock('b')}), 'f', 'they share one lock');
is( $node->safe_psql('postgres', 'SELECT collisions FROM cs_stat'), 1, 'which is noticed');
like(
	slurp_file($node->logfile),
	qr/LOG:  key "b" shares its lock with another key\n.*DETAIL:  Both have the lock tag 5, 0, 32769\./,
	'and told');
$first->query_safe('COMMIT');
$second->query_safe(q{SELECT cs_lock('b'); SELECT cs_lock('a'); SELECT cs_lock('b')});
is( $node->safe_psql('postgres', 'SELECT collisions FROM cs_stat'), 1, 'once');
is(() = slurp_file($node->logfile) =~ /shares its lock/g, 1, 'told once');
is( $node->safe_psql(
		'postgres', 'SELECT key, acquired, timed_out FROM cs_stat_keys ORDER BY key'),
	"a|2|0\nb|2|1",
	'each has its own statistics');

$second->query_safe(q{BEGIN; SELECT cs_lock('b')});
is($node->safe_psql('postgres', 'SELECT key FROM cs_locks'),
	'b', 'the lock has the name of the one that was granted last');
$second->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');
$_->quit foreach $first, $second;
done_testing();
