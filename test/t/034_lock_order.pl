# The report of orders that can deadlock: sessions lock keys in both orders one
# after the other, never at the same time, and the server's log tells. Levels,
# roles, cycles over many sessions, locks that outlive a transaction, databases
# and encodings. What one session can see is in test/pgtap/lock_order.sql.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

# PostgreSQL::Test::Cluster logs statements, which the log would be full of.
my $node = new_node('main', 'concurrency_safe.check_order = log', 'log_statement = none',
	'max_prepared_transactions = 5');
$node->safe_psql('postgres', 'CREATE ROLE clerk LOGIN; CREATE ROLE auditor LOGIN;
	CREATE ROLE boss LOGIN IN ROLE clerk, auditor');

sub session
{
	my ($name, %params) = @_;

	return KeyTest::Session->new($node, name => $name, %params);
}

my $root = session('root');
my $till = session('till', user => 'clerk');
my $nightly = session('nightly', user => 'auditor');

# What the log has of orders since the last call: level, message and detail of each.
my $read = 0;

sub reports
{
	my $log = substr slurp_file($node->logfile), $read;
	my @reports;

	$read += length $log;
	while ($log =~ /(LOG|WARNING|ERROR):  (keys (?:are locked in orders|of class).*)\n.*?DETAIL:  (.*\n(?:\t.*\n)*)/g)
	{
		my ($level, $message, $detail) = ($1, $2, $3);

		$message =~ s/.*can deadlock: //;
		push @reports, { level => $level, message => $message, detail => $detail =~ s/^\t//gmr };
	}
	return @reports;
}

sub reported
{
	my ($expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is_deeply([ sort map { "$_->{level} $_->{message}" } reports() ], [ sort @$expected ], $name);
	return;
}

# Locks keys one by one in a transaction, which ends before this returns.
sub lock_keys
{
	my ($session, @keys) = @_;

	$session->query_safe($_) foreach 'BEGIN', (map { "SELECT cs_lock('$_')" } @keys), 'COMMIT';
	return;
}

# Both orders, never at the same time.
lock_keys($till, 'account:1', 'stock:9');
locks_are($node, '0,0', 'one session has ended its transaction');
reported([], 'one order is nothing to report');
lock_keys($nightly, 'stock:2', 'account:7');
my ($report, @more) = reports();
is(@more, 0, 'the other order is reported');
is("$report->{level} $report->{message}", 'LOG "stock" -> "account" -> "stock"', 'to the log, as a cycle');
my ($now, $first, @others) = split /\n(?=")/, $report->{detail};
is(@others, 0, 'with two orders');
is( $now =~ s/\s*;?\s*$//r,
	q{"stock" (exclusive), then "account" (exclusive): now, role "auditor", application "nightly": SELECT cs_lock('account:7')},
	'the one that was seen now');
like(
	$first,
	qr/^"account" \(exclusive\), then "stock" \(exclusive\): first seen [^,]+, role "clerk", application "till": SELECT cs_lock\('stock:9'\)/,
	'and the one that was seen before');
my ($seen) = $first =~ /first seen ([^,]+),/;
is( $root->query("SELECT '$seen'::timestamptz = first_seen AND first_seen BETWEEN pg_postmaster_start_time() AND now()
		FROM cs_lock_order WHERE held = 'account'"),
	't', 'at the time that the view shows');
is($nightly->{error}, '', 'the client hears nothing');
lock_keys($_, 'account:1', 'stock:9') foreach $nightly, $till, $root;
lock_keys($_, 'stock:2', 'account:7') foreach $till, $nightly, $root;
my $late = session('late', user => 'clerk');
lock_keys($late, 'stock:2', 'account:7');
reported([], 'it is reported once, whoever repeats it');
is( $root->query('SELECT held, role, application_name, in_cycle FROM cs_lock_order ORDER BY held'),
	"account|clerk|till|t\nstock|auditor|nightly|t", 'the view has both orders, and who was first');

# Cycles over several sessions, each with an application of its own. The
# order that closes one is the first of its report.
my @chain = map { session("chain_$_") } 1 .. 4;
foreach my $length (2 .. 9)
{
	my @class = map { "$length.$_" } 1 .. $length;
	my @sessions = @chain;

	foreach my $round (1, 2)
	{
		lock_keys($sessions[ ($_ + $round) % 4 ], "$class[$_ - 1]:$round", "$class[$_]:$round") foreach 1 .. $length - 1;
		reported([], "a chain of $length classes");
		lock_keys($sessions[$round], "$class[-1]:$round", "$class[0]:$round");
		reported(
			$round > 1 || $length > 8 ? [] : [ 'LOG ' . join ' -> ', map { qq{"$_"} } @class[ -1, 0 .. $length - 1 ] ],
			"its ends in the other order, time $round");
	}
}
is($root->query(q{SELECT count(*), count(*) FILTER (WHERE in_cycle) FROM cs_lock_order WHERE held LIKE '9.%'}),
	'9|0', 'nine classes are too many');
lock_keys($till, 'hub:1', 'left:1', 'back:1');
lock_keys($nightly, 'hub:1', 'right:1', 'back:1');
lock_keys($root, 'hub:1', 'back:1');
reports();
lock_keys($root, 'left:1', 'hub:1');
reported(['LOG "left" -> "hub" -> "left"'], 'a short cycle');
lock_keys($late, 'back:1', 'hub:1');
reported([ 'LOG "back" -> "hub" -> "back"', 'LOG "back" -> "hub" -> ... -> "back"', 'LOG "back" -> "hub" -> "left" -> "back"' ],
	'one order may close several cycles');
lock_keys($till, @$_) foreach [ 'p:1', 'q:1' ], [ 'q:1', 'r:1' ];
lock_keys($nightly, 'r:1', 'p:1');
reported(['LOG "r" -> "p" -> ... -> "r"'], 'three classes in one direction');
lock_keys($nightly, @$_) foreach [ 'p:1', 'r:1' ], [ 'r:1', 'q:1' ];
reports();
lock_keys($nightly, 'q:1', 'p:1');
reported([ 'LOG "q" -> "p" -> "q"', 'LOG "q" -> "p" -> "r" -> "q"' ], 'and in the other');

# Beyond a few dozens of classes held at a time not all orders are looked at.
lock_keys($root, map { "many $_:1" } 1 .. 40);
cmp_ok($root->query(q{SELECT count(*) FROM cs_lock_order WHERE held LIKE 'many%'}), '>=', 496, 'many classes in one transaction');
$root->query_safe('SELECT cs_lock_order_reset()');

# Keys of one class, by the order of their tags.
my ($low, $high) = split /\n/,
  $root->query(q{SELECT k FROM unnest(ARRAY['room:1', 'room:2']) k, cs_key_tag(k) ORDER BY classid, objid, objsubid});
lock_keys($till, $low, $high);
reported([], 'keys of one class in the order of their tags');
lock_keys($nightly, $high, $low);
reported(['LOG keys of class "room" are locked one by one, against their order'], 'and against it');
lock_keys($till, $high, $low);
reported([], 'once');

# The level is the session's own. What the client sees, and what the log.
my $private = q{role "auditor", application "nightly"};
$till->query_safe('SET concurrency_safe.check_order = warning');
$till->query_safe('SET client_min_messages = warning');
lock_keys($nightly, 'invoice:1', 'ledger:1');
lock_keys($till, 'ledger:2', 'invoice:2');
reported(['WARNING "ledger" -> "invoice" -> "ledger"'], 'a warning');
$root->query_safe('SELECT cs_lock_order_reset()');
lock_keys($nightly, 'invoice:1', 'ledger:1');
$till->query_safe(q{BEGIN; SELECT cs_lock('ledger:2')});
$till->query(q{SELECT cs_lock('invoice:2')});
like($till->{error}, qr/WARNING:  01000: keys are locked in orders that can deadlock: "ledger" -> "invoice" -> "ledger"\n/, 'the client gets it');
like(
	$till->{error},
	qr/DETAIL:  "ledger" \(exclusive\), then "invoice" \(exclusive\): now, role "clerk", application "till": SELECT cs_lock\('invoice:2'\)/,
	'with what it did itself');
like($till->{error}, qr/^and an order of a session of another role, first seen \d{4}-[^,]+\n/m, 'but not what another role did');
unlike($till->{error}, qr/auditor|nightly|ledger:1/, 'nothing of it');
like($till->{error}, qr/HINT:  Lock the keys in one order everywhere/, 'and what to do');
($report) = reports();
like($report->{detail}, qr/$private: SELECT cs_lock\('ledger:1'\)/, 'the log has all of it');
is($till->query(q{SELECT cs_held_mode('invoice:2')}), 'exclusive', 'after a warning the key is held');
$till->query_safe('COMMIT');
$root->query_safe('SELECT cs_lock_order_reset()');
lock_keys($nightly, 'invoice:1', 'ledger:1');
my $boss = session('boss', user => 'boss');
$boss->query_safe('SET concurrency_safe.check_order = warning');
$boss->query_safe(q{BEGIN; SELECT cs_lock('ledger:2')});
$boss->query(q{SELECT cs_lock('invoice:2')});
like($boss->{error}, qr/$private: SELECT cs_lock\('ledger:1'\)/, 'a member of that role sees it, too');
$boss->query_safe('COMMIT');
reports();

# At error nothing is locked, and a retry passes.
$till->query_safe('SET concurrency_safe.check_order = error');
lock_keys($nightly, 'bus:1', 'train:1');
$till->query_safe(q{BEGIN; SELECT cs_lock('train:2'); SAVEPOINT s});
$till->query(q{SELECT cs_lock('bus:2', scope => 'session')});
is($till->sqlstate, '55000', 'an error');
unlike($till->{error}, qr/auditor|nightly|train:1/, 'that tells a stranger no more than a warning');
($report) = reports();
is($report->{level}, 'ERROR', 'in the log');
like($report->{detail}, qr/$private: SELECT cs_lock\('train:1'\)/, 'with all details');
locks_are($node, '1,0', 'the failing call has locked nothing');
$till->query(q{ROLLBACK TO s; SELECT cs_lock('bus:2', scope => 'session')});
is($till->sqlstate, '', 'the retry passes');
$till->query_safe('COMMIT');
locks_are($node, '1,0', 'and has the key');
$till->query_safe(q{SELECT cs_unlock('bus:2'); RESET concurrency_safe.check_order});
reported([], 'the cycle is known');

# Off. The other sessions go on as before.
my $orders = 'SELECT count(*) FROM cs_lock_order';
my $before = $root->query($orders);
$late->query_safe('SET concurrency_safe.check_order = off');
lock_keys($late, 'x:1', 'y:1');
lock_keys($late, 'y:1', 'x:1');
reported([], 'at off nothing is reported');
is($root->query($orders), $before, 'or remembered');
lock_keys($till, 'x:1', 'y:1');
reported([], 'this is the first order then');
$late->query_safe('RESET concurrency_safe.check_order');

# What is held longer than a transaction, and what is not.
$till->query_safe(q{SELECT cs_lock('job:1', scope => 'session')});
lock_keys($till, 'row:1');
lock_keys($nightly, 'row:1', 'job:2');
reported(['LOG "row" -> "job" -> "row"'], 'session scope counts in later transactions');
sub no_order_after
{
	my ($class, $name, @commands) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$till->query_safe($_) foreach @commands;
	lock_keys($till, 'later:1');
	is($root->query("SELECT held FROM cs_lock_order WHERE held = '$class' AND taken = 'later'"), '', "no order after $name");
	return;
}
no_order_after('job', 'DISCARD ALL', 'DISCARD ALL');
no_order_after('s', 'cs_unlock', q{SELECT cs_lock('s:1', scope => 'session')}, q{SELECT cs_unlock('s:1')});
no_order_after('t', 'COMMIT', q{BEGIN}, q{SELECT cs_lock('t:1')}, q{COMMIT});
no_order_after('u', 'ROLLBACK', q{BEGIN}, q{SELECT cs_lock('u:1')}, q{ROLLBACK});
no_order_after('v', 'an error', q{DO $$ BEGIN PERFORM cs_lock('v:1'); PERFORM 1/0; EXCEPTION WHEN OTHERS THEN END $$});
no_order_after('w', 'PREPARE TRANSACTION', q{BEGIN}, q{SELECT cs_lock('w:1')}, q{PREPARE TRANSACTION 'w'});
no_order_after('w', 'COMMIT PREPARED', q{COMMIT PREPARED 'w'});
no_order_after('z', 'the end of a transaction in a procedure', q{DO $$ BEGIN PERFORM cs_lock('z:1'); COMMIT; PERFORM cs_lock('later:2'); END $$});
$till->query_safe(q{SELECT cs_lock('s:1', scope => 'session')});
lock_keys($till, 'later:1');
is($root->query(q{SELECT count(*) FROM cs_lock_order WHERE held = 's' AND taken = 'later'}), '1', 'but after none of them');
$till->query_safe('DISCARD ALL');
reports();

# Every database has classes of its own, in its own encoding.
$root->query_safe("CREATE DATABASE $_ TEMPLATE template0 ENCODING '$_' LC_COLLATE 'C' LC_CTYPE 'C'") foreach qw(latin1 sql_ascii);
my %bytes = (
	latin1 => [ '\xe9', "\xe9", '\x9b', '\x9b' ],
	sql_ascii => [ '\xff', "\xff", '\x1b', '\x1b' ]);
foreach my $database (sort keys %bytes)
{
	my ($letter, $raw, $control, $escaped) = @{ $bytes{$database} };

	$node->safe_psql($database, 'CREATE EXTENSION concurrency_safe');
	my $there = session($database, database => $database);
	$there->query_safe("SET client_encoding = $database");
	lock_keys($there, 'account:1', 'orders:1');
	lock_keys($there, 'orders:1', 'account:1');
	reported(['LOG "orders" -> "account" -> "orders"'], "orders of database $database");
	$there->query_safe($_)
	  foreach 'BEGIN', "SELECT cs_lock(E'$letter$control:1')", q{SELECT cs_lock('new:1')}, 'COMMIT';
	$there->query_safe($_)
	  foreach 'BEGIN', q{SELECT cs_lock('new:1')}, "SELECT cs_lock(E'$letter$control:1')", 'COMMIT';
	my ($found) = reports();
	is($found->{message}, qq{"new" -> "$raw$escaped" -> "new"}, 'with classes in its encoding, control characters escaped');
	is($there->query(q{SELECT count(*), count(DISTINCT taken) FROM cs_lock_order}), '4|4', 'its view shows them');
	is($there->query(qq{SELECT count(*) FROM cs_lock_order WHERE taken = E'$letter\\$control'}), '1', 'as they are');
	$there->quit;
}
is($root->query(q{SELECT count(*) FROM cs_lock_order WHERE role = 'postgres' AND held IN ('orders', 'new')}),
	'0', 'no other database shows them');
is( $root->query(q{SELECT lock_orders - count(*) FROM cs_stat, cs_lock_order GROUP BY lock_orders}),
	'8', 'but they have their places');

locks_are($node, '0,0', 'nothing is left');
$_->quit foreach $root, $till, $nightly, $late, $boss;
$node->stop;
done_testing();
