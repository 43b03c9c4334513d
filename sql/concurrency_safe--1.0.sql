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

-- Seeing ----------------------------------------------------------------------

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
