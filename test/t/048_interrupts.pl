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
locks_are($node, '0,0', 'nothing is left');

$_->quit foreach $session, $holder;
$node->stop;
done_testing();
