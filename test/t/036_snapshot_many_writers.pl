# Many writers: none is forgotten as long as a snapshot does not show it, and
# whoever locks other keys is not disturbed.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node(
	'main',
	'max_locks_per_transaction = 3000',
	'autovacuum = off',
	'concurrency_safe.check_order = off');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE done (i integer);
	CREATE FUNCTION number_refused(prefix text, keys integer) RETURNS integer LANGUAGE plpgsql AS $$
	DECLARE refused integer := 0;
	BEGIN
		FOR i IN 1 .. keys LOOP
			BEGIN
				PERFORM cs_lock(prefix || i);
			EXCEPTION WHEN serialization_failure THEN refused := refused + 1;
			END;
		END LOOP;
		RETURN refused;
	END $$});
my %session = map { $_ => KeyTest::Session->new($node, name => $_) } qw(one two reader);

# Each key in a transaction of its own.
sub write_keys
{
	my ($who, $prefix, $keys, $rounds) = @_;

	return $who->start(
		qq{DO \$\$
		BEGIN
			FOR i IN 0 .. $keys * $rounds - 1 LOOP
				PERFORM cs_lock('$prefix:' || i % $keys + 1);
				INSERT INTO done VALUES (i);
				COMMIT;
			END LOOP;
		END \$\$});
}

sub refused
{
	my ($prefix, $keys) = @_;

	return $session{reader}->query_safe("SELECT number_refused('$prefix:', $keys)");
}

my $snapshot = 'ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM done';

# The writer of a key takes the place of the one before.
$session{reader}->query_safe($snapshot);
write_keys($session{one}, 'hot', 200, 5)->finish;
is(refused('hot', 200), 200, 'keys written again and again');
is($session{reader}->query_safe(q{SELECT cs_held_mode('hot:1')}),
	'', 'whoever catches the error has not the key');
is(refused('other', 2000), 0, 'leave room for others');

# Several at a time, with an old snapshot that goes on after them.
$session{$_}->query_safe($snapshot) foreach qw(two reader);
my $early = KeyTest::Session->new($node);
$early->query_safe('BEGIN; INSERT INTO done VALUES (0)');
my @writers = map { KeyTest::Session->new($node) } 1 .. 4;
write_keys($writers[$_], "many:$_", 2500, 1) foreach 0 .. $#writers;
$_->finish foreach @writers;
$_->quit foreach @writers;
is($node->safe_psql('postgres', 'SELECT count(*) FROM done'), 11_000, '10,000 more keys were written');
foreach my $written (2500, 0)
{
	my $when = $written ? 'before' : 'after';

	is(refused("many:$_", 2500), $written, "a snapshot from $when them: $written keys refused")
	  foreach 0 .. $#writers;
	# Where too many writers find no place one answers for all: see writer_set.hpp.
	cmp_ok(refused('other', 2000), '<=', $written ? 200 : 0, 'of others a few, or none');
	$session{reader}->query_safe($snapshot);
}
$early->query_safe('COMMIT');
$early->quit;
is(refused('other', 2000), 0, 'who began before all of them and ends now was none of them');
$_->query_safe('ROLLBACK') foreach values %session;

# One that writes under many keys, while another transaction writes for long.
$session{two}->query_safe('BEGIN; INSERT INTO done VALUES (0)');
$session{one}->query_safe(
	qq{SET concurrency_safe.max_keys_per_session = -1; BEGIN; INSERT INTO done VALUES (0);
	SELECT cs_lock_all(array_agg('all:' || i)) FROM generate_series(1, 20000) i; COMMIT});
$session{reader}->query_safe($snapshot);
is(refused($_, 2000), 0, "20,000 keys of one transaction, seen: none of $_ refused") foreach qw(all other);
$_->query_safe('ROLLBACK') foreach values %session;

# Beside it a snapshot from before keeps all of them in memory, and somebody who
# holds no key has begun to write in between: he is none of those that are over.
my ($old, $bystander) = map { KeyTest::Session->new($node) } 1 .. 2;
my $bulk = q{SET concurrency_safe.max_keys_per_session = -1; BEGIN; INSERT INTO done VALUES (0);
	SELECT cs_lock_all(array_agg('%s:' || i)) FROM generate_series(1, 30000) i; COMMIT};
$old->query_safe($snapshot);
$session{one}->query_safe(sprintf $bulk, 'first');
$bystander->query_safe('BEGIN; INSERT INTO done VALUES (0)');
$session{one}->query_safe(sprintf $bulk, 'second');
$session{reader}->query_safe($snapshot);
is(refused($_, 2000), 0, "none of $_ refused to a new snapshot") foreach qw(first second other);
# He writes under as many keys and ends only after that snapshot: it shows nothing of him,
# whether he has a place or is one of many.
$bystander->query_safe(
	q{SET concurrency_safe.max_keys_per_session = -1;
	SELECT cs_lock_all(array_agg('late:' || i)) FROM generate_series(1, 30000) i; COMMIT});
is(refused('late', 2000), 2000, 'all that ended after it are refused');
$_->query_safe('ROLLBACK') foreach values %session, $old, $bystander;
$_->quit foreach $old, $bystander;
locks_are($node, '0,0', 'nothing is left');
$_->quit foreach values %session;
$node->stop;
done_testing();
