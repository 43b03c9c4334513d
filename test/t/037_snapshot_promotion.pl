# A prepared transaction that wrote under a key is known after a promotion, too,
# whatever somebody tried on the standby before.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--no-locale', '--encoding=UTF8' ]);
$primary->append_conf('postgresql.conf', "$_\n")
  foreach "shared_preload_libraries = 'concurrency_safe'", 'max_prepared_transactions = 5';
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION concurrency_safe; CREATE TABLE t (i integer)');
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres',
	q{BEGIN; SELECT cs_lock('k'); INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'});
$primary->wait_for_catchup($standby);

my ($reader, $other) = map { KeyTest::Session->new($standby) } 1 .. 2;
$other->query(q{COMMIT PREPARED 'p'});
is($other->sqlstate, '25006', 'a standby commits nothing');
$primary->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');

$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t');
$other->query_safe(q{COMMIT PREPARED 'p'});
$reader->query(q{SELECT cs_lock('k')});
is($reader->sqlstate, '40001', 'the new primary knows what was prepared on the old one');
$reader->query_safe(q{ROLLBACK; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT cs_lock('k')});
is($reader->query('SELECT count(*) FROM t'), '1', 'a retry sees it');
$_->quit foreach $reader, $other;
locks_become($standby, '0,0', 'nothing is left');
$standby->stop;
done_testing();
