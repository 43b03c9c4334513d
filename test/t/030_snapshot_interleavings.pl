# Does check_snapshot report exactly the reads that are stale?  A generated set
# of interleavings of a writer and a reader of one row under one key, each
# played twice.  First with the check off: the row as the reader sees it under
# the lock, compared with the row as it is committed then, tells whether the
# read is stale.  Then with the check on: stale means 40001, or in READ
# COMMITTED a warning, and anything else means silence and the committed row.
#
# What must be stale is worked out from the steps of the interleaving, too, so
# that a test which plays something else than it says is noticed.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

# Each combination of the reader's level, scope and first read with the moment of
# the writer's end is played with so many ways to do the rest.
my $variations = $ENV{CS_INTERLEAVINGS} // 10;

my $node = new_node('main', 'max_prepared_transactions = 5', 'autovacuum = off');
$node->safe_psql(
	'postgres', q{
	CREATE TABLE t (id integer PRIMARY KEY, v integer, trap text);
	INSERT INTO t VALUES (1, 0), (2, 0);
	CREATE TABLE taken (id integer PRIMARY KEY);
	INSERT INTO taken VALUES (1);
	-- Subtransactions that fail, with and without a write; the others around them do not.
	CREATE FUNCTION fail_to_write() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO taken VALUES (1);
	EXCEPTION WHEN unique_violation THEN NULL;
	END $$;
	CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM 1 / (id - 1) FROM taken;
	EXCEPTION WHEN division_by_zero THEN
		RETURN NEW;
	END $$;
	CREATE FUNCTION write_in_loop(integer) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE x integer;
	BEGIN
		FOR x IN UPDATE t SET v = v + 1, trap = NULL WHERE id = $1 RETURNING v LOOP
			BEGIN
				PERFORM 1 / (id - 1) FROM taken;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END $$;
	CREATE TRIGGER before BEFORE UPDATE ON t FOR EACH ROW
		WHEN (NEW.trap = 'before') EXECUTE FUNCTION fail();
	CREATE TRIGGER after AFTER UPDATE ON t FOR EACH ROW
		WHEN (NEW.trap = 'after') EXECUTE FUNCTION fail();
	CREATE CONSTRAINT TRIGGER deferred AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.trap = 'deferred') EXECUTE FUNCTION fail();});
my %session = map { $_ => KeyTest::Session->new($node, name => $_) } qw(writer reader next observer);

# The order of the steps; "end" is the writer's.
my %moments = (
	before => [qw(hold work end begin lock)],
	around => [qw(hold work begin end lock)],
	after => [qw(begin hold work end lock)],
	inside => [qw(begin stop hold work end go)],    # of the statement that locks
	during => [qw(hold work begin wait end)],    # the wait for the key
	late => [qw(hold begin wait work end)],    # the same, and writes then
);

# Does its work stay, what comes first, what comes next.
my %works = (
	'writes' => [ 1, ['LOCK'], ['WRITE'] ],
	'writes, then locks' => [ 1, [ 'WRITE', 'LOCK' ], [] ],
	'reads' => [ 0, ['LOCK'], ['SELECT FROM t'] ],
	'fails to write' => [ 0, ['LOCK'], ['SELECT fail_to_write()'] ],
	'writes, fails to write' => [ 1, ['LOCK'], [ 'WRITE', 'SELECT fail_to_write()' ] ],
	'writes in a savepoint' => [ 1, [ 'LOCK', 'SAVEPOINT a' ], [ 'WRITE', 'RELEASE a' ] ],
	'writes in vain' => [ 0, [ 'LOCK', 'SAVEPOINT a' ], [ 'WRITE', 'ROLLBACK TO a' ] ],
	'writes, and in vain' =>
	  [ 1, ['LOCK'], [ 'WRITE', 'SAVEPOINT a', 'WRITE', 'ROLLBACK TO a' ] ],
	'writes in vain, and again' =>
	  [ 1, [ 'LOCK', 'SAVEPOINT a' ], [ 'WRITE', 'ROLLBACK TO a', 'WRITE' ] ],
	'writes in two savepoints' => [
		1,
		[ 'LOCK', 'SAVEPOINT a' ],
		[ 'WRITE', 'SAVEPOINT b', 'WRITE', 'ROLLBACK TO b', 'RELEASE a' ]
	],
	'writes in two savepoints in vain' => [
		0,
		[ 'LOCK', 'SAVEPOINT a' ],
		[ 'SAVEPOINT b', 'WRITE', 'RELEASE b', 'ROLLBACK TO a' ]
	],
	'locks and writes in a savepoint' =>
	  [ 1, [ 'SAVEPOINT a', 'LOCK' ], [ 'WRITE', 'RELEASE a' ] ],
	'locks and writes in vain' =>
	  [ 0, [ 'SAVEPOINT a', 'LOCK', 'WRITE', 'ROLLBACK TO a', 'LOCK' ], [] ],
	'locks and writes in vain, and again' =>
	  [ 1, [ 'SAVEPOINT a', 'LOCK', 'WRITE', 'ROLLBACK TO a', 'LOCK' ], ['WRITE'] ],
);

# How the writer takes the key; in session scope, what gives it back.
my %holds = (
	'cs_lock' => { take => 'cs_lock' },
	'cs_lock_all' => { take => 'cs_lock_all' },
	'cs_lock_path' => { take => 'cs_lock_path' },
	'LOCK' => { take => 'LOCK' },
	'cs_unlock_all' => { release => 'SELECT cs_unlock_all()' },
	'cs_unlock' => { release => q{SELECT cs_unlock('row:#')} },
	'DISCARD ALL' => { release => 'DISCARD ALL' },
	'pg_advisory_unlock_all' => { release => 'SELECT pg_advisory_unlock_all()' },
	'unlocks early' => { early => 'SELECT cs_unlock_all()' },
	'locks early' => { first => 1, release => 'SELECT cs_unlock_all()' },
);

# How it writes; # is the number of the row.
my %writes = (
	'update' => 'UPDATE t SET v = v + 1, trap = NULL WHERE id = #',
	'update, trap before' => q{UPDATE t SET v = v + 1, trap = 'before' WHERE id = #},
	'update, trap after' => q{UPDATE t SET v = v + 1, trap = 'after' WHERE id = #},
	'update, trap deferred' => q{UPDATE t SET v = v + 1, trap = 'deferred' WHERE id = #},
	'insert' => 'INSERT INTO t VALUES (#) ON CONFLICT (id) DO UPDATE SET v = t.v + 1, trap = NULL',
	'loop' => 'SELECT write_in_loop(#)',
);

# Choices that stand twice come up twice as often.
my %choices = (
	work => [ sort(keys %works), ('writes') x 4 ],
	write => [ sort keys %writes ],
	hold => [ sort keys %holds ],
	end => [ ('COMMIT') x 4, ('COMMIT PREPARED') x 2, 'ROLLBACK', 'ROLLBACK PREPARED' ],
	writer_level => [ 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE' ],
	key => [ ('the same') x 7, 'another' ],
	# Who holds the key between the writer and the reader.
	next => [ 'nobody', 'nobody', 'a reader', 'a writer that fails' ],
	take => [
		qw(cs_lock cs_try_lock cs_lock_all cs_try_lock_all cs_try_lock_any cs_lock_path cs_try_lock_path LOCK)
	],
	mode => [qw(X X X S SIX IX IS)],
);
my @chosen = sort keys %choices;

sub is_possible
{
	my ($case) = @_;
	my $waits = grep { $_ eq 'wait' } @{ $moments{ $case->{moment} } };

	return 0
	  if $waits
	  and $case->{take} eq 'cs_try_lock_any'
	  || $case->{key} eq 'another'
	  || $case->{hold} eq 'unlocks early'
	  || $case->{next} ne 'nobody';
	return 0
	  if $case->{take} eq 'LOCK'
	  and $case->{scope} eq 'session'
	  || $case->{read} eq 'together'
	  || $case->{moment} eq 'inside';
	# One cs_unlock gives back one hold.
	return 0
	  if $case->{hold} eq 'cs_unlock' && $case->{work} =~ /locks and writes in vain/;
	return 1;
}

# The same cases in every run.
my $state = 1;

sub draw
{
	my ($list) = @_;

	$state = ($state * 1103515245 + 12345) % 2**31;
	return $list->[ ($state >> 12) % @$list ];
}

sub draw_case
{
	my (%case) = @_;

	do { $case{$_} = draw($choices{$_}) foreach @chosen } until is_possible(\%case);
	return \%case;
}

# All ways to combine one of each list.
sub combine
{
	my ($name, $list, @others) = @_;

	return {} unless defined $name;
	return map {
		my $case = $_;
		map { +{ %$case, $name => $_ } } @$list
	} combine(@others);
}

# The statement, or the part of one, that locks the key of the row.
sub taking
{
	my ($function, $scope, $mode) = @_;
	my %lock_modes = (
		X => 'EXCLUSIVE',
		S => 'SHARE',
		SIX => 'SHARE ROW EXCLUSIVE',
		IX => 'ROW EXCLUSIVE',
		IS => 'ROW SHARE'
	);
	my $key = $function =~ /a(ll|ny)$/ ? q{ARRAY['row:#', 'second:#']} : q{'row:#'};
	my $limit = $function eq 'cs_try_lock_any' ? 2 : -1;

	return qq{LOCK cs_key."row:#" IN $lock_modes{$mode} MODE} if $function eq 'LOCK';
	return qq{SELECT $function($key, $limit, mode => '$mode', scope => '$scope')};
}

sub write_all
{
	my ($case, @statements) = @_;
	my $take = $holds{ $case->{hold} }{take};
	my $row = $case->{key} eq 'another' ? 2 : 1;
	my %meaning = (
		LOCK => taking($take // 'cs_lock', $take ? 'transaction' : 'session', 'X'),
		WRITE => $writes{ $case->{write} },
	);
	my $sql = join ';', map { $meaning{$_} // $_ } @statements;

	$session{writer}->query_safe($sql =~ s/#/$row/gr);
	return;
}

my $read = q{SELECT 'read ' || v FROM t WHERE id = 1};

sub start_reader
{
	my ($case, $check) = @_;
	my $sql = taking(@$case{qw(take scope mode)});

	$sql =~ s/SELECT/SELECT pg_advisory_xact_lock_shared(1),/ if $case->{moment} eq 'inside';
	$sql .= q{, 'read ' || v FROM t WHERE id = #} if $case->{read} eq 'together';
	$sql .= ";$read" unless $check && $case->{read} eq 'never';
	$session{reader}->start($sql =~ s/#/1/gr);
	return;
}

sub wait_for_reader
{
	my $query =
	  "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $session{reader}{pid}";

	foreach (1 .. 20_000)
	{
		return if $session{observer}->query_safe($query) eq 't';
	}
	die 'the reader does not wait';
}

sub hold_next
{
	my ($case) = @_;
	my $work =
	  $case->{next} eq 'a reader' ? 'SELECT FROM t; COMMIT' : 'UPDATE t SET v = v + 1; ROLLBACK';

	$session{next}->query_safe(q{BEGIN; SELECT cs_lock('row:1'); } . $work)
	  unless $case->{next} eq 'nobody';
	return;
}

my %steps = (
	hold => sub {
		my ($case) = @_;
		my @early = $holds{ $case->{hold} }{first} ? 'LOCK' : ();

		write_all($case, @early, "BEGIN ISOLATION LEVEL $case->{writer_level}",
			@{ $works{ $case->{work} }[1] });
	},
	work => sub {
		my ($case) = @_;
		my @early = $holds{ $case->{hold} }{early} // ();
		my @prepare = $case->{end} =~ /PREPARED/ ? q{PREPARE TRANSACTION 'p'} : ();

		write_all($case, @{ $works{ $case->{work} }[2] }, @early, @prepare);
	},
	end => sub {
		my ($case) = @_;
		my $release = $holds{ $case->{hold} }{release};

		if ($case->{end} =~ /PREPARED/)
		{
			$session{observer}->query_safe("$case->{end} 'p'");
		}
		else
		{
			write_all($case, $case->{end});
		}
		write_all($case, $release) if $release;
		hold_next($case);
	},
	begin => sub {
		my ($case, $check) = @_;
		my $setting = $check ? 'DEFAULT' : 'off';
		my $first = $case->{read} eq 'before' ? $read : '';

		$session{reader}->query_safe(
			"SET concurrency_safe.check_snapshot = $setting; BEGIN ISOLATION LEVEL $case->{level}; $first"
		);
	},
	lock => \&start_reader,
	wait => sub { start_reader(@_); wait_for_reader() },
	stop => sub {
		$session{observer}->query_safe('SELECT pg_advisory_lock(1)');
		start_reader(@_);
		wait_for_reader();
	},
	go => sub { $session{observer}->query_safe('SELECT pg_advisory_unlock(1)') },
);

# What the reader is told, the row as it reads it under the lock, the row as it
# is committed, and the number of holds in session scope that are left.
sub play
{
	my ($case, $check, @steps) = @_;

	$steps{$_}->($case, $check) foreach @steps;
	my ($seen) = $session{reader}->finish =~ /read (\d+)/;
	my $told = $session{reader}{error};
	my $committed = $session{observer}->query_safe('SELECT v FROM t WHERE id = 1');
	my $left = $session{reader}->query_safe('ROLLBACK; SELECT cs_unlock_all()');

	return ($told, $seen, $committed, $left);
}

sub verdict
{
	my ($told) = @_;
	my $key = qr/key "(row|second):1"$/;
	my @messages = $told =~ /(?:ERROR|WARNING):  (.*)/g;

	return 'silence' if $told eq '';
	return 'error'
	  if $messages[0] =~ /^40001: could not serialize access due to concurrent holder of $key/;
	return 'warning'
	  unless grep { !/^01000: statement does not see the changes of the last holder of $key/ } @messages;
	return $told;
}

# Is the read stale by the steps?
sub model
{
	my ($case) = @_;
	my $in_statement = $case->{moment} =~ /inside|during|late/;

	return 0 if !$works{ $case->{work} }[0] || $case->{end} =~ /ROLLBACK/;
	return 0 if $case->{key} eq 'another' || $case->{moment} eq 'before';
	return $in_statement && $case->{read} eq 'together' if $case->{level} eq 'READ COMMITTED';
	return $case->{read} eq 'before' || $in_statement && $case->{take} ne 'LOCK';
}

my (%verdicts, @unforeseen);

sub check_case
{
	my ($name, $case) = @_;
	my @steps = @{ $moments{ $case->{moment} } };
	my (undef, $seen, $committed) = play($case, 0, @steps);
	my $stale = $seen ne $committed;
	my $report = $case->{level} eq 'READ COMMITTED' ? 'warning' : 'error';
	(my $told, $seen, $committed, my $left) = play($case, 1, @steps);
	my @got = verdict($told);

	$verdicts{ $got[0] }++;
	push @unforeseen, $name if $stale xor model($case);
	push @got, 'reads what is not committed'
	  if $got[0] eq 'silence' && defined $seen && $seen ne $committed;
	push @got, "leaves $left locks"
	  if $left && ($got[0] eq 'error' || $case->{scope} eq 'transaction');
	if ($got[0] eq 'error')
	{
		($told, $seen, $committed) = play($case, 1, qw(begin lock));
		push @got, "then $told"
		  if $told ne '' || defined $seen && $seen ne $committed;
	}
	is(join(', ', @got), $stale ? $report : 'silence', $name);
	return;
}

my $number = 0;
foreach my $combination (
	combine(
		level => $choices{writer_level},
		scope => [qw(transaction session)],
		read => [qw(before after never together)],
		moment => [ sort keys %moments ]))
{
	foreach (1 .. $variations)
	{
		my $case = draw_case(%$combination);

		check_case(join('; ', ++$number, map { "$_ $case->{$_}" } sort keys %$case), $case);
	}
}
locks_are($node, '0,0', 'nothing is left');
is_deeply(\@unforeseen, [], 'what was stale is what the steps say');
ok(($verdicts{$_} // 0) >= $number / 100, "enough cases end in $_") foreach qw(error warning silence);
note(map { "$_: $verdicts{$_}\n" } sort keys %verdicts);
$_->quit foreach values %session;
$node->stop;
done_testing();
