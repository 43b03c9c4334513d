--
-- timeout_ms: what it accepts. Nobody else locks here, so nothing waits.
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

-- Below -1 is an error in every function that has a timeout.
SELECT call, pg_temp.outcome(format('SELECT %s, -2)', call)) AS minus_two
FROM unnest(ARRAY['cs_lock(''k''', 'cs_try_lock(''k''', 'cs_lock_all(''{k}''', 'cs_try_lock_all(''{k}''',
                  'cs_lock_path(''k''', 'cs_try_lock_path(''k''']) AS call;
SELECT pg_temp.outcome('SELECT cs_lock(''k'', -2147483648)');
SELECT pg_temp.outcome('SELECT cs_lock(''k'', 2147483648::bigint::integer)');
SELECT cs_lock('k', -2);

-- An empty array is nothing to do, but a wrong timeout is still wrong.
SELECT pg_temp.outcome('SELECT cs_lock_all(''{}'', -2)');
SELECT pg_temp.my_locks();

-- Everything else is accepted, and a free key needs no wait.
BEGIN;
SELECT timeout, cs_lock('lock ' || timeout, timeout), cs_try_lock('try ' || timeout, timeout)
FROM unnest(ARRAY[-1, 0, 1, 2147483647]) AS timeout;
SELECT cs_lock('lock null', NULL), cs_try_lock('try null', NULL);
SELECT cs_lock_all('{a}', NULL), cs_try_lock_all('{b}', NULL), cs_lock_path('c', NULL), cs_try_lock_path('d', NULL);
SELECT pg_temp.my_locks();
ROLLBACK;

-- lock_timeout is left alone.
BEGIN;
SET LOCAL lock_timeout = '12s';
SELECT cs_lock('k', 5000);
SHOW lock_timeout;
ROLLBACK;
SELECT pg_temp.my_locks();
