--
-- A cursor outlives a savepoint; keys that were locked by fetching from it after
-- the savepoint are released by the rollback to it all the same.
--
\pset null null
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;
LOAD 'concurrency_safe';
SET concurrency_safe.max_keys_per_session = 6;

-- Fetched after the savepoint. The key limit counts right afterwards.
BEGIN;
DECLARE c CURSOR FOR SELECT cs_lock('k' || g) FROM generate_series(1, 20) AS g;
SAVEPOINT s;
FETCH 3 FROM c;
SELECT pg_temp.my_locks(), cs_held_mode('k1'), cs_held_mode('k3'), cs_held_mode('k4');
ROLLBACK TO s;
SELECT pg_temp.my_locks(), cs_held_mode('k1'), cs_held_mode('k3');
SELECT cs_lock_all('{a,b,c,d,e,f}');
SELECT cs_lock('g');
ROLLBACK;

-- Some before, some after; those from before stay.
BEGIN;
DECLARE c CURSOR FOR SELECT cs_lock('k' || g) FROM generate_series(1, 20) AS g;
FETCH 2 FROM c;
SAVEPOINT s;
FETCH 2 FROM c;
SELECT pg_temp.my_locks();
ROLLBACK TO s;
SELECT pg_temp.my_locks(), cs_held_mode('k1'), cs_held_mode('k2'), cs_held_mode('k3');
SELECT cs_lock_all('{a,b,c,d}');
SELECT cs_lock('e');
ROLLBACK;

-- A savepoint that is released, and the end of the cursor.
BEGIN;
DECLARE c CURSOR FOR SELECT cs_lock('k' || g) FROM generate_series(1, 20) AS g;
SAVEPOINT s;
FETCH 3 FROM c;
RELEASE s;
CLOSE c;
SELECT pg_temp.my_locks(), cs_held_mode('k3');
COMMIT;
SELECT pg_temp.my_locks();

-- Every function that locks.
BEGIN;
DECLARE c CURSOR FOR
SELECT cs_try_lock('a' || g), cs_lock_all(ARRAY['b' || g]), cs_try_lock_any(ARRAY['c' || g]), cs_lock_path('d:' || g)
FROM generate_series(1, 20) AS g;
SAVEPOINT s;
FETCH FROM c;
SELECT pg_temp.my_locks();
ROLLBACK TO s;
SELECT pg_temp.my_locks();
COMMIT;
-- Session scope does not follow savepoints.
BEGIN;
DECLARE c CURSOR FOR SELECT cs_lock('k' || g, scope => 'session') FROM generate_series(1, 20) AS g;
SAVEPOINT s;
FETCH 3 FROM c;
ROLLBACK TO s;
COMMIT;
SELECT pg_temp.my_locks(), cs_unlock_all();
