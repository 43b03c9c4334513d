--
-- concurrency_safe.session_locks = off: session scope is refused everywhere.
--
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

SELECT cs_lock('before', scope => 'session');
SET concurrency_safe.session_locks = off;
SELECT cs_lock('k', scope => 'session');
SELECT call, pg_temp.outcome(format('SELECT %s, scope => ''session'')', call))
FROM unnest(ARRAY['cs_lock(''k''', 'cs_try_lock(''k''', 'cs_lock_all(''{k}''', 'cs_lock_all(''{}''',
                  'cs_try_lock_all(''{k}''', 'cs_try_lock_any(''{k}''', 'cs_lock_path(''k:l''',
                  'cs_try_lock_path(''k:l''']) AS call;

-- Transaction scope goes on, and what is held can be given back.
BEGIN;
SELECT cs_lock('k');
SELECT pg_temp.my_locks();
COMMIT;
SELECT cs_unlock('before'), pg_temp.my_locks();

RESET concurrency_safe.session_locks;
SELECT cs_try_lock('k', scope => 'session'), cs_unlock('k'), pg_temp.my_locks();
