# docs/security.md, command by command: who may lock once the rights are taken away,
# by the recipes of the documents themselves; what an ordinary role cannot do; what
# of keys is found in the log. Who sees what is tested in 024_rights_to_see.pl.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', $any_order, 'log_statement = none', 'max_prepared_transactions = 2');
$node->safe_psql('postgres', q{
	CREATE ROLE app LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE clerk LOGIN;
	CREATE ROLE monitor LOGIN IN ROLE pg_monitor});

# The commands of the block that begins with this line.
sub recipe
{
	my ($file, $begin) = @_;
	my $text = slurp_file("$FindBin::RealBin/../../$file");
	my ($block) = $text =~ /^(    \Q$begin\E.*?)\n\n/ms;

	return $block // die "$file has no commands that begin with \"$begin\"";
}

sub session
{
	my ($database, $role) = @_;

	return KeyTest::Session->new($node, database => $database, user => $role, name => $role);
}

# All that locks, as a call in a transaction; %s is the schema.
my @locks = (
	"SELECT %s.cs_lock('k')", "SELECT %s.cs_try_lock('k')",
	"SELECT %s.cs_lock_all('{k}')", "SELECT %s.cs_try_lock_all('{k}')",
	"SELECT %s.cs_try_lock_any('{k}')", "SELECT %s.cs_lock_path('k')",
	"SELECT %s.cs_try_lock_path('k')", "SELECT %s.cs_permit('k', 1)",
	"SELECT %s.cs_try_permit('k', 1)", "SELECT %s.cs_lease('k', 1)",
	"SELECT %s.cs_renew_lease('k', 1, 1)", "SELECT %s.cs_release_lease('k', 1)",
	"CALL %s.cs_transfer('account', '1', '2', 1)", 'LOCK cs_key.k');
my @outside = ("CALL %s.cs_run('k', '')", "SELECT %s.cs_check_token('k', 1)");

# The answers of a role to all of it: SQLSTATEs, each once.
sub answers
{
	my ($session, $schema, $block, @calls) = @_;
	my %state;

	foreach my $call (map { sprintf s/%s/$schema/r } @calls)
	{
		$session->query_safe('BEGIN') if $block;
		$session->query($call);
		$state{ $session->sqlstate || 'works' }++;
		$session->query_safe('ROLLBACK') if $block;
	}
	return join ' ', sort keys %state;
}

sub new_database
{
	my ($database, $schema) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "CREATE SCHEMA IF NOT EXISTS $schema;
		CREATE EXTENSION concurrency_safe SCHEMA $schema;
		CREATE TABLE account (id integer PRIMARY KEY, balance integer);
		INSERT INTO account VALUES (1, 100), (2, 100);
		GRANT ALL ON account TO PUBLIC");
	return;
}

sub may_lock
{
	my ($database, $schema, $role) = @_;
	my $session = session($database, $role);
	my $answers = join ' ', answers($session, $schema, 1, @locks), answers($session, $schema, 0, @outside);

	$session->quit;
	return $answers;
}

# Everybody, at first.
new_database('open', 'public');
is(may_lock('open', 'public', 'stranger'), 'works 55000 works', 'an ordinary role may lock (and has no lease)');

# The README: one role, a schema of its own.
new_database('closed', 'locks');
$node->safe_psql('closed', 'GRANT USAGE ON SCHEMA locks TO stranger, monitor');
is(may_lock('closed', 'locks', 'stranger'), 'works 55000 works', 'before the recipe of the README everybody may lock');
$node->safe_psql('closed', recipe('README.md', 'REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA locks'));
is(may_lock('closed', 'locks', 'app'), 'works 55000 works', 'after it one role may');
is(may_lock('closed', 'locks', 'stranger'), '42501 42501', 'and no other');
my %allowed = map { $_ => session('closed', $_) } qw(app stranger monitor);
is( $allowed{$_}->query(q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'locks'::regnamespace
		AND has_function_privilege(oid, 'EXECUTE')}), '0', "nothing is left to $_") foreach qw(stranger monitor);
foreach my $call ('cs_stat_reset()', 'cs_lock_order_reset()', q{cs_lease_cleanup('0')})
{
	$allowed{app}->query("SELECT locks.$call");
	is($allowed{app}->sqlstate, '42501', "what is for superusers stays with them: $call");
}
my $locked_by_app = q{SELECT key, role FROM locks.cs_locks};
$allowed{app}->query_safe(q{BEGIN; SELECT locks.cs_lock('k')});
$allowed{monitor}->query($locked_by_app);
is($allowed{monitor}->sqlstate, '42501', 'a monitoring role needs a right of its own');
$node->safe_psql('closed', recipe('README.md', 'GRANT EXECUTE ON FUNCTION locks.cs_locks()'));
is($allowed{monitor}->query($locked_by_app), 'k|app', 'with it, it sees the locks');
$_->quit foreach values %allowed;

# The rights go with a dump.
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
$node->command_ok([ 'pg_dump', '--file', $dump, '--dbname', $node->connstr('closed') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ], 'restore');
is(may_lock('copy', 'locks', 'stranger'), '42501 42501', 'what was revoked is revoked in the copy');
is(may_lock('copy', 'locks', 'app'), 'works 55000 works', 'and what was granted is granted');

# docs/security.md: function by function.
new_database('single', 'public');
$node->safe_psql('single', q{CREATE TABLE guarded (id integer);
	CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION cs_guard('guarded:{id}', 'acquire');
	GRANT ALL ON guarded TO PUBLIC; GRANT CREATE ON SCHEMA public TO stranger});
foreach my $begin ('REVOKE EXECUTE ON FUNCTION', 'CREATE FUNCTION lock_order(id bigint)')
{
	$node->safe_psql('single', recipe('docs/security.md', $begin));
}
is(may_lock('single', 'public', 'stranger'), '42501 42501', 'revoked function by function: nothing locks');
my ($stranger, $app) = map { session('single', $_) } qw(stranger app);
$app->query_safe('BEGIN; SELECT lock_order(42)');
is($app->query(q{SELECT cs_held_mode('order:42')}), 'exclusive', 'a function of somebody else locks for a role');
$app->query('SELECT cs_lock($$other$$)');
is($app->sqlstate, '42501', 'and only what it is for');
$app->query('ROLLBACK');
$app->query_safe('BEGIN; SELECT lock_order(42)');
is($stranger->query(q{SELECT count(*), count(role) FROM cs_holders('order:42')}), '1|0',
	'who may not lock can still look, as far as everybody may');
$stranger->query('SELECT lock_order(42)');
is($stranger->sqlstate, '42501', 'that function is not for everybody');
$stranger->query_safe('BEGIN; INSERT INTO guarded VALUES (7)');
is($stranger->query(q{SELECT cs_held_mode('guarded:7')}), 'exclusive', 'a guard works for everybody who writes the table');
$stranger->query_safe('ROLLBACK; CREATE TABLE mine (id integer)');
$stranger->query(q{CREATE TRIGGER guard BEFORE INSERT ON mine FOR EACH ROW EXECUTE FUNCTION cs_guard('k', 'acquire')});
is($stranger->sqlstate, '42501', 'but nobody else makes one');
# The locks of PostgreSQL itself do not reach those of keys.
my ($classid, $objid) = split /\|/, $app->query(q{SELECT classid::bigint, objid::bigint FROM cs_key_tag('order:42')});
is( $stranger->query(qq{SELECT pg_try_advisory_xact_lock(((${classid}::bit(32) || ${objid}::bit(32))::bit(64))::bigint),
		pg_try_advisory_xact_lock(${classid}::bit(32)::integer, ${objid}::bit(32)::integer)}),
	't|t', 'the numbers of a lock on a key are free in pg_advisory_lock');
$app->query_safe('COMMIT');

# Nobody releases what others hold.
my $holder = session('open', 'app');
my $other = session('open', 'stranger');
$holder->query_safe(q{SELECT cs_lock('a', scope => 'session'), cs_lock_path('b:c', scope => 'session');
	BEGIN; SELECT cs_lock('d'), cs_permit('e', 1)});
is( $other->query(q{SELECT cs_unlock('a'), cs_unlock_path('b:c'), cs_unlock('d'), cs_unlock_all()}),
	'f|f|f|0', 'a role unlocks nothing of another one');
$other->query_safe('SELECT pg_advisory_unlock_all(); DISCARD ALL');
is($other->query(q{SELECT cs_try_lock('a'), cs_try_lock('b:c'), cs_try_lock('d'), cs_try_permit('e', 1)}),
	'f|f|f|f', 'all is still held');
foreach my $call ("cs_cancel_holders('a')", "pg_terminate_backend($holder->{pid})")
{
	$other->query("SELECT $call");
	is($other->sqlstate, '42501', "not allowed: $call");
}
$holder->query_safe(q{COMMIT; SELECT cs_unlock_all(); BEGIN; SELECT cs_lock('f'); PREPARE TRANSACTION 'theirs'});
$other->query(q{ROLLBACK PREPARED 'theirs'});
is($other->sqlstate, '42501', 'nor does it end a prepared transaction of another one');
$holder->query_safe(q{ROLLBACK PREPARED 'theirs'});

# The limit on keys: set by a superuser for a role, which cannot raise it.
my $limited = recipe('docs/security.md', 'ALTER ROLE app SET concurrency_safe.max_keys_per_session') =~ s/\bapp\b/clerk/gr;
$node->safe_psql('postgres', $limited);
my $many = q{SELECT cs_lock_all(array_agg('many:' || i)) FROM generate_series(1, %d) AS i};
my $clerk = session('open', 'clerk');
$clerk->query(sprintf $many, 100);
is($clerk->sqlstate, '', 'a role with a limit may lock as many keys as it says');
$clerk->query(sprintf $many, 101);
is($clerk->sqlstate, '53400', 'and not one more');
foreach my $raise ('SET concurrency_safe.max_keys_per_session = -1', 'RESET concurrency_safe.max_keys_per_session',
	q{SELECT set_config('concurrency_safe.max_keys_per_session', '1000', false)},
	'ALTER ROLE clerk SET concurrency_safe.max_keys_per_session = -1',
	'ALTER ROLE clerk RESET concurrency_safe.max_keys_per_session',
	'CREATE FUNCTION pg_temp.f() RETURNS integer LANGUAGE sql SET concurrency_safe.max_keys_per_session = -1 AS $$ SELECT 1 $$')
{
	$clerk->query($raise);
	is($clerk->sqlstate, '42501', "not allowed: $raise");
}
$clerk->query_safe('RESET ALL; DISCARD ALL');
$clerk->query(sprintf $many, 101);
is($clerk->sqlstate, '53400', 'RESET ALL and DISCARD ALL leave it at its limit');
$clerk->quit;
my ($status, undef, $error) = $node->psql('open', sprintf($many, 101), extra_params => [ '-U', 'clerk' ],
	connstr => $node->connstr('open') . q{ options='-c concurrency_safe.max_keys_per_session=-1'});
isnt($status, 0, 'options of the connection do not raise it either');
like($error, qr/permission denied to set parameter/, 'they are refused');

# The log: locks that are granted and tries that fail are not in it; errors and warnings are.
my $log_end = -s $node->logfile;
$holder->query_safe(q{BEGIN; SELECT cs_lock('quiet:anna', 1000), cs_try_lock_all('{quiet:anna,quiet:b}'), cs_permit('quiet:c', 2);
	SELECT cs_lease('quiet:d', 1); SELECT cs_unlock_all(); COMMIT});
is($other->query(q{BEGIN; SELECT cs_try_lock('quiet:anna')}), 't', 'a lock of one after the other');
$holder->query_safe(q{BEGIN; SELECT cs_lock('loud:anna')});
is($other->query(q{SELECT cs_try_lock('loud:anna', 1)}), 'f', 'and a try that fails');
$other->query_safe('COMMIT');
unlike(slurp_file($node->logfile, $log_end), qr/anna|quiet/, 'are not in the log');
$other->query(q{SELECT cs_lock('loud:anna', 1)});
is($other->sqlstate, '55P03', 'an error');
like(slurp_file($node->logfile, $log_end), qr/ERROR:.*"loud:anna"/, 'is');
like($other->{error}, qr/DETAIL:  .*Process $holder->{pid} holds it/, 'a stranger learns which session holds the key');
unlike($other->{error}, qr/role "|application "/, 'and not whose it is');
$holder->query_safe('COMMIT');

# What the document says to alert on.
$holder->query_safe('BEGIN; ' . sprintf $many, 30);
is($node->safe_psql('open', recipe('docs/security.md', 'SELECT usename, count(*) AS sessions')),
	'app|1|30|30', 'the role that holds many keys stands out');
$holder->query_safe('COMMIT');

# Nothing has the rights of its owner.
is( $node->safe_psql('open', q{SELECT count(*) FROM pg_proc WHERE proname LIKE 'cs\_%' AND prosecdef}),
	'0', 'no function is SECURITY DEFINER');
is( $node->safe_psql('open', q{SELECT string_agg(name, ' ') FROM pg_available_extension_versions
		WHERE name = 'concurrency_safe' AND (trusted OR relocatable OR NOT superuser)}),
	'', 'no version is trusted or relocatable');

$_->quit foreach $holder, $other, $stranger, $app;
locks_become($node, '0,0', 'nothing is left');
$node->stop;
done_testing();
