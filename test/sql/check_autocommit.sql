--
-- concurrency_safe.check_autocommit: a lock in transaction scope that ends with
-- its own statement is reported. Nothing is reported where more is done.
-- Clients of the extended protocol are in test/t/032_autocommit.pl.
--
\pset null null
LOAD 'concurrency_safe';
SET concurrency_safe.check_order = off;
SELECT boot_val, context, enumvals FROM pg_settings WHERE name = 'concurrency_safe.check_autocommit';
SET concurrency_safe.check_autocommit = 'warning';
SELECT cs_lock('k');
\set VERBOSITY sqlstate
SELECT cs_lock('k');

-- Every function that locks, in every mode; the first key of several is named.
\set VERBOSITY terse
SELECT cs_lock('k', 100, 'S');
SELECT cs_try_lock('try');
SELECT cs_lock_all('{all}', mode => 'IX');
SELECT cs_try_lock_all('{try all}');
SELECT cs_try_lock_any('{any,more}');
SELECT cs_lock_path('path');
SELECT cs_lock_path('path:of:three');
SELECT cs_try_lock_path('try path');
SELECT cs_lock(E'two\nlines');
SELECT cs_lock_all('{a,a}') AS one, cs_lock_all('{c}') AS two;

-- The ways to write it, and what drivers make of it.
SELECT * FROM cs_lock('from');
SELECT f.* FROM cs_try_lock('from', 10) AS f;
SELECT locked FROM cs_try_lock('from') AS f (locked);
SELECT cs_lock('cast')::text;
SELECT cs_try_lock('cast')::text;
SELECT cs_try_lock('cast')::varchar(5);
SELECT cs_try_lock('cast')::integer;
SELECT cs_try_lock_any('{cast}')::text;
SELECT cs_try_lock_any('{cast}')::varchar[];
SELECT cs_lock(key => 'named', mode => 'shared');
SELECT cs_lock((SELECT min(relname) FROM pg_class WHERE relname = 'pg_class'));
SELECT cs_try_lock('gset') AS locked \gset
SELECT public.cs_lock('schema') WHERE true;
SELECT cs_lock('limit') LIMIT 1;
PREPARE lock AS SELECT cs_lock('prepared');
PREPARE lock_any(text) AS SELECT * FROM cs_lock($1);
EXECUTE lock;
EXECUTE lock_any('prepared with argument');
/* a comment before */ EXECUTE lock;
-- Such a function does nothing but lock, and PostgreSQL puts its only expression in its place.
CREATE FUNCTION lock_order(number integer) RETURNS void LANGUAGE sql
AS $$ SELECT cs_lock('order:' || number) $$;
SELECT lock_order(1);
-- Its transaction ends with it as well.
DECLARE held CURSOR WITH HOLD FOR SELECT cs_lock('cursor');
CLOSE held;

-- A cast that costs nothing, too.
CREATE CAST (boolean AS "char") WITHOUT FUNCTION;
SELECT cs_try_lock('cast')::"char" \g /dev/null
DROP CAST (boolean AS "char");

-- Nothing to lock, and nothing that was locked.
SELECT cs_lock_all('{}');
SELECT cs_try_lock_any('{}');
SELECT cs_held_mode('k');
SELECT mode FROM cs_holders('k');
SELECT cs_lock('k', -2);
SELECT cs_lock('k', mode => 'none');
SELECT cs_lock('k', scope => 'none');

-- Session scope outlives the statement.
SELECT cs_lock('session', scope => 'session');
SELECT * FROM cs_try_lock('session', scope => 'session');
SELECT cs_try_lock_any('{session}', scope => 'session');
SELECT cs_lock_all('{session}', scope => 'session');
SELECT cs_lock_path('session', scope => 'session');
SELECT cs_unlock_all();

-- In a transaction block, also one that only a string of several statements makes.
BEGIN;
SELECT cs_lock('k');
SELECT * FROM cs_lock('k');
EXECUTE lock;
SAVEPOINT s;
SELECT cs_try_lock('k')::text;
DECLARE c CURSOR FOR SELECT cs_lock('k');
FETCH c;
DECLARE held CURSOR WITH HOLD FOR SELECT cs_lock('k');
COMMIT;
CLOSE held;
SELECT cs_lock('k') \; SELECT cs_held_mode('k');
SELECT 1 AS one \; SELECT cs_lock('k');
EXECUTE lock \; SELECT cs_held_mode('prepared');

-- The statement itself does more.
CREATE TABLE job (id integer, key text, locked boolean);
INSERT INTO job VALUES (1, 'job:1'), (2, 'job:2');
CREATE FUNCTION work() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN cs_held_mode('k'); END $$;
SELECT cs_lock('k'), work();
SELECT work() FROM cs_lock('k');
SELECT cs_lock('k'), cs_held_mode('k');
SELECT cs_lock(key) FROM job;
SELECT id FROM job WHERE cs_try_lock(key);
SELECT id, f FROM job, cs_try_lock(key) AS f ORDER BY id;
SELECT CASE WHEN cs_try_lock('k') THEN work() END;
SELECT work() WHERE cs_try_lock('k');
SELECT cs_lock('k') WHERE work() IS NULL;
SELECT * FROM ROWS FROM (cs_try_lock('k'), work()) AS f (locked, mode);
SELECT * FROM cs_try_lock('k') AS f WHERE f AND work() IS NOT NULL;
WITH done AS (UPDATE job SET locked = false RETURNING id) SELECT cs_lock('k');
WITH got AS MATERIALIZED (SELECT cs_try_lock('k') AS locked) SELECT locked, work() FROM got;
INSERT INTO job SELECT 3, 'job:3', cs_try_lock('job:3');
INSERT INTO job VALUES (4, 'job:4', cs_try_lock('job:4')) RETURNING locked;
UPDATE job SET locked = cs_try_lock(key) WHERE id = 1;
DELETE FROM job WHERE id = 4 AND cs_try_lock(key);
CREATE TABLE got AS SELECT cs_try_lock('k') AS locked;
SELECT cs_try_lock('k') AS locked INTO TEMPORARY got_too;
EXPLAIN ANALYZE SELECT cs_lock('k') \g /dev/null
COPY (SELECT cs_try_lock('k')) TO STDOUT;

-- Functions, procedures, blocks, triggers and what they run.
CREATE FUNCTION in_plpgsql(key text) RETURNS text LANGUAGE plpgsql
AS $$ BEGIN PERFORM cs_lock(key); RETURN cs_held_mode(key); END $$;
CREATE FUNCTION in_sql(key text) RETURNS text LANGUAGE sql
AS $$ SELECT cs_lock(key); SELECT cs_held_mode(key) $$;
CREATE FUNCTION nested(key text) RETURNS text LANGUAGE plpgsql
AS $$ BEGIN RETURN in_sql(key || '!') || ' ' || in_plpgsql(key); END $$;
CREATE FUNCTION over_cursors() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    bound CURSOR FOR SELECT cs_try_lock('bound');
    free refcursor;
    got boolean;
    row record;
BEGIN
    FOR got IN SELECT cs_try_lock('loop') LOOP END LOOP;
    FOR got IN EXECUTE $q$ SELECT cs_try_lock('execute loop') $q$ LOOP END LOOP;
    FOR row IN bound LOOP END LOOP;
    OPEN free FOR SELECT cs_lock('free');
    FETCH free INTO row;
    CLOSE free;
    OPEN free FOR EXECUTE 'EXECUTE lock';
    FETCH free INTO row;
    EXECUTE $q$ SELECT cs_lock('executed') $q$;
    EXECUTE 'EXECUTE lock';
    got := cs_try_lock('expression');
    RETURN cs_held_mode('loop');
END $$;
CREATE FUNCTION many_keys() RETURNS SETOF boolean LANGUAGE plpgsql
AS $$ BEGIN RETURN QUERY SELECT cs_try_lock('many'); RETURN QUERY EXECUTE 'SELECT * FROM cs_try_lock($1)' USING 'm'; END $$;
CREATE PROCEDURE in_procedure() LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_lock('procedure');
    COMMIT;
    PERFORM cs_lock('procedure');
    EXECUTE 'EXECUTE lock';
    PERFORM over_cursors();
END $$;
SELECT in_plpgsql('k');
SELECT in_sql('k');
SELECT nested('k');
SELECT * FROM nested('k');
SELECT over_cursors();
SELECT * FROM many_keys();
CALL in_procedure();
DO $$ BEGIN PERFORM cs_lock('do'); PERFORM over_cursors(); EXECUTE 'EXECUTE lock'; END $$;
PREPARE lock_nested AS SELECT nested('k'), over_cursors();
EXECUTE lock_nested;
-- One of a function comes and goes within the client's own.
CREATE FUNCTION executes() RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'EXECUTE lock'; RETURN 'executes'; END $$;
PREPARE lock_of_function AS SELECT cs_lock(executes());
EXECUTE lock_of_function;
CREATE FUNCTION lock_row() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM cs_lock(new.key); EXECUTE 'SELECT cs_lock($1)' USING new.key; RETURN new; END $$;
CREATE TRIGGER lock_row BEFORE INSERT OR UPDATE ON job FOR EACH ROW EXECUTE FUNCTION lock_row();
CREATE CONSTRAINT TRIGGER lock_later AFTER INSERT ON job DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION lock_row();
INSERT INTO job VALUES (5, 'job:5');
UPDATE job SET id = id;
COPY job FROM STDIN;
6	job:6	f
\.

-- off; and error, which refuses only what the warning is about.
SET concurrency_safe.check_autocommit = off;
SELECT cs_lock('k');
SELECT * FROM cs_lock_all('{a,b}');
SET concurrency_safe.check_autocommit = 'error';
SELECT cs_try_lock('k');
\set VERBOSITY sqlstate
SELECT cs_lock('k');
SELECT * FROM cs_lock_path('k');
EXECUTE lock;
SELECT cs_lock('k'), cs_lock('k');
SELECT cs_lock_all('{}');
SELECT cs_lock(NULL);
SELECT cs_lock('k', scope => 'session'), cs_unlock('k');
SELECT cs_lock('k') \; SELECT cs_held_mode('k');
SELECT nested('k'), cs_lock('k');
SELECT over_cursors();
CALL in_procedure();
BEGIN;
SELECT cs_lock('k');
SELECT cs_held_mode('k');
COMMIT;
-- Wherever the setting comes from.
SET concurrency_safe.check_autocommit = 'loud';
CREATE FUNCTION unchecked() RETURNS text LANGUAGE plpgsql SET concurrency_safe.check_autocommit = off
AS $$ BEGIN PERFORM cs_lock('k'); RETURN cs_held_mode('k'); END $$;
SELECT unchecked();
SELECT cs_lock('k');
RESET concurrency_safe.check_autocommit;

DROP TABLE job, got;
DROP PROCEDURE in_procedure();
DROP FUNCTION unchecked(), many_keys(), over_cursors(), nested(text), in_sql(text), in_plpgsql(text), work(),
    lock_order(integer), lock_row();
