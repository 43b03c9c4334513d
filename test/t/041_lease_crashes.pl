# Sessions take and release the leases of a few keys while backends are killed by
# kill -9, and the whole server is stopped at once and started. Each session keeps a list
# of the tokens that a COMMIT returned. A lease is granted to one at a time, so granted_at
# is in the order of the grants, and tokens have to grow along it: none comes twice,
# or goes back, whatever a crash took away.
#
# CS_LEASE_CRASHES is the number of crashes, CS_SEED repeats the choice of moments and victims.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $crashes = $ENV{CS_LEASE_CRASHES} || 4;
my $seed = $ENV{CS_SEED} || 1 + int(rand(2**31 - 2));
my $clients = 4;

srand($seed);
note "$crashes crashes, seed $seed";

# PostgreSQL::Test::Cluster turns restart_after_crash off, and logs statements.
my $node = new_node('main', 'restart_after_crash = on', 'log_statement = none',
	'synchronous_commit = off');
my $folder = PostgreSQL::Test::Utils::tempdir;

# A client takes, and prints only after its COMMIT: what it printed was given out. Every
# tenth time it leaves the lease to expire, every seventh it rolls back.
sub script
{
	my ($client) = @_;
	my $text = '';

	foreach my $n (1 .. 2000)
	{
		my $key = 'key:' . ($n * 7 + $client) % 3;
		my $ttl = $n % 10 ? 300 : 5;
		my $end = $n % 7 ? 'COMMIT' : 'ROLLBACK';

		my $release = $ttl > 5 && $end eq 'COMMIT' ? "SELECT cs_release_lease('$key', :token) \\g /dev/null\n" : '';
		my $print = $end eq 'COMMIT' ? "\\echo $key :token :at\n" : '';

		# A null unsets the variable.
		$text .= "\\unset token\nBEGIN;\nSELECT cs_lease('$key', $ttl, timeout_ms => 20) AS token \\gset\n"
		  . "SELECT extract(epoch FROM granted_at) AS at FROM cs_leases WHERE key = '$key' \\gset\n"
		  . "$end;\n\\if :{?token}\n$print$release\\endif\n";
	}
	append_to_file("$folder/client$client.sql", $text);
	return;
}

script($_) foreach 1 .. $clients;

# Runs until the server goes away; then its output is complete but for what was on its way.
sub start_client
{
	my ($client) = @_;
	my ($out, $err) = ('', '');

	return {
		client => $client, out => \$out,
		run => IPC::Run::start(
			[
				$node->installed_command('psql'), '-Xq', '-d', $node->connstr('postgres'),
				'-f', "$folder/client$client.sql"
			],
			'<' => \undef, '>' => \$out, '2>' => \$err,
			IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default))
	};
}

my %grants;
my ($total, $restarts) = (0, 0);

sub collect
{
	my ($client) = @_;

	eval { $client->{run}->finish };
	foreach (split /\n/, ${ $client->{out} })
	{
		/^(key:\d) (\d+) ([\d.]+)$/ or next;
		push @{ $grants{$1} }, [ $3, $2 ];
		$total++;
	}
	return;
}

foreach my $crash (1 .. $crashes)
{
	my @running = map { start_client($_) } 1 .. $clients;

	sleep 0.2 + rand 0.5;
	if ($crash % 2)
	{
		my @pids = split /\n/, $node->safe_psql('postgres',
			q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%lease%' AND pid <> pg_backend_pid()});

		next unless @pids;
		kill 'KILL', $pids[ rand @pids ] or die 'nobody was killed';
		$restarts++;
		collect($_) foreach @running;
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not answer';
	}
	else
	{
		$node->stop('immediate');
		collect($_) foreach @running;
		$node->start;
	}
}

my ($repeated, $back) = (0, 0);
foreach my $key (sort keys %grants)
{
	my ($last_at, $last) = (0, 0);

	foreach (sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } @{ $grants{$key} })
	{
		$repeated++ if $_->[1] == $last;
		$back++ if $_->[1] < $last;
		diag("$key: $_->[1] at $_->[0] after $last at $last_at") if $_->[1] <= $last;
		($last_at, $last) = @$_;
	}
	my $next = $node->safe_psql('postgres', "SELECT cs_lease('$key', 1, timeout_ms => -1)");
	cmp_ok($next, '>', $last, "$key: the next token is above all of the " . @{ $grants{$key} });
}
is($repeated, 0, 'no token was given out twice');
is($back, 0, 'none was below one before');
cmp_ok($total, '>', 10 * $crashes, "tokens: $total");
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /terminated by signal 9/g), $restarts, "crash restarts: $restarts");
unlike($log, qr/tuple (?:concurrently|already)|PANIC|TRAP|signal 11|could not find tuple/, 'no error that must not be');
note "$crashes crashes, $total tokens of ", scalar keys %grants, ' keys';

# In crash recovery a fast stop may hang.
$node->stop('immediate');

# A renewal is not undone either, although nothing else is flushed before the crash.
my $lazy = new_node('lazy', 'synchronous_commit = off', q{wal_writer_delay = '10s'});
my $token = $lazy->safe_psql('postgres', q{SELECT cs_lease('k', 600000)});
is($lazy->safe_psql('postgres', "SELECT cs_renew_lease('k', $token, 36000000)"), 't', 'renewed');
$lazy->stop('immediate');
$lazy->start;
is($lazy->safe_psql('postgres', q{SELECT expires_at > now() + '1 hour' FROM cs_leases}), 't', 'also after a crash');
$lazy->stop('immediate');
done_testing();
