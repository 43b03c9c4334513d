--
-- cs_run: bad arguments, and where it cannot be called.
--
\set VERBOSITY verbose
\pset null null
SET client_min_messages = warning;
CREATE TABLE run_refused (i integer);

CALL cs_run(NULL, 'SELECT 1');
CALL cs_run('', 'SELECT 1');
CALL cs_run(repeat('x', 1025), 'SELECT 1');
CALL cs_run('run:1', NULL);
CALL cs_run('run:1', 'SELECT 1', NULL);
CALL cs_run('run:1', 'SELECT 1', '{{1,2},{3,4}}');
CALL cs_run('run:1', 'SELECT 1', timeout_ms => -2);
CALL cs_run('run:1', 'SELECT 1', max_attempts => NULL);
CALL cs_run('run:1', 'SELECT 1', max_attempts => 0);
CALL cs_run('run:1', 'SELECT 1', backoff_ms => NULL);
CALL cs_run('run:1', 'SELECT 1', backoff_ms => -1);
CALL cs_run('run:1', 'SELECT 1', max_backoff_ms => NULL);
CALL cs_run('run:1', 'SELECT 1', max_backoff_ms => -1);
CALL cs_run('run:1', 'SELECT 1', on_conflict => NULL);
CALL cs_run('run:1', 'SELECT 1', on_conflict => 'wait');
CALL cs_run('run:1', 'SELECT 1', isolation => 'snapshot');
CALL cs_run('run:1', 'SELECT 1', isolation => '');
-- INOUT arguments are not looked at.
CALL cs_run('run:1', 'SELECT 1', outcome => 'x', attempts => -5);
-- Nothing is committed before the arguments are checked: the INSERT is rolled back.
DO $$
BEGIN
	INSERT INTO run_refused VALUES (1);
	CALL cs_run('run:1', 'SELECT 1', max_attempts => 0);
END $$;
TABLE run_refused;

-- In a transaction of somebody else.
BEGIN;
CALL cs_run('run:1', 'SELECT 1');
ROLLBACK;
CALL cs_run('run:1', 'SELECT 1')\; SELECT 2;
CREATE FUNCTION run_in_function() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL cs_run('run:1', 'SELECT 1'); END $$;
SELECT run_in_function();
CREATE PROCEDURE run_in_procedure() LANGUAGE plpgsql AS $$ BEGIN CALL cs_run('run:1', 'INSERT INTO run_refused VALUES (2)'); END $$;
ALTER PROCEDURE run_in_procedure() SECURITY DEFINER;
CALL run_in_procedure();
ALTER PROCEDURE run_in_procedure() SECURITY INVOKER SET work_mem = '1MB';
CALL run_in_procedure();
DO $$
BEGIN
	CALL cs_run('run:1', 'SELECT 1');
EXCEPTION WHEN division_by_zero THEN
	NULL;
END $$;
CALL cs_run('run:1', $$ CALL cs_run('run:2', 'SELECT 1') $$);
CREATE FUNCTION run_as_function(text, text) RETURNS record LANGUAGE c AS 'concurrency_safe', 'cs_run';
SELECT run_as_function('run:1', 'SELECT 1');
SELECT cs_run('run:1', 'SELECT 1');
TABLE run_refused;
-- It does commit what a procedure or DO has done before.
ALTER PROCEDURE run_in_procedure() RESET work_mem;
CALL run_in_procedure();
DO $$
DECLARE
	outcome text;
	attempts integer;
BEGIN
	INSERT INTO run_refused VALUES (3);
	CALL cs_run('run:1', 'INSERT INTO run_refused VALUES ($1::integer)', '{4}', outcome => outcome, attempts => attempts);
	RAISE WARNING '% %', outcome, attempts;
	INSERT INTO run_refused VALUES (5);
	RAISE division_by_zero;
END $$;
TABLE run_refused;
-- In a loop over a cursor, too.
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT i FROM generate_series(10, 12) AS i LOOP
		CALL cs_run('run:1', 'INSERT INTO run_refused VALUES ($1::integer)', ARRAY[r.i::text]);
	END LOOP;
END $$;
TABLE run_refused;

-- Commands that end the transaction, or that need none.
CALL cs_run('run:1', 'INSERT INTO run_refused VALUES (99); COMMIT');
CALL cs_run('run:1', 'COMMIT');
CALL cs_run('run:1', 'ROLLBACK');
CALL cs_run('run:1', 'BEGIN');
CALL cs_run('run:1', 'SAVEPOINT s');
CALL cs_run('run:1', $$ PREPARE TRANSACTION 'run' $$);
CALL cs_run('run:1', $$ DO 'BEGIN INSERT INTO run_refused VALUES (99); COMMIT; END' $$);
CREATE PROCEDURE run_commits() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO run_refused VALUES (99); COMMIT; END $$;
CALL cs_run('run:1', 'CALL run_commits()');
CALL cs_run('run:1', 'COPY run_refused TO STDOUT');
CALL cs_run('run:1', 'COPY run_refused FROM STDIN');
CALL cs_run('run:1', 'VACUUM run_refused');
CALL cs_run('run:1', 'CREATE INDEX CONCURRENTLY ON run_refused (i)');
CALL cs_run('run:1', 'DISCARD ALL');
CALL cs_run('run:1', 'SELECT * FROM run_no_such_table');
CALL cs_run('run:1', 'SELEC 1');
SELECT count(*) FROM run_refused WHERE i = 99;
SELECT cs_held_mode('run:1'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;

DROP TABLE run_refused;
DROP FUNCTION run_in_function, run_as_function;
DROP PROCEDURE run_in_procedure, run_commits;
