# Which limit ends a wait: the call's, the default, lock_timeout or
# statement_timeout. Limits that must not count are far away from the one that
# must, so that no slow machine can confuse them.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main');
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);
my $never = 600000;

$holder->query_safe(q{BEGIN; SELECT cs_lock('k'), cs_lock('k2')});

# call, settings, SQLSTATE, limit in the message
my @waits = (
	[ "cs_lock('k', 20)", { lock_timeout => $never }, '55P03', 20 ],
	[ "cs_lock('k', 20)", { default_timeout => $never }, '55P03', 20 ],
	[ "cs_lock('k', 300)", { lock_timeout => 20 }, '55P03', 300 ],
	[ "cs_lock('k', 300)", { lock_timeout => 20, default_timeout => 20 }, '55P03', 300 ],
	[ "cs_lock('k')", { default_timeout => 20, lock_timeout => $never }, '55P03', 20 ],
	[ "cs_lock('k')", { default_timeout => 300, lock_timeout => 20 }, '55P03', 300 ],
	[ "cs_lock('k', NULL)", { default_timeout => 20 }, '55P03', 20 ],
	[ "cs_lock('k', 0)", { lock_timeout => $never }, '55P03', 0 ],
	[ "cs_lock('k')", { default_timeout => 0 }, '55P03', 0 ],
	[ "cs_lock('k', -1)", { lock_timeout => 20, default_timeout => $never }, '55P03', 20 ],
	[ "cs_lock('k')", { default_timeout => -1, lock_timeout => 20 }, '55P03', 20 ],
	[ "cs_lock_all(ARRAY['k', 'l'], 20)", { lock_timeout => $never }, '55P03', 20 ],
	[ "cs_lock_path('k', 20)", { lock_timeout => $never }, '55P03', 20 ],
	[ "cs_lock('k', $never)", { statement_timeout => 50 }, '57014' ],
	[ "cs_lock('k', -1)", { statement_timeout => 50 }, '57014' ],
	[ "cs_lock('k')", { statement_timeout => 50, default_timeout => $never }, '57014' ],
	[ "cs_lock('k', -1)", { statement_timeout => 50, lock_timeout => $never }, '57014' ],
	[ "cs_lock_all(ARRAY['k', 'l'], $never)", { statement_timeout => 50 }, '57014' ],
	[ "cs_try_lock('k', $never)", { statement_timeout => 50 }, '57014' ],
	[ "cs_try_lock('k', -1)", { statement_timeout => 50 }, '57014' ],
	[ "cs_try_lock_all(ARRAY['k', 'l'], $never)", { statement_timeout => 50 }, '57014' ],
	[ "cs_lock('k', 20)", { statement_timeout => $never }, '55P03', 20 ],
);

sub settings_of
{
	my ($settings) = @_;
	my $prefix = { default_timeout => 'concurrency_safe.' };

	return join '', map { 'SET ' . ($prefix->{$_} // '') . "$_ = $settings->{$_}; " }
	  sort keys %{$settings};
}

foreach my $scope (qw(transaction session))
{
	foreach my $wait (@waits)
	{
		my ($call, $settings, $state, $limit) = @{$wait};
		my $set = settings_of($settings);

		$call =~ s/\)$/, scope => '$scope')/;
		$waiter->query_safe("RESET ALL; $set");
		my $elapsed = elapsed_ms($waiter, "SELECT $call");

		is($waiter->sqlstate, $state, "$set$call");
		like($waiter->{error}, qr/could not lock key "k" within $limit ms/, "says $limit ms")
		  if defined $limit;
		like($waiter->{error}, qr/CONTEXT:  locking key "k" in exclusive mode/, 'names the key')
		  if $state eq '57014';
		ok($elapsed >= ($limit // 50) && $elapsed < $never / 2, 'after that time');
		locks_are($node, '2,0', 'nothing is left of the wait');
	}
}
$waiter->query_safe('RESET ALL');

# cs_try_lock: false, and the transaction goes on.
$waiter->query_safe('BEGIN');
is($waiter->query(q{SELECT cs_try_lock('k', 20)}), 'f', 'cs_try_lock gives up');
is($waiter->query(q{SET lock_timeout = 20; SELECT cs_try_lock('k', -1)}),
	'f', 'and with -1 when lock_timeout says so');
is($waiter->query(q{SELECT cs_try_lock('free')}), 't', 'the transaction is usable');
$waiter->query_safe('COMMIT; RESET ALL');

# -1 and no lock_timeout: until the key is free.
$waiter->start_waiting(q{SELECT cs_lock('k', -1)});
$holder->query_safe('COMMIT');
$waiter->finish;
is($waiter->sqlstate, '', 'without a limit the wait ends with the lock');

# One limit for the whole call, not one for each key.
my ($first, $second) = split /,/,
  $node->safe_psql('postgres',
	q{SELECT string_agg(k, ',' ORDER BY classid, objid)
	FROM unnest(ARRAY['k', 'k2']) k, cs_key_tag(k)});
my $other = KeyTest::Session->new($node);
$holder->query_safe("BEGIN; SELECT cs_lock('$first')");
$other->query_safe("BEGIN; SELECT cs_lock('$second')");
my $start = $waiter->query('SELECT extract(epoch FROM clock_timestamp()) * 1000');
$waiter->start_waiting(q{SELECT cs_lock_all(ARRAY['k', 'k2'], 2000)});
$node->poll_query_until('postgres',
	q{SELECT clock_timestamp() - waitstart > '1.2 s' FROM pg_locks WHERE NOT granted});
$holder->query_safe('COMMIT');
$waiter->finish;
my $end = $waiter->query('SELECT extract(epoch FROM clock_timestamp()) * 1000');
ok($end - $start >= 2000 && $end - $start < 3100, 'the limit is one of the whole call');

# So it is for a transfer: what the wait for the key leaves is for the row.
$node->safe_psql('postgres', q{CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);
	INSERT INTO account VALUES (1, 100), (2, 100)});
$other->query_safe('ROLLBACK; BEGIN; SELECT FROM account WHERE id = 2 FOR UPDATE');
$holder->query_safe(q{BEGIN; SELECT cs_lock('public.account:1')});
$start = $waiter->query('SELECT extract(epoch FROM clock_timestamp()) * 1000');
$waiter->start_waiting(q{CALL cs_transfer('account', '1', '2', 1, 2000)});
$node->poll_query_until('postgres',
	q{SELECT clock_timestamp() - waitstart > '1.2 s' FROM pg_locks WHERE NOT granted});
$holder->query_safe('COMMIT');
$waiter->finish;
is($waiter->sqlstate, '55P03', 'a transfer waits for a key and a row');
$end = $waiter->query('SELECT extract(epoch FROM clock_timestamp()) * 1000');
ok($end - $start >= 2000 && $end - $start < 3100, 'no longer than its limit');

$_->quit foreach $holder, $waiter, $other;
$node->stop;
done_testing();
