--
-- Bytes that are no text never reach a key: the server refuses them first, and
-- nothing is locked. In a database with SQL_ASCII any bytes are text: see test/t/020_key_names.pl.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
BEGIN;
SELECT call, pg_temp.outcome('SELECT ' || call) AS sqlstate
FROM unnest(ARRAY[
    $$cs_lock('a' || chr(0))$$,
    $$cs_lock(E'a\x00b')$$,
    $$cs_lock(E'a\xff')$$,
    $$cs_lock(E'\xc3')$$,
    $$cs_lock(convert_from('\xeda080', 'UTF8'))$$,
    $$cs_lock_all(ARRAY['a', E'\xc3\x28'])$$,
    $$cs_lock(U&'\d800')$$,
    $$cs_lock(cs_key('k:{a}', '{"a": "\u0000"}'::jsonb))$$,
    $$cs_lock(cs_key('k:{a}', '{"a": "\ud800"}'::jsonb))$$,
    $$cs_lease(E'a\xff', 1)$$,
    $$cs_permit(E'a\xff', 1)$$]) WITH ORDINALITY AS c (call, n)
ORDER BY n;
SELECT count(*) AS locks FROM pg_locks WHERE locktype IN ('advisory', 'userlock') AND pid = pg_backend_pid();
SELECT count(*) AS leases FROM cs_lease_table;
ROLLBACK;
-- The greatest and the least that is text is a key.
BEGIN;
SELECT cs_try_lock(key), cs_held_mode(key) FROM (VALUES (chr(1)), (chr(1114111)), (U&'\feff')) AS v (key);
ROLLBACK;
