--
-- A lock in transaction scope belongs to the transaction, however it is taken:
-- in a function, a DO block, a trigger, a cursor, a subquery.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;
CREATE FUNCTION lock_sql(key text) RETURNS void LANGUAGE sql AS $$ SELECT cs_lock(key) $$;
CREATE FUNCTION lock_as_owner(key text) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$ SELECT cs_lock(key) $$;
CREATE FUNCTION lock_by_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_lock('row:' || NEW.id);
    RETURN NEW;
END $$;
CREATE TABLE triggered (id integer);
CREATE TRIGGER lock_key BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION lock_by_trigger();

BEGIN;
SELECT lock_sql('function'), lock_as_owner('definer');
DO $$ BEGIN PERFORM cs_lock('do'); END $$;
INSERT INTO triggered VALUES (1), (2);
WITH locked AS MATERIALIZED (SELECT cs_try_lock('cte') AS done) SELECT done FROM locked;
PREPARE lock_key (text) AS SELECT cs_lock($1);
EXECUTE lock_key('prepared');
SELECT pg_temp.my_locks();
SELECT key, cs_held_mode(key)
FROM unnest('{function,definer,do,row:1,row:2,cte,prepared}'::text[]) AS key;
COMMIT;
SELECT pg_temp.my_locks();
DEALLOCATE lock_key;

-- A cursor locks as it goes, and closing it frees nothing.
BEGIN;
DECLARE walk CURSOR FOR SELECT cs_try_lock('walk:' || n) FROM generate_series(1, 3) AS n;
FETCH walk;
SELECT pg_temp.my_locks();
FETCH walk;
CLOSE walk;
SELECT pg_temp.my_locks();
ROLLBACK;

-- A procedure that commits frees them.
CREATE PROCEDURE lock_and_commit() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_lock('first'), cs_lock('session', scope => 'session');
    COMMIT;
    PERFORM cs_lock('second');
    RAISE NOTICE 'first %, second %, session %',
        cs_held_mode('first'), cs_held_mode('second'), cs_held_mode('session');
END $$;
CALL lock_and_commit();
SELECT cs_unlock_all(), pg_temp.my_locks();

-- Statements in one message are one transaction.
SELECT cs_lock('together')\; SELECT cs_held_mode('together');
SELECT pg_temp.my_locks();

-- Not held in a read-only transaction any less, nor in a serializable one.
BEGIN READ ONLY ISOLATION LEVEL SERIALIZABLE;
SELECT cs_lock('k');
SELECT cs_held_mode('k'), pg_temp.my_locks();
COMMIT;
SELECT pg_temp.my_locks();

DROP TABLE triggered;
DROP PROCEDURE lock_and_commit();
DROP FUNCTION lock_sql(text), lock_as_owner(text), lock_by_trigger();
