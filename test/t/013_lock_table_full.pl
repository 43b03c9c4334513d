# The server's lock table is full: 53200 with a hint, the session lives, and
# after its end of transaction everybody can lock again.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use KeyTest;
use Test::More;

my $node = new_node('main', $any_order, 'max_connections = 10', 'max_locks_per_transaction = 10',
	'max_wal_senders = 0', 'autovacuum = off');
my $greedy = KeyTest::Session->new($node);
my $other = KeyTest::Session->new($node);
my $many = 100000;
my $keys = "(SELECT array_agg('many:' || i) FROM generate_series(1, $many) i)";
my $works = q{BEGIN; SELECT cs_lock_all(ARRAY['x', 'y', 'z']), cs_held_mode('y'); COMMIT};

# Without the limit of keys per session, which is there to prevent this.
$greedy->query_safe('SET concurrency_safe.max_keys_per_session = -1');
$other->query_safe($works);

foreach my $call (
	"cs_lock('many:' || i) FROM generate_series(1, $many) i",
	"cs_try_lock('many:' || i) FROM generate_series(1, $many) i",
	"cs_try_lock('many:' || i, 100) FROM generate_series(1, $many) i",
	"cs_lock_all($keys)",
	"cs_try_lock_all($keys)",
	"cs_try_lock_any($keys, $many)",
	"cs_lock_path('many:' || i) FROM generate_series(1, $many) i",
	"cs_lock_all($keys, scope => 'session')",
	"cs_try_lock_all($keys, scope => 'session')",
	"cs_try_lock_any($keys, $many, scope => 'session')")
{
	(my $name = $call) =~ s/\(SELECT.*\) i\)/keys/;

	$greedy->query("BEGIN; SELECT $call");
	is($greedy->sqlstate, '53200', "$name: 53200");
	like(
		$greedy->{error},
		qr/HINT:  If the server's lock table is full, .*max_locks_per_transaction/,
		'with our hint');
	like($greedy->{error}, qr/CONTEXT:  locking key "many:\d+" in/, 'and the key');
	$greedy->query_safe('ROLLBACK');
	is($greedy->query('SELECT pg_backend_pid()'), $greedy->{pid}, 'the backend lives');
	locks_are($node, '0,0', 'nothing is left, in either scope');
	$greedy->query_safe($works);
	$other->query_safe($works);
}

# One call for each key in session scope: what the calls before took is the caller's.
$greedy->query("SELECT cs_lock('many:' || i, scope => 'session') FROM generate_series(1, $many) i");
is($greedy->sqlstate, '53200', 'cs_lock in session scope: 53200');
cmp_ok($greedy->query('SELECT cs_unlock_all()'), '>', 100, 'cs_unlock_all works then');
locks_are($node, '0,0', 'nothing is left');

# Caught, and gone on with.
is( $greedy->query(
		qq{DO \$\$
		BEGIN
			PERFORM cs_lock('before');
			BEGIN
				PERFORM cs_lock('many:' || i) FROM generate_series(1, $many) i;
			EXCEPTION WHEN out_of_memory THEN
				PERFORM cs_lock('after');
				IF (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') <> 2 THEN
					RAISE 'something else is locked';
				END IF;
			END;
		END \$\$;
		SELECT 'done'}),
	'done', 'caught in PL/pgSQL');
is($greedy->sqlstate, '', 'without an error');
locks_are($node, '0,0', 'nothing is left');
$other->query_safe($works);
my $new = KeyTest::Session->new($node);
is($new->query(q{SELECT cs_try_lock('x')}), 't', 'a new session works');

$_->quit foreach $greedy, $other, $new;
$node->stop;
done_testing();
