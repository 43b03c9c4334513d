--
-- cs_run: bad arguments, and where it cannot be called.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\pset null null
SET client_min_messages = warning;
CREATE TABLE run_refused (i integer);

CALL cs_run(NULL, 'SELECT 1');
:state
CALL cs_run('', 'SELECT 1');
:state
CALL cs_run(repeat('x', 1025), 'SELECT 1');
:state
CALL cs_run('run:1', NULL);
:state
CALL cs_run('run:1', 'SELECT 1', NULL);
:state
CALL cs_run('run:1', 'SELECT 1', '{{1,2},{3,4}}');
:state
CALL cs_run('run:1', 'SELECT 1', timeout_ms => -2);
:state
CALL cs_run('run:1', 'SELECT 1', max_attempts => NULL);
:state
CALL cs_run('run:1', 'SELECT 1', max_attempts => 0);
:state
CALL cs_run('run:1', 'SELECT 1', backoff_ms => NULL);
:state
CALL cs_run('run:1', 'SELECT 1', backoff_ms => -1);
:state
CALL cs_run('run:1', 'SELECT 1', max_backoff_ms => NULL);
:state
CALL cs_run('run:1', 'SELECT 1', max_backoff_ms => -1);
:state
CALL cs_run('run:1', 'SELECT 1', on_conflict => NULL);
:state
CALL cs_run('run:1', 'SELECT 1', on_conflict => 'wait');
:state
CALL cs_run('run:1', 'SELECT 1', isolation => 'snapshot');
:state
CALL cs_run('run:1', 'SELECT 1', isolation => '');
:state
-- INOUT arguments are not looked at.
CALL cs_run('run:1', 'SELECT 1', outcome => 'x', attempts => -5);
-- Nothing is committed before the arguments are checked: the INSERT is rolled back.
DO $$
DECLARE
	o text;
	a integer;
BEGIN
	INSERT INTO run_refused VALUES (1);
	CALL cs_run('run:1', 'SELECT 1', max_attempts => 0, outcome => o, attempts => a);
END $$;
:state
TABLE run_refused;

-- In a transaction of somebody else.
BEGIN;
CALL cs_run('run:1', 'SELECT 1');
:state
ROLLBACK;
CALL cs_run('run:1', 'SELECT 1')\; SELECT 2;
:state
CREATE FUNCTION run_in_function(o text DEFAULT NULL, a integer DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CALL cs_run('run:1', 'SELECT 1', outcome => o, attempts => a);
END $$;
SELECT run_in_function();
:state
CREATE PROCEDURE run_in_procedure() SECURITY DEFINER LANGUAGE plpgsql AS $$
DECLARE
	o text;
	a integer;
BEGIN
	CALL cs_run('run:1', 'INSERT INTO run_refused VALUES (2)', outcome => o, attempts => a);
END $$;
CALL run_in_procedure();
:state
ALTER PROCEDURE run_in_procedure() SECURITY INVOKER SET work_mem = '1MB';
CALL run_in_procedure();
:state
DO $$
DECLARE
	o text;
	a integer;
BEGIN
	CALL cs_run('run:1', 'SELECT 1', outcome => o, attempts => a);
EXCEPTION WHEN division_by_zero THEN
	NULL;
END $$;
:state
CALL cs_run('run:1', $$ CALL cs_run('run:2', 'SELECT 1') $$);
:state
CREATE FUNCTION run_as_function(text, text) RETURNS record LANGUAGE c AS 'concurrency_safe', 'cs_run';
SELECT run_as_function('run:1', 'SELECT 1');
:state
TABLE run_refused;
-- It does commit what a procedure or DO has done before.
ALTER PROCEDURE run_in_procedure() RESET ALL;
CALL run_in_procedure();
DO $$
DECLARE
	o text;
	a integer;
BEGIN
	INSERT INTO run_refused VALUES (3);
	CALL cs_run('run:1', 'INSERT INTO run_refused VALUES ($1::integer)', '{4}', outcome => o, attempts => a);
	RAISE WARNING '% %', o, a;
	INSERT INTO run_refused VALUES (5);
	RAISE division_by_zero;
END $$;
TABLE run_refused;
-- In a loop over a cursor, too.
DO $$
DECLARE
	r record;
	o text;
	a integer;
BEGIN
	FOR r IN SELECT i FROM generate_series(10, 12) AS i LOOP
		CALL cs_run('run:1', 'INSERT INTO run_refused VALUES ($1::integer)', ARRAY[r.i::text], outcome => o, attempts => a);
	END LOOP;
END $$;
TABLE run_refused;

-- Commands that are refused when they are analyzed, with and without a place in the text.
CALL cs_run('run:1', 'SELECT nothing FROM run_refused');
CALL cs_run('run:1', 'SELECT DISTINCT i FROM run_refused FOR UPDATE');

-- Commands that end the transaction, or that need none.
CALL cs_run('run:1', 'INSERT INTO run_refused VALUES (99); COMMIT');
:state
CALL cs_run('run:1', 'COMMIT');
:state
CALL cs_run('run:1', 'ROLLBACK');
:state
CALL cs_run('run:1', 'BEGIN');
:state
CALL cs_run('run:1', 'SAVEPOINT s');
:state
CALL cs_run('run:1', $$ PREPARE TRANSACTION 'run' $$);
:state
CALL cs_run('run:1', $$ DO 'BEGIN INSERT INTO run_refused VALUES (99); COMMIT; END' $$);
:state
CREATE PROCEDURE run_commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO run_refused VALUES (99); COMMIT; END $$;
CALL cs_run('run:1', 'CALL run_commits()');
:state
CALL cs_run('run:1', 'COPY run_refused TO STDOUT');
:state
CALL cs_run('run:1', 'COPY run_refused FROM STDIN');
:state
CALL cs_run('run:1', 'VACUUM run_refused');
:state
CALL cs_run('run:1', 'CREATE INDEX CONCURRENTLY ON run_refused (i)');
:state
CALL cs_run('run:1', 'DISCARD ALL');
:state
CALL cs_run('run:1', 'SELECT * FROM run_no_such_table');
:state
CALL cs_run('run:1', 'SELEC 1');
:state
SELECT count(*) FROM run_refused WHERE i = 99;
SELECT cs_held_mode('run:1'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;

DROP TABLE run_refused;
DROP FUNCTION run_in_function, run_as_function;
DROP PROCEDURE run_in_procedure, run_commits;
