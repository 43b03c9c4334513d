--
-- concurrency_safe.max_keys_per_session: one session cannot fill the lock table.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;
LOAD 'concurrency_safe';
SET concurrency_safe.max_keys_per_session = 3;

-- The fourth key is refused by every function, and nothing is newly locked.
BEGIN;
SELECT cs_lock_all('{a,b,c}');
SELECT call, pg_temp.outcome('SELECT ' || call)
FROM unnest(ARRAY['cs_lock(''d'')', 'cs_try_lock(''d'')', 'cs_lock_all(''{d}'')', 'cs_try_lock_all(''{a,d}'')',
                  'cs_try_lock_any(''{d}'')', 'cs_lock_path(''d'')', 'cs_try_lock_path(''a:d'')',
                  'cs_lock(''d'', scope => ''session'')']) AS call;
SELECT pg_temp.my_locks();
-- Keys it has it may lock again, also in other modes, and reaching the limit is no harm.
SELECT cs_lock('a'), cs_lock('b', mode => 'shared'), cs_lock_all('{c,b,a}', mode => 'SIX'), cs_try_lock_any('{c}');
SELECT cs_lock('d');
ROLLBACK;
SELECT pg_temp.my_locks();

-- An array that is too large is refused before its first lock. Duplicates do not count.
BEGIN;
SELECT cs_lock_all('{a,b,c,d}');
ROLLBACK;
BEGIN;
SELECT pg_temp.outcome('SELECT cs_lock_all(''{a,b,c,d}'')'), pg_temp.my_locks();
SELECT cs_lock_all('{a,a,b,b,c,c}');
ROLLBACK;
SELECT pg_temp.outcome('SELECT cs_lock_all(''{a,b,c,d}'', scope => ''session'')'), pg_temp.my_locks();
-- A path counts its ancestors.
BEGIN;
SELECT cs_lock_path('a:b:c');
SELECT pg_temp.outcome('SELECT cs_lock_path(''a:b:d'')');
ROLLBACK;
SELECT pg_temp.outcome('SELECT cs_lock_path(''a:b:c:d'')'), pg_temp.my_locks();
-- cs_try_lock_any needs room for what it takes, not for what it is offered.
BEGIN;
SELECT cs_try_lock_any('{a,b,c,d,e}', 3);
ROLLBACK;

-- Room comes back: at the end of the transaction, by cs_unlock, by a rollback to a savepoint.
BEGIN;
SELECT cs_lock_all('{a,b,c}');
COMMIT;
SELECT cs_lock_all('{d,e,f}', scope => 'session');
SELECT pg_temp.outcome('SELECT cs_lock(''g'')');
SELECT cs_unlock('e'), cs_try_lock('g', scope => 'session'), pg_temp.outcome('SELECT cs_lock(''h'')');
SELECT cs_unlock_all();
BEGIN;
SELECT cs_lock('a');
SAVEPOINT one;
SELECT cs_lock_all('{b,c}');
ROLLBACK TO one;
SELECT cs_lock_all('{d,e}');
SELECT pg_temp.outcome('SELECT cs_lock(''f'')');
COMMIT;
-- A released savepoint keeps its locks, so they still count.
BEGIN;
SAVEPOINT one;
SELECT cs_lock_all('{a,b,c}');
RELEASE one;
SELECT pg_temp.outcome('SELECT cs_lock(''d'')');
SAVEPOINT two;
ROLLBACK TO two;
SELECT pg_temp.outcome('SELECT cs_lock(''d'')'), pg_temp.my_locks();
ROLLBACK;

-- A key in two modes or two scopes is one key.
BEGIN;
SELECT cs_lock('a'), cs_lock('a', mode => 'S'), cs_lock('a', scope => 'session'), cs_lock('a', mode => 'IX', scope => 'session');
SELECT cs_lock_all('{b,c}');
SELECT pg_temp.outcome('SELECT cs_lock(''d'')');
COMMIT;
SELECT cs_unlock_all();

-- Room comes back when the locks go behind our back.
SELECT cs_lock_all('{a,b,c}', scope => 'session');
SELECT pg_advisory_unlock_all();
SELECT cs_try_lock_all('{d,e,f}', scope => 'session');
DISCARD ALL;
SET concurrency_safe.max_keys_per_session = 3;
SELECT cs_try_lock_all('{g,h,i}', scope => 'session'), cs_unlock_all();

-- -1 means no limit; lowering the limit takes nothing away; other locks do not count.
SET concurrency_safe.max_keys_per_session = -1;
BEGIN;
SELECT cs_lock_all('{a,b,c,d,e}');
SELECT cs_lock('f');
SET LOCAL concurrency_safe.max_keys_per_session = 2;
SELECT cs_lock('a'), cs_held_mode('f');
SELECT cs_lock('g');
ROLLBACK;
SET concurrency_safe.max_keys_per_session = 1;
BEGIN;
SELECT pg_advisory_xact_lock(1), pg_advisory_xact_lock(2);
SELECT cs_lock('a');
ROLLBACK;

-- The default is a quarter of the lock table.
SET concurrency_safe.max_keys_per_session = 0;
BEGIN;
SELECT cs_lock_all(array_agg('key ' || n))
FROM generate_series(1, current_setting('max_locks_per_transaction')::integer
                        * (current_setting('max_connections')::integer
                           + current_setting('max_prepared_transactions')::integer) / 4) AS n;
\set VERBOSITY terse
SELECT cs_lock('one more');
ROLLBACK;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
