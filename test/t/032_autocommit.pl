# Locks that end with their own statement are reported for every client: simple
# and extended protocol, prepared statements and pipelines, with the library
# preloaded or not. SQL in all its forms is in test/sql/check_autocommit.sql.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @settings = ("concurrency_safe.check_autocommit = 'warning'",
	"concurrency_safe.check_order = 'off'");
my $node = new_node('main', @settings);
my $script = PostgreSQL::Test::Utils::tempdir . '/script.sql';

$node->safe_psql('postgres',
	q{CREATE TABLE job (key text);
	INSERT INTO job VALUES ('job');
	CREATE FUNCTION work() RETURNS text LANGUAGE sql AS $$ SELECT cs_held_mode('worked') $$;
	CREATE FUNCTION lock_in_function() RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN PERFORM cs_lock('function'); END $$;
	CREATE PROCEDURE lock_in_procedure() LANGUAGE plpgsql
		AS $$ BEGIN PERFORM cs_lock('procedure'); COMMIT; PERFORM cs_lock('procedure'); END $$});

# The keys in what a client wrote to stderr, in order.
sub reported
{
	my ($level, $error) = @_;

	return join ' ', $error =~ /\Q$level\E:  (?:\w{5}: )?lock on key "([^"]*)" ends/g;
}

# Runs the commands as a script of pgbench, each transaction one run: what it
# wrote to stderr.
sub run_pgbench
{
	my ($protocol, $runs, @commands) = @_;
	my ($out, $error) = ('', '');

	unlink $script;
	append_to_file($script, join "\n", @commands, '');
	IPC::Run::run(
		[
			$node->installed_command('pgbench'), '-n', '-M', $protocol, '-c', '1', '-t', $runs,
			'-f', $script, $node->connstr('postgres')
		],
		'>' => \$out,
		'2>' => \$error);
	like($out, qr{actually processed: $runs/$runs\b}, "pgbench, $protocol protocol");
	return $error;
}

# Statements that only lock, and the key that is reported. \set gives the statement
# a parameter, whose value a plan knows for the first five runs only.
my %alone = (
	q{SELECT cs_lock('lock');} => 'lock',
	q{SELECT cs_lock('lock ' || :n);} => 'lock 1',
	q{SELECT cs_try_lock('try', :n);} => 'try',
	q{SELECT cs_try_lock('try')::text;} => 'try',
	q{SELECT cs_try_lock('try')::integer;} => 'try',
	q{SELECT cs_lock_all(ARRAY['all']);} => 'all',
	q{SELECT cs_lock_all(ARRAY['all ' || :n], mode => 'S')::text;} => 'all 1',
	q{SELECT cs_try_lock_all(ARRAY['try all']);} => 'try all',
	q{SELECT cs_try_lock_any(ARRAY['any']);} => 'any',
	q{SELECT cs_try_lock_any(ARRAY['any ' || :n])::text;} => 'any 1',
	q{SELECT cs_lock_path('path');} => 'path',
	q{SELECT cs_try_lock_path('try path');} => 'try path',
	q{SELECT * FROM cs_lock('from ' || :n);} => 'from 1',
	q{SELECT * FROM cs_try_lock('try from');} => 'try from',
);

# Statements that do more, that lock in session scope, and those of transaction blocks.
my @fine = (
	q{SELECT cs_lock('worked'), work();},
	q{SELECT cs_lock('worked ' || :n), :n;},
	q{SELECT cs_lock(key) FROM job;},
	q{SELECT count(*) FROM job WHERE cs_try_lock(key);},
	q{SELECT lock_in_function();},
	q{SELECT * FROM lock_in_function();},
	q{CALL lock_in_procedure();},
	q{DO $$ BEGIN PERFORM cs_lock('do'); END $$;},
	q{INSERT INTO job SELECT 'new' WHERE cs_try_lock('new');},
	q{SELECT cs_lock('session', scope => 'session');},
	q{SELECT cs_unlock('session');},
	q{SELECT cs_lock_all(ARRAY[]::text[]);},
	q{SELECT cs_held_mode('lock');},
	q{BEGIN;},
	q{SELECT cs_lock('block');},
	q{SELECT * FROM cs_try_lock('block');},
	q{COMMIT;},
);

foreach my $protocol (qw(simple extended prepared))
{
	my @statements = sort keys %alone;
	my $once = join ' ', @alone{@statements};

	is(reported('WARNING', run_pgbench($protocol, 7, '\set n 1', @statements)),
		join(' ', ($once) x 7), 'every lock that ends with its statement is reported');
	unlike(run_pgbench($protocol, 7, '\set n 1', @fine),
		qr/WARNING|ERROR/, 'and nothing else is');
}

# Several statements in one string are a transaction; those with a message each are not.
foreach my $case (
	[ 'lock', q{SELECT cs_lock('lock')} ],
	[ '', q{SELECT cs_lock('lock'); SELECT 1} ],
	[ '', q{SELECT 1; SELECT cs_lock('lock')} ],
	[ '', q{SELECT cs_lock('lock'); SELECT cs_lock('lock')} ],
	[ 'a b', q{SELECT cs_lock('a')}, q{SELECT cs_lock('b')} ],
	[ '', 'BEGIN', q{SELECT cs_lock('a')}, 'COMMIT' ],
	[ '', '\set AUTOCOMMIT off', q{SELECT cs_lock('a')} ])
{
	my ($expected, @commands) = @{$case};
	my ($out, $error) =
	  run_command([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), map { ('-c', $_) } @commands ]);

	is(reported('WARNING', $error), $expected, "psql: @commands");
}

# Nobody can know what comes after the first statement of a pipeline, but of the
# others it is known that something came before.
foreach my $protocol (qw(extended prepared))
{
	my @pipelines = (
		[ 'first', q{SELECT cs_lock('first');}, 'SELECT 1;', q{SELECT cs_lock('last');} ],
		[ '', 'SELECT 1;', q{SELECT cs_lock('second');}, 'SELECT 2;' ],
		[ '', 'BEGIN;', q{SELECT cs_lock('block');}, 'COMMIT;' ],
		[ 'alone', q{SELECT cs_lock('alone');} ]);

	foreach my $case (@pipelines)
	{
		my ($expected, @commands) = @{$case};
		my $error = run_pgbench($protocol, 1, '\startpipeline', @commands, '\endpipeline');

		is(reported('WARNING', $error), $expected, "a pipeline: @commands");
	}
}

SKIP:
{
	skip 'psql cannot send parameters', 2
	  if $node->safe_psql('postgres', 'SHOW server_version_num') < 160000;
	my $session = KeyTest::Session->new($node);

	$session->query(q{SELECT cs_lock($1) \bind 'bound' \g});
	is(reported('WARNING', $session->{error}), 'bound', 'psql: \bind');
	$session->query(q{SET concurrency_safe.check_autocommit = 'error';
		SELECT cs_lock($1) \bind 'bound' \g});
	is($session->sqlstate, '25P01', 'as an error');
	$session->quit;
}

# The report comes before anything is locked or waited for: without a wait, 55P03
# and false show that a function got to the lock.
my $holder = KeyTest::Session->new($node);
my $session = KeyTest::Session->new($node);
my %busy = (
	q{cs_lock('hot', 0)} => '55P03',
	q{cs_try_lock('hot')} => '',
	q{cs_lock_all('{hot}', 0)} => '55P03',
	q{cs_try_lock_all('{hot}')} => '',
	q{cs_try_lock_any('{hot}')} => '',
	q{cs_lock_path('hot', 0)} => '55P03',
	q{cs_try_lock_path('hot')} => '');

$holder->query_safe(q{SELECT cs_lock('hot', scope => 'session')});
foreach my $call (sort keys %busy)
{
	$session->query_safe(q{SET concurrency_safe.check_autocommit = 'warning'});
	$session->query("SELECT $call");
	is($session->sqlstate, $busy{$call}, "$call of a busy key");
	is(reported('WARNING', $session->{error}), 'hot', 'with a warning');

	$session->query_safe(q{SET concurrency_safe.check_autocommit = off});
	$session->query("SELECT $call");
	is($session->sqlstate, $busy{$call}, 'off: the same');
	unlike($session->{error}, qr/WARNING/, 'without the warning');

	$session->query_safe(q{SET concurrency_safe.check_autocommit = 'error'});
	$session->query("SELECT $call");
	is($session->sqlstate, '25P01', 'error: the key is not asked for');
	is(reported('ERROR', $session->{error}), 'hot', 'and named');
}
$session->query_safe('SELECT cs_stat_reset()');
foreach my $call (sort keys %busy)
{
	$session->query('SELECT ' . $call =~ s/hot/free/r);
}
is($session->query(q{SELECT count(*) FROM cs_stat_keys WHERE acquired > 0}), '0', 'nor a free one');
is($session->query(q{BEGIN; SELECT cs_try_lock('free'); COMMIT}), 't', 'a block is let through');
$holder->query_safe('SELECT cs_unlock_all()');
locks_are($node, '0,0', 'nothing is left');

# The setting of a role, a database or a connection, before the library is loaded, too.
my $unloaded = new_node('unloaded', @settings, "shared_preload_libraries = ''");
foreach my $server ($node, $unloaded)
{
	my %by = (
		careful => [ '25P01', 'role careful' ],
		careless => [ '', 'role careless' ]);

	$server->safe_psql('postgres',
		q{CREATE ROLE careful LOGIN; CREATE ROLE careless LOGIN;
		ALTER ROLE careful SET concurrency_safe.check_autocommit = 'error';
		ALTER ROLE careless SET concurrency_safe.check_autocommit = off;
		CREATE DATABASE strict});
	$server->safe_psql('strict', 'CREATE EXTENSION concurrency_safe');
	$server->safe_psql('postgres',
		q{ALTER DATABASE strict SET concurrency_safe.check_autocommit = 'error'});

	my $client = KeyTest::Session->new($server);
	$client->query(q{SELECT cs_lock('k')});
	is(reported('WARNING', $client->{error}), 'k', $server->name . ': the server\'s setting');
	$client->quit;
	foreach my $user (qw(careful careless))
	{
		$client = KeyTest::Session->new($server, user => $user);
		$client->query(q{SELECT cs_lock('k')});
		is($client->sqlstate, $user eq 'careful' ? '25P01' : '', "the setting of role $user");
		is(reported('WARNING', $client->{error}), '', 'and nothing else');
		$client->query_safe(q{SET concurrency_safe.check_autocommit = 'warning'});
		$client->query(q{SELECT cs_lock('k')});
		is(reported('WARNING', $client->{error}), 'k', 'which it may change');
		$client->quit;
	}
	foreach my $case ([ 'strict', '', '25P01' ], [ 'strict', 'off', '' ], [ 'postgres', 'error', '25P01' ])
	{
		my ($database, $option, $expected) = @{$case};
		local $ENV{PGOPTIONS} =
		  $option ? "-c concurrency_safe.check_autocommit=$option" : '';

		$client = KeyTest::Session->new($server, database => $database);
		$client->query(q{SELECT cs_lock('k')});
		is($client->sqlstate, $expected, "database $database, connection '$option'");
		$client->quit;
	}
	locks_are($server, '0,0', 'nothing is left');
}

$_->quit foreach $holder, $session;
$_->stop foreach $node, $unloaded;
done_testing();
