-- What cs_stat_keys and cs_stat count of one session that never waits. Waits
-- are in test/t/022_statistics.pl. For a server of its own that has preloaded
-- the library: it resets the statistics.
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS concurrency_safe;
SELECT plan(32);
-- All in one transaction: keys are locked one by one, in any order.
SET LOCAL concurrency_safe.check_order = off;

-- Grants of a key; null if cs_stat_keys does not have it.
CREATE FUNCTION pg_temp.acquired(wanted text) RETURNS bigint LANGUAGE sql
AS $$ SELECT acquired FROM cs_stat_keys WHERE key = wanted $$;

SELECT lives_ok('SELECT cs_stat_reset()', 'a superuser may reset the statistics');
SELECT results_eq('SELECT acquired, waited, timed_out, deadlocked, wait_ms_total, wait_ms_max, evicted, unnamed, collisions, runs, run_retries, run_failures FROM cs_stat',
                  $$ VALUES (0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::float8, 0::float8, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint) $$,
                  'all counts are zero then');
SELECT ok(stats_reset BETWEEN now() AND clock_timestamp(), 'and it is known since when') FROM cs_stat;
SELECT is(pg_temp.acquired('cs:t'), NULL, 'a key that nobody asked for is not there');

SELECT lives_ok($$ SELECT cs_lock('cs:t') $$, 'lock a key');
SELECT is(pg_temp.acquired('cs:t'), 1::bigint, 'acquired once');
SELECT lives_ok($$ SELECT cs_lock('cs:t', 0), cs_try_lock('cs:t'), cs_lock_all(ARRAY['cs:t']) $$, 'lock it again');
SELECT is(pg_temp.acquired('cs:t'), 1::bigint, 'in transaction scope that does not count');
SELECT is(cs_try_lock('cs:t', mode => 'shared'), true, 'lock it in another mode');
SELECT is(pg_temp.acquired('cs:t'), 2::bigint, 'that counts');
SELECT lives_ok($$ SELECT cs_lock('cs:s', scope => 'session'), cs_lock('cs:s', scope => 'session'), cs_lock('cs:s') $$,
                'lock a key twice in session scope, then in transaction scope');
SELECT is(pg_temp.acquired('cs:s'), 2::bigint, 'each hold in session scope counts');
SELECT is(cs_unlock('cs:s'), true, 'unlock it');
SELECT is(pg_temp.acquired('cs:s'), 2::bigint, 'which takes nothing away');

SAVEPOINT before;
SELECT is(cs_try_lock('cs:savepoint'), true, 'lock a key after a savepoint');
ROLLBACK TO before;
SELECT is(pg_temp.acquired('cs:savepoint'), 1::bigint, 'the rollback leaves the count');
SELECT is(cs_try_lock('cs:savepoint'), true, 'lock it again');
SELECT is(pg_temp.acquired('cs:savepoint'), 2::bigint, 'now it was acquired twice');

SELECT lives_ok($$ SELECT cs_lock_all(ARRAY['cs:1', 'cs:2', 'cs:1']) $$, 'lock several keys, one of them twice');
SELECT is(cs_try_lock_any(ARRAY['cs:3', 'cs:4', 'cs:5'], 2), ARRAY['cs:3', 'cs:4'], 'lock any two keys');
SELECT lives_ok($$ SELECT cs_lock_path('cs:path:1:2') $$, 'lock a path');
SELECT results_eq($$ SELECT key, acquired FROM cs_stat_keys WHERE key ~ '^cs(:\d|:path.*)?$' ORDER BY key COLLATE "C" $$,
                  $$ VALUES ('cs', 1::bigint), ('cs:1', 1), ('cs:2', 1), ('cs:3', 1), ('cs:4', 1),
                            ('cs:path', 1), ('cs:path:1', 1), ('cs:path:1:2', 1) $$, 'each is counted once');

SELECT throws_ok($$ SELECT cs_lock('cs:never', mode => 'none') $$, '22023', NULL, 'a call that fails before it locks');
SELECT is(pg_temp.acquired('cs:never'), NULL, 'leaves nothing');

SELECT results_eq($$ SELECT DISTINCT waited, timed_out, deadlocked, wait_ms_total, wait_ms_max, wait_histogram
                     FROM cs_stat_keys WHERE key LIKE 'cs:%' $$,
                  $$ VALUES (0::bigint, 0::bigint, 0::bigint, 0::float8, 0::float8, array_fill(0::bigint, ARRAY[13])) $$,
                  'nobody waited');
-- The clock that is read for a grant may be some milliseconds behind.
SELECT is_empty($$ SELECT key FROM cs_stat_keys WHERE key LIKE 'cs:%'
                   AND last_acquired NOT BETWEEN now() - interval '20 ms' AND clock_timestamp() $$,
                'last_acquired is the time of the grant');
SELECT is(s.acquired, (SELECT sum(k.acquired) FROM cs_stat_keys AS k)::bigint, 'cs_stat has the sums') FROM cs_stat AS s;
SELECT is(s.directory_used, (SELECT count(*) FROM cs_stat_keys), 'and the number of keys') FROM cs_stat AS s;
SELECT cmp_ok(s.directory_bytes, '<=', 256 * s.directory_size, 'a place takes at most 256 bytes') FROM cs_stat AS s;

SELECT is(cs_unlock_all(), 1, 'one hold in session scope was left');
SELECT lives_ok('SELECT cs_stat_reset()', 'reset again');
SELECT is((SELECT sum(acquired) FROM cs_stat_keys), 0::numeric, 'no count is left');

SELECT * FROM finish();
ROLLBACK;
