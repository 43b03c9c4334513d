--
-- cs_run: what is retried, how often, and what the error says then.
--
\set state '\\echo SQLSTATE :LAST_ERROR_SQLSTATE'
\pset null null
SET client_min_messages = warning;
CREATE TABLE run_retries (i integer);
-- Survives rollbacks, so that attempts can be counted.
CREATE SEQUENCE run_attempt;
CREATE FUNCTION run_attempts() RETURNS bigint LANGUAGE sql AS $$
	SELECT nextval('run_attempt') - 1 $$;
-- Fails until the n-th attempt.
CREATE FUNCTION run_fail(until bigint, state text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	number bigint := nextval('run_attempt');
BEGIN
	INSERT INTO run_retries VALUES (number);
	IF number < until THEN
		RAISE 'attempt % fails', number USING ERRCODE = state, DETAIL = 'The detail.', HINT = 'The hint.';
	END IF;
END $$;
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(3, $1)', '{40001}', backoff_ms => 1);
SELECT run_attempts();
TABLE run_retries;
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(2, $1)', '{40P01}', backoff_ms => 1);
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(5, $1)', '{55P03}', backoff_ms => 0, max_backoff_ms => 0);
SELECT run_attempts();
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT 1; SELECT run_fail(4, $1); SELECT 2', '{40001}', backoff_ms => 2147483647, max_backoff_ms => 1);
-- One attempt too few: the error of the last one, with all of its fields.
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(6, $1)', '{40001}', backoff_ms => 0);
:state
SELECT run_attempts();
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(6, $1)', '{40P01}', max_attempts => 1);
:state
SELECT run_attempts();
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{40001}', max_attempts => 99, backoff_ms => 1, max_backoff_ms => 1);
:state
SELECT run_attempts();
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{40001}', max_attempts => 100, backoff_ms => 1, max_backoff_ms => 1);
-- The key's name in messages is escaped.
CALL cs_run(E'run:\n1', 'SELECT 1/0');
:state
-- Other errors come once.
CREATE FUNCTION run_tries(state text) RETURNS text LANGUAGE sql AS $$ SELECT state || ': ' || nextval('run_attempt') $$;
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{57014}');
:state
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{XX000}');
:state
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{53200}');
:state
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{40002}');
:state
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{55000}');
:state
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{23514}');
:state
SELECT run_attempts();
SET statement_timeout = '50ms';
CALL cs_run('run:1', 'SELECT pg_sleep(100)');
:state
RESET statement_timeout;
-- Deeper: through SPI of a function in a function, with exception blocks.
CREATE FUNCTION run_deep(depth integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF depth = 0 THEN
		PERFORM run_fail(3, '40001');
	ELSE
		BEGIN
			PERFORM run_deep(depth - 1);
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END IF;
END $$;
SELECT setval('run_attempt', 1, false) AS "first attempt";
TRUNCATE run_retries;
CALL cs_run('run:1', 'SELECT run_deep(5)', backoff_ms => 0);
TABLE run_retries;
-- The same from PL/pgSQL, whose own SPI connection has to survive.
SELECT setval('run_attempt', 1, false) AS "first attempt";
DO $$
DECLARE
	o text;
	a integer;
BEGIN
	CALL cs_run('run:1', 'SELECT run_deep(2)', backoff_ms => 0, outcome => o, attempts => a);
	RAISE WARNING '% after %', o, a;
END $$;

-- Errors of the commit: a constraint that is deferred is not retried, and what it raises is.
CREATE TABLE run_parent (i integer PRIMARY KEY);
CREATE TABLE run_child (i integer REFERENCES run_parent (i) DEFERRABLE INITIALLY DEFERRED);
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'INSERT INTO run_child SELECT 1 FROM run_tries($1)', '{x}');
:state
SELECT run_attempts() AS attempts, count(*) FROM run_child;
CREATE FUNCTION run_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM run_fail(3, '40001');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER run_trigger AFTER INSERT ON run_parent DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION run_trigger();
SELECT setval('run_attempt', 1, false) AS "first attempt";
TRUNCATE run_retries;
CALL cs_run('run:1', 'INSERT INTO run_parent VALUES (1)', backoff_ms => 0);
SELECT (SELECT count(*) FROM run_parent) AS parents, i FROM run_retries;
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'INSERT INTO run_parent VALUES (2)', backoff_ms => 0, max_attempts => 2);
:state
SELECT count(*) FROM run_parent;

-- The key and nothing else: nothing is held after all this.
SELECT cs_held_mode('run:1'), (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;
-- Held by the session before, and held once after retries and errors.
SELECT cs_lock('run:1', scope => 'session');
SELECT setval('run_attempt', 1, false) AS "first attempt";
CALL cs_run('run:1', 'SELECT run_fail(4, $1)', '{40001}', backoff_ms => 0);
CALL cs_run('run:1', 'SELECT run_fail(100, $1)', '{40001}', backoff_ms => 0);
:state
SELECT cs_unlock_all();

DROP TABLE run_retries, run_child, run_parent;
DROP SEQUENCE run_attempt;
DROP FUNCTION run_attempts, run_fail, run_tries, run_deep, run_trigger;
