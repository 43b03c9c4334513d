# cs_transfer by many sessions at once, while transfers are cancelled and
# sessions terminated: money is moved, never made or lost, and no lock is left.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', 'max_connections = 30', "deadlock_timeout = '20ms'",
	'log_statement = none');
my $accounts = 5;
my $sum = $accounts * 1000;

$node->safe_psql('postgres', qq{
	CREATE TABLE account (id int PRIMARY KEY, balance numeric(12, 2) NOT NULL CHECK (balance >= 0));
	INSERT INTO account SELECT i, 1000 FROM generate_series(1, $accounts) i;
	CREATE TABLE moved (amount numeric(12, 2) NOT NULL);
	CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS \$\$
	BEGIN
		IF new.balance > old.balance THEN
			INSERT INTO moved VALUES (new.balance - old.balance);
		END IF;
		RETURN new;
	END \$\$;
	CREATE TRIGGER note_move AFTER UPDATE ON account FOR EACH ROW EXECUTE FUNCTION note_move()});

# A reproducible list of transfers, some of them beyond what is there.
srand(20);

sub transfers
{
	my ($count) = @_;
	my @calls;

	foreach (1 .. $count)
	{
		my $from = 1 + int(rand($accounts));
		my $to = 1 + ($from + int(rand($accounts - 1))) % $accounts;
		my $amount = sprintf '%.2f', 0.01 + rand(300);

		push @calls, "CALL cs_transfer('account', '$from', '$to', $amount, 60000);";
	}
	return join "\n", @calls;
}

sub accounts_are_right
{
	my ($name) = @_;

	is($node->safe_psql('postgres', 'SELECT sum(balance) FROM account'),
		"$sum.00", "$name: the sum is exact");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM account WHERE balance < 0'),
		'0', 'no balance is negative');
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM moved'),
		'>', 0, 'money was moved');
	return;
}

# Undisturbed: the only errors are those of accounts without enough money.
my @movers = map { KeyTest::Session->new($node, name => 'mover') } 1 .. 6;
$_->start(transfers(150)) foreach @movers;
my %states = ();
foreach my $mover (@movers)
{
	$mover->finish;
	$states{$_}++ foreach $mover->{error} =~ /ERROR:  (\w{5}):/g;
}
is(join(' ', sort keys %states), '23514', 'no deadlock, no timeout');
is($node->safe_psql('postgres', 'SELECT count(*) FROM moved'),
	6 * 150 - $states{23514}, 'every other transfer moved money once');
accounts_are_right('undisturbed');
locks_are($node, '0,0', 'nothing is left');

# Disturbed: one session cancels the others, again and again, and ends two.
$node->safe_psql('postgres', 'TRUNCATE moved');
my $storm = KeyTest::Session->new($node);
$_->start(transfers(400)) foreach @movers;
$storm->query(q{
	DO $$
	BEGIN
		FOR i IN 1 .. 300 LOOP
			PERFORM pg_cancel_backend(pid) FROM (
				SELECT pid FROM pg_stat_activity
				WHERE application_name = 'mover' AND state = 'active'
				ORDER BY random() LIMIT 1) victim;
			PERFORM pg_stat_clear_snapshot();
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$});
is($storm->sqlstate, '', 'the storm');
$storm->query("SELECT pg_terminate_backend($movers[$_]->{pid})") foreach 0, 1;
my ($done, $cancelled) = (0, 0);
%states = ();
foreach my $mover (@movers)
{
	my @lines = split /\n/, $mover->finish;

	$done += @lines;
	$states{$_}++ foreach $mover->{error} =~ /(?:ERROR|FATAL):  (\w{5}):/g;
}
note join ', ', "$done transfers", map { "$_: $states{$_}" } sort keys %states;
cmp_ok($states{57014} // 0, '>', 0, 'transfers were cancelled');
delete @states{qw(23514 57014 57P01)};
is(join(' ', sort keys %states), '', 'nothing failed for another reason');
$movers[$_]->wait_for_end foreach 0, 1;
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM moved'),
	'>=', $done, 'every transfer that was reported was made');
accounts_are_right('disturbed');
locks_become($node, '0,0', 'nothing is left');
is( $node->safe_psql('postgres',
		q{SELECT bool_and(cs_try_lock(id::text)) FROM account}),
	't', 'every key is free');

$_->quit foreach @movers, $storm;
$node->stop;
done_testing();
