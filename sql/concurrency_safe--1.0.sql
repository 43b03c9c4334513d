/* concurrency_safe 1.0: business key locks inside PostgreSQL */

\echo Use "CREATE EXTENSION concurrency_safe" to load this file. \quit

-- Whoever owns the schema can put functions of the same names into it, or drop
-- it with everything in it. So the owner must be somebody who could do worse anyway.
DO $check$
DECLARE
    owner oid;
BEGIN
    SELECT n.nspowner INTO owner
    FROM pg_catalog.pg_namespace n
    WHERE n.nspname OPERATOR(pg_catalog.=) pg_catalog.current_schema();

    IF NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_roles r
        WHERE r.oid OPERATOR(pg_catalog.=) owner
          AND (r.rolsuper
               OR r.rolname OPERATOR(pg_catalog.=) CURRENT_USER
               OR r.rolname OPERATOR(pg_catalog.=) 'pg_database_owner'
               OR r.oid OPERATOR(pg_catalog.=) (
                   SELECT d.datdba
                   FROM pg_catalog.pg_database d
                   WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())))
    THEN
        RAISE EXCEPTION 'schema "%" cannot hold the extension because role "%" owns it',
            pg_catalog.current_schema(), pg_catalog.pg_get_userbyid(owner)
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'Choose a schema owned by the installing role, a superuser or the database owner.';
    END IF;
END
$check$;

-- Locks -----------------------------------------------------------------------
--
-- VOLATILE and PARALLEL UNSAFE: a lock taken in a parallel worker would end with
-- it. Not STRICT: a strict function would silently lock nothing for a null key.

CREATE FUNCTION cs_lock(
    key text,
    timeout_ms integer DEFAULT NULL,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lock';

COMMENT ON FUNCTION cs_lock(text, integer, text, text) IS
'locks a key; waits at most timeout_ms milliseconds (null: concurrency_safe.default_timeout, 0: no wait, -1: no limit), then fails with 55P03';

CREATE FUNCTION cs_try_lock(
    key text,
    timeout_ms integer DEFAULT 0,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_try_lock';

COMMENT ON FUNCTION cs_try_lock(text, integer, text, text) IS
'locks a key if it is free within timeout_ms milliseconds (0: at once); otherwise false, and the transaction stays usable';

CREATE FUNCTION cs_lock_all(
    keys text[],
    timeout_ms integer DEFAULT NULL,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lock_all';

COMMENT ON FUNCTION cs_lock_all(text[], integer, text, text) IS
'locks all keys of an array in one order for everybody; waits at most timeout_ms milliseconds in all, then fails with 55P03';

CREATE FUNCTION cs_try_lock_all(
    keys text[],
    timeout_ms integer DEFAULT 0,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_try_lock_all';

COMMENT ON FUNCTION cs_try_lock_all(text[], integer, text, text) IS
'locks all keys of an array if they are free within timeout_ms milliseconds in all; otherwise false, and none of them is newly held';

CREATE FUNCTION cs_try_lock_any(
    keys text[],
    max_locks integer DEFAULT 1,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS text[]
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_try_lock_any';

COMMENT ON FUNCTION cs_try_lock_any(text[], integer, text, text) IS
'locks up to max_locks of the keys without waiting, skips those that are locked, and returns the keys it got';

CREATE FUNCTION cs_lock_path(
    path text,
    timeout_ms integer DEFAULT NULL,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lock_path';

COMMENT ON FUNCTION cs_lock_path(text, integer, text, text) IS
'locks a path such as org:1:acct:7 and, with intent locks, its ancestors; waits at most timeout_ms milliseconds in all, then fails with 55P03';

CREATE FUNCTION cs_try_lock_path(
    path text,
    timeout_ms integer DEFAULT 0,
    mode text DEFAULT 'exclusive',
    scope text DEFAULT 'transaction'
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_try_lock_path';

COMMENT ON FUNCTION cs_try_lock_path(text, integer, text, text) IS
'locks a path and its ancestors if that is possible within timeout_ms milliseconds in all; otherwise false, and nothing is newly held';

CREATE FUNCTION cs_permit(
    key text,
    permits integer,
    timeout_ms integer DEFAULT NULL
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_permit';

COMMENT ON FUNCTION cs_permit(text, integer, integer) IS
'takes one of so many permits of a key, until the end of the transaction; waits at most timeout_ms milliseconds (null: concurrency_safe.default_timeout, 0: no wait, -1: no limit), then fails with 55P03';

CREATE FUNCTION cs_try_permit(
    key text,
    permits integer,
    timeout_ms integer DEFAULT 0
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_try_permit';

COMMENT ON FUNCTION cs_try_permit(text, integer, integer) IS
'takes one of so many permits of a key if one is free within timeout_ms milliseconds (0: at once); otherwise false, and the transaction stays usable';

CREATE FUNCTION cs_unlock(
    key text,
    mode text DEFAULT 'exclusive'
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_unlock';

COMMENT ON FUNCTION cs_unlock(text, text) IS
'gives back one hold of a key in session scope; false and a warning if there is none';

CREATE FUNCTION cs_unlock_path(
    path text,
    mode text DEFAULT 'exclusive'
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_unlock_path';

COMMENT ON FUNCTION cs_unlock_path(text, text) IS
'gives back what one cs_lock_path in session scope took; false and a warning if any of it is not held';

CREATE FUNCTION cs_unlock_all()
RETURNS integer
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_unlock_all';

COMMENT ON FUNCTION cs_unlock_all() IS
'gives back all holds of keys in session scope and returns their number; advisory locks of pg_advisory_lock stay';

CREATE FUNCTION cs_held_mode(key text)
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_held_mode';

COMMENT ON FUNCTION cs_held_mode(text) IS
'the strongest mode in which this session holds the key, in either scope, or null';

-- LOCK cs_key."key" locks a key. The schema is empty: without the library, there is no such table.
CREATE SCHEMA cs_key;

COMMENT ON SCHEMA cs_key IS
'stands for keys in the statement LOCK: LOCK cs_key."key" IN EXCLUSIVE MODE';

GRANT USAGE ON SCHEMA cs_key TO PUBLIC;

-- Seeing ----------------------------------------------------------------------
--
-- What a session does is shown as pg_stat_activity shows it: in full to its role
-- and to members of pg_read_all_stats. The functions behind the views check
-- that themselves, for their caller.

CREATE FUNCTION cs_key_tag(
    key text,
    OUT classid oid,
    OUT objid oid,
    OUT objsubid integer
)
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cs_key_tag';

COMMENT ON FUNCTION cs_key_tag(text) IS
'the columns of pg_locks that identify the lock of a key in this database';

CREATE FUNCTION cs_holders(
    key text,
    OUT key text,
    OUT mode text,
    OUT granted boolean,
    OUT scope text,
    OUT pid integer,
    OUT database name,
    OUT role name,
    OUT application_name text,
    OUT wait_start timestamp with time zone,
    OUT waiting_for interval,
    OUT blocked_by integer[],
    OUT classid oid,
    OUT objid oid,
    OUT objsubid integer
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
ROWS 10
AS 'MODULE_PATHNAME', 'cs_holders';

COMMENT ON FUNCTION cs_holders(text) IS
'who holds a key and who waits for it, now; role and application only of sessions that the caller may see in full in pg_stat_activity';

CREATE FUNCTION cs_locks(
    OUT key text,
    OUT mode text,
    OUT granted boolean,
    OUT scope text,
    OUT pid integer,
    OUT database name,
    OUT role name,
    OUT application_name text,
    OUT wait_start timestamp with time zone,
    OUT waiting_for interval,
    OUT blocked_by integer[],
    OUT classid oid,
    OUT objid oid,
    OUT objsubid integer
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
ROWS 100
AS 'MODULE_PATHNAME', 'cs_locks';

COMMENT ON FUNCTION cs_locks() IS
'the rows of the view cs_locks';

CREATE VIEW cs_locks AS
SELECT * FROM cs_locks();

COMMENT ON VIEW cs_locks IS
'locks on keys that are held or waited for in the cluster, now; key, role and application only of sessions that the caller may see in full in pg_stat_activity';
COMMENT ON COLUMN cs_locks.key IS
'name of the key, or null if it is unknown or not for the caller to see; cut names end in three dots';
COMMENT ON COLUMN cs_locks.mode IS 'mode that is held or waited for';
COMMENT ON COLUMN cs_locks.granted IS 'true if the lock is held, false if it is waited for';
COMMENT ON COLUMN cs_locks.scope IS 'transaction or session, or null if the server cannot tell';
COMMENT ON COLUMN cs_locks.pid IS 'process of the session, or null for a prepared transaction';
COMMENT ON COLUMN cs_locks.database IS 'database of the key';
COMMENT ON COLUMN cs_locks.role IS 'role of the session';
COMMENT ON COLUMN cs_locks.application_name IS 'application of the session';
COMMENT ON COLUMN cs_locks.wait_start IS 'when the session began to wait; null for a moment after that';
COMMENT ON COLUMN cs_locks.waiting_for IS 'how long the session has waited';
COMMENT ON COLUMN cs_locks.blocked_by IS 'processes that the session waits for, as pg_blocking_pids shows them';
COMMENT ON COLUMN cs_locks.classid IS 'classid of the lock in pg_locks';
COMMENT ON COLUMN cs_locks.objid IS 'objid of the lock in pg_locks';
COMMENT ON COLUMN cs_locks.objsubid IS 'objsubid of the lock in pg_locks';

CREATE FUNCTION cs_stat_keys(
    OUT key text,
    OUT acquired bigint,
    OUT waited bigint,
    OUT timed_out bigint,
    OUT deadlocked bigint,
    OUT wait_ms_total double precision,
    OUT wait_ms_max double precision,
    OUT wait_histogram bigint[],
    OUT last_acquired timestamp with time zone
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
ROWS 1000
AS 'MODULE_PATHNAME', 'cs_stat_keys';

COMMENT ON FUNCTION cs_stat_keys() IS
'the rows of the view cs_stat_keys';

CREATE VIEW cs_stat_keys AS
SELECT * FROM cs_stat_keys();

COMMENT ON VIEW cs_stat_keys IS
'what happened to each key of this database since the last reset, as long as it has a place in the directory; key only for members of pg_read_all_stats';
COMMENT ON COLUMN cs_stat_keys.key IS 'name of the key; cut names end in three dots';
COMMENT ON COLUMN cs_stat_keys.acquired IS
'times the key was granted; taking it again counts in session scope, not in transaction scope';
COMMENT ON COLUMN cs_stat_keys.waited IS 'waits for the key that have ended, in whatever way';
COMMENT ON COLUMN cs_stat_keys.timed_out IS
'requests given up because the time allowed was over, those that allowed none included';
COMMENT ON COLUMN cs_stat_keys.deadlocked IS 'waits for the key that ended as the victim of a deadlock';
COMMENT ON COLUMN cs_stat_keys.wait_ms_total IS 'duration of all waits, in milliseconds';
COMMENT ON COLUMN cs_stat_keys.wait_ms_max IS 'duration of the longest wait, in milliseconds';
COMMENT ON COLUMN cs_stat_keys.wait_histogram IS
'waits by duration: below 1 ms, then below 2, 4, 8 and so on to 2048 ms, and longer ones';
COMMENT ON COLUMN cs_stat_keys.last_acquired IS 'when the key was granted last';

CREATE FUNCTION cs_stat(
    OUT acquired bigint,
    OUT waited bigint,
    OUT timed_out bigint,
    OUT deadlocked bigint,
    OUT wait_ms_total double precision,
    OUT wait_ms_max double precision,
    OUT wait_histogram bigint[],
    OUT directory_size bigint,
    OUT directory_used bigint,
    OUT directory_bytes bigint,
    OUT evicted bigint,
    OUT unnamed bigint,
    OUT collisions bigint,
    OUT lock_orders bigint,
    OUT lock_orders_lost bigint,
    OUT runs bigint,
    OUT run_retries bigint,
    OUT run_failures bigint,
    OUT stats_reset timestamp with time zone
)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_stat';

COMMENT ON FUNCTION cs_stat() IS
'the row of the view cs_stat';

CREATE VIEW cs_stat AS
SELECT * FROM cs_stat();

COMMENT ON VIEW cs_stat IS
'what happened to all keys of the cluster since the last reset, how full the directory is, and what cs_run did';
COMMENT ON COLUMN cs_stat.acquired IS 'times a key was granted, as in cs_stat_keys';
COMMENT ON COLUMN cs_stat.waited IS 'waits for keys that have ended, in whatever way';
COMMENT ON COLUMN cs_stat.timed_out IS 'requests given up because the time allowed was over';
COMMENT ON COLUMN cs_stat.deadlocked IS 'waits for keys that ended as the victim of a deadlock';
COMMENT ON COLUMN cs_stat.wait_ms_total IS 'duration of all waits, in milliseconds';
COMMENT ON COLUMN cs_stat.wait_ms_max IS 'duration of the longest wait, in milliseconds';
COMMENT ON COLUMN cs_stat.wait_histogram IS 'waits by duration, as in cs_stat_keys';
COMMENT ON COLUMN cs_stat.directory_size IS 'keys for which the directory has places';
COMMENT ON COLUMN cs_stat.directory_used IS 'keys that have a place';
COMMENT ON COLUMN cs_stat.directory_bytes IS 'size of the directory in shared memory';
COMMENT ON COLUMN cs_stat.evicted IS 'keys that lost their place to another one; the totals keep their counts';
COMMENT ON COLUMN cs_stat.unnamed IS
'grants, waits and refusals of keys that found no place because those around were in use; they have no name in cs_locks';
COMMENT ON COLUMN cs_stat.collisions IS
'times a key entered the directory while another one with the same lock was there';
COMMENT ON COLUMN cs_stat.lock_orders IS 'orders of locks that cs_lock_order remembers, of all databases';
COMMENT ON COLUMN cs_stat.lock_orders_lost IS
'times an order of locks, or a class of keys, found no place since cs_lock_order_reset(); it was not checked then';
COMMENT ON COLUMN cs_stat.runs IS 'calls of cs_run whose command was committed';
COMMENT ON COLUMN cs_stat.run_retries IS 'attempts that cs_run repeated';
COMMENT ON COLUMN cs_stat.run_failures IS 'calls of cs_run that ended with an error of their command';
COMMENT ON COLUMN cs_stat.stats_reset IS 'when the counting began';

CREATE FUNCTION cs_stat_reset()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_stat_reset';

COMMENT ON FUNCTION cs_stat_reset() IS
'sets all counts of cs_stat and cs_stat_keys to zero; for superusers and those who were granted it';

REVOKE EXECUTE ON FUNCTION cs_stat_reset() FROM PUBLIC;

CREATE FUNCTION cs_deadlocks(
    OUT at timestamp with time zone,
    OUT key text,
    OUT mode text,
    OUT pid integer,
    OUT role name,
    OUT application_name text,
    OUT detail text,
    OUT query text
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
ROWS 100
AS 'MODULE_PATHNAME', 'cs_deadlocks';

COMMENT ON FUNCTION cs_deadlocks() IS
'the rows of the view cs_deadlocks';

CREATE VIEW cs_deadlocks AS
SELECT * FROM cs_deadlocks();

COMMENT ON VIEW cs_deadlocks IS
'the last deadlocks in which a key took part, the last one first; what a session did only for those who may see it in full in pg_stat_activity';
COMMENT ON COLUMN cs_deadlocks.at IS 'when the deadlock was found';
COMMENT ON COLUMN cs_deadlocks.key IS
'key that the victim waited for, or, if it waited for something else, the first key that others waited for';
COMMENT ON COLUMN cs_deadlocks.mode IS 'mode in which that key was waited for';
COMMENT ON COLUMN cs_deadlocks.pid IS 'process of the victim, the session that got the error';
COMMENT ON COLUMN cs_deadlocks.role IS 'role of the victim';
COMMENT ON COLUMN cs_deadlocks.application_name IS 'application of the victim';
COMMENT ON COLUMN cs_deadlocks.detail IS
'who waited for what, and what each session was doing; only for those who may see all of them';
COMMENT ON COLUMN cs_deadlocks.query IS 'query of the victim';

CREATE FUNCTION cs_lock_order(
    OUT held text,
    OUT taken text,
    OUT held_mode text,
    OUT taken_mode text,
    OUT in_cycle boolean,
    OUT first_seen timestamp with time zone,
    OUT pid integer,
    OUT role name,
    OUT application_name text,
    OUT query text
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
ROWS 100
AS 'MODULE_PATHNAME', 'cs_lock_order';

COMMENT ON FUNCTION cs_lock_order() IS
'the rows of the view cs_lock_order';

CREATE VIEW cs_lock_order AS
SELECT * FROM cs_lock_order();

COMMENT ON VIEW cs_lock_order IS
'in which orders keys of this database were locked, by class, and where each order was seen first; classes, role, application and query only for those who may see that session in full in pg_stat_activity';
COMMENT ON COLUMN cs_lock_order.held IS
'class of a key that was held: what comes before the last separator of the key, or the whole key';
COMMENT ON COLUMN cs_lock_order.taken IS 'class of a key that was locked while the other one was held';
COMMENT ON COLUMN cs_lock_order.held_mode IS 'mode in which the one was held';
COMMENT ON COLUMN cs_lock_order.taken_mode IS 'mode in which the other one was locked';
COMMENT ON COLUMN cs_lock_order.in_cycle IS 'whether this order is a part of a cycle, that is of a deadlock that can happen';
COMMENT ON COLUMN cs_lock_order.first_seen IS 'when this order was seen first';
COMMENT ON COLUMN cs_lock_order.pid IS 'process of the session that it was seen in';
COMMENT ON COLUMN cs_lock_order.role IS 'role of that session';
COMMENT ON COLUMN cs_lock_order.application_name IS 'application of that session';
COMMENT ON COLUMN cs_lock_order.query IS 'query of that session';

CREATE FUNCTION cs_lock_order_reset()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lock_order_reset';

COMMENT ON FUNCTION cs_lock_order_reset() IS
'forgets all orders of locks, of all databases, so that cycles are reported anew; for superusers and those who were granted it';

REVOKE EXECUTE ON FUNCTION cs_lock_order_reset() FROM PUBLIC;

-- Everybody may look; the functions decide what they show to whom.
GRANT SELECT ON cs_locks, cs_stat_keys, cs_stat, cs_deadlocks, cs_lock_order TO PUBLIC;

-- Working under a lock --------------------------------------------------------

CREATE PROCEDURE cs_transfer(
    accounts regclass,
    from_id text,
    to_id text,
    amount numeric,
    timeout_ms integer DEFAULT NULL,
    id_column name DEFAULT 'id',
    balance_column name DEFAULT 'balance',
    INOUT from_balance numeric DEFAULT NULL,
    INOUT to_balance numeric DEFAULT NULL
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'cs_transfer';

COMMENT ON PROCEDURE cs_transfer(regclass, text, text, numeric, integer, name, name, numeric, numeric) IS
'moves an amount from one account to another: locks both keys, then both rows, checks, and updates both with one statement';

-- STABLE: the output functions of types are. Not STRICT: a null is an error, and no key.
CREATE FUNCTION cs_key(
    template text,
    source anyelement
) RETURNS text
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'cs_key';

COMMENT ON FUNCTION cs_key(text, anyelement) IS
'the key that a template makes from a row or a jsonb object: {name} is replaced by the field of that name, {{ and }} are braces';

CREATE FUNCTION cs_guard()
RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_guard';

COMMENT ON FUNCTION cs_guard() IS
'trigger, with a template as in cs_key and optionally ''require'' or ''acquire'' and timeout_ms: rows are written only by a session that holds their key in exclusive mode';

CREATE PROCEDURE cs_run(
    key text,
    command text,
    args text[] DEFAULT '{}',
    timeout_ms integer DEFAULT NULL,
    max_attempts integer DEFAULT 5,
    backoff_ms integer DEFAULT 10,
    max_backoff_ms integer DEFAULT 1000,
    on_conflict text DEFAULT 'raise',
    isolation text DEFAULT NULL,
    INOUT outcome text DEFAULT NULL,
    INOUT attempts integer DEFAULT NULL
)
LANGUAGE C
AS 'MODULE_PATHNAME', 'cs_run';

COMMENT ON PROCEDURE cs_run(text, text, text[], integer, integer, integer, integer, text, text, text, integer) IS
'runs a command under a key in a transaction of its own and commits it; repeats it after 40001, 40P01 and 55P03; always gives the key back';

-- Leases ----------------------------------------------------------------------
--
-- The table belongs to the functions, which write it whoever calls them. It is
-- dumped: a restored database goes on with higher tokens.

CREATE TABLE cs_lease_table (
    key text COLLATE pg_catalog."C" PRIMARY KEY,
    token bigint NOT NULL,
    owner text,
    role name NOT NULL,
    granted_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    released boolean NOT NULL,
    payload jsonb
) WITH (fillfactor = 50);

COMMENT ON TABLE cs_lease_table IS
'the last lease of each key; written by the functions alone; the empty key stands for the highest token of leases that were removed, its owner for the system identifier and what its timelines are added to';
COMMENT ON COLUMN cs_lease_table.key IS 'key of the lease';
COMMENT ON COLUMN cs_lease_table.token IS 'fencing token that was given out last; the part above 40 bits grows with the timeline of the server';
COMMENT ON COLUMN cs_lease_table.owner IS 'whatever the holder called itself';
COMMENT ON COLUMN cs_lease_table.role IS 'role that took the lease';
COMMENT ON COLUMN cs_lease_table.granted_at IS 'when the lease was granted';
COMMENT ON COLUMN cs_lease_table.expires_at IS 'when the lease ends, or ended';
COMMENT ON COLUMN cs_lease_table.released IS 'whether it was given back before it expired';
COMMENT ON COLUMN cs_lease_table.payload IS 'whatever the holder wants others to know';

SELECT pg_catalog.pg_extension_config_dump('cs_lease_table', '');
-- Else a dump by the owner of the database, who need not be a superuser, would fail.
GRANT SELECT ON cs_lease_table TO pg_database_owner;

CREATE FUNCTION cs_lease(
    key text,
    ttl_ms integer,
    owner text DEFAULT NULL,
    timeout_ms integer DEFAULT 0,
    payload jsonb DEFAULT NULL
) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lease';

COMMENT ON FUNCTION cs_lease(text, integer, text, integer, jsonb) IS
'takes the lease of a key for ttl_ms milliseconds and returns its fencing token, valid when the transaction commits; null if another one has it for longer than timeout_ms milliseconds (0: no wait, null: concurrency_safe.default_timeout, -1: no limit)';

CREATE FUNCTION cs_renew_lease(
    key text,
    token bigint,
    ttl_ms integer
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_renew_lease';

COMMENT ON FUNCTION cs_renew_lease(text, bigint, integer) IS
'lets a lease end ttl_ms milliseconds from now; false if it has expired, was released or belongs to another token';

CREATE FUNCTION cs_release_lease(
    key text,
    token bigint
) RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_release_lease';

COMMENT ON FUNCTION cs_release_lease(text, bigint) IS
'ends a lease when the transaction commits; false if it has expired, was released or belongs to another token';

CREATE FUNCTION cs_check_token(
    key text,
    token bigint
) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_check_token';

COMMENT ON FUNCTION cs_check_token(text, bigint) IS
'fails with 55000 if the lease was lost; else nobody is granted it before this transaction has ended';

CREATE FUNCTION cs_lease_cleanup(older_than interval)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'cs_lease_cleanup';

COMMENT ON FUNCTION cs_lease_cleanup(interval) IS
'removes what is known of leases that ended longer ago than that, as many at once as a session may lock keys, and returns their number; for superusers and those who were granted it';

REVOKE EXECUTE ON FUNCTION cs_lease_cleanup(interval) FROM PUBLIC;

CREATE VIEW cs_leases AS
SELECT CASE WHEN r.may_see THEN l.key END AS key,
       CASE WHEN r.may_see THEN l.token END AS token,
       CASE WHEN r.may_see THEN l.owner END AS owner,
       CASE WHEN r.may_see THEN l.role END AS role,
       l.granted_at,
       l.expires_at,
       l.expires_at OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() AS expired,
       CASE WHEN r.may_see THEN l.payload END AS payload
FROM cs_lease_table AS l
CROSS JOIN LATERAL (
    SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
        OR EXISTS (
            SELECT
            FROM pg_catalog.pg_roles AS role
            WHERE role.rolname OPERATOR(pg_catalog.=) l.role
              AND pg_catalog.pg_has_role(role.oid, 'USAGE')) AS may_see) AS r
WHERE NOT l.released;

COMMENT ON VIEW cs_leases IS
'leases that were not released, of this database; what they are about only for those who may use the role that took them, and for members of pg_read_all_stats';
COMMENT ON COLUMN cs_leases.key IS 'key of the lease';
COMMENT ON COLUMN cs_leases.token IS 'fencing token of the lease';
COMMENT ON COLUMN cs_leases.owner IS 'whatever the holder called itself';
COMMENT ON COLUMN cs_leases.role IS 'role that took the lease';
COMMENT ON COLUMN cs_leases.granted_at IS 'when the lease was granted';
COMMENT ON COLUMN cs_leases.expires_at IS 'when the lease ends, unless it is renewed';
COMMENT ON COLUMN cs_leases.expired IS 'whether that is over: then the lease is lost, and free';
COMMENT ON COLUMN cs_leases.payload IS 'whatever the holder wants others to know';

GRANT SELECT ON cs_leases TO PUBLIC;

-- Seeing, in SQL --------------------------------------------------------------
--
-- These have bodies that are resolved now, for good. Every function and operator
-- is qualified: whoever may create one in this schema could offer a better match.
-- The functions of the extension itself need not be, there is only one of each.

CREATE FUNCTION cs_wait_graph(
    OUT pid integer,
    OUT blocked_by integer,
    OUT locktype text,
    OUT key text,
    OUT mode text,
    OUT blocked_by_mode text,
    OUT waiting_for interval,
    OUT role name,
    OUT application_name text,
    OUT query text,
    OUT blocked_by_role name,
    OUT blocked_by_application_name text,
    OUT blocked_by_query text
) RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE
ROWS 100
BEGIN ATOMIC
    WITH key_locks AS MATERIALIZED (
        SELECT * FROM cs_locks()
    ), waits AS MATERIALIZED (
        SELECT l.pid, b.pid AS blocked_by, l.locktype, l.mode, l.waitstart,
               l.classid, l.objid, l.objsubid
        FROM pg_catalog.pg_locks AS l
        CROSS JOIN LATERAL (
            SELECT DISTINCT u.pid
            FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(l.pid)) AS u (pid)) AS b
        WHERE NOT l.granted
        UNION ALL
        -- The first one who waits for a permit waits for no lock.
        SELECT p.pid, u.pid, 'advisory', p.mode, p.wait_start, p.classid, p.objid, p.objsubid::smallint
        FROM key_locks AS p
        CROSS JOIN LATERAL pg_catalog.unnest(p.blocked_by) AS u (pid)
        WHERE NOT p.granted
          AND p.mode OPERATOR(pg_catalog.=) 'permit'
          AND NOT EXISTS (
              SELECT
              FROM pg_catalog.pg_locks AS l
              WHERE l.pid OPERATOR(pg_catalog.=) p.pid AND NOT l.granted)
    ), holders AS MATERIALIZED (
        SELECT h.database, h.classid, h.objid, h.objsubid, coalesce(h.pid, 0) AS pid,
               pg_catalog.string_agg(h.mode, ', ' ORDER BY h.mode) AS mode
        FROM key_locks AS h
        WHERE h.granted
          AND (h.database, h.classid, h.objid, h.objsubid) OPERATOR(pg_catalog.=) ANY (
              SELECT k.database, k.classid, k.objid, k.objsubid FROM key_locks AS k WHERE NOT k.granted)
        GROUP BY h.database, h.classid, h.objid, h.objsubid, h.pid
    ), activity AS MATERIALIZED (
        SELECT a.pid,
               CASE WHEN r.may_see THEN a.usename END AS role,
               CASE WHEN r.may_see THEN a.application_name END AS application_name,
               CASE WHEN r.may_see THEN a.query END AS query
        FROM pg_catalog.pg_stat_activity AS a
        CROSS JOIN LATERAL (
            SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
                OR pg_catalog.pg_has_role(a.usesysid, 'USAGE') AS may_see) AS r
    )
    SELECT w.pid, w.blocked_by, w.locktype, k.key, coalesce(k.mode, w.mode), h.mode,
           pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) w.waitstart,
           wa.role, wa.application_name, wa.query,
           ba.role, ba.application_name, ba.query
    FROM waits AS w
    LEFT JOIN key_locks AS k
        ON NOT k.granted
       AND (k.pid, k.classid, k.objid, k.objsubid)
           OPERATOR(pg_catalog.=) (w.pid, w.classid, w.objid, w.objsubid::integer)
    LEFT JOIN holders AS h
        ON (h.pid, h.database, h.classid, h.objid, h.objsubid)
           OPERATOR(pg_catalog.=) (w.blocked_by, k.database, k.classid, k.objid, k.objsubid)
    LEFT JOIN activity AS wa ON wa.pid OPERATOR(pg_catalog.=) w.pid
    LEFT JOIN activity AS ba ON ba.pid OPERATOR(pg_catalog.=) w.blocked_by
    ORDER BY w.waitstart, w.pid, w.blocked_by;
END;

COMMENT ON FUNCTION cs_wait_graph() IS
'which session waits for which other one, for a key or for any other lock; blocked_by 0 is a prepared transaction; what a session does only for those who may see it in full in pg_stat_activity';

CREATE FUNCTION cs_wait_graph_dot()
RETURNS text
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    WITH graph AS MATERIALIZED (
        SELECT * FROM cs_wait_graph()
    ), edges AS (
        -- Who waits for a key behind its holder and others who wait is drawn behind the holder alone.
        SELECT g.*
        FROM graph AS g
        WHERE g.blocked_by_mode IS NOT NULL
           OR NOT EXISTS (
               SELECT FROM graph AS o
               WHERE o.pid OPERATOR(pg_catalog.=) g.pid AND o.blocked_by_mode IS NOT NULL)
    ), nodes AS (
        SELECT e.pid, e.role, e.application_name FROM edges AS e
        UNION
        SELECT e.blocked_by, e.blocked_by_role, e.blocked_by_application_name FROM edges AS e
    ), lines AS (
        SELECT true AS is_node, n.pid AS a, 0 AS b,
               CASE WHEN n.pid OPERATOR(pg_catalog.=) 0 THEN 'prepared transaction'
                    ELSE pg_catalog.concat_ws(E'\n', n.pid, n.role,
                        CASE WHEN n.application_name OPERATOR(pg_catalog.<>) '' THEN n.application_name END)
               END AS label
        FROM nodes AS n
        UNION ALL
        SELECT false, e.pid, e.blocked_by,
               pg_catalog.concat_ws(E'\n', coalesce(e.key, e.locktype), e.mode,
                   pg_catalog.concat(pg_catalog.round(
                       extract(epoch FROM e.waiting_for) OPERATOR(pg_catalog.*) 1000::numeric), ' ms'))
        FROM edges AS e
    ), escaped AS (
        SELECT l.is_node, l.a, l.b,
               pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
                   l.label, E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n') AS label
        FROM lines AS l
    )
    SELECT pg_catalog.concat_ws(E'\n', 'digraph waits {', '    rankdir=LR;',
        '    node [shape=box, fontname="Helvetica"];', '    edge [fontname="Helvetica"];',
        pg_catalog.string_agg(
            CASE WHEN e.is_node THEN pg_catalog.format('    p%s [label="%s"];', e.a, e.label)
                 ELSE pg_catalog.format('    p%s -> p%s [label="%s"];', e.a, e.b, e.label) END,
            E'\n' ORDER BY e.is_node DESC, e.a, e.b), '}')
    FROM escaped AS e;
END;

COMMENT ON FUNCTION cs_wait_graph_dot() IS
'the rows of cs_wait_graph() as a graph in the DOT language of Graphviz; edges to others who wait for the same key only where there is no edge to a holder';

CREATE FUNCTION cs_cancel_holders(key text)
RETURNS integer
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
    SELECT pg_catalog.count(*)::integer
    FROM (SELECT DISTINCT h.pid
          FROM cs_holders(cs_cancel_holders.key) AS h
          WHERE h.granted AND h.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()) AS holders
    WHERE pg_catalog.pg_cancel_backend(holders.pid);
END;

COMMENT ON FUNCTION cs_cancel_holders(text) IS
'cancels the current queries of the other sessions that hold the key, with the rights of pg_cancel_backend, and returns their number; an idle session has no query, and keeps the key';
