# A storm over four permits: sessions that take one and let it go, are cancelled
# and terminated while they wait or hold. Each holder leaves a mark that another
# session sees, by a second connection: an advisory lock of PostgreSQL's own,
# taken after the grant and given back before the end of the transaction. A
# watcher asks the lock table again and again: never are there more than four
# marks, nor more than four permits, and hardly ever fewer while somebody waits.
#
# Then the time from the end of a holder until a waiter has its permit.
#
# CS_PERMIT_SECONDS is the length of each storm, CS_SEED repeats a choice of victims.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $seconds = $ENV{CS_PERMIT_SECONDS} || 5;
my $seed = $ENV{CS_SEED} || 1 + int(rand(2**31 - 2));
my $clients = 32;
my $wakeups = 500;

note "$seconds seconds, seed $seed";

my $folder = PostgreSQL::Test::Utils::tempdir;

sub script
{
	my ($name, $text) = @_;

	append_to_file("$folder/$name", $text);
	return "$folder/$name";
}

# The mark is a lock in session scope of the same session: nobody else takes its
# number, and it ends with the session. It is given back before the permit, so
# marks are never more than permits unless permits are given out too often.
my $work = script('work', <<'SQL');
\set ms random(1, 3)
BEGIN;
SELECT cs_permit('storm', 4, -1);
SELECT pg_advisory_lock(:client_id);
SELECT pg_sleep(:ms * 0.001);
SELECT pg_advisory_unlock(:client_id);
COMMIT;
SQL
my $try = script('try', <<'SQL');
BEGIN;
SELECT cs_try_permit('storm', 4, 2) AS taken \gset
\if :taken
SAVEPOINT s;
SELECT pg_advisory_lock(:client_id + 1000);
SELECT pg_advisory_unlock(:client_id + 1000);
\endif
ROLLBACK;
SQL

sub storm
{
	my ($node, $name) = @_;
	my @crowds;
	my ($marks, $permits, $samples, $full, $kills, $grants) = (0, 0, 0, 0, 0, 0);

	# pgbench gives up a client that was cancelled or terminated: each is started again.
	my $start = sub {
		my ($file, $number, $first) = @_;
		my %crowd = (output => '', error => '', file => $file, number => $number);

		$crowd{run} = IPC::Run::start(
			[ $node->installed_command('pgbench'), '-n', '-c', $number, '-T', '600', '-f', $file,
				'-D', "base=$first", '--random-seed=' . $seed++, $node->connstr('postgres') ],
			'<', \undef, '>', \$crowd{output}, '2>', \$crowd{error},
			IPC::Run::timeout(2 * $seconds + $PostgreSQL::Test::Utils::timeout_default));
		return \%crowd;
	};
	return ($start);
}

# A client of its own for each session: a loop in the server, that goes on after
# a cancel and is started again after the end of its session.
my $loop = q{CREATE PROCEDURE storm(id integer) LANGUAGE plpgsql AS $$
DECLARE
	has boolean;
BEGIN
	LOOP
		BEGIN
			IF id % 4 = 0 THEN
				has := cs_try_permit('storm', 4, 5);
			ELSE
				PERFORM cs_permit('storm', 4, CASE WHEN id % 4 = 1 THEN 20 ELSE -1 END);
				has := true;
			END IF;
			IF has THEN
				PERFORM pg_advisory_lock(id);
				PERFORM pg_sleep(random() * 0.004);
				PERFORM pg_advisory_unlock(id);
			END IF;
			IF id % 8 = 2 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION
			WHEN query_canceled OR lock_not_available OR division_by_zero THEN
				PERFORM pg_advisory_unlock_all();
		END;
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
END $$};
