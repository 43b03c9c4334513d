--
-- cs_lock_path: the path in the asked mode, its ancestors in intent modes.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- The modes above follow from the mode below.
CREATE FUNCTION pg_temp.path_modes(path_mode text)
RETURNS TABLE (org text, org_1 text, org_1_acct text, org_1_acct_7 text, locks bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_lock_path('org:1:acct:7', mode => path_mode, scope => 'session');
    RETURN QUERY SELECT cs_held_mode('org'), cs_held_mode('org:1'), cs_held_mode('org:1:acct'),
                        cs_held_mode('org:1:acct:7'), pg_temp.my_locks();
    PERFORM cs_unlock_path('org:1:acct:7', path_mode);
END $$;
SELECT mode, held.*
FROM unnest(ARRAY['X', 'SIX', 'IX', 'S', 'IS']) WITH ORDINALITY AS m (mode, n), pg_temp.path_modes(mode) AS held
ORDER BY n;
SELECT pg_temp.my_locks();

-- A path of one segment is just the key; a path locks the same key as cs_lock.
BEGIN;
SELECT cs_lock_path('org'), cs_try_lock_path('dept:5');
SELECT pg_temp.my_locks(), cs_held_mode('org'), cs_held_mode('dept'), cs_held_mode('dept:5');
SELECT cs_lock('dept:5');
SELECT pg_temp.my_locks();
ROLLBACK;

-- Empty segments.
BEGIN;
SELECT path, pg_temp.outcome(format('SELECT cs_lock_path(%L)', path)) AS cs_lock_path
FROM unnest(ARRAY[':', '::', ':org', 'org:', 'org::1', 'org:1:', '::org', 'org:1::']) AS path;
SELECT path, pg_temp.outcome(format('SELECT cs_try_lock_path(%L)', path)) AS cs_try_lock_path,
       pg_temp.outcome(format('SELECT cs_unlock_path(%L)', path)) AS cs_unlock_path
FROM unnest(ARRAY[':org', 'org:', 'org::1']) AS path;
SELECT pg_temp.my_locks();
ROLLBACK;
SELECT cs_lock_path('org::1');

-- As many segments as fit: 512 ones, and the path as a whole may have 1024 bytes.
BEGIN;
SET LOCAL concurrency_safe.max_keys_per_session = -1;
SELECT cs_lock_path(repeat('a:', 511) || 'a');
SELECT pg_temp.my_locks();
ROLLBACK;
BEGIN;
SELECT cs_lock_path('a:' || repeat('b', 1022));
SELECT pg_temp.my_locks(), cs_held_mode('a:' || repeat('b', 1022));
ROLLBACK;

-- Other separators, also of several bytes. Then ':' is a character like any other.
SET concurrency_safe.key_separator = '/';
BEGIN;
SELECT cs_lock_path('a:b/c:d');
SELECT cs_held_mode('a'), cs_held_mode('a:b'), cs_held_mode('a:b/c'), cs_held_mode('a:b/c:d'), pg_temp.my_locks();
SELECT cs_lock_path('/a');
ROLLBACK;
SET concurrency_safe.key_separator = '->';
BEGIN;
SELECT cs_lock_path('a->b-c>d->e');
SELECT cs_held_mode('a'), cs_held_mode('a->b-c>d'), cs_held_mode('a->b-c>d->e'), pg_temp.my_locks();
SELECT path, pg_temp.outcome(format('SELECT cs_lock_path(%L)', path))
FROM unnest(ARRAY['->a', 'a->', 'a->->b', 'a->-', '>a', 'a-', '-', '>']) AS path;
ROLLBACK;
RESET concurrency_safe.key_separator;

-- Unlocking a path gives back each hold once, and nothing that others still need.
SELECT cs_lock_path('org:1:a', scope => 'session'), cs_lock_path('org:1:b', scope => 'session');
SELECT cs_unlock_path('org:1:a');
SELECT cs_held_mode('org'), cs_held_mode('org:1'), cs_held_mode('org:1:a'), cs_held_mode('org:1:b');
SELECT cs_unlock_path('org:1:a');
SELECT cs_unlock_path('org:1:b', 'shared');
SELECT cs_unlock_path('org:1:b'), pg_temp.my_locks();
