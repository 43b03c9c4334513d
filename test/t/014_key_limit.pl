# concurrency_safe.max_keys_per_session, with default settings a quarter of the
# lock table: 53400 before the first lock. And calls for several keys in session
# scope that fail: none of the new ones is kept.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order);
my $session = KeyTest::Session->new($node);
my $holder = KeyTest::Session->new($node);
my $keys = "(SELECT array_agg('many:' || i) FROM generate_series(1, 100000) i)";
my $default = $node->safe_psql('postgres',
	q{SELECT current_setting('max_locks_per_transaction')::int
	* (current_setting('max_connections')::int
		+ current_setting('max_prepared_transactions')::int) / 4});

foreach my $scope (qw(transaction session))
{
	foreach my $function (qw(cs_lock_all cs_try_lock_all))
	{
		$session->query_safe('BEGIN; SAVEPOINT s');
		$session->query("SELECT $function($keys, scope => '$scope')");
		is($session->sqlstate, '53400', "$function of 100,000 keys in $scope scope");
		like($session->{error},
			qr/DETAIL:.* 0, .* 100000 .* $default\b.*\nHINT:.*max_keys_per_session/,
			'says how many are allowed, and which setting allows more');
		$session->query_safe('ROLLBACK TO s');
		is($session->query('SELECT cs_unlock_all()'), '0', 'nothing was kept');
		$session->query_safe('COMMIT');
	}
	$session->query("SELECT cs_try_lock_any($keys, 100000, scope => '$scope')");
	is($session->sqlstate, '53400', "cs_try_lock_any in $scope scope stops there, too");
	locks_are($node, '0,0', 'nothing is left');
}
$session->query("BEGIN; SELECT cs_lock('many:' || i) FROM generate_series(1, $default) i");
is($session->sqlstate, '', "$default keys one by one");
$session->query(q{SAVEPOINT s; SELECT cs_lock('one more')});
is($session->sqlstate, '53400', 'one more');
$session->query_safe('ROLLBACK TO s');
$session->query_safe(q{SELECT cs_lock('many:1'), cs_lock('many:2', scope => 'session')});
is($session->query(q{SELECT cs_try_lock('many:3', mode => 'shared')}),
	't', 'keys that are held already need no more room');
$session->query_safe('COMMIT');
is($session->query('SELECT cs_unlock_all()'), '1', 'one of them in session scope');

# What a savepoint gives back can be taken again; both scopes count.
$session->query_safe(
	q{SET concurrency_safe.max_keys_per_session = 4;
	SELECT cs_lock('s', scope => 'session'); BEGIN; SELECT cs_lock('t')});
foreach my $round (1 .. 3)
{
	$session->query(
		"SAVEPOINT s; SELECT cs_lock_all(ARRAY['$round:a', '$round:b']); ROLLBACK TO s");
	is($session->sqlstate, '', "keys given back by a savepoint, round $round");
}
$session->query(q{SELECT cs_lock_all(ARRAY['a', 'b', 'c'])});
is($session->sqlstate, '53400', 'five keys in both scopes');
$session->query_safe('ROLLBACK; SELECT cs_unlock_all(); RESET ALL');

# An ordinary role cannot raise its own limit.
$node->safe_psql('postgres', 'CREATE ROLE ordinary LOGIN');
my $ordinary = KeyTest::Session->new($node, user => 'ordinary');
$ordinary->query(q{SELECT cs_held_mode('x'); SET concurrency_safe.max_keys_per_session = -1});
is($ordinary->sqlstate, '42501', 'only a superuser may set it');
$ordinary->query("SELECT cs_lock_all($keys)");
is($ordinary->sqlstate, '53400', 'the limit holds for an ordinary role');
$ordinary->quit;

# Calls that fail at their last key.
my $want = q{ARRAY['a', 'b', 'c', 'd', 'e', 'f', 'hot']};
$holder->query_safe(q{SELECT cs_lock('hot', scope => 'session')});
$session->query_safe(q{SELECT cs_lock('a', scope => 'session') FROM generate_series(1, 2)});
foreach my $case (
	[ "cs_lock_all($want, 20, scope => 'session')", '55P03' ],
	[ "cs_lock_all($want, 0, scope => 'session')", '55P03' ],
	[ "cs_try_lock_all($want, 0, scope => 'session')", '' ],
	[ "cs_try_lock_all($want, 20, scope => 'session')", '' ],
	[ "cs_lock_path('a:b:c:d', 20, scope => 'session')", '55P03', 'a:b:c:d' ],
	[ "cs_lock_all($want, 600000, scope => 'session')", '57014' ],
	[ "cs_try_lock_all($want, 600000, scope => 'session')", '57014' ])
{
	my ($call, $state, $held_key) = @{$case};

	$holder->query_safe("BEGIN; SELECT cs_lock('$held_key')") if $held_key;
	$session->query_safe("SET statement_timeout = 100") if $state eq '57014';
	$session->query("SELECT $call");
	is($session->sqlstate, $state, $call);
	$session->query_safe('RESET statement_timeout');
	$holder->query_safe('COMMIT') if $held_key;
	locks_are($node, '2,0', 'no new key is locked');
}
is($session->query('SELECT cs_unlock_all()'), '2', 'the count of the old one is right');

# What a try gave back leaves room for as many others. The key that is locked comes last.
my $last = $session->query(
	q{SELECT k FROM unnest(ARRAY['a', 'b', 'c', 'd']) k ORDER BY cs_key_tag(k) DESC LIMIT 1});
$holder->query_safe("BEGIN; SELECT cs_lock('$last')");
$session->query_safe('SET concurrency_safe.max_keys_per_session = 4; BEGIN');
is($session->query(q{SELECT cs_try_lock_all(ARRAY['a', 'b', 'c', 'd'])}),
	'f', 'four keys, the last one locked');
is($session->query(q{SELECT cs_try_lock_all(ARRAY['e', 'f', 'g', 'h'])}),
	't', 'leave room for four others');
$_->query_safe('COMMIT') foreach $session, $holder;

$_->quit foreach $session, $holder;
$node->stop;
done_testing();
