# Work on many keys at once heeds cancel and statement_timeout in the middle: in each
# of these calls it ends long before the work would be done, and nothing is left of it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order, 'max_locks_per_transaction = 2000', 'max_wal_senders = 0',
	'max_connections = 50', 'fsync = off');
my $session = KeyTest::Session->new($node);

# Arrays that need no work but that of the call. In the second one, most elements are the same.
$session->query_safe(q{SET concurrency_safe.max_keys_per_session = -1;
	CREATE TABLE many (keys text[]); ALTER TABLE many ALTER keys SET STORAGE EXTERNAL;
	INSERT INTO many SELECT array_agg('many:' || i) FROM generate_series(1, 60000) AS i;
	CREATE TABLE same AS SELECT array_fill('k'::text, ARRAY[3000000]) AS keys});

# Ends it early? The best of some tries, for the machine may be busy.
sub ends_early
{
	my ($call, $name) = @_;
	my $end = 'ROLLBACK; SELECT cs_unlock_all()';
	my $full = elapsed_ms($session, "BEGIN; $call; $end");
	my $limit = int($full / 8) + 1;
	my $best = $full;

	is($session->sqlstate, '', "$name: done in its time");
	foreach my $try (1 .. 30)
	{
		my $elapsed = elapsed_ms($session,
			"BEGIN; SET LOCAL statement_timeout = $limit; $call; $end");

		$best = $elapsed if $session->sqlstate eq '57014' && $elapsed < $best;
		last if $best < $full / 2;
	}
	cmp_ok($best, '<', $full / 2, 'ended in the middle of it');
	is($session->query(q{SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('advisory', 'userlock')}),
		'0', 'and nothing is held');
	return;
}

ends_early('SELECT cs_lock_all(keys) FROM many', 'many keys');
ends_early(q{SELECT cs_try_lock_all(keys, scope => 'session') FROM many}, 'many keys in session scope');
ends_early('SELECT cs_try_lock_any(keys, 60000) FROM many', 'as many keys as are free');
ends_early('SELECT cs_lock_all(keys) FROM same', 'one key, many times');

# With many keys locked: what shows them.
my $holder = KeyTest::Session->new($node);
$holder->query_safe(q{SET concurrency_safe.max_keys_per_session = -1; BEGIN; SELECT cs_lock_all(keys) FROM many});
ends_early('SELECT count(*) FROM cs_locks', 'the view of many locks');
ends_early('SELECT count(*) FROM cs_stat_keys', 'the statistics of many keys');

# The clean-up of many leases.
$session->query_safe(q{INSERT INTO cs_lease_table
	SELECT 'lease:' || i, i, NULL, current_user, now() - interval '2 hours', now() - interval '1 hour', false, NULL
	FROM generate_series(1, 15000) AS i; ANALYZE cs_lease_table});
ends_early(q{SELECT cs_lease_cleanup('0')}, 'the clean-up of many leases');

$holder->query_safe('COMMIT');

# While code of users runs in a call, here a trigger that waits, nothing that is shared is
# locked: others use all of it, and a cancel gets through.
my $other = KeyTest::Session->new($node);
$session->query_safe(q{
	CREATE TABLE account (id integer PRIMARY KEY, balance integer);
	INSERT INTO account VALUES (1, 10), (2, 10);
	CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
	CREATE TRIGGER waits BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION wait_for_it()});
$holder->query_safe('BEGIN; SELECT pg_advisory_xact_lock(1)');
foreach my $call (q{CALL cs_transfer('account', '1', '2', 1)},
	q{CALL cs_run('k', 'UPDATE account SET balance = 0', isolation => 'serializable')})
{
	$session->start_waiting($call);
	is( $other->query(q{BEGIN; SET LOCAL statement_timeout = '60s';
			SELECT cs_lock_all('{other:1,other:2}'), cs_permit('other', 1), cs_lease('other', 1) IS NOT NULL;
			SELECT count(*) > 2 FROM cs_locks; SELECT acquired > 0 FROM cs_stat; SELECT count(*) > 0 FROM cs_stat_keys;
			SELECT count(*) FROM cs_deadlocks; SELECT count(*) FROM cs_lock_order; ROLLBACK}),
		"||t\nt\nt\nt\n0\n0", "others work during $call");
	is($other->query(qq{SELECT pg_cancel_backend($session->{pid})}), 't', 'a cancel');
	$session->finish;
	is($session->sqlstate, '57014', 'gets through');
}
$holder->query_safe('COMMIT');
locks_are($node, '0,0', 'nothing is left');

$_->quit foreach $session, $holder, $other;
$node->stop;
done_testing();
