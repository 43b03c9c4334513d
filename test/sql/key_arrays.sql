--
-- cs_lock_all and cs_try_lock_all: several keys, all or none.
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

BEGIN;
SELECT cs_lock_all('{b,a,c}');
SELECT key, cs_held_mode(key) FROM unnest('{a,b,c,d}'::text[]) AS key;
SELECT cs_try_lock_all('{e,d}', mode => 'shared');
SELECT key, cs_held_mode(key) FROM unnest('{d,e}'::text[]) AS key;
SELECT pg_temp.my_locks();
COMMIT;
SELECT pg_temp.my_locks();

-- Nothing to do is success.
BEGIN;
SELECT cs_lock_all('{}'), cs_try_lock_all('{}'), cs_try_lock_all(ARRAY[]::text[], scope => 'session');
SELECT pg_temp.my_locks();
ROLLBACK;

-- Duplicates count once, also in session scope.
BEGIN;
SELECT cs_lock_all('{a,b,a,a}');
SELECT pg_temp.my_locks();
ROLLBACK;
SELECT cs_lock_all('{a,b,a,a}', scope => 'session');
SELECT cs_unlock('a'), cs_unlock('b');
SELECT cs_unlock('a');
SELECT pg_temp.my_locks();

-- One bad element spoils the whole call; nothing is locked, whichever place it has.
BEGIN;
SELECT keys, pg_temp.outcome(format('SELECT cs_lock_all(%L)', keys)) AS cs_lock_all,
       pg_temp.outcome(format('SELECT cs_try_lock_all(%L)', keys)) AS cs_try_lock_all
FROM unnest(ARRAY['{a,NULL}', '{NULL}', '{NULL,a}', '{a,""}', '{"",a}']) AS keys;
SELECT f, pg_temp.outcome(format('SELECT %s(ARRAY[''a'', repeat(''k'', 1025)])', f)) AS too_long,
       pg_temp.outcome(format('SELECT %s(NULL)', f)) AS "null"
FROM unnest(ARRAY['cs_lock_all', 'cs_try_lock_all']) AS f;
SELECT pg_temp.my_locks();
ROLLBACK;

-- One dimension, wherever it begins.
SELECT pg_temp.outcome('SELECT cs_lock_all(''{{a,b},{c,d}}'')');
SELECT pg_temp.outcome('SELECT cs_try_lock_all(''{{a}}'')');
SELECT pg_temp.outcome('SELECT cs_lock_all(''{{{a}}}'')');
BEGIN;
SELECT cs_lock_all('[5:6]={a,b}');
SELECT cs_held_mode('a'), cs_held_mode('b'), pg_temp.my_locks();
ROLLBACK;

-- Arrays of other string types become text.
BEGIN;
SELECT cs_lock_all(ARRAY['a', 'b']::varchar[]), cs_lock_all(ARRAY['c']::name[]::text[]);
SELECT pg_temp.my_locks();
ROLLBACK;

-- Keys that are held already are taken again, in any scope.
SELECT cs_lock('a', scope => 'session');
BEGIN;
SELECT cs_lock('b');
SELECT cs_lock_all('{a,b,c}'), cs_try_lock_all('{c,b,a}');
ROLLBACK;
SELECT cs_held_mode('a'), cs_held_mode('b'), cs_held_mode('c');
SELECT cs_unlock_all(), pg_temp.my_locks();

-- A thousand keys in one call, and back.
BEGIN;
SET LOCAL concurrency_safe.max_keys_per_session = -1;
SELECT cs_lock_all(array_agg('order:' || n)) FROM generate_series(1, 1000) AS n;
SELECT pg_temp.my_locks();
SELECT count(*) FROM generate_series(1, 1000) AS n WHERE cs_held_mode('order:' || n) = 'exclusive';
ROLLBACK;
SELECT pg_temp.my_locks();
