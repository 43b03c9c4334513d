--
-- Whatever object of the extension somebody has put into its schema before, the
-- installation fails, and what was planted stays what it was: nobody's but theirs.
--
-- What CREATE EXTENSION would make: routines with their whole definition, relations and schemas by name.
CREATE TEMP TABLE member AS
SELECT pg_describe_object(d.classid, d.objid, 0) AS name,
       CASE d.classid
           WHEN 'pg_proc'::regclass THEN pg_get_functiondef(d.objid)
           WHEN 'pg_namespace'::regclass THEN format('CREATE SCHEMA %s', d.objid::regnamespace)
           WHEN 'pg_class'::regclass THEN format('CREATE TABLE public.%I (key text)', (SELECT relname FROM pg_class WHERE oid = d.objid))
       END AS command
FROM pg_depend AS d
WHERE d.deptype = 'e' AND d.classid <> 'pg_type'::regclass -- those of relations, members since PostgreSQL 17
  AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'concurrency_safe');
-- Bodies in SQL name other objects of the extension, which are not there: any other body will do.
UPDATE member SET command = regexp_replace(command, 'LANGUAGE sql(.*)BEGIN ATOMIC.*END', 'LANGUAGE internal\1 AS ''pg_backend_pid''');
-- None is missing: what is made of nothing is all refused.
SELECT count(*) > 10 AS many, count(*) FILTER (WHERE command IS NULL) AS unknown,
       count(*) FILTER (WHERE name LIKE 'function %') = (SELECT count(*) FROM pg_proc WHERE proname LIKE 'cs\_%') AS "all functions"
FROM member;

BEGIN;
DROP EXTENSION concurrency_safe;
CREATE FUNCTION pg_temp.attempt(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE command;
    EXCEPTION WHEN OTHERS THEN
        RETURN 'not planted: ' || SQLERRM;
    END;
    CREATE EXTENSION concurrency_safe SCHEMA public;
    RAISE EXCEPTION 'installed';
EXCEPTION WHEN duplicate_function OR duplicate_table OR duplicate_schema THEN
    RETURN 'refused';
WHEN OTHERS THEN
    RETURN SQLERRM;
END $$;
CREATE TEMP TABLE result AS SELECT name, pg_temp.attempt(command) AS outcome FROM member;
SELECT * FROM result WHERE outcome <> 'refused' ORDER BY name COLLATE "C";
SELECT count(*) FILTER (WHERE outcome = 'refused') = count(*) AS "all refused" FROM result;
SELECT count(*) AS "left of the attempts" FROM pg_proc WHERE proname LIKE 'cs\_%';

-- Other objects do not matter: an overload that no call of the script or of the bodies could mean.
CREATE FUNCTION public.cs_lock(text, integer, text, text, boolean) RETURNS void LANGUAGE sql AS $$ SELECT $$;
CREATE EXTENSION concurrency_safe SCHEMA public;
SELECT count(*) AS "members that were planted" FROM pg_depend
WHERE deptype = 'e' AND objid = 'public.cs_lock(text, integer, text, text, boolean)'::regprocedure;
ROLLBACK;
SELECT extname FROM pg_extension WHERE extname = 'concurrency_safe';
