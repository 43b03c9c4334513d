# What the log of the server says about keys: log_lock_waits names the key, and
# no key can forge a line or drive a terminal.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'log_lock_waits = on', "deadlock_timeout = '20ms'",
	'log_statement = none', 'log_min_error_statement = panic');
my $holder = KeyTest::Session->new($node);
my $waiter = KeyTest::Session->new($node);

$holder->query_safe(q{BEGIN; SELECT cs_lock('order:7')});
$waiter->start(q{SELECT cs_lock('order:7', -1)});
ok( $node->wait_for_log(
		qr/still waiting for ExclusiveLock on advisory lock.*\n(?:.*\n){0,3}?.*CONTEXT:  locking key "order:7" in exclusive mode/
	),
	'log_lock_waits names the key of a wait');
$holder->query_safe('COMMIT');
$waiter->finish;
ok( $node->wait_for_log(
		qr/acquired ExclusiveLock on advisory lock.*\n(?:.*\n){0,3}?.*CONTEXT:  locking key "order:7" in exclusive mode/
	),
	'and of its end');

my %shown = (
	q{E'a\nFATAL:  forged'} => 'a\nFATAL:  forged',
	q{E'a\r\tb'} => 'a\r\tb',
	q{E'\x1b[2Jb\x7f'} => '\x1b[2Jb\x7f',
	q{E'\u009bb'} => '\x9bb',
	q{'"quoted" ''\ é'} => q{"quoted" '\ é},
);
foreach my $key (sort keys %shown)
{
	my $log_end = -s $node->logfile;

	$holder->query_safe("BEGIN; SELECT cs_lock($key)");
	$waiter->query("SELECT cs_lock($key, 10)");
	is($waiter->sqlstate, '55P03', "timeout of $key");
	like($waiter->{error}, qr/key "\Q$shown{$key}\E" within 10 ms/, 'as the client sees it');

	$waiter->query("SET statement_timeout = 60; SELECT cs_lock($key, 60000); RESET ALL");
	is($waiter->sqlstate, '57014', "statement_timeout of $key");
	$waiter->query("SELECT cs_unlock($key)");
	$holder->query_safe('COMMIT');

	my $log = slurp_file($node->logfile, $log_end);
	like($log, qr/ERROR:.*could not lock key "\Q$shown{$key}\E"/, 'as the log shows the error');
	like($log, qr/CONTEXT:.*locking key "\Q$shown{$key}\E" in/, 'as the log shows the context');
	unlike($log, qr/^\s*(?:FATAL:  )?forged|[\x00-\x08\x0b-\x1f\x7f]/m,
		'the log holds no line and no control character of the key');
	unlike($log, qr/\xc2[\x80-\x9f]/, 'nor one of two bytes');
}

locks_are($node, '0,0', 'nothing is left');
$_->quit foreach $holder, $waiter;
$node->stop;
done_testing();
