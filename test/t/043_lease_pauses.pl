# Whoever holds a lease pauses, for longer than the lease lasts, and does not know
# it. What it writes later with its token is refused if somebody else has the
# lease by then; and if it had checked its token before, nobody else gets the lease until it has
# committed. So the log of the work never goes back to an older token.
#
# CS_LEASE_PAUSES is the number of pauses.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $pauses = $ENV{CS_LEASE_PAUSES} || 50;
my $node = new_node('main', 'log_statement = none');
my ($old, $new) = map { KeyTest::Session->new($node, name => $_) } qw(old new);
my ($refused, $held_off, $stopped) = (0, 0, 0);

$node->safe_psql('postgres', q{
	CREATE TABLE work (id bigserial PRIMARY KEY, token bigint NOT NULL, who text);
	CREATE FUNCTION work(which bigint, whose text) RETURNS void LANGUAGE sql AS
		$$ SELECT cs_check_token('job', which); INSERT INTO work (token, who) VALUES (which, whose) $$});

foreach my $n (1 .. $pauses)
{
	my $ttl = 20 + $n % 30;
	my $token = $old->query_safe("SELECT cs_lease('job', $ttl, 'old', 60000)");

	if ($n % 3 == 0)
	{
		# It checks, then pauses within its transaction: the takeover waits for it.
		$old->query("BEGIN; SELECT work($token, 'checked')");
		my $checked = $old->sqlstate eq '';
		my $blocked = q{SELECT count(*) FROM pg_locks WHERE locktype = 'userlock' AND NOT granted};

		$new->start(q{SELECT cs_lease('job', 20, 'new', 60000)});
		if ($checked)
		{
			$node->poll_query_until('postgres', $blocked, '1') or die 'the takeover does not wait';
			$held_off++;
		}
		$old->query($checked ? q{UPDATE work SET who = who || ', late' WHERE id = (SELECT max(id) FROM work); COMMIT} : 'ROLLBACK');
		my $next = $new->finish;
		$next > $token or die "token $next after $token";
		$new->query("SELECT work($next, 'new')");
	}
	else
	{
		# It pauses before its transaction, its process stopped or simply busy with other things.
		my $stop = $n % 10 == 1;

		$old->{run}->signal('STOP') if $stop;
		$old->start("SELECT work($token, 'stale')") if $stop;
		my $next = $new->query_safe(q{SELECT cs_lease('job', 60000, 'new', 60000)});
		$new->query_safe("SELECT work($next, 'new')");
		if ($stop)
		{
			$old->{run}->signal('CONT');
			$old->finish;
			$stopped++;
		}
		else
		{
			$old->query("SELECT work($token, 'stale')");
		}
		$refused++ if $old->sqlstate eq '55000';
		diag("not refused: $old->{error}") if $old->sqlstate ne '55000';
		$new->query_safe("SELECT cs_release_lease('job', $next)");
	}
}
is($refused, $pauses - int($pauses / 3), 'every late write was refused');
cmp_ok($held_off, '>', 0, "takeovers that waited for one who had checked: $held_off");
is($node->safe_psql('postgres', q{SELECT count(*) FROM work WHERE who = 'stale'}), '0', 'no stale write');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM (
		SELECT token < max(token) OVER (ORDER BY id) AS back FROM work) AS w WHERE back}),
	'0', 'the work never went back to an older token');
note "$pauses pauses: $refused late writes refused, $held_off takeovers held off, $stopped processes stopped";

$_->quit foreach $old, $new;
$node->stop;
done_testing();
