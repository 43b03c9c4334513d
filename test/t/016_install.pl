# Databases: dump and restore, a schema of one's own, locks that belong to a
# database, and DROP EXTENSION under an open transaction.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
my $functions = q{SELECT md5(string_agg(
		coalesce(pg_get_functiondef(p.oid), '') || coalesce(p.proacl::text, '')
		|| coalesce(obj_description(p.oid, 'pg_proc'), ''), '' ORDER BY p.oid::regprocedure::text))
	FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
	JOIN pg_extension e ON d.refobjid = e.oid AND d.refclassid = 'pg_extension'::regclass
	WHERE e.extname = 'concurrency_safe' AND d.deptype = 'e'};
my $tag = q{cs_key_tag('withdraw:user:42')};

# Objects that use the extension, and rights on its functions.
foreach my $schema (qw(public locks))
{
	$node->safe_psql('postgres', "CREATE DATABASE original_$schema");
	$node->safe_psql("original_$schema", qq{
		CREATE SCHEMA IF NOT EXISTS $schema;
		CREATE EXTENSION concurrency_safe SCHEMA $schema;
		CREATE VIEW tags AS SELECT * FROM $schema.$tag;
		CREATE FUNCTION locked(key text) RETURNS boolean LANGUAGE sql
			AS 'SELECT $schema.cs_try_lock(\$1)';
		CREATE TABLE job (id int PRIMARY KEY, tag int DEFAULT ($schema.$tag).objsubid);
		INSERT INTO job VALUES (1)});

	$node->command_ok(
		[ 'pg_dump', '--file', $dump, '--dbname', $node->connstr("original_$schema") ],
		"dump, extension in schema $schema");
	$node->safe_psql('postgres', "CREATE DATABASE copy_$schema");
	$node->command_ok(
		[
			'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d',
			$node->connstr("copy_$schema")
		],
		'restore');
	my ($original, $copy) =
	  map { $node->safe_psql("${_}_$schema", "SET search_path = pg_catalog; $functions") }
	  qw(original copy);
	is($copy, $original, 'the functions are the same');
	is( $node->safe_psql("copy_$schema", "SELECT t, tag = t.objsubid FROM tags t, job"),
		$node->safe_psql("original_$schema", "SELECT $schema.$tag, true"),
		'so are keys and their tags');
	is($node->safe_psql("copy_$schema", q{SELECT locked('k')}), 't', 'the extension works');

	my @mine = $node->psql("original_$schema",
		"ALTER EXTENSION concurrency_safe SET SCHEMA pg_catalog");
	like($mine[2], qr/does not support SET SCHEMA/, 'the schema cannot be changed later');
}

# A key is a key of its database.
my $one = KeyTest::Session->new($node, database => 'original_public');
my $two = KeyTest::Session->new($node, database => 'copy_public');
$one->query_safe(q{BEGIN; SELECT cs_lock('k')});
is($two->query(q{SELECT cs_try_lock('k')}), 't', 'another database has keys of its own');
is($two->query(q{SELECT count(*) FROM cs_holders('k')}), '0', 'and holders of its own');

# DROP EXTENSION while a transaction holds a key and has plans for more.
$two->query_safe(q{
	PREPARE lock AS SELECT cs_lock($1);
	CREATE FUNCTION lock_it() RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN PERFORM cs_lock('b'); END $$;
	BEGIN; EXECUTE lock('a'); SELECT lock_it(); SELECT cs_lock('s', scope => 'session')});
$node->safe_psql('copy_public', 'DROP EXTENSION concurrency_safe CASCADE');
locks_are($node, '4,0', 'DROP EXTENSION does not wait, and the locks stay');
$two->query(q{SAVEPOINT s; EXECUTE lock('c')});
like($two->sqlstate, qr/^(|42883)$/, 'a prepared statement works or finds no function');
$two->query(q{ROLLBACK TO s; SELECT lock_it()});
like($two->sqlstate, qr/^(|42883)$/, 'so does a function with a plan');
$two->query('ROLLBACK; SELECT pg_advisory_unlock_all()');
is($two->query('SELECT pg_backend_pid()'), $two->{pid}, 'the backend lives');
$one->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');
is( $node->safe_psql('copy_public', q{CREATE EXTENSION concurrency_safe; SELECT cs_try_lock('a')}),
	't', 'it can be created again');
is($two->query(q{BEGIN; EXECUTE lock('a'); SELECT cs_held_mode('a'); COMMIT}),
	"\nexclusive", 'and old plans find the new function');

$_->quit foreach $one, $two;
$node->stop;
done_testing();
