# The orders of locks are shared by all sessions: who may see which, what a reset
# leaves in the middle of other transactions, what many sessions enter at the
# same time, what happens when there is no more room, after a crash, and where
# there is no shared memory. How cycles are found is in 034_lock_order.pl.
#
# CS_KILLS is the number of backends that are killed.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $kills = $ENV{CS_KILLS} || 5;

# PostgreSQL::Test::Cluster turns restart_after_crash off, and logs statements.
my @settings = ('concurrency_safe.check_order = log', 'log_statement = none', 'restart_after_crash = on',
	'max_connections = 30');
my $node = new_node('main', @settings);

sub session
{
	my ($name, %params) = @_;

	return KeyTest::Session->new($params{node} // $node, name => $name, %params);
}

# Locks keys one by one in a transaction, which ends before this returns.
sub lock_keys
{
	my ($session, @keys) = @_;

	$session->query_safe($_) foreach 'BEGIN', (map { "SELECT cs_lock('$_')" } @keys), 'COMMIT';
	return;
}

# All orders of the database, "held>taken".
my $orders = q{SELECT string_agg(held || '>' || taken, ' ' ORDER BY held, taken) FROM cs_lock_order};

# The cycles that were reported, and how often the log told that there is no room.
sub cycles_in
{
	my ($log) = @_;

	return $log =~ /LOG:  keys are locked in orders that can deadlock: (.*)/g;
}
sub told_full { return scalar(() = slurp_file($_[0]->logfile) =~ /LOG:  there is no more room for orders of locks/g) }

# Who may see what: a session's own role, and those who may see its activity.
$node->safe_psql('postgres', q{
	CREATE ROLE shop LOGIN; CREATE ROLE stranger LOGIN; CREATE ROLE gone LOGIN;
	CREATE ROLE boss LOGIN IN ROLE shop;
	CREATE ROLE distant LOGIN NOINHERIT IN ROLE shop;
	CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats;
	CREATE ROLE root LOGIN SUPERUSER});
my %viewer = map { $_ => session("as_$_", user => $_) } qw(shop stranger boss distant monitor root);
my $gone = session('gone', user => 'gone');
lock_keys($viewer{shop}, 'ours:1', 'ours too:1');
lock_keys($viewer{stranger}, 'theirs:1', 'theirs too:1');
lock_keys($gone, 'lost:1', 'lost too:1');
$gone->quit;
$viewer{root}->query_safe('DROP ROLE gone');
my $text = q{SELECT string_agg(concat_ws(' ', coalesce(held, '?'), coalesce(taken, '?'), coalesce(role, '?'),
	coalesce(application_name, '?'), coalesce(split_part(query, E'\n', 1), '?')), ', ' ORDER BY held, taken) FROM cs_lock_order};
my $ours = q{ours ours too shop as_shop SELECT cs_lock('ours too:1')};
my $theirs = q{theirs theirs too stranger as_stranger SELECT cs_lock('theirs too:1')};
my $everything = qq{lost lost too ? gone SELECT cs_lock('lost too:1'), $ours, $theirs};
my $nothing = '? ? ? ? ?';
my %seen = (
	shop => "$ours, $nothing, $nothing",
	boss => "$ours, $nothing, $nothing",
	stranger => "$theirs, $nothing, $nothing",
	distant => "$nothing, $nothing, $nothing",
	monitor => $everything,
	root => $everything);
foreach my $role (sort keys %seen)
{
	is($viewer{$role}->query($text) =~ s/;//gr, $seen{$role}, "cs_lock_order as $role sees it");
	is( $viewer{$role}->query(
			'SELECT count(held_mode), count(taken_mode), count(in_cycle), count(first_seen), count(pid) FROM cs_lock_order'),
		'3|3|3|3|3', 'that there are orders is for everybody');
	next if $role eq 'root';
	$viewer{$role}->query('SELECT cs_lock_order_reset()');
	is($viewer{$role}->sqlstate, '42501', "$role may not reset them");
}
lock_keys($viewer{root}, 'lost too:1', 'lost:1');
like(slurp_file($node->logfile), qr/role "", application "gone": SELECT cs_lock\('lost too:1'\)/, 'a role that was dropped has no name');
$viewer{root}->query_safe('GRANT EXECUTE ON FUNCTION cs_lock_order_reset() TO shop');
$viewer{shop}->query_safe('SELECT cs_lock_order_reset()');
is($viewer{monitor}->query($orders), '', 'who was granted it may, and does');

# A reset in the middle of transactions of others: what is held still counts.
my ($root, $one, $other) = ($viewer{root}, session('one'), session('other'));
my $reset = 'SELECT cs_lock_order_reset()';
$one->query_safe($_)
  foreach q{SELECT cs_lock('kept:1', scope => 'session')}, 'BEGIN', q{SELECT cs_lock('a:1')}, q{SELECT cs_lock('b:1')};
is($root->query($orders), 'a>b kept>a kept>b', 'before a reset');
$root->query_safe($reset);
is($root->query($orders), '', 'after it');
lock_keys($other, 'x:1', 'y:1', 'z:1');
$one->query_safe(q{SELECT cs_lock('c:1')});
is($root->query($orders), 'a>c b>c kept>c x>y x>z y>z', 'keys held since before still make orders');
$one->query_safe(q{SELECT cs_lock('d:1')});
is($root->query($orders), 'a>c a>d b>c b>d c>d kept>c kept>d x>y x>z y>z', 'as those locked since then');
is($one->query(q{SELECT cs_held_mode('kept:1') || cs_held_mode('a:1') || cs_held_mode('c:1')}), 'exclusive' x 3, 'all are held');
$one->query_safe('COMMIT');
lock_keys($one, 'a:1', 'b:1');
is($root->query($orders), 'a>b a>c a>d b>c b>d c>d kept>a kept>b kept>c kept>d x>y x>z y>z',
	'later transactions enter orders anew');
$root->query_safe($reset);
lock_keys($one, 'a:1', 'b:1');
is($root->query($orders), 'a>b kept>a kept>b', 'also those that the session has just entered');
lock_keys($other, 'b:1', 'a:1');
is_deeply([ (cycles_in(slurp_file($node->logfile)))[-1] ], ['"b" -> "a" -> "b"'], 'and their cycles are found');
$one->query_safe('SELECT cs_unlock_all()');

# Many sessions at the same time. Keys of their own: nobody waits for anybody.
my @crowd = map { session("crowd_$_") } 1 .. 4;

sub crowd_does
{
	my ($first, $second, $rounds) = (@_, 1);

	$_->start(qq{DO \$\$ BEGIN
		FOR round IN 1 .. $rounds LOOP FOR a IN 1 .. 12 LOOP FOR b IN a + 1 .. 12 LOOP
			PERFORM cs_lock(format('class %s:%s', $first, pg_backend_pid()));
			PERFORM cs_lock(format('class %s:%s', $second, pg_backend_pid()));
			COMMIT;
		END LOOP; END LOOP; END LOOP; END \$\$}) foreach @crowd;
	return;
}

sub crowd_ends
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$_->finish foreach @crowd;
	is(join('', map { $_->{error} } @crowd), '', $name);
	return;
}
my $all = q{SELECT count(*), count(DISTINCT (held, taken)), count(*) FILTER (WHERE in_cycle),
	(SELECT lock_orders FROM cs_stat) FROM cs_lock_order};
$root->query_safe($reset);
crowd_does('a', 'b');
crowd_ends('four sessions with orders of twelve classes');
is($root->query($all), '66|66|0|66', 'each order is entered once');
my $before = -s $node->logfile;
crowd_does('b', 'a');
crowd_ends('the other way round');
is($root->query($all), '132|132|132|132', 'all orders are part of a cycle');
my %times;
foreach my $cycle (cycles_in(substr slurp_file($node->logfile), $before))
{
	my @class = $cycle =~ /"class (\d+)"/g;

	shift @class;
	my ($least) = sort { $class[$a] <=> $class[$b] } 0 .. $#class;
	$times{ join ' ', @class[ map { ($_ + $least) % @class } 0 .. $#class ] }++;
}
is(scalar(grep { /^\d+ \d+$/ } keys %times), 66, 'each cycle of two was reported');
is_deeply([ grep { $times{$_} > 1 } sort keys %times ], [], 'no cycle was reported twice');

# The same while the orders are reset again and again, so that the log would be full
# of them. A number of a class that is mistaken for that of another one is seen as
# an order that nobody took.
$root->query_safe(q{CREATE FUNCTION resets() RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		wrong bigint := 0;
	BEGIN
		FOR i IN 1 .. 50 LOOP
			PERFORM cs_lock_order_reset(), pg_sleep(0.0005);
			wrong := wrong + (SELECT count(*) - count(DISTINCT (held, taken))
				+ count(*) FILTER (WHERE substr(held, 7)::integer >= substr(taken, 7)::integer) FROM cs_lock_order);
		END LOOP;
		RETURN wrong;
	END $$});
$_->query_safe('SET log_min_messages = fatal') foreach @crowd;
my $wrong = 0;
crowd_does('a', 'b', 200);
do { $wrong += $root->query('SELECT resets()') } until grep({ $_->{run}->pump_nb; $_->{out} =~ /end/ } @crowd) == @crowd;
crowd_ends('orders, and resets');
is($wrong, 0, 'all orders were those that were taken');
$root->query_safe($reset);
crowd_does('a', 'b');
crowd_ends('without resets');
is($root->query($all), '66|66|0|66', 'all orders are there again');
$_->quit foreach $one, $other, @crowd, map { $viewer{$_} } grep { $_ ne 'root' } keys %viewer;

# Killed in the middle of it: the server starts anew, and so do the orders.
my $script = PostgreSQL::Test::Utils::tempdir . '/orders.sql';
append_to_file($script, <<'SQL');
\set a random(1, 40)
\set b random(1, 40)
BEGIN;
SELECT cs_lock('class :a:' || pg_backend_pid()), cs_lock('class :b:' || pg_backend_pid());
COMMIT;
SELECT cs_lock_order_reset() WHERE random() < 0.001;
SQL
$root->quit;
foreach my $kill (1 .. $kills)
{
	my $storm = IPC::Run::start(
		[ $node->installed_command('pgbench'), '-n', '-c', '4', '-T', '600', '-f', $script,
			$node->connstr('postgres') . " application_name=storm options='-c log_min_messages=fatal'" ],
		'<', \undef, '>', \my $out, '2>', \my $err, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	# All are at work.
	$node->poll_query_until('postgres', q{SELECT count(*) = 4 AND (SELECT lock_orders FROM cs_stat) > 100
		FROM pg_stat_activity WHERE application_name = 'storm' AND backend_start < now() - interval '0.1 s'})
	  or BAIL_OUT('no storm');
	my @pids = split /\n/, $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'storm'});
	is(kill('KILL', $pids[ rand @pids ]), 1, "kill $kill");
	$storm->finish;
	# It ended, so the server noticed: whoever gets in comes after the restart.
	$node->poll_query_until('postgres', 'SELECT true') or BAIL_OUT('the server did not come back');
	is( $node->safe_psql('postgres', 'SELECT lock_orders, lock_orders_lost, (SELECT count(*) FROM cs_lock_order) FROM cs_stat'),
		'0|0|0', 'no order is left');
	$node->safe_psql('postgres', q{BEGIN; SELECT cs_lock('a:1'); SELECT cs_lock('b:1'); COMMIT});
	$node->psql('postgres', q{SET concurrency_safe.check_order = warning;
		BEGIN; SELECT cs_lock('b:1'); SELECT cs_lock('a:1'); COMMIT}, stderr => \my $warning);
	like($warning, qr/keys are locked in orders that can deadlock: "b" -> "a" -> "b"/, 'new ones are checked');
}
is(scalar(() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g), $kills, 'restarts');
# In crash recovery a fast stop may hang.
$node->stop('immediate');

# No more room: counted, told once, and in nobody's way.
my $small = new_node('small', @settings, 'concurrency_safe.lock_order_size = 16');
my $room = 'SELECT lock_orders, lock_orders_lost FROM cs_stat';
($root, $one) = map { session($_, node => $small) } qw(root one);
lock_keys($one, map { "$_:1" } 'a' .. 'f');
is($root->query($room), '15|0', '15 orders of 6 classes');
lock_keys($one, map { "$_:1" } 'a' .. 'g');
is($root->query($room), '16|5', 'of 6 more, one finds room and the others are counted');
is(told_full($small), 1, 'the log tells it');
lock_keys($one, map { "$_:1" } 'a' .. 'h');
is($root->query('SELECT lock_orders, lock_orders_lost > 5, (SELECT count(*) FROM cs_lock_order) FROM cs_stat'), '16|t|16',
	'every time is counted');
is(told_full($small), 1, 'not told again');
like(slurp_file($small->logfile), qr/no more room for orders of locks\n.*DETAIL:  .*\n.*HINT:  Increase concurrency_safe\.lock_order_size/, 'with what to do');
$root->query_safe($reset);
is($root->query($room), '0|0', 'a reset makes room');
lock_keys($one, map { "$_:1" } 'a' .. 'h');
is(told_full($small), 2, 'and when there is none again, that is told again');

# There is room for as many classes as orders, which here run out first.
$root->query_safe($reset);
lock_keys($one, "p$_:1", "q$_:1") foreach 1 .. 7;
lock_keys($one, 'p1:1', 'r:1');
is($root->query($room), '8|0', '8 orders of 15 classes');
lock_keys($one, 's:1', 't:1');
is($root->query($room), '8|1', 'there is room for one more class, but not for two');
lock_keys($one, 'u:1', 'v:1');
is($root->query($room), '8|2', 'and then for none');
is(told_full($small), 3, 'the log tells that, too');

# Thousands of classes, of several sessions, that make no order: they take no room.
$root->query_safe($reset);
lock_keys($one, 'a:1', 'b:1');
@crowd = map { session("crowd_$_", node => $small) } 1 .. 4;
$_->start(q{DO $$ BEGIN
	FOR i IN 1 .. 3000 LOOP
		PERFORM cs_lock('job ' || i || ' of ' || pg_backend_pid());
		IF cs_held_mode('job ' || i || ' of ' || pg_backend_pid()) IS DISTINCT FROM 'exclusive' THEN RAISE 'not locked'; END IF;
		COMMIT;
	END LOOP; END $$}) foreach @crowd;
crowd_ends('12000 classes');
is($root->query('SELECT lock_orders, lock_orders_lost, acquired >= 12000 FROM cs_stat'), '1|0|t', 'all were locked, and none needs room');
is(told_full($small), 3, 'there is nothing to tell');
lock_keys($one, 'b:1', 'a:1');
is_deeply([ cycles_in(slurp_file($small->logfile)) ], ['"b" -> "a" -> "b"'], 'the classes that are known are still checked');
$_->query_safe(q{BEGIN; SELECT count(cs_lock('job ' || i || ' of ' || pg_backend_pid())) FROM generate_series(1, 300) i}) foreach @crowd;
locks_are($small, '1200,0', 'hundreds in one transaction');
$_->quit foreach @crowd, $one, $root;
locks_become($small, '0,0', 'nothing is left');
$small->stop;

# Without shared memory nothing is checked, and the view says so.
my $bare = new_node('bare', @settings, "shared_preload_libraries = ''", 'concurrency_safe.check_order = error');
SKIP:
{
	skip 'PostgreSQL 17 has shared memory for libraries that are not preloaded', 3
	  if $bare->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
	$one = session('one', node => $bare);
	lock_keys($one, 'a:1', 'b:1');
	lock_keys($one, 'b:1', 'a:1');
	foreach my $query ('TABLE cs_lock_order', $reset)
	{
		$one->query($query);
		is($one->sqlstate, '55000', "$query fails");
	}
	like($one->{error}, qr/HINT:  Add concurrency_safe to shared_preload_libraries/, 'and says why');
	$one->quit;
}
$bare->stop;
done_testing();
