# On a standby every lock function refuses: a lock taken there would exclude
# nobody on the primary. Keys have the same tags on both. After promotion all works.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--no-locale', '--encoding=UTF8' ]);
$primary->start;
$primary->safe_psql('postgres',
	q{CREATE EXTENSION concurrency_safe;
	CREATE TABLE account (id text PRIMARY KEY, balance numeric NOT NULL);
	INSERT INTO account VALUES ('a', 100), ('b', 100)});
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby);

my @calls = (
	q{cs_lock('k')},
	q{cs_lock('k', 0, 'shared', 'session')},
	q{cs_try_lock('k')},
	q{cs_try_lock('k', 10, 'exclusive', 'session')},
	q{cs_lock_all(ARRAY['k', 'l'])},
	q{cs_lock_all('{}')},
	q{cs_try_lock_all(ARRAY['k', 'l'])},
	q{cs_try_lock_any(ARRAY['k', 'l'])},
	q{cs_lock_path('k:l')},
	q{cs_try_lock_path('k:l')},
	q{cs_unlock('k')},
	q{cs_unlock_path('k:l')},
	q{cs_unlock_all()},
	q{cs_held_mode('k')},
);

my $session = KeyTest::Session->new($standby);
foreach my $call (@calls)
{
	$session->query("SELECT $call");
	is($session->sqlstate, '55000', "$call fails on the standby");
	like($session->{error}, qr/HINT:  .*\bprimary\b/, 'with the hint to use the primary');
}

$session->query(q{CALL cs_transfer('account', 'a', 'b', 1)});
like($session->sqlstate, qr/^(55000|25006)$/, 'cs_transfer fails on the standby');
$session->query(q{CALL cs_run('k', 'SELECT 1')});
is($session->sqlstate, '55000', 'so does cs_run');
locks_are($standby, '0,0', 'nothing is locked there');

my $tags = q{SELECT string_agg(k || cs_key_tag(k)::text, ' ' ORDER BY i)
	FROM unnest(ARRAY['k', 'withdraw:user:42', 'é', repeat('x', 1024)])
	WITH ORDINALITY AS keys (k, i)};
my $primary_tags = $primary->safe_psql('postgres', $tags);
is($session->query($tags), $primary_tags, 'keys have the same tags on the standby');

# Elsewhere they are hashed with another seed.
my $elsewhere = new_node('elsewhere');
isnt($elsewhere->safe_psql('postgres', $tags), $primary_tags, 'and others in another cluster');
$elsewhere->stop;

$session->quit;
$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'promoted');
$session = KeyTest::Session->new($standby);
foreach my $call (@calls)
{
	$session->query("SELECT $call");
	is($session->sqlstate, '', "$call works after promotion");
}
$session->query_safe(q{SELECT cs_unlock_all()});
$session->query_safe(q{CALL cs_transfer('account', 'a', 'b', 1)});
is($session->query($tags), $primary_tags, 'and keys keep their tags');
locks_are($standby, '0,0', 'nothing is left');

$session->quit;
$standby->stop;
$primary->stop;
done_testing();
