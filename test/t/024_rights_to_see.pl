# What ordinary roles see of each other's keys and whose sessions they may
# cancel: the rules of pg_stat_activity and pg_cancel_backend.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', 'max_prepared_transactions = 5');
$node->safe_psql('postgres', q{
	CREATE ROLE shop LOGIN; CREATE ROLE stranger LOGIN;
	CREATE ROLE boss LOGIN IN ROLE shop;
	CREATE ROLE distant LOGIN NOINHERIT IN ROLE shop;
	CREATE ROLE monitor LOGIN IN ROLE pg_read_all_stats;
	CREATE ROLE guard LOGIN IN ROLE pg_signal_backend;
	CREATE ROLE root LOGIN SUPERUSER});
my %viewer = map { $_ => KeyTest::Session->new($node, name => 'viewer', user => $_) }
  qw(shop stranger boss distant monitor guard root);
my ($holder, $waiter) =
  map { KeyTest::Session->new($node, name => $_, user => 'shop') } qw(holder waiter);
my $other = KeyTest::Session->new($node, name => 'other', user => 'stranger');

# Locks of two roles, somebody who waits, and a prepared transaction.
$viewer{root}->query_safe(q{BEGIN; SELECT cs_lock('prepared'); PREPARE TRANSACTION 'first'});
$other->query_safe(q{BEGIN; SELECT cs_lock('theirs')});
$holder->query_safe(q{BEGIN; SELECT cs_lock('ours')});
$waiter->start_waiting(q{SELECT cs_lock('ours', -1)});

my $locks = q{SELECT string_agg(row, ', ' ORDER BY row) FROM (
	SELECT concat_ws(' ', coalesce(key, '?'), coalesce(role, '?'), coalesce(application_name, '?')) AS row
	FROM cs_locks) rows};
my $of_shop = 'ours shop holder, ours shop waiter';
my $everything = "$of_shop, prepared ? ?, theirs stranger other";
my %seen = (
	shop => "? ? ?, ? ? ?, $of_shop",
	boss => "? ? ?, ? ? ?, $of_shop",
	stranger => '? ? ?, ? ? ?, ? ? ?, theirs stranger other',
	distant => '? ? ?, ? ? ?, ? ? ?, ? ? ?',
	guard => '? ? ?, ? ? ?, ? ? ?, ? ? ?',
	monitor => $everything,
	root => $everything,
);
foreach my $role (sort keys %seen)
{
	is($viewer{$role}->query($locks), $seen{$role}, "cs_locks as $role sees it");
	is( $viewer{$role}->query(
			q{SELECT count(mode), count(granted), count(pid), count(database), count(wait_start),
				count(blocked_by), count(objid) FROM cs_locks}),
		'4|4|3|4|1|1|4', 'how many there are, how and where, is for everybody');
}
my $holders = q{SELECT key, granted, role, application_name FROM cs_holders('ours') ORDER BY granted DESC};
is($viewer{stranger}->query($holders), "ours|t||\nours|f||",
	'cs_holders tells a stranger who knows the key that it is locked, not by whom');
is($viewer{boss}->query($holders), "ours|t|shop|holder\nours|f|shop|waiter",
	'the others it tells more');

# Statistics.
my $statistics =
  q{SELECT string_agg(coalesce(key, '?') || ' ' || acquired, ', ' ORDER BY key) FROM cs_stat_keys};
is($viewer{$_}->query($statistics), '? 1, ? 1, ? 1', "cs_stat_keys as $_ sees it")
  foreach qw(shop boss guard);
is($viewer{$_}->query($statistics), 'ours 1, prepared 1, theirs 1', "cs_stat_keys as $_ sees it")
  foreach qw(monitor root);
is($viewer{shop}->query('SELECT acquired FROM cs_stat'), '3', 'the totals are for everybody');

# The wait graph.
my $graph = q{SELECT coalesce(key, '?'), mode, blocked_by_mode, split_part(query, E'\n', 1),
	split_part(blocked_by_query, E'\n', 1) FROM cs_wait_graph()};
is( $viewer{$_}->query($graph),
	q{ours|exclusive|exclusive|SELECT cs_lock('ours', -1)|SELECT cs_lock('ours')},
	"cs_wait_graph as $_ sees it")
  foreach qw(shop boss monitor root);
is( $viewer{$_}->query($graph),
	'?|exclusive|exclusive||',
	"cs_wait_graph as $_ sees it")
  foreach qw(stranger distant guard);
is( $viewer{stranger}->query(
		'SELECT role, application_name, blocked_by_role, blocked_by_application_name FROM cs_wait_graph()'),
	'|||', 'nor does a stranger learn who they are');
like($viewer{boss}->query('SELECT cs_wait_graph_dot()'), qr/ours/, 'the key is in the picture');
unlike($viewer{stranger}->query('SELECT cs_wait_graph_dot()'), qr/ours/, 'but not in everybody\'s');

# The reset.
my $reset = 'SELECT cs_stat_reset()';
foreach my $role (qw(shop monitor guard))
{
	$viewer{$role}->query($reset);
	is($viewer{$role}->sqlstate, '42501', "$role may not reset the statistics");
}
$viewer{root}->query_safe('GRANT EXECUTE ON FUNCTION cs_stat_reset() TO shop');
$viewer{shop}->query($reset);
is($viewer{shop}->sqlstate, '', 'who was granted it may');
is($viewer{monitor}->query('SELECT acquired FROM cs_stat'), '0', 'and does');

$viewer{root}->query_safe(q{ROLLBACK PREPARED 'first'});
$_->query_safe('COMMIT') foreach $holder, $other;
$waiter->finish;
locks_are($node, '0,0', 'nothing is left');

# Cancels. The holder waits for another key, so that there is something to
# cancel. Whom else cs_cancel_holders spares is in test/specs/cancel_holders.spec.
$viewer{root}->query_safe(q{SELECT cs_lock('blocker', scope => 'session')});
my $hold = q{BEGIN; SELECT cs_lock('k'); SELECT cs_lock('blocker', -1)};
my $cancel = q{SELECT cs_cancel_holders('k')};

$holder->start_waiting($hold);
foreach my $role (qw(stranger distant monitor))
{
	$viewer{$role}->query($cancel);
	is($viewer{$role}->sqlstate, '42501', "$role may not cancel a session of shop");
}
locks_are($node, '2,1', 'nor did it');
foreach my $role (qw(shop boss guard root))
{
	is($viewer{$role}->query($cancel), '1', "$role cancels a session of shop");
	$holder->finish;
	is($holder->sqlstate, '57014', 'which ends its wait');
	$holder->query_safe('ROLLBACK');
	is($viewer{$role}->query($cancel), '0', 'then nobody holds the key');
	$holder->start_waiting($hold);
}
$viewer{root}->query_safe($cancel);
$holder->finish;
$holder->query_safe('ROLLBACK');

my $superuser = KeyTest::Session->new($node, name => 'superuser', user => 'root');
$superuser->start_waiting($hold);
$viewer{guard}->query($cancel);
is($viewer{guard}->sqlstate, '42501', 'pg_signal_backend is not enough for a session of a superuser');
is($viewer{root}->query($cancel), '1', 'a superuser may');
$superuser->finish;
is($superuser->sqlstate, '57014', 'and does');
$superuser->query_safe('ROLLBACK');
$viewer{root}->query_safe('SELECT cs_unlock_all()');
locks_are($node, '0,0', 'nothing is left');

$_->quit foreach $holder, $waiter, $other, $superuser, values %viewer;
$node->stop;
done_testing();
