--
-- cs_try_lock_any: as many keys as asked for, in array order. What it does with
-- keys that others hold is in the isolation test skip_locked_keys.
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

-- One by default, the first one.
BEGIN;
SELECT cs_try_lock_any('{job:3,job:1,job:2}');
SELECT pg_temp.my_locks();
ROLLBACK;

-- Never more than max_locks, never more than there are, always in array order.
BEGIN;
SELECT cs_try_lock_any('{job:3,job:1,job:2}', 2);
SELECT pg_temp.my_locks(), cs_held_mode('job:2');
ROLLBACK;
BEGIN;
SELECT cs_try_lock_any(array_agg('job:' || n ORDER BY n DESC), 2147483647) FROM generate_series(1, 9) AS n;
SELECT pg_temp.my_locks();
ROLLBACK;

-- Duplicates are one key.
BEGIN;
SELECT cs_try_lock_any('{b,b,a,b,c}', 2);
SELECT pg_temp.my_locks();
ROLLBACK;

-- Nothing to do.
SELECT cs_try_lock_any('{}'), cs_try_lock_any('{}', 10);

-- A key of one's own is free for oneself.
BEGIN;
SELECT cs_lock('a');
SELECT cs_try_lock_any('{a,b}');
SELECT cs_held_mode('b');
ROLLBACK;

-- Modes and scopes.
SELECT cs_try_lock_any('{a,b}', 2, 'shared', 'session');
SELECT cs_held_mode('a'), cs_held_mode('b');
SELECT cs_unlock('a', 'shared'), cs_unlock('b', 'shared'), pg_temp.my_locks();

-- Text of any kind comes back as it was.
BEGIN;
SELECT unnest(cs_try_lock_any(ARRAY['a,b', '{"x"}', 'a\b', 'NULL', ' ', E'line\nbreak'], 6));
ROLLBACK;

-- Bad input.
BEGIN;
SELECT call, pg_temp.outcome('SELECT ' || call)
FROM unnest(ARRAY[$$cs_try_lock_any(NULL)$$,
                  $$cs_try_lock_any('{a,NULL}')$$,
                  $$cs_try_lock_any('{a,""}', 1)$$,
                  $$cs_try_lock_any(ARRAY['a', repeat('k', 1025)], 1)$$,
                  $$cs_try_lock_any('{{a,b}}')$$,
                  $$cs_try_lock_any('{a}', 0)$$,
                  $$cs_try_lock_any('{a}', -1)$$,
                  $$cs_try_lock_any('{}', 0)$$,
                  $$cs_try_lock_any('{a}', NULL)$$]) AS call;
SELECT pg_temp.my_locks();
ROLLBACK;
