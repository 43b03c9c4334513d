--
-- What an ordinary role may do, and how to take it away.
--
\pset null null
CREATE ROLE regress_cs_user;
CREATE ROLE regress_cs_locker;

-- Everybody may lock.
SET ROLE regress_cs_user;
BEGIN;
SELECT cs_lock('k'), cs_try_lock('l'), cs_lock_all('{m,n}'), cs_lock_path('o:p');
SELECT cs_held_mode('k'), objsubid < 0 AS tagged FROM cs_key_tag('k');
ROLLBACK;
RESET ROLE;

-- What a session of another role does is hidden, as in pg_stat_activity: the session
-- belongs to the role that logged in, not to the one that SET ROLE chose.
SELECT session_user AS superuser \gset
BEGIN;
SELECT cs_lock('k');
SET LOCAL ROLE regress_cs_user;
SELECT key, mode, granted, pid = pg_backend_pid() AS me, role, application_name FROM cs_holders('k');
RESET ROLE;
GRANT pg_read_all_stats TO regress_cs_user;
SET LOCAL ROLE regress_cs_user;
SELECT role = :'superuser' AS role_shown, application_name IS NOT NULL AS application_shown FROM cs_holders('k');
RESET ROLE;
REVOKE pg_read_all_stats FROM regress_cs_user;
SELECT role = :'superuser' AS role_shown, application_name IS NOT NULL AS application_shown FROM cs_holders('k');
ROLLBACK;

-- To let only some roles lock: revoke from PUBLIC, grant to those.
BEGIN;
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN
        SELECT d.objid
        FROM pg_depend d
        WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
          AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM PUBLIC', f);
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO regress_cs_locker', f);
    END LOOP;
END $$;
SET LOCAL ROLE regress_cs_locker;
SELECT cs_lock('k'), cs_held_mode('k');
RESET ROLE;
SET LOCAL ROLE regress_cs_user;
SAVEPOINT denied;
SELECT cs_lock('k');
ROLLBACK TO denied;
SELECT cs_try_lock_any('{k}');
ROLLBACK TO denied;
SELECT * FROM cs_holders('k');
ROLLBACK TO denied;
SELECT cs_unlock_all();
ROLLBACK TO denied;
-- A function that runs with its owner's rights may still lock for them, and nothing but what it wants.
RESET ROLE;
CREATE FUNCTION lock_order(number integer) RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public, pg_temp AS $$ SELECT cs_lock('order:' || number) $$;
SET LOCAL ROLE regress_cs_user;
SELECT lock_order(42);
RESET ROLE;
SELECT cs_held_mode('order:42');
ROLLBACK;

DROP ROLE regress_cs_user, regress_cs_locker;
