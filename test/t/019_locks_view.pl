# The view cs_locks shows what pg_locks shows of locks on keys, row by row: of
# every mode and scope, of waiters, paths and prepared transactions, in every
# database; and nothing that is gone.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', 'max_prepared_transactions = 5');

# The other side: PostgreSQL's own views, with the names of src/lock_mode.hpp.
$node->safe_psql('postgres', q{
	CREATE DATABASE other;
	CREATE VIEW expected AS
	SELECT d.datname AS database, l.classid, l.objid, l.objsubid::integer, l.pid, m.mode, l.granted,
		l.waitstart AS wait_start, CASE WHEN NOT l.granted THEN pg_blocking_pids(l.pid) END AS blocked_by,
		a.usename AS role, a.application_name
	FROM pg_locks l
	LEFT JOIN (VALUES ('RowShareLock', 'intent shared'), ('RowExclusiveLock', 'intent exclusive'),
		('ShareLock', 'shared'), ('ShareRowExclusiveLock', 'shared intent exclusive'),
		('ExclusiveLock', 'exclusive')) m (lock, mode) ON m.lock = l.mode
	LEFT JOIN pg_database d ON d.oid = l.database
	LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'advisory' AND l.objsubid < 0;
	CREATE VIEW shown AS
	SELECT database, classid, objid, objsubid, pid, mode, granted, wait_start, blocked_by, role, application_name
	FROM cs_locks;
	CREATE VIEW difference AS
	(TABLE shown EXCEPT ALL TABLE expected) UNION ALL (TABLE expected EXCEPT ALL TABLE shown)});
$node->safe_psql('other', 'CREATE EXTENSION concurrency_safe');

my $watcher = KeyTest::Session->new($node, name => 'watcher');

# So many locks are held and waited for, and both views agree on them.
sub agree
{
	my ($held, $waiting, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $watcher->query(
			q{SELECT count(*) FILTER (WHERE granted), count(*) FILTER (WHERE NOT granted),
				(SELECT count(*) FROM difference) FROM cs_locks}),
		"$held|$waiting|0", $name);
	return;
}

# What cs_locks says in the columns that pg_locks does not have.
sub rows_are
{
	my ($columns, $where, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $watcher->query(
			qq{SELECT string_agg(concat_ws(' ', $columns), ', ' ORDER BY concat_ws(' ', $columns) COLLATE "C")
				FROM cs_locks WHERE $where}),
		$expected, $name);
	return;
}

my ($one, $two, $three, $four) =
  map { KeyTest::Session->new($node, name => $_) } qw(one two three four);

# Transaction scope, modes, savepoints.
agree(0, 0, 'nothing is locked at first');
$one->query_safe(q{BEGIN; SELECT cs_lock_all(ARRAY['a', 'b', 'c', 'b']);
	SELECT pg_advisory_xact_lock(1), pg_advisory_xact_lock(1, 2)});
agree(3, 0, 'several keys of one session, and no other advisory locks');
$one->query_safe(q{SAVEPOINT s; SELECT cs_lock('d');
	SELECT cs_lock('m', mode => mode) FROM unnest('{IS,IX,S,SIX,X}'::text[]) mode});
agree(9, 0, 'one key in every mode, a row for each');
rows_are('mode, scope', "key = 'm'",
	'exclusive transaction, intent exclusive transaction, intent shared transaction, '
	  . 'shared intent exclusive transaction, shared transaction', 'with the names of the modes');
$one->query_safe('ROLLBACK TO s');
agree(3, 0, 'after a rollback to a savepoint');
$one->query_safe('COMMIT');
agree(0, 0, 'after a commit');
$one->query_safe(q{BEGIN; SELECT cs_lock('a')});
$one->query_safe('ROLLBACK');
agree(0, 0, 'after a rollback');

# Session scope, paths, shared holders.
$two->query_safe(q{SELECT cs_lock('s', scope => 'session'), cs_lock('s', scope => 'session');
	SELECT cs_lock_path('org:1:acct:7', mode => 'shared', scope => 'session')});
$three->query_safe(q{BEGIN; SELECT cs_lock_path('org:1:acct:8')});
agree(9, 0, 'an idle session, and paths with their intent locks');
rows_are('key, mode, scope', "pid = $two->{pid}",
	'org intent shared session, org:1 intent shared session, org:1:acct intent shared session, '
	  . 'org:1:acct:7 shared session, s exclusive session', 'as one sees them');
rows_are('key, mode, scope', "pid = $three->{pid}",
	'org intent exclusive transaction, org:1 intent exclusive transaction, '
	  . 'org:1:acct intent exclusive transaction, org:1:acct:8 exclusive transaction', 'and the other');

# One session in both scopes: what cannot be told is not told.
$four->query_safe(q{SELECT cs_lock('v', 0, 'shared', 'session'); BEGIN; SELECT cs_lock('v')});
rows_are('mode, coalesce(scope, $$unknown$$)', "key = 'v'",
	'exclusive unknown, shared unknown', 'two modes, each in its scope');
$four->query_safe(q{COMMIT; SELECT cs_unlock('v', 'shared'); BEGIN; SELECT cs_lock('u');
	SELECT cs_lock('u', scope => 'session'); SELECT cs_unlock('u')});
rows_are('mode, coalesce(scope, $$unknown$$)', "key = 'u'",
	'exclusive unknown', 'one mode in both scopes, and then in one');
$four->query_safe(q{COMMIT; BEGIN; SELECT cs_lock('w', scope => 'session'); SELECT cs_lock('w');
	SELECT cs_unlock('w')});
rows_are('mode, coalesce(scope, $$unknown$$)', "key = 'w'",
	'exclusive unknown', 'the other way round');
$four->query_safe('COMMIT');

# Waiters; one of them holds what it waits for in a weaker mode.
$one->query_safe(q{BEGIN; SELECT cs_lock('q', mode => 'shared')});
$two->query_safe(q{BEGIN; SELECT cs_lock('q', mode => 'shared')});
$three->start_waiting(q{SELECT cs_lock('q', -1)});
$four->start_waiting(q{SELECT cs_lock('q', -1, 'IS', 'session')});
$one->start_waiting(q{SELECT cs_lock('q', -1)});
agree(11, 3, 'three waiters');
rows_are('mode, granted, scope, cardinality(blocked_by), waiting_for >= interval \'0\', wait_start <= clock_timestamp()',
	"key = 'q'",
	'exclusive f 1 t t, exclusive f 2 t t, intent shared f 2 t t, shared t, shared t transaction',
	'what they hold and wait for, behind how many; of two holders the scope of the last one is known');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($four->{pid})");
$four->finish;
agree(11, 2, 'a waiter was cancelled');
$two->query_safe('COMMIT');
$one->finish;
agree(11, 1, 'the one who holds it in a weaker mode comes first');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($three->{pid})");
$three->wait_for_end;
agree(7, 0, 'a waiter was terminated, and so were its locks');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($one->{pid})");
$one->wait_for_end;
agree(5, 0, 'a holder was terminated');
$two->query_safe('DISCARD ALL');
agree(0, 0, 'after DISCARD ALL');

# Two databases: a key of one is not a key of the other.
my $elsewhere = KeyTest::Session->new($node, name => 'elsewhere', database => 'other');
$two->query_safe(q{BEGIN; SELECT cs_lock('here and there')});
$elsewhere->query_safe(q{BEGIN; SELECT cs_lock('here and there')});
agree(2, 0, 'the same key in two databases');
rows_are('database, key, application_name', 'true',
	'other here and there elsewhere, postgres here and there two', 'with the name of each');
is( $elsewhere->query('SELECT count(*), count(DISTINCT (classid, objid, objsubid)) FROM cs_locks'),
	'2|1', 'they are seen from both, and have the same tag');
$two->query_safe('COMMIT');
agree(1, 0, 'one of them is left');
$elsewhere->query_safe('ROLLBACK');

# Prepared transactions.
$two->query_safe(q{BEGIN; SELECT cs_lock('p'); SELECT cs_lock('p', mode => 'IS');
	SELECT cs_lock('r'); PREPARE TRANSACTION 'first'});
$four->start_waiting(q{SELECT cs_lock('p', -1)});
agree(3, 1, 'a prepared transaction, and somebody who waits for it');
rows_are(q{key, mode, scope, coalesce(pid, 0), coalesce(role, '-'), coalesce(application_name, '-')},
	'granted', 'p exclusive transaction 0 - -, p intent shared transaction 0 - -, r exclusive transaction 0 - -',
	'which has no process, role or application');
rows_are('blocked_by', 'NOT granted', '{0}', 'and is 0 to those who wait');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($four->{pid})");
$four->wait_for_end;
agree(3, 0, 'the waiter is gone');

$_->quit foreach $one, $two, $three, $four, $elsewhere, $watcher;
$node->restart;
($one, $watcher) = map { KeyTest::Session->new($node, name => $_) } qw(one watcher);
agree(3, 0, 'the prepared transaction after a restart');
rows_are(q{coalesce(key, 'unknown'), mode}, 'true',
	'unknown exclusive, unknown exclusive, unknown intent shared', 'nobody knows the names of its keys');
is($one->query(q{SELECT cs_try_lock('p')}), 'f', 'until somebody asks for one of them');
rows_are(q{coalesce(key, 'unknown'), mode}, 'true',
	'p exclusive, p intent shared, unknown exclusive', 'that one is shown then');
$one->query_safe(q{COMMIT PREPARED 'first'});
agree(0, 0, 'after COMMIT PREPARED');
$one->query_safe(q{BEGIN; SELECT cs_lock('p'); PREPARE TRANSACTION 'second'});
agree(1, 0, 'another one');
$one->query_safe(q{ROLLBACK PREPARED 'second'});
agree(0, 0, 'after ROLLBACK PREPARED');

$_->quit foreach $one, $watcher;
$node->stop;
done_testing();
