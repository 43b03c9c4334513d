--
-- LOCK cs_key."key": the schema that stands for keys, and the rights on it.
--
\pset null null
LOAD 'concurrency_safe';
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

-- The schema is the extension's, empty, and everybody may use it but create nothing there.
CREATE ROLE regress_cs_stranger;
CREATE ROLE regress_cs_locker;
SELECT has_schema_privilege('regress_cs_stranger', oid, 'USAGE') AS usage,
       has_schema_privilege('regress_cs_stranger', oid, 'CREATE') AS create, obj_description(oid, 'pg_namespace'),
       (SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass AND refobjid = n.oid) AS objects
FROM pg_namespace AS n WHERE nspname = 'cs_key';
SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
WHERE refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe') AND deptype = 'e' AND classid = 'pg_namespace'::regclass;
DROP SCHEMA cs_key;

-- Every right is in USAGE.
BEGIN;
SET LOCAL ROLE regress_cs_stranger;
LOCK cs_key.k;
SELECT cs_held_mode('k');
ROLLBACK;
BEGIN;
CREATE FUNCTION lock_for_all() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_temp
AS $$ BEGIN LOCK cs_key.k; RETURN public.cs_held_mode('k'); END $$;
REVOKE USAGE ON SCHEMA cs_key FROM PUBLIC;
GRANT USAGE ON SCHEMA cs_key TO regress_cs_locker;
SET LOCAL ROLE regress_cs_stranger;
SELECT pg_temp.outcome('LOCK cs_key.k'), pg_temp.outcome('LOCK cs_key.k IN ROW SHARE MODE NOWAIT'), cs_held_mode('k');
SELECT lock_for_all();
SET LOCAL ROLE regress_cs_locker;
SELECT pg_temp.outcome('LOCK cs_key.l'), cs_held_mode('l');
SET LOCAL ROLE regress_cs_stranger;
LOCK cs_key.m;
ROLLBACK;

-- A table there is not locked: the name is a key.
BEGIN;
CREATE TABLE cs_key.k ();
LOCK cs_key.k IN ROW EXCLUSIVE MODE;
SELECT cs_held_mode('k'), count(*) AS table_locks FROM pg_locks
WHERE relation = 'cs_key.k'::regclass AND mode = 'RowExclusiveLock';
ROLLBACK;

-- Where the schema is not the extension's, the name is that of a table.
BEGIN;
ALTER EXTENSION concurrency_safe UPDATE;
ALTER EXTENSION concurrency_safe DROP SCHEMA cs_key;
SELECT pg_temp.outcome('LOCK cs_key.k'), cs_held_mode('k');
ALTER EXTENSION concurrency_safe ADD SCHEMA cs_key;
SELECT pg_temp.outcome('LOCK cs_key.k'), cs_held_mode('k');
ROLLBACK;
BEGIN;
ALTER SCHEMA cs_key RENAME TO other;
SELECT pg_temp.outcome('LOCK cs_key.k'), pg_temp.outcome('LOCK other.k'), cs_held_mode('k');
CREATE SCHEMA cs_key;
CREATE TABLE cs_key.k ();
LOCK cs_key.k;
SELECT cs_held_mode('k'), count(*) AS table_locks FROM pg_locks
WHERE relation = 'cs_key.k'::regclass AND mode = 'AccessExclusiveLock';
ROLLBACK;

-- It goes with the extension; then the schema is anybody's, and nothing else than another one.
BEGIN;
LOCK cs_key.k;
DROP EXTENSION concurrency_safe;
SELECT count(*) AS schemas FROM pg_namespace WHERE nspname = 'cs_key';
SELECT pg_temp.outcome('LOCK cs_key.k');
CREATE SCHEMA cs_key;
CREATE TABLE cs_key.k ();
CREATE TABLE cs_key."0123456789_123456789_123456789_123456789_123456789_123456789_12" ();
CREATE TABLE t ();
LOCK cs_key.k, t, cs_key."0123456789_123456789_123456789_123456789_123456789_123456789_12" IN ACCESS SHARE MODE;
SELECT relation::regclass FROM pg_locks
WHERE mode = 'AccessShareLock' AND relation IN (SELECT oid FROM pg_class WHERE relnamespace = 'cs_key'::regnamespace OR oid = 't'::regclass)
ORDER BY relation::regclass::text COLLATE "C";
SELECT pg_temp.outcome('LOCK cs_key.l'), pg_temp.outcome('LOCK elsewhere.cs_key.k');
SET LOCAL ROLE regress_cs_stranger;
SELECT pg_temp.outcome('LOCK cs_key.k');
RESET ROLE;
-- The extension does not take over what it finds.
SELECT pg_temp.outcome('CREATE EXTENSION concurrency_safe');
SELECT count(*) AS functions FROM pg_proc WHERE proname LIKE 'cs\_%';
ROLLBACK;
BEGIN;
LOCK cs_key.k;
SELECT cs_held_mode('k');
ROLLBACK;
SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

DROP ROLE regress_cs_stranger, regress_cs_locker;
