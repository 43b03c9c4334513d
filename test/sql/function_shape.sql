--
-- The catalog: signatures, volatility, parallel safety, strictness, comments, owners.
--
\pset null null
CREATE TEMP VIEW own_routine AS
SELECT p.*
FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe');

-- The promised lock functions, whatever else there is.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM own_routine
WHERE proname IN ('cs_lock', 'cs_try_lock', 'cs_lock_all', 'cs_try_lock_all', 'cs_try_lock_any', 'cs_lock_path',
                  'cs_try_lock_path', 'cs_unlock', 'cs_unlock_path', 'cs_unlock_all', 'cs_held_mode', 'cs_key_tag')
ORDER BY proname COLLATE "C";
-- Permits, and what watches and cleans up.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM own_routine
WHERE proname IN ('cs_permit', 'cs_try_permit', 'cs_cancel_holders', 'cs_lock_order_reset', 'cs_stat_reset',
                  'cs_wait_graph_dot')
ORDER BY proname COLLATE "C";
SELECT pg_get_function_arguments(oid) AS cs_transfer FROM own_routine WHERE proname = 'cs_transfer';
SELECT pg_get_function_arguments(oid) AS cs_run FROM own_routine WHERE proname = 'cs_run';
SELECT pg_get_function_arguments(oid) AS cs_holders FROM own_routine WHERE proname = 'cs_holders';

SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result,
       provolatile, proparallel
FROM own_routine
WHERE proname IN ('cs_key', 'cs_guard')
ORDER BY proname COLLATE "C";

-- Leases: the functions, what everybody may read of them, and the table, which nobody may touch.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result, proacl IS NULL AS everybody
FROM own_routine
WHERE proname ~ 'lease|token'
ORDER BY proname COLLATE "C";
SELECT c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relname IN ('cs_lease_table', 'cs_leases') AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname COLLATE "C", a.attnum;
SELECT relname, relpersistence, reloptions, coalesce(array_to_string(relacl, ' ') LIKE '% =r/%', false) AS everybody_reads,
       oid = ANY (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'concurrency_safe') AS dumped
FROM pg_class
WHERE relname IN ('cs_lease_table', 'cs_leases') AND relnamespace = 'public'::regnamespace
ORDER BY relname COLLATE "C";

-- A lock taken in a parallel worker would end with it, and a strict function would silently lock nothing for a null key.
SELECT proname, provolatile, proparallel, proisstrict, proleakproof, prosecdef
FROM own_routine
WHERE prokind = 'f'
ORDER BY proname COLLATE "C";
SELECT count(*) AS strict FROM own_routine WHERE proisstrict;
SELECT count(*) AS "security definer without search_path" FROM own_routine
WHERE prosecdef AND NOT coalesce(proconfig::text LIKE '%search_path%', false);

-- Every object has a comment, a name that says whose it is, and no overload.
SELECT pg_describe_object(classid, objid, objsubid) AS "without comment"
FROM pg_depend
WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe')
  AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass, 'pg_operator'::regclass)
  AND coalesce(obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)), '') = ''
ORDER BY 1;
SELECT proname FROM own_routine WHERE proname NOT LIKE 'cs\_%' OR pronamespace <> 'public'::regnamespace;
SELECT proname FROM own_routine GROUP BY proname HAVING count(*) > 1;
SELECT count(*) = 0 AS "no other routine of these names" FROM pg_proc
WHERE proname LIKE 'cs\_%' AND oid NOT IN (SELECT oid FROM own_routine);

-- The extension itself.
SELECT extname, extrelocatable, extnamespace::regnamespace FROM pg_extension WHERE extname = 'concurrency_safe';
SELECT obj_description(oid, 'pg_extension') IS NOT NULL AS commented FROM pg_extension WHERE extname = 'concurrency_safe';

-- A wrong declaration is an error, not a crash.
CREATE FUNCTION wrong_set(OUT key text, OUT mode text) LANGUAGE c AS 'concurrency_safe', 'cs_locks';
CREATE FUNCTION wrong_row() RETURNS SETOF text LANGUAGE c AS 'concurrency_safe', 'cs_locks';
SELECT wrong_set();
SELECT * FROM wrong_row();
DROP FUNCTION wrong_set(), wrong_row();
