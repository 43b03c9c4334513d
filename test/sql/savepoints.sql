--
-- Transaction scope follows savepoints; session scope does not.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- Rolling back to a savepoint frees what was taken after it, in all levels below.
BEGIN;
SELECT cs_lock('a');
SAVEPOINT one;
SELECT cs_lock('b'), cs_lock('s', scope => 'session');
SAVEPOINT two;
SELECT cs_lock_all('{c,d}'), cs_try_lock('a'), cs_try_lock('b', mode => 'shared');
RELEASE two;
SELECT pg_temp.my_locks();
ROLLBACK TO one;
SELECT cs_held_mode('a'), cs_held_mode('b'), cs_held_mode('c'), cs_held_mode('s'), pg_temp.my_locks();
SELECT cs_lock('b');
COMMIT;
SELECT cs_held_mode('s'), cs_unlock('s'), pg_temp.my_locks();

-- A released savepoint hands its locks to the level above.
BEGIN;
SAVEPOINT one;
SELECT cs_lock('a');
RELEASE one;
SELECT cs_held_mode('a');
COMMIT;
SELECT pg_temp.my_locks();

-- A stronger mode taken after the savepoint goes, the weaker one before it stays.
BEGIN;
SELECT cs_lock('a', mode => 'shared');
SAVEPOINT one;
SELECT cs_lock('a');
SELECT cs_held_mode('a');
ROLLBACK TO one;
SELECT cs_held_mode('a');
ROLLBACK;

-- An error caught in PL/pgSQL frees what its block took.
BEGIN;
DO $$
BEGIN
    PERFORM cs_lock('outer');
    BEGIN
        PERFORM cs_lock('inner'), cs_lock('session', scope => 'session');
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN
        PERFORM cs_lock('handler');
    END;
END $$;
SELECT key, cs_held_mode(key) FROM unnest('{outer,inner,handler,session}'::text[]) AS key;
ROLLBACK;
SELECT cs_unlock_all(), pg_temp.my_locks();

-- Again and again, deep and broad.
BEGIN;
SELECT cs_lock('kept');
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        BEGIN
            PERFORM cs_lock('loop ' || i % 7), cs_lock('kept');
            BEGIN
                PERFORM cs_lock('nested ' || i);
            EXCEPTION WHEN OTHERS THEN
                NULL;
            END;
            RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END $$;
SELECT cs_held_mode('kept'), pg_temp.my_locks();
ROLLBACK TO no_such_savepoint;
ROLLBACK;

-- A savepoint rolled back twice.
BEGIN;
SAVEPOINT one;
SELECT cs_lock('a');
ROLLBACK TO one;
SELECT cs_lock('b');
ROLLBACK TO one;
SELECT cs_held_mode('a'), cs_held_mode('b'), pg_temp.my_locks();
COMMIT;
