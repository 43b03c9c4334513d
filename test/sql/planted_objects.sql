--
-- Objects that somebody put into the schema before the installation must not
-- become part of the extension: the installation fails instead.
--
\pset null null
-- PostgreSQL 18 adds the line of the script.
\set SHOW_CONTEXT never
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE FUNCTION public.cs_lock(key text, timeout_ms integer DEFAULT NULL, mode text DEFAULT 'exclusive',
                               scope text DEFAULT 'transaction') RETURNS void
LANGUAGE sql AS $$ SELECT $$;
SAVEPOINT planted;
CREATE EXTENSION concurrency_safe SCHEMA public;
\echo :SQLSTATE
ROLLBACK TO planted;
SELECT proname FROM pg_proc WHERE proname LIKE 'cs\_%';
SELECT count(*) FROM pg_extension WHERE extname = 'concurrency_safe';
ROLLBACK;

-- The same for whichever object comes last.
BEGIN;
SELECT pg_get_functiondef(d.objid) AS last_definition
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe')
  AND p.prokind = 'f' AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'c')
ORDER BY d.objid DESC LIMIT 1 \gset
DROP EXTENSION concurrency_safe;
:last_definition;
SAVEPOINT planted;
\set VERBOSITY sqlstate
CREATE EXTENSION concurrency_safe SCHEMA public;
\set VERBOSITY default
ROLLBACK TO planted;
SELECT count(*) AS planted_alone FROM pg_proc WHERE proname LIKE 'cs\_%';
ROLLBACK;

-- Operators and functions planted in the schema are not used by the install script.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'trap in the script'; END $$;
CREATE FUNCTION trap.equal(name, name) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.sprung() $$;
CREATE FUNCTION trap.equal(oid, oid) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.sprung() $$;
CREATE FUNCTION trap.current_schema() RETURNS name LANGUAGE sql AS $$ SELECT trap.sprung()::text::name $$;
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.equal);
CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.equal);
SET LOCAL search_path = trap, pg_catalog;
SAVEPOINT set;
\set VERBOSITY terse
SELECT 'a'::name = 'a'::name; -- the trap works
ROLLBACK TO set;
CREATE EXTENSION concurrency_safe SCHEMA trap;
RESET search_path;
SELECT trap.cs_try_lock('k');
ROLLBACK;

-- Nor are better matches for those in the bodies of its SQL functions.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA trap;
CREATE FUNCTION trap.concat_ws(text, text, text, text, text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.concat_ws(text, integer, name, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.concat_ws(text, text, text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.concat(numeric, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.format(text, integer, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.format(text, integer, integer, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE FUNCTION trap.pg_has_role(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION trap.unnest(integer[]) RETURNS SETOF integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION trap.times(numeric, integer) RETURNS numeric LANGUAGE sql AS $$ SELECT 1.0 $$;
CREATE FUNCTION trap.same(smallint, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION trap.join_text(numeric, text) RETURNS text LANGUAGE sql AS $$ SELECT 'trap' $$;
CREATE OPERATOR trap.* (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = trap.times);
CREATE OPERATOR trap.= (LEFTARG = smallint, RIGHTARG = integer, FUNCTION = trap.same);
CREATE OPERATOR trap.|| (LEFTARG = numeric, RIGHTARG = text, FUNCTION = trap.join_text);
CREATE EXTENSION concurrency_safe SCHEMA trap;
SELECT trap.cs_wait_graph_dot();
SELECT pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) AS "used by a function of the extension"
FROM pg_depend d
JOIN pg_depend e ON e.classid = d.classid AND e.objid = d.objid AND e.deptype = 'e'
LEFT JOIN pg_depend r ON r.classid = d.refclassid AND r.objid = d.refobjid AND r.deptype = 'e'
WHERE d.deptype = 'n' AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass) AND r.objid IS NULL;
ROLLBACK;

-- Functions that shadow those of the server do not change what is locked.
BEGIN;
CREATE SCHEMA trap;
CREATE FUNCTION trap.hashtext(text) RETURNS integer LANGUAGE sql AS $$ SELECT 1 / 0 $$;
CREATE FUNCTION trap.pg_advisory_xact_lock(bigint) RETURNS void LANGUAGE sql AS $$ SELECT 1 / 0 $$;
CREATE FUNCTION trap.pg_blocking_pids(integer) RETURNS integer[] LANGUAGE sql AS $$ SELECT ARRAY[1 / 0] $$;
SELECT tag AS before FROM cs_key_tag('k') AS tag \gset
SET LOCAL search_path = trap, public, pg_catalog;
SELECT cs_lock('k'), cs_held_mode('k'), cs_lock_path('a:b'), cs_try_lock_any('{c}');
SELECT tag::text = :'before' AS same_tag FROM cs_key_tag('k') AS tag;
SELECT count(*) FROM cs_holders('k');
ROLLBACK;
