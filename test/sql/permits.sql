--
-- cs_permit and cs_try_permit in one session: arguments, what a permit belongs
-- to, what it does not touch. Several sessions are in test/specs/permit_*.spec
-- and test/t/044_permits.pl.
--
\pset null null
SET concurrency_safe.check_order = off;
-- Entries of the lock table: the key itself, and the side locks.
CREATE FUNCTION pg_temp.entries() RETURNS text LANGUAGE sql AS
$$ SELECT count(*) FILTER (WHERE locktype = 'advisory') || '+' || count(*) FILTER (WHERE locktype = 'userlock') FROM pg_locks
   WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) $$;
-- Does it fail, and leave nothing behind?
CREATE FUNCTION pg_temp.sqlstate_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM || ' ' || pg_temp.entries();
END $$;

-- Arguments.
SELECT f, pg_temp.sqlstate_of(format('SELECT %I(%s)', f, a)) AS error, a AS arguments
FROM unnest('{cs_permit,cs_try_permit}'::text[]) AS f,
     unnest('{"NULL, 1","''k'', NULL","''k'', 0","''k'', -1","''k'', 32768","''k'', 2147483647","''k'', -2147483648","''k'', 1, -2","'''', 1","''k'', 1, -2147483648"}'::text[]) WITH ORDINALITY AS t (a, n)
ORDER BY f, n;
SELECT pg_temp.sqlstate_of($$ SELECT cs_permit(repeat('k', 1025), 1) $$);
SELECT pg_temp.sqlstate_of($$ SELECT cs_permit('k', 32768::bigint) $$);
BEGIN;
SELECT cs_permit('least', 1), cs_permit('most', 32767), cs_permit(repeat('k', 1024), 1, -1), cs_permit('null', 1, NULL);
SELECT cs_try_permit('try', 1), cs_try_permit('try null', 1, NULL), cs_try_permit(key => 'named', permits => 2, timeout_ms => 5);
SELECT pg_temp.entries();
COMMIT;
SELECT pg_temp.entries();

-- One permit for a transaction, however often it is asked for.
BEGIN;
SELECT cs_permit('k', 1), cs_permit('k', 1), cs_try_permit('k', 1);
SELECT cs_permit('k', 1) FROM generate_series(1, 1000) LIMIT 1;
SELECT pg_temp.entries(), cs_held_mode('k');
SELECT mode, granted, scope, pid = pg_backend_pid() AS mine, blocked_by, wait_start FROM cs_holders('k');
SELECT l.locktype, l.mode, l.granted, l.classid = t.classid AND l.objsubid = t.objsubid AS of_key, l.fastpath
FROM pg_locks AS l JOIN cs_key_tag('k') AS t USING (objid) ORDER BY 1;
SAVEPOINT s;
SELECT cs_permit('k', 1), cs_try_permit('k', 1);
ROLLBACK TO s;
SELECT cs_held_mode('k'), pg_temp.entries();
-- Another limit is a mistake.
SELECT cs_permit('k', 2);
ROLLBACK TO s;
SELECT cs_try_permit('k', 2, -1);
ROLLBACK TO s;
SELECT cs_held_mode('k'), pg_temp.entries();
ROLLBACK;
SELECT cs_held_mode('k'), pg_temp.entries();

-- Savepoints: a permit belongs to the subtransaction that took it, or to the one around that.
BEGIN;
SAVEPOINT s;
SELECT cs_permit('k', 1);
ROLLBACK TO s;
SELECT cs_held_mode('k'), pg_temp.entries();
SELECT cs_permit('k', 2);
RELEASE s;
SELECT cs_held_mode('k'), pg_temp.entries();
SAVEPOINT a;
SAVEPOINT b;
SAVEPOINT c;
SELECT cs_permit('deep', 1);
RELEASE c;
RELEASE b;
SELECT cs_held_mode('deep'), pg_temp.entries();
ROLLBACK TO a;
SELECT cs_held_mode('deep'), cs_held_mode('k'), pg_temp.entries();
COMMIT;
SELECT pg_temp.entries();

-- Not in session scope: nothing unlocks it before the end.
BEGIN;
SELECT cs_permit('k', 1);
SELECT cs_unlock_all();
SELECT cs_unlock('k');
SELECT cs_unlock('k', 'permit');
ROLLBACK;
SELECT cs_lock('k', mode => 'permit');
BEGIN;
SELECT cs_permit('k', 1), pg_advisory_unlock_all();
SELECT cs_held_mode('k'), pg_temp.entries();
DISCARD ALL;
ROLLBACK;
DISCARD ALL;
SET concurrency_safe.check_order = off;
\pset null null
CREATE FUNCTION pg_temp.entries() RETURNS text LANGUAGE sql AS
$$ SELECT count(*) FILTER (WHERE locktype = 'advisory') || '+' || count(*) FILTER (WHERE locktype = 'userlock') FROM pg_locks
   WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) $$;
SELECT pg_temp.entries();

-- A lock on the key of the same name is something else, in any mode and order.
BEGIN;
SELECT cs_lock('k'), cs_permit('k', 1), cs_held_mode('k');
SELECT mode, granted FROM cs_holders('k') ORDER BY mode;
SAVEPOINT s;
SELECT cs_permit('l', 2), cs_held_mode('l');
SELECT cs_lock('l', mode => 'intent shared'), cs_held_mode('l');
SELECT cs_lock_path('l'), cs_held_mode('l');
ROLLBACK TO s;
SELECT cs_held_mode('l'), pg_temp.entries();
COMMIT;
SELECT cs_lock('k', scope => 'session');
BEGIN;
SELECT cs_permit('k', 1), cs_unlock('k'), cs_held_mode('k');
SELECT cs_unlock_all(), pg_temp.entries();
COMMIT;
SELECT cs_held_mode('k'), pg_temp.entries();

-- Prepared transactions wake nobody when they end.
BEGIN;
SELECT cs_permit('k', 1);
PREPARE TRANSACTION 'with permit';
SELECT pg_temp.entries();
BEGIN;
SAVEPOINT s;
SELECT cs_permit('k', 1);
ROLLBACK TO s;
SELECT cs_held_mode('k');
ROLLBACK;
SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'with permit';

-- Functions, triggers, blocks, cursors, procedures.
CREATE TABLE job (id integer);
CREATE FUNCTION take_permit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_permit('trigger', 1);
    RETURN NEW;
END $$;
CREATE TRIGGER take_permit BEFORE INSERT ON job FOR EACH ROW EXECUTE FUNCTION take_permit();
CREATE FUNCTION permit_sql(key text) RETURNS void LANGUAGE sql AS $$ SELECT cs_permit(key, 1) $$;
BEGIN;
INSERT INTO job VALUES (1), (2);
SELECT permit_sql('function');
DO $$ BEGIN PERFORM cs_permit('do', 1); END $$;
SELECT key, cs_held_mode(key) FROM unnest('{trigger,function,do}'::text[]) AS key;
DECLARE before CURSOR FOR SELECT cs_try_permit('cursor ' || i, 1) FROM generate_series(1, 3) AS i;
FETCH before;
SAVEPOINT s;
FETCH before;
SELECT key, cs_held_mode(key) FROM unnest('{cursor 1,cursor 2,cursor 3}'::text[]) AS key;
ROLLBACK TO s;
SELECT key, cs_held_mode(key) FROM unnest('{cursor 1,cursor 2,cursor 3}'::text[]) AS key;
CLOSE before;
SELECT pg_temp.entries();
ROLLBACK;
CREATE PROCEDURE permits_and_commits() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        PERFORM cs_permit('procedure', i);
        IF i = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
        RAISE NOTICE '% %', cs_held_mode('procedure'), i;
    END LOOP;
END $$;
CALL permits_and_commits();
SELECT pg_temp.entries();

-- Errors and exception blocks.
BEGIN;
DO $$
BEGIN
    FOR i IN 1..1000 LOOP
        BEGIN
            PERFORM cs_permit('k', 1);
            PERFORM cs_permit('k', 2);
        EXCEPTION WHEN invalid_parameter_value THEN
            IF cs_held_mode('k') IS NOT NULL THEN RAISE 'held'; END IF;
        END;
    END LOOP;
END $$;
SELECT cs_held_mode('k'), pg_temp.entries();
-- Very many.
SELECT count(*) FROM generate_series(1, 500) AS i WHERE cs_try_permit('many:' || i, 1 + i % 7);
SELECT pg_temp.entries();
SELECT count(*) FROM generate_series(1, 500) AS i WHERE cs_try_permit('many:' || i, 1 + i % 7);
SELECT pg_temp.entries(), count(*) FROM generate_series(1, 500) AS i WHERE cs_held_mode('many:' || i) = 'permit';
COMMIT;
SELECT pg_temp.entries();

-- Alone in a statement.
SET concurrency_safe.check_autocommit = 'warning';
SELECT cs_permit('alone', 1);
SELECT cs_try_permit('alone', 1);
SELECT cs_permit('alone', 1), cs_held_mode('alone');
SET concurrency_safe.check_autocommit = 'error';
SELECT cs_permit('alone', 1);
SELECT cs_try_permit('alone', 1, 10);
\set VERBOSITY sqlstate
SELECT cs_permit('alone', 1);
\set VERBOSITY default
BEGIN;
SELECT cs_permit('alone', 1);
COMMIT;
SET concurrency_safe.check_autocommit = 'off';
SELECT cs_try_permit('alone', 1);
RESET concurrency_safe.check_autocommit;
SELECT pg_temp.entries();

-- Read-only, repeatable read, and a limit on the keys of a session.
BEGIN READ ONLY ISOLATION LEVEL SERIALIZABLE;
SELECT cs_permit('k', 1);
SELECT cs_held_mode('k');
COMMIT;
BEGIN;
SET LOCAL concurrency_safe.max_keys_per_session = 2;
SELECT cs_permit('a', 1), cs_permit('b', 1), cs_permit('a', 1);
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT cs_try_permit('c', 1);
\set VERBOSITY default
ROLLBACK TO s;
SELECT pg_temp.entries();
COMMIT;

DROP TABLE job;
DROP PROCEDURE permits_and_commits();
DROP FUNCTION take_permit(), permit_sql(text);
