# Tokens grow over promotions of standbys that had not received the last ones: also for
# keys that the standby never heard of, for those whose rows were cleaned up, and for
# tokens that pg_upgrade or a restore brought along from a cluster on a higher timeline.
#
# CS_LEASE_PROMOTIONS is the length of the chain of promotions.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $promotions = $ENV{CS_LEASE_PROMOTIONS} || 3;
my $lost = 0;
my %highest;

# Takes and releases the leases of keys; each token is above all of its key before.
sub take
{
	my ($node, $what, @keys) = @_;
	my $list = join ',', @keys;
	my $rows = $node->safe_psql('postgres', qq[SELECT key || '|' || token FROM (
			SELECT key, cs_lease(key, 3600000) AS token FROM unnest('{$list}'::text[]) AS key OFFSET 0) AS s
		WHERE cs_release_lease(key, token)]);
	my $wrong = 0;

	foreach (split /\n/, $rows)
	{
		my ($key, $token) = split /\|/;

		$wrong++ if $token <= ($highest{$key} // 0);
		$highest{$key} = $token;
	}
	is(scalar(split /\n/, $rows) . " $wrong", @keys . ' 0', "$what: " . @keys . ' tokens, all higher');
	return;
}

my $primary = PostgreSQL::Test::Cluster->new('primary0');
$primary->init(allows_streaming => 1, extra => [ '--no-locale', '--encoding=UTF8' ]);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'concurrency_safe'");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION concurrency_safe');
# As after pg_upgrade or a restore: tokens of a former cluster, which was on timeline 5.
$highest{$_} = (5 << 40) + 7 foreach qw(restored cleaned);
$primary->safe_psql('postgres', qq{INSERT INTO cs_lease_table VALUES
	('', $highest{cleaned}, '1 3', '', '-infinity', 'infinity', true),
	('restored', $highest{restored}, NULL, 'somebody', now(), now(), false)});
take($primary, 'at first', qw(all early)) foreach 1 .. 3;

foreach my $n (1 .. $promotions)
{
	$primary->backup('base');

	my $standby = PostgreSQL::Test::Cluster->new("primary$n");
	$standby->init_from_backup($primary, 'base', has_streaming => 1);
	$standby->start;
	take($primary, "$n, received", 'all', "key$n", "gone$n", 'gone');
	$primary->safe_psql('postgres', q{SELECT cs_lease_cleanup('0')}) if $n % 2;
	$primary->wait_for_catchup($standby);

	if ($n == 1)
	{
		my $session = KeyTest::Session->new($standby);

		foreach my $call (q{cs_lease('k', 1)}, q{cs_renew_lease('k', 1, 1)}, q{cs_release_lease('k', 1)},
			q{cs_check_token('k', 1)}, q{cs_lease_cleanup('0')})
		{
			$session->query("SELECT $call");
			is($session->sqlstate, '25006', "$call fails on the standby");
		}
		is($session->query('SELECT count(*) FROM cs_leases WHERE NOT expired'), '0', 'but everybody may look');
		$session->quit;
	}

	# From here on the standby receives nothing.
	$standby->append_conf('postgresql.conf', "primary_conninfo = ''");
	$standby->reload;
	$standby->poll_query_until('postgres', 'SELECT count(*) = 0 FROM pg_stat_wal_receiver')
	  or die 'still streaming';
	my @unheard = map { "unheard$n:$_" } 1 .. 20;
	foreach my $round (1 .. 5)
	{
		take($primary, "$n, lost", 'all', 'early', 'restored', 'cleaned', "key$n", "gone$n", @unheard);
		$primary->safe_psql('postgres', q{SELECT cs_lease_cleanup('0')}) if $round == 3;
		$lost += 6 + @unheard;
	}
	$primary->stop('immediate');
	$standby->promote;
	$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
	take($standby, "$n, after the promotion", 'all', 'early', 'restored', 'cleaned', "key$n",
		"gone$n", 'gone', @unheard)
	  foreach 1 .. 2;
	$primary = $standby;
}
note "$promotions promotions, $lost tokens that the standbys never received, ", scalar keys %highest, ' keys';
$primary->stop;
done_testing();
