--
-- cs_holders for a single session: columns, scopes, modes. Other sessions and
-- waiters are in the isolation test waiters_seen.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
SELECT count(*) FROM cs_holders('nobody has it');

BEGIN;
SELECT cs_lock('k');
SELECT key, mode, granted, scope, pid = pg_backend_pid() AS me, database = current_database() AS here,
       role = session_user AS role, application_name = current_setting('application_name') AS application,
       wait_start, waiting_for, blocked_by
FROM cs_holders('k');
-- The same numbers as in pg_locks and as cs_key_tag says.
SELECT count(*)
FROM cs_holders('k') AS h JOIN cs_key_tag('k') AS t USING (classid, objid, objsubid)
     JOIN pg_locks AS l USING (classid, objid, objsubid, pid);
-- One row for each mode, and nothing of other keys.
SELECT cs_lock('k', mode => 'shared'), cs_lock('K'), cs_lock('k:l');
SELECT mode, granted FROM cs_holders('k') ORDER BY mode;
-- A hold taken twice is one row.
SELECT cs_lock('k');
SELECT count(*) FROM cs_holders('k');
COMMIT;
SELECT count(*) FROM cs_holders('k');

-- Scope.
SELECT cs_lock('k', scope => 'session');
SELECT mode, scope FROM cs_holders('k');
BEGIN;
SELECT cs_lock('k', mode => 'IS');
SELECT mode, scope FROM cs_holders('k') ORDER BY mode;
COMMIT;
SELECT cs_unlock('k'), (SELECT count(*) FROM cs_holders('k'));

-- The key comes back as it is, not escaped; an unknown key cannot be asked for.
BEGIN;
SELECT cs_lock(E'a\nb');
SELECT key = 'a\nb' AS escaped FROM cs_holders(E'a\nb');
ROLLBACK;

-- It can be read in part, joined, and used for many keys.
BEGIN;
SELECT cs_lock_all('{a,b}');
SELECT k, h.mode FROM unnest('{a,b,c}'::text[]) AS k LEFT JOIN LATERAL cs_holders(k) AS h ON true ORDER BY k;
SELECT mode FROM cs_holders('a') LIMIT 1;
ROLLBACK;

-- Locks of pg_advisory_lock with the same first numbers are not ours.
BEGIN;
SELECT pg_advisory_xact_lock(tag.classid::bigint::bit(32)::integer, tag.objid::bigint::bit(32)::integer)
FROM cs_key_tag('k') AS tag;
SELECT count(*) FROM cs_holders('k');
ROLLBACK;
