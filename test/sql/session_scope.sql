--
-- Session scope: holds are counted, survive the transaction and its failure,
-- and are given back one by one or all at once.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- Three holds need three unlocks.
SELECT cs_lock('k', scope => 'session'), cs_try_lock('k', scope => 'session'), cs_lock_all('{k}', scope => 'session');
SELECT pg_temp.my_locks();
SELECT cs_unlock('k'), cs_unlock('k'), cs_held_mode('k');
SELECT cs_unlock('k'), cs_held_mode('k'), pg_temp.my_locks();
SELECT cs_unlock('k');

-- Each mode is counted by itself.
SELECT cs_lock('k', mode => 'shared', scope => 'session');
SELECT cs_unlock('k');
SELECT cs_unlock('k', 'S'), pg_temp.my_locks();

-- A lock in transaction scope cannot be given back early.
BEGIN;
SELECT cs_lock('k');
SELECT cs_unlock('k');
SELECT cs_unlock_all(), cs_held_mode('k');
COMMIT;

-- In both scopes at once: each ends by its own rule.
BEGIN;
SELECT cs_lock('k'), cs_lock('k', scope => 'session');
SELECT cs_unlock('k'), cs_held_mode('k');
SELECT cs_unlock('k');
COMMIT;
SELECT pg_temp.my_locks();
BEGIN;
SELECT cs_lock('k', scope => 'session'), cs_lock('k');
COMMIT;
SELECT cs_held_mode('k'), cs_unlock('k'), cs_unlock('k'), pg_temp.my_locks();

-- The end of the transaction does not matter, neither a good nor a bad one.
BEGIN;
SELECT cs_lock('committed', scope => 'session');
COMMIT;
BEGIN;
SELECT cs_lock('rolled back', scope => 'session');
ROLLBACK;
BEGIN;
SELECT cs_lock('failed', scope => 'session');
SELECT 1 / 0;
ROLLBACK;
SELECT cs_held_mode('committed'), cs_held_mode('rolled back'), cs_held_mode('failed');

-- cs_unlock_all counts holds, takes every mode, and leaves all other locks alone.
SELECT cs_lock('committed', scope => 'session'), cs_lock('other', mode => 'IX', scope => 'session');
SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2, 3);
BEGIN;
SELECT cs_lock('transaction');
SELECT cs_unlock_all();
SELECT cs_held_mode('transaction'), cs_held_mode('other'), pg_temp.my_locks();
COMMIT;
SELECT cs_unlock_all(), pg_temp.my_locks();
SELECT pg_advisory_unlock(1), pg_advisory_unlock_shared(2, 3), pg_temp.my_locks();

-- A key of the same tag is not enough: cs_unlock does not touch the numbers of pg_advisory_lock.
SELECT pg_advisory_lock(tag.classid::bigint::bit(32)::integer, tag.objid::bigint::bit(32)::integer)
FROM cs_key_tag('k') AS tag;
SELECT cs_unlock('k'), cs_unlock_all(), pg_temp.my_locks();
SELECT pg_advisory_unlock_all();

-- Locks taken in two modes by one path call, and by two calls.
SELECT cs_lock_path('org:1', scope => 'session'), cs_lock_path('org:2', mode => 'shared', scope => 'session');
SELECT cs_unlock_all(), pg_temp.my_locks();
