--
-- A key that is too long is refused by its size alone: what is stored out of line is
-- not fetched, and what is compressed is not decompressed.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
CREATE TABLE big (id integer, key text);
ALTER TABLE big ALTER key SET STORAGE EXTERNAL;
INSERT INTO big VALUES (1, repeat('k', 100000));
SELECT i.indexrelid AS toast FROM pg_class AS c JOIN pg_index AS i ON i.indrelid = c.reltoastrelid WHERE c.oid = 'big'::regclass \gset

-- Parts of values that this transaction has fetched.
BEGIN;
SELECT f AS function, pg_temp.outcome(format('SELECT %s FROM big', f)) AS sqlstate,
       pg_stat_get_xact_tuples_fetched(:toast) AS fetched
FROM unnest(ARRAY['cs_lock(key)', 'cs_try_lock(key)', 'cs_lock_path(key)', 'cs_try_lock_path(key)', 'cs_permit(key, 1)',
                  'cs_try_permit(key, 1)', 'cs_unlock(key)', 'cs_unlock_path(key)', 'cs_held_mode(key)', 'cs_key_tag(key)',
                  'cs_holders(key)', 'cs_lease(key, 1)', 'cs_renew_lease(key, 1, 1)', 'cs_release_lease(key, 1)',
                  'cs_check_token(key, 1)']) AS f;
ROLLBACK;
-- What is counted there.
BEGIN;
SELECT length(key || '') FROM big;
SELECT pg_stat_get_xact_tuples_fetched(:toast) > 0 AS fetched;
ROLLBACK;
SELECT count(*) AS locks FROM pg_locks WHERE locktype IN ('advisory', 'userlock') AND pid = pg_backend_pid();
DROP TABLE big;
