# Leases among several sessions: who waits and how a wait ends, rights, prepared
# transactions, crashes, dumps, and DROP EXTENSION.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use List::Util qw(min);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = new_node('main', 'max_prepared_transactions = 5');
my $hour = 3600000;
my ($holder, $first, $second, $third) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder first second third);

# The locks of leases that are held and waited for.
sub lease_locks_are
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres',
		q{SELECT count(*) FILTER (WHERE granted) || ',' || count(*) FILTER (WHERE NOT granted)
			FROM pg_locks WHERE locktype = 'userlock'}, $expected), $name);
	return;
}

# Waits until a session waits for the lock of a lease in that mode.
sub becomes_blocked
{
	my ($session, $mode) = @_;

	$node->poll_query_until('postgres',
		qq{SELECT count(*) = 1 FROM pg_locks WHERE pid = $session->{pid}
			AND locktype = 'userlock' AND mode = '$mode' AND NOT granted}) or die 'not blocked';
	return;
}

# Waits until a session is the first one in a queue: it holds its lock, and waits for none.
sub becomes_first
{
	my ($session) = @_;

	$node->poll_query_until('postgres',
		qq{SELECT count(*) FILTER (WHERE mode = 'AccessExclusiveLock') = 1
				AND bool_and(granted) AND (SELECT wait_event_type = 'Lock'
					FROM pg_stat_activity WHERE pid = $session->{pid})
			FROM pg_locks WHERE pid = $session->{pid} AND locktype = 'userlock'})
	  or die 'not the first one';
	return;
}

sub take { return "SELECT cs_lease('$_[0]', $hour, timeout_ms => " . ($_[1] // -1) . ')' }

# First come, first served: each release lets one in, the one that came first.
my $token = $holder->query_safe(take('queue'));
$_->start_waiting(take('queue')) foreach $first, $second, $third;
is($holder->query(take('queue', 10)), '', 'whoever comes after them does not wait longer than he wants to');
my $owner = $holder;
foreach my $next ($first, $second, $third)
{
	is($owner->query_safe("SELECT cs_release_lease('queue', $token)"), 't', 'release');
	is($next->finish, ++$token, 'the one who came first has it, with the next token');
	$owner = $next;
}
lease_locks_are('0,0', 'nobody waits any more');

# Who waits is woken, and does not only look once in a second. The fastest of some counts,
# since a busy machine makes others slow.
my @times;
foreach (1 .. 5)
{
	$token = $holder->query_safe(take('woken'));
	$first->start_waiting(take('woken'));
	becomes_first($first);

	my $start = time;

	$holder->query_safe("SELECT cs_release_lease('woken', $token)");
	$token = $first->finish;
	push @times, time - $start;
	$first->query_safe("SELECT cs_release_lease('woken', $token)");
}
cmp_ok(min(@times), '<', 0.5, 'a release wakes who waits');

# However a wait ends: nothing is left, and those behind move up.
my %end = (
	'cancel' => [ '57014', sub { $node->safe_psql('postgres', "SELECT pg_cancel_backend($_[0]{pid})") } ],
	'terminate' => [ '57P01', sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0]{pid})") } ],
	'statement_timeout' => [ '57014', sub { } ],
	'a vanished client' => [ '', sub { $_[0]->kill_client } ]);

foreach my $how (sort keys %end)
{
	my ($state, $end) = @{ $end{$how} };

	foreach my $place (qw(sleeping queued blocked))
	{
		my $victim = KeyTest::Session->new($node);
		my $key = "$how, $place";

		$victim->query_safe(q{SET client_connection_check_interval = '10ms'});
		$holder->query_safe('BEGIN') if $place eq 'blocked';
		my $token = $holder->query_safe(take($key));
		$second->start_waiting(take($key)) if $place eq 'queued';
		$victim->query_safe(q{SET statement_timeout = '500ms'}) if $how eq 'statement_timeout';
		$victim->start_waiting(take($key));
		becomes_first($victim) if $place eq 'sleeping';
		becomes_blocked($victim, 'AccessExclusiveLock') if $place eq 'queued';
		becomes_blocked($victim, 'ExclusiveLock') if $place eq 'blocked';
		$third->start_waiting(take($key));
		$end->($victim);
		if ($state eq '57014')
		{
			$victim->finish;
			is($victim->sqlstate, $state, "$how of a session that waits $place");
			is($victim->query('SELECT pg_backend_pid()'), $victim->{pid}, 'it goes on');
		}
		elsif ($state eq '57P01')
		{
			$victim->wait_for_end;
			is($victim->sqlstate, $state, "$how of a session that waits $place");
		}
		# All who are left: the holder in its transaction, and those in the queue.
		lease_locks_are(
			{ sleeping => '1,0', queued => '1,1', blocked => '2,1' }->{$place}, 'it left the queue');
		$holder->query_safe('ROLLBACK') if $place eq 'blocked';
		$holder->query_safe("SELECT cs_release_lease('$key', $token)") unless $place eq 'blocked';
		if ($place eq 'queued')
		{
			is($second->finish, ++$token, 'the one before it gets the lease');
			$second->query_safe("SELECT cs_release_lease('$key', $token)");
		}
		is($third->finish, $place eq 'blocked' ? $token : $token + 1, 'the one behind it gets the lease');
		$victim->quit;
	}
}
lease_locks_are('0,0', 'nothing is left');

# A wait that ends with an error in a block of PL/pgSQL leaves a usable transaction.
$token = $holder->query_safe(take('block'));
is($first->query(qq{BEGIN; SET LOCAL statement_timeout = 100;
	DO \$\$ BEGIN PERFORM cs_lease('block', 1, timeout_ms => -1);
		EXCEPTION WHEN query_canceled THEN NULL; END \$\$;
	SET LOCAL statement_timeout = 0;
	SELECT count(*) FROM pg_locks WHERE locktype = 'userlock'; } . take('block', 1)),
	"0\n", 'a cancelled wait in a block leaves no lock, the transaction goes on');
$first->query_safe('COMMIT');

# It expires while somebody waits, but was renewed: the one who waits looks again.
for my $try (1 .. 20)
{
	$token = $holder->query_safe(q{SELECT cs_lease('renewed', 300, timeout_ms => -1)});
	last if $holder->query_safe("BEGIN; SELECT cs_renew_lease('renewed', $token, $hour)") eq 't';
	$holder->query_safe('ROLLBACK');
}
$first->start(take('renewed'));
becomes_blocked($first, 'ExclusiveLock');
$holder->query_safe('COMMIT');
becomes_first($first);
pass('a lease that was renewed meanwhile is not granted');
is($holder->query(q{SELECT expired FROM cs_leases WHERE key = 'renewed'}), 'f', 'it is held');
$holder->query_safe("SELECT cs_release_lease('renewed', $token)");
is($first->finish, $token + 1, 'but when it is released');

# Who checked a token before the lease expired holds off the next one until its commit.
$token = $holder->query_safe(q{SELECT cs_lease('expires', 500)});
$holder->query_safe("BEGIN; SELECT cs_check_token('expires', $token)");
$first->start(take('expires'));
becomes_blocked($first, 'ExclusiveLock');
is($second->query("SELECT cs_renew_lease('expires', $token, $hour)"), 'f', 'it cannot be renewed');
is($second->query("SELECT cs_release_lease('expires', $token)"), 'f', 'nor released');
$second->query("SELECT cs_check_token('expires', $token)");
is($second->sqlstate, '55000', 'a new check fails at once');
$holder->query_safe('COMMIT');
is($first->finish, $token + 1, 'then the next one gets it');

# Rights: everybody may use the functions and look, nobody touches the table.
$node->safe_psql('postgres', q{
	CREATE ROLE one LOGIN; CREATE ROLE two LOGIN; CREATE ROLE three LOGIN IN ROLE one;
	CREATE ROLE watcher LOGIN IN ROLE pg_read_all_stats});
my %user = map { $_ => KeyTest::Session->new($node, user => $_) } qw(one two three watcher);
$node->safe_psql('postgres', 'TRUNCATE cs_lease_table');
$token = $user{one}->query_safe(
	qq{SELECT cs_lease('secret', $hour, 'me', payload => '{"password": "x"}')});
is($user{one}->query("SELECT cs_renew_lease('secret', $token, $hour)"), 't', 'an ordinary role renews');
foreach my $query ('SELECT * FROM cs_lease_table', 'DELETE FROM cs_lease_table',
	'UPDATE cs_lease_table SET token = 0', 'INSERT INTO cs_lease_table DEFAULT VALUES',
	'TRUNCATE cs_lease_table',
	q{SELECT cs_lease_cleanup('0')})
{
	$user{one}->query($query);
	is($user{one}->sqlstate, '42501', "not allowed: $query");
}
my $look = 'SELECT key, token, owner, role, payload, expires_at IS NOT NULL, expired FROM cs_leases';
my $all = qq{secret|$token|me|one|{"password": "x"}|t|f};
is($user{one}->query($look), $all, 'a role sees its own leases');
is($user{three}->query($look), $all, 'so does a member of it');
is($user{watcher}->query($look), $all, 'and a member of pg_read_all_stats');
is($user{two}->query($look), '|||||t|f', 'others see that there is one');
is($user{two}->query(q{SELECT count(*) FROM cs_leases WHERE key = 'secret' OR token > 0}),
	'0', 'and cannot search for it');
$user{two}->query(qq{CREATE TEMP TABLE seen (t text);
	CREATE FUNCTION pg_temp.leak(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
		AS \$\$ BEGIN INSERT INTO seen VALUES (t); RETURN true; END \$\$;
	SELECT FROM cs_leases WHERE pg_temp.leak(key) AND pg_temp.leak(payload::text)});
is($user{two}->query(q{SELECT count(t) FROM seen}), '0', 'nor with a function that leaks');
is($user{two}->query(qq{SELECT cs_renew_lease('secret', $token, $hour)}),
	't', 'the token is all that it takes to renew');
$node->safe_psql('postgres', 'DROP OWNED BY one; DROP ROLE one');
is($user{two}->query($look), '|||||t|f', 'the role is gone, the lease is not');
is($user{watcher}->query($look), $all, 'and keeps its name');
$_->quit foreach values %user;

# A prepared transaction keeps what it was granted or checked, also over a crash.
$token = $holder->query_safe(take('old'));
$holder->query_safe("BEGIN; SELECT cs_check_token('old', $token); PREPARE TRANSACTION 'check'");
my $new = $first->query_safe('BEGIN; ' . take('new'));
$first->query_safe(q{PREPARE TRANSACTION 'grant'});
$holder->query_safe("SELECT cs_release_lease('old', $token)");
is($second->query(take('old', 10)), '', 'not granted while a prepared check is open');
is($second->query(take('new', 10)), '', 'nor while a prepared grant is');
$_->quit foreach $holder, $first, $second, $third;
$node->stop('immediate');
$node->start;
($holder, $first, $second, $third) =
  map { KeyTest::Session->new($node, name => $_) } qw(holder first second third);
is($second->query(take('old', 10)), '', 'not even after a crash');
is($second->query(take('new', 10)), '', 'neither of them');
$second->query(qq{SET concurrency_safe.default_timeout = 10; SELECT cs_check_token('new', $new)});
is($second->sqlstate, '55000', 'its token is not valid yet');
$first->start(take('old'));
becomes_blocked($first, 'ExclusiveLock');
$third->query_safe(q{COMMIT PREPARED 'check'; COMMIT PREPARED 'grant'});
is($first->finish, $token + 1, 'after COMMIT PREPARED the one is granted');
is($third->query("SELECT cs_check_token('new', $new)"), '', 'and the token of the other is valid');
$third->query_safe("BEGIN; SELECT cs_release_lease('new', $new); PREPARE TRANSACTION 'release'");
$first->start(take('new'));
becomes_first($first);
$third->query_safe(q{COMMIT PREPARED 'release'});
is($first->finish, $new + 1, 'who sleeps learns of a prepared release, too');

# The commit of a grant and of a renewal is always durable.
foreach my $round (1 .. 3)
{
	$holder->query_safe(q{SET synchronous_commit = off});
	$token = $holder->query_safe(take("durable $_")) foreach 1 .. 20;
	is($holder->query_safe(q{SELECT bool_and(cs_renew_lease(key, token, 7200000)) FROM cs_leases
			WHERE key LIKE 'durable %'}), 't', 'renewed');
	is($holder->query_safe("SELECT cs_release_lease('durable 20', $token)"), 't', 'released');
	$_->quit foreach $holder, $first, $second, $third;
	$node->stop('immediate');
	$node->start;
	($holder, $first, $second, $third) =
	  map { KeyTest::Session->new($node, name => $_) } qw(holder first second third);
	is($holder->query(q{SELECT count(*) FROM cs_lease_table WHERE key LIKE 'durable %'}),
		'20', 'no grant was lost in a crash');
	is($holder->query(q{SELECT count(*) FROM cs_lease_table
			WHERE key LIKE 'durable %' AND (expires_at > granted_at + interval '1 hour' OR key = 'durable 20')}),
		'20', 'nor a renewal');
	$holder->query_safe(q{SELECT cs_release_lease(key, token) FROM cs_leases WHERE key LIKE 'durable %'});
	cmp_ok($holder->query_safe(take('durable 20')), '>', $token, 'the token was not given out again');
	$holder->query_safe(q{SELECT cs_release_lease(key, token) FROM cs_leases});
}

# Dump and restore: held leases stay held, and tokens go on, also of keys that were cleaned up.
# The owner of a database may dump it, and need not be a superuser.
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';
$node->safe_psql('postgres', 'CREATE ROLE lease_dumper LOGIN');
foreach my $schema (qw(public leases))
{
	$node->safe_psql('postgres', "CREATE DATABASE original_$schema OWNER lease_dumper;
		CREATE DATABASE copy_$schema OWNER lease_dumper");
	my $calls = "SET search_path = $schema; ";
	$node->safe_psql("original_$schema", "CREATE SCHEMA IF NOT EXISTS $schema;
		ALTER SCHEMA $schema OWNER TO lease_dumper;
		CREATE EXTENSION concurrency_safe SCHEMA $schema");
	my $held = $node->safe_psql("original_$schema",
		$calls . qq{SELECT cs_lease('held', $hour, 'me', payload => '[1]')});
	foreach (1 .. 5)
	{
		$node->safe_psql("original_$schema", $calls . q{
			SELECT cs_release_lease(key, cs_lease(key, 1000)) FROM unnest('{gone,stays}'::text[]) AS key});
	}
	my $highest = $node->safe_psql("original_$schema", $calls . q{
		SELECT max(token) FROM cs_lease_table});
	$node->safe_psql("original_$schema", $calls . q{
		SELECT cs_lease_cleanup('0'); SELECT cs_release_lease('stays', cs_lease('stays', 1000))});
	my @formats = $schema eq 'public'
	  ? ([qw(--format=custom)]) : ([ qw(--format=custom --section=pre-data) ],
		[ qw(--format=custom --section=data) ], [ qw(--format=custom --section=post-data) ]);
	foreach my $format (@formats)
	{
		$node->command_ok([ 'pg_dump', @$format, '--username', 'lease_dumper', '--file', $dump, '--dbname',
				$node->connstr("original_$schema") ],
			"pg_dump @$format, extension in schema $schema");
		$node->command_ok([ 'pg_restore', '--exit-on-error', '--dbname', $node->connstr("copy_$schema"), $dump ],
			'pg_restore');
	}
	is($node->safe_psql("copy_$schema", $calls . q{SELECT key, owner, payload FROM cs_leases}),
		'held|me|[1]', 'a lease is held in the copy');
	is($node->safe_psql("copy_$schema", $calls . qq{SELECT cs_check_token('held', $held)}), '', 'with its token');
	is($node->safe_psql("copy_$schema", $calls . qq{SELECT bool_and(cs_lease(key, 1) > $highest)
		FROM unnest('{gone,stays,never seen}'::text[]) AS key}), 't', 'tokens go on in the copy');
	is($node->safe_psql("copy_$schema", $calls . q{SELECT cs_lease_cleanup('0') > 0}), 't', 'and are cleaned up');
}

# DROP EXTENSION under an open transaction that already has the function.
$first->query_safe(qq{BEGIN; DECLARE c CURSOR FOR SELECT cs_lease('c', 1) FROM generate_series(1, 2)});
$second->query_safe(qq{BEGIN; DECLARE c CURSOR FOR SELECT cs_check_token('c', 1)});
$third->query_safe(qq{BEGIN; DECLARE c CURSOR FOR SELECT cs_renew_lease('c', 1, 1)});
$holder->query_safe(qq{DROP EXTENSION concurrency_safe CASCADE});
foreach my $session ($first, $second, $third)
{
	$session->query('FETCH c');
	is($session->sqlstate, '42P01', 'after DROP EXTENSION: an error, no crash');
	$session->query('ROLLBACK');
	is($session->query('SELECT pg_backend_pid()'), $session->{pid}, 'the backend lives');
}
# And one that was granted a lease: DROP EXTENSION waits for it.
$holder->query_safe('CREATE EXTENSION concurrency_safe');
$first->query_safe('BEGIN; ' . take('k'));
$holder->start_waiting('DROP EXTENSION concurrency_safe');
$first->query_safe('COMMIT');
$holder->finish;
is($holder->sqlstate, '', 'DROP EXTENSION waits for a transaction that was granted a lease');
lease_locks_are('0,0', 'nothing is left');

$_->quit foreach $holder, $first, $second, $third;
$node->stop;
done_testing();
