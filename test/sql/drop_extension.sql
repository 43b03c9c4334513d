--
-- DROP EXTENSION while keys are held: it does not wait, and the locks stay
-- until their transaction or session ends.
--
\pset null null
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

BEGIN;
SELECT cs_lock('k'), cs_lock('s', scope => 'session');
DROP EXTENSION concurrency_safe;
SELECT pg_temp.my_locks();
SELECT cs_lock('l');
ROLLBACK;
SELECT pg_temp.my_locks(), cs_unlock('s');

-- Dropped for good, the lock in transaction scope ends with the transaction.
BEGIN;
SELECT cs_lock('k'), cs_lock('s', scope => 'session');
DROP EXTENSION concurrency_safe;
COMMIT;
SELECT pg_temp.my_locks();
-- Installed anew, the session still knows what it holds.
CREATE EXTENSION concurrency_safe;
SELECT cs_held_mode('s'), cs_unlock('s'), pg_temp.my_locks();

-- A plan made before still finds an error, not a crash.
PREPARE lock_key AS SELECT cs_lock('k');
CREATE FUNCTION lock_in_function() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM cs_lock('f'); END $$;
BEGIN;
EXECUTE lock_key;
SELECT lock_in_function();
DROP EXTENSION concurrency_safe;
SAVEPOINT dropped;
\set VERBOSITY sqlstate
EXECUTE lock_key;
ROLLBACK TO dropped;
SELECT lock_in_function();
\set VERBOSITY default
ROLLBACK TO dropped;
SELECT pg_temp.my_locks();
ROLLBACK;
BEGIN;
EXECUTE lock_key;
SELECT pg_temp.my_locks();
COMMIT;
DROP FUNCTION lock_in_function();

-- Nothing depends on anything that is left behind.
DROP EXTENSION concurrency_safe;
SELECT count(*) FROM pg_proc WHERE proname LIKE 'cs\_%';
SELECT count(*) FROM pg_class WHERE relname LIKE 'cs\_%';
CREATE EXTENSION concurrency_safe;
SELECT pg_temp.my_locks();
