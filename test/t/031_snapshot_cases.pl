# check_snapshot in single cases: what counts as a writer under a key, which
# readers are told, and what is left when they are.  The interleavings of one
# writer and one reader are in 030_snapshot_interleavings.pl.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $schema = q{
	CREATE TABLE t (id integer PRIMARY KEY, v integer);
	INSERT INTO t VALUES (1, 0), (2, 0);
	CREATE UNLOGGED TABLE u (id integer PRIMARY KEY, v integer);
	INSERT INTO u VALUES (1, 0), (2, 0);
	CREATE TABLE log (entry text);
	-- Subtransactions that fail, with and without a write.
	CREATE FUNCTION fail_to_write(target text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('INSERT INTO %I VALUES (1)', target);
	EXCEPTION WHEN unique_violation THEN NULL;
	END $$;
	CREATE FUNCTION write_in_vain(target text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('UPDATE %I SET v = v + 1', target);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END $$;
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM 1 / (id - 1) FROM t;
	EXCEPTION WHEN division_by_zero THEN
		RETURN NEW;
	END $$;
	CREATE TRIGGER fail BEFORE INSERT ON log FOR EACH ROW EXECUTE FUNCTION fail();
	CREATE TABLE deferred AS SELECT * FROM t;
	CREATE CONSTRAINT TRIGGER fail AFTER UPDATE ON deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION fail();
	CREATE FUNCTION lock_k() RETURNS void LANGUAGE plpgsql
		AS $$ BEGIN PERFORM cs_lock('k', -1); END $$;
	CREATE FUNCTION lock_and_read() RETURNS integer LANGUAGE plpgsql
		AS $$ BEGIN PERFORM cs_lock('k', -1); RETURN v FROM t WHERE id = 1; END $$;
};

my $node = new_node('main', 'max_prepared_transactions = 5', 'autovacuum = off',
	'concurrency_safe.check_order = off');
$node->safe_psql('postgres', $schema);
my %session;

sub open_sessions
{
	my ($on) = @_;

	$_->quit foreach values %session;
	%session = map { $_ => KeyTest::Session->new($on, name => $_) } qw(one two reader);
	return;
}

sub verdict
{
	my ($told) = @_;
	my ($first) = $told =~ /(?:ERROR|WARNING):  (.*)/;

	return 'silence' if $told eq '';
	return 'error' if $first =~ /^40001: could not serialize access due to concurrent holder of key/;
	return 'warning'
	  if $first =~ /^01000: (could not serialize access|statement does not see the changes)/;
	return $told;
}

# The steps, each "session: SQL", and then the statement of the reader that locks;
# it has a snapshot from the step 'snapshot' on, without that from the beginning,
# unless it begins otherwise.
# Returns the number of holds in session scope that the reader is left with.
sub plays
{
	my ($expected, $name, $take, @steps) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unshift @steps, 'snapshot' unless grep { /^(snapshot|reader: BEGIN)/ } @steps;
	foreach (@steps)
	{
		my ($who, $sql) = /^(\w+): (.*)$/s ? ($1, $2) :
		  ('reader', 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t');

		$session{$who}->query_safe($sql);
	}
	$session{reader}->query($take);
	is(verdict($session{reader}{error}), $expected, $name);
	$session{$_}->query_safe('ROLLBACK; SELECT cs_unlock_all()') foreach qw(one two);
	return $session{reader}->query_safe('ROLLBACK; SELECT cs_unlock_all()');
}

my $lock = q{SELECT cs_lock('k')};
my $hold = q{SELECT cs_lock('k', scope => 'session')};
my $free = q{SELECT cs_unlock('k')};
my $write = q{UPDATE t SET v = v + 1};
my $in_vain = "BEGIN; $write; ROLLBACK";

open_sessions($node);

# Session scope, over several transactions.
plays('error', 'the first of several transactions under the key wrote',
	$lock, "one: $hold; $write; BEGIN; SELECT FROM t; COMMIT; $in_vain; $free");
plays('silence', 'it wrote before the snapshot',
	$lock, "one: $hold; $write", 'snapshot', "one: SELECT FROM t; $in_vain; $free");
plays('error', 'so did the second one, after the snapshot',
	$lock, "one: $hold; $write", 'snapshot', "one: BEGIN; $write; COMMIT; $in_vain; $free");
plays('silence', 'what was written before the key was taken', $lock, "one: $write; $hold; $free");
plays('silence', 'or after it was given back', $lock, "one: $hold; $free; $write");
plays('error', 'a key that is also held by the transaction',
	$lock, "one: $hold; BEGIN; $lock; $write; $free; COMMIT");
plays('silence', 'own work', $lock, "reader: $hold; $write", 'snapshot');
plays('silence', 'work of the same transaction', $lock, 'snapshot', "reader: $hold; $write; $free");
plays('silence', 'seen, while somebody else has written for longer',
	$lock, 'two: BEGIN; INSERT INTO log VALUES (0)', "one: BEGIN; $lock; $write; COMMIT", 'snapshot');

# Given back before the commit.
plays('error', 'cs_unlock before the commit', $lock, "one: BEGIN; $hold; $write; $free; COMMIT");
plays('error', 'the commit is still to come', $lock, "one: BEGIN; $hold; $write; $free");
plays('error', 'the snapshot is from between',
	$lock, "one: BEGIN; $hold; $write; $free", 'snapshot', 'one: COMMIT');
plays('silence', 'a rollback is to come', $lock, "one: BEGIN; $hold; $write; $free; ROLLBACK");
plays('silence', 'written after cs_unlock', $lock, "one: BEGIN; $hold; $free; $write; COMMIT");
plays('error', 'cs_unlock in the statement that writes',
	$lock, "one: BEGIN; $hold; WITH w AS ($write RETURNING v) $free FROM w LIMIT 1; COMMIT");
plays('error', 'given back once of twice',
	$lock, "one: BEGIN; $hold; $hold; $free; $write; COMMIT; $free");
plays('error', 'the next holder is seen, the one before committed later',
	$lock, "one: BEGIN; $hold; $write WHERE id = 1; $free",
	"two: BEGIN; $lock; $write WHERE id = 2; COMMIT", 'snapshot', 'one: COMMIT');
plays('error', 'cs_unlock_path before the commit', q{SELECT cs_lock('a', mode => 'S')},
	"one: BEGIN; SELECT cs_lock_path('a:b', scope => 'session'); $write; SELECT cs_unlock_path('a:b'); COMMIT");

# A commit that fails at the last moment does not stand for the writer before it.
$session{reader}->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t');
$session{one}->query_safe("BEGIN; $lock; $write; COMMIT");
$session{$_}->query_safe('BEGIN ISOLATION LEVEL SERIALIZABLE') foreach qw(one two);
$session{one}->query_safe("$lock; SELECT FROM u; $write");
$session{two}->query_safe('SELECT FROM t; UPDATE u SET v = v + 1; COMMIT');
$session{one}->query('COMMIT');
is($session{one}->sqlstate, '40001', 'a commit that fails');
$session{reader}->query($lock);
is(verdict($session{reader}{error}), 'error', 'and the commit before it');
$session{reader}->query_safe('ROLLBACK');

# Released behind our back.
foreach ('DISCARD ALL', 'SELECT pg_advisory_unlock_all()')
{
	plays('error', "written before $_", $lock, "one: $hold; $write; $_");
	plays('silence', "written after $_", $lock, "one: $hold; $_; $write");
}
plays('silence', 'within a transaction, too',
	$lock, "one: BEGIN; $hold; SELECT pg_advisory_unlock_all(); $write; COMMIT");

# What failed or was rolled back within a transaction was not written.
foreach my $table (qw(t u))
{
	my $update = "UPDATE $table SET v = v + 1";

	plays('error', "$table: a write", $lock, "one: BEGIN; $lock; $update; COMMIT");
	foreach my $function (qw(fail_to_write write_in_vain))
	{
		my $call = "SELECT $function('$table')";

		plays('silence', "$table: $function", $lock, "one: BEGIN; $lock; $call; COMMIT");
		plays('error', "$table: $function, then a write",
			$lock, "one: BEGIN; $lock; $call; $update; COMMIT");
		plays('error', "$table: a write, then $function",
			$lock, "one: BEGIN; $lock; $update; $call; COMMIT");
		plays('error', "$table: $function within the statement that writes",
			$lock, "one: BEGIN; $lock; INSERT INTO log SELECT format('%s', $function('$table')); COMMIT");
		plays('silence', "$table: $function in session scope", $lock, "one: $hold; $call; $free");
	}
}
plays('error', 'COPY with a trigger that catches an error',
	$lock, "one: BEGIN; $lock;\nCOPY log FROM stdin;\na line\n\\.\nCOMMIT");
plays('error', 'a deferred trigger that catches an error',
	$lock, "one: $hold; UPDATE deferred SET v = v + 1; $free");
plays('error', 'a new table', $lock, "one: BEGIN; $lock; CREATE TABLE new (); COMMIT");
plays('error', 'a new table after a write in vain',
	$lock, "one: BEGIN; $lock; SELECT write_in_vain('t'); CREATE TABLE newer (); COMMIT");

# Intent locks: what is written below counts for those who read below.
my %path = (
	exclusive => 'error',
	shared => 'error',
	'shared intent exclusive' => 'error',
	'intent exclusive' => 'silence',
	'intent shared' => 'silence');
sub under
{
	my ($path, $mode) = @_;

	return sprintf q{one: BEGIN; SELECT cs_lock_path('%s', mode => '%s'); UPDATE t SET v = v + 1; COMMIT},
	  $path, $mode // 'X';
}

foreach my $mode (sort keys %path)
{
	my $take = "SELECT cs_lock('org:1', mode => '$mode')";
	my $take_path = "SELECT cs_lock_path('org:1:acct:7', mode => '$mode')";

	plays($path{$mode}, "written below, $mode", $take, under('org:1:acct:7'));
	plays($path{$mode}, "written in SIX, $mode", $take, under('org:1', 'SIX'));
	plays('silence', "written under S below, $mode", $take, under('org:1:acct:7', 'S'));
	plays('error', "written above, $mode", $take_path, under('org:1'));
}
plays('silence', 'written under S', $lock, under('k', 'S'));
plays('error', 'written in X, then below, intent shared',
	q{SELECT cs_lock('org:1', mode => 'IS')}, under('org:1'), under('org:1:acct:7'));
plays('error', 'a path in S above', q{SELECT cs_lock_path('org:1', mode => 'S')},
	under('org:1:acct:7'));
plays('silence', 'a path beside', q{SELECT cs_lock_path('org:1:acct:8')}, under('org:1:acct:7'));
plays('error', 'first IS, then X', q{SELECT cs_lock('org:1')},
	'snapshot', q{reader: SELECT cs_lock_path('org:1:acct:8', mode => 'S')}, under('org:1:acct:7'));

# Holders of intent locks end in any order.
my $below = q{BEGIN; SELECT cs_lock_path('org:1:acct:%s'); UPDATE t SET v = v + 1 WHERE id = %s};
my @both = ('one: ' . sprintf($below, 1, 1), 'two: ' . sprintf($below, 2, 2));
my $above = q{SELECT cs_lock('org:1', mode => 'S')};
plays('silence', 'both below ended before the snapshot',
	$above, @both, 'two: COMMIT', 'one: COMMIT', 'snapshot');
plays('error', 'the first one after it', $above, @both, 'two: COMMIT', 'snapshot', 'one: COMMIT');
plays('error', 'the second one after it', $above, @both, 'one: COMMIT', 'snapshot', 'two: COMMIT');
my @prepared = (@both, q{one: PREPARE TRANSACTION 'p'}, 'two: COMMIT', 'snapshot');
plays('error', 'the first one prepared before the second ended',
	$above, @prepared, q{two: COMMIT PREPARED 'p'});
plays('silence', 'and rolled back', $above, @prepared, q{two: ROLLBACK PREPARED 'p'});
plays('error', 'the second one prepared before the first ended',
	$above, @both, q{two: PREPARE TRANSACTION 'p'}, 'one: COMMIT', 'snapshot', q{two: COMMIT PREPARED 'p'});

# An error leaves no lock in session scope, and what was held before as it was.
my $held = q{reader: SELECT cs_lock_all(ARRAY['a', 'c'], scope => 'session')};
foreach my $function (qw(cs_lock cs_try_lock cs_lock_path cs_try_lock_path))
{
	my $take = "SELECT $function('b:k', scope => 'session')";

	is(plays('error', $function, $take, $held, under('b:k')), 2, "$function: two holds as before");
}
foreach my $function (qw(cs_lock_all cs_try_lock_all cs_try_lock_any))
{
	my $take = "SELECT $function(ARRAY['a', 'b:k', 'c'], 3, scope => 'session')";

	is(plays('error', $function, $take, $held, under('b:k')), 2, "$function: two holds as before");
}

# Settings of the reader; those of the writer do not matter.
my $written = "one: BEGIN; $lock; $write; COMMIT";
plays('error', 'the writer has the check off',
	$lock, "one: SET concurrency_safe.check_snapshot = off", $written, 'one: RESET ALL');
plays('silence', 'the reader has', $lock, 'reader: SET concurrency_safe.check_snapshot = off', $written);
my $warning = 'reader: SET concurrency_safe.check_snapshot = warning';
plays('warning', 'the reader wants a warning', $lock, $warning, $written);
plays('silence', 'and has the lock then',
	q{SELECT 1 / (cs_held_mode('k') = 'exclusive')::integer}, $warning, $written, "reader: $lock");

# Where the snapshot comes from, and what else locks.
my $exported =
  $session{two}->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
plays('error', 'a snapshot of somebody else', $lock, $written,
	"reader: BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$exported'");
plays('error', 'a cursor', 'FETCH c', 'snapshot', "reader: DECLARE c CURSOR FOR $lock", $written);
plays('warning', 'a cursor that reads, in READ COMMITTED',
	'FETCH c', "reader: BEGIN; DECLARE c CURSOR FOR $lock, v FROM t", $written);
plays('silence', 'a cursor that does not',
	'FETCH c', "reader: BEGIN; DECLARE c CURSOR FOR $lock", $written);

$node->safe_psql('postgres', 'CREATE TABLE account (id text PRIMARY KEY, balance numeric);'
	  . 'INSERT INTO account SELECT i, 100 FROM generate_series(1, 4) i; CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION concurrency_safe; CREATE TABLE t AS SELECT 0 AS v');
my $transfer = q{CALL cs_transfer('account', '1', '2', 10)};
plays('error', 'a transfer after another', $transfer, q{one: CALL cs_transfer('account', '2', '3', 1)});
plays('silence', 'and beside it', $transfer, q{one: CALL cs_transfer('account', '3', '4', 1)});
plays('error', 'a lock after a transfer', q{SELECT cs_lock('public.account:1')}, "one: $transfer");
$session{other} = KeyTest::Session->new($node, database => 'other');
plays('silence', 'the key of another database', $lock, "other: BEGIN; $lock; $write; COMMIT");

# The reader waits for the key while the writer commits.
sub waits
{
	my ($expected, $name, $begin, $sql) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$session{one}->query_safe("BEGIN; $lock; $write");
	$session{reader}->query_safe($begin);
	$session{reader}->start_waiting($sql);
	$session{one}->query_safe('COMMIT');

	my ($seen) = $session{reader}->finish =~ /^(\d+)$/m;
	my $told = $session{reader}{error};

	is(verdict($told), $expected, $name);
	is($seen, $session{one}->query_safe('SELECT v FROM t WHERE id = 1'), 'what it reads is committed')
	  if defined $seen;
	$session{reader}->query_safe('ROLLBACK; RESET ALL; SELECT cs_unlock_all()');
	return;
}

my $wait = q{SELECT cs_lock('k', -1)};
my $read = 'SELECT v FROM t WHERE id = 1';
waits('warning', $_, 'BEGIN', $_)
  foreach 'SELECT lock_k(), sum(v) FROM t',
  "SELECT count(*), l FROM t, LATERAL ($wait) l GROUP BY l",
  "WITH l AS MATERIALIZED ($wait) SELECT FROM t, l",
  q{UPDATE t SET v = v WHERE id = 2 AND cs_try_lock('k', -1)},
  q{INSERT INTO log SELECT cs_try_lock('k', -1) FROM t};
waits('silence', $_, 'BEGIN', $_)
  foreach "$wait; $read", "SELECT lock_k(); $read", 'SELECT lock_and_read()',
  q{INSERT INTO log VALUES (cs_try_lock('k', -1))},
  q{DO $$ BEGIN PERFORM cs_lock('k', -1); PERFORM FROM t; END $$};
foreach my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $begin = "BEGIN ISOLATION LEVEL $level";

	waits('error', "$level: a function that locks and reads", $begin, 'SELECT lock_and_read()');
	waits('silence', "$level: LOCK at the beginning",
		"SET concurrency_safe.default_timeout = -1; $begin", qq{LOCK cs_key."k"; $read});
	waits('error', "$level: LOCK later",
		"SET concurrency_safe.default_timeout = -1; $begin; SELECT FROM t", q{LOCK cs_key."k"});
}

# A lone statement in session scope: its snapshot ends with it.
my $repeatable = q{SET default_transaction_isolation = 'repeatable read'};
my $wait_and_hold = q{SELECT cs_lock('k', -1, scope => 'session')};
waits('silence', 'a lock alone', $repeatable, "$wait_and_hold; $read");
waits('error', 'a lock that is not alone', $repeatable, "$wait_and_hold, v FROM t");
waits('error', 'a lock in a block', $repeatable, "BEGIN; $wait_and_hold");
waits('error', 'statements sent together', $repeatable, "$wait_and_hold \\; $read");

# Whoever tries again gets through as soon as nobody comes between.
my $tries = 0;
my $told;
do
{
	$session{reader}->query_safe("BEGIN ISOLATION LEVEL REPEATABLE READ; $read");
	$session{one}->query_safe("BEGIN; $lock; $write; COMMIT") if ++$tries < 3;
	$session{reader}->query($lock);
	$told = verdict($session{reader}{error});
	$session{reader}->query_safe($told eq 'silence' ? "$write; COMMIT" : 'ROLLBACK');
} while ($told eq 'error' && $tries < 10);
is($tries, 3, 'the third try passes');

# Prepared before a restart, or a crash, and committed after the snapshot.
my $prepare =
  q{BEGIN; SELECT cs_lock('%s'); UPDATE t SET v = v + 1 WHERE id = %s; PREPARE TRANSACTION '%s'};
foreach my $end ('fast', 'immediate')
{
	$session{one}->query_safe(sprintf $prepare, 'k', 1, 'kept');
	$session{one}->query_safe(sprintf $prepare, 'j', 2, 'dropped');
	$node->stop($end);
	$node->start;
	open_sessions($node);
	$session{two}->query_safe(q{BEGIN; SELECT cs_lock('other'); COMMIT}) if $end eq 'fast';
	plays('error', "prepared before a restart ($end)", $lock, q{two: COMMIT PREPARED 'kept'});
	plays('silence', 'and rolled back', q{SELECT cs_lock('j')}, q{two: ROLLBACK PREPARED 'dropped'});
	plays('silence', 'and not to be seen again', $lock);
}

locks_are($node, '0,0', 'nothing is left');
$_->quit foreach values %session;
$node->stop;

# Without shared memory there is no check, and everything else works.
my $bare = new_node('bare', q{shared_preload_libraries = ''});
$bare->safe_psql('postgres', 'CREATE TABLE t AS SELECT 0 AS v');
open_sessions($bare);
my $has_memory = $bare->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
plays($has_memory ? 'error' : 'silence', 'not preloaded', $lock, $written);
$_->quit foreach values %session;
$bare->stop;
done_testing();
