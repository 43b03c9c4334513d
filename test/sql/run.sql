--
-- cs_run: what it does with its command, its arguments and its key.
--
\pset null null
SET client_min_messages = warning;
CREATE TABLE run_account (id integer PRIMARY KEY, balance integer NOT NULL CHECK (balance >= 0));
INSERT INTO run_account VALUES (1, 100), (2, 100);
-- Whether this session holds anything, or waits for it.
CREATE VIEW run_left AS
SELECT cs_held_mode('run:1') AS held, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;

CALL cs_run('run:1', 'UPDATE run_account SET balance = balance - $2::integer WHERE id = $1::integer', '{1,30}');
CALL cs_run('run:1', 'UPDATE run_account SET balance = balance - $2::integer WHERE id = $1::integer', '{1,20}');
SELECT balance FROM run_account WHERE id = 1;
SELECT * FROM run_left;

-- The key is held while the command runs, and committed with the CALL.
CREATE TABLE run_seen (what text);
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (cs_held_mode('run:1')) $$);
SELECT * FROM run_seen;

-- Rows are thrown away; several statements, DO, CALL, DDL and the like are commands, too.
CALL cs_run('run:1', 'SELECT * FROM run_account');
CALL cs_run('run:1', 'INSERT INTO run_account VALUES (3, 3) RETURNING *');
CALL cs_run('run:1', 'CREATE TABLE run_new (i integer); INSERT INTO run_new VALUES (1); UPDATE run_new SET i = $1::integer', '{7}');
SELECT * FROM run_new;
CALL cs_run('run:1', 'ALTER TABLE run_new ADD j integer; UPDATE run_new SET j = 2');
SELECT * FROM run_new;
CALL cs_run('run:1', 'DO $$ BEGIN DELETE FROM run_new; END $$');
SELECT count(*) FROM run_new;
CREATE PROCEDURE run_add(added integer, INOUT total bigint DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO run_new VALUES (added);
	SELECT sum(i) INTO total FROM run_new;
END $$;
CALL cs_run('run:1', 'CALL run_add($1::integer)', '{4}');
CALL cs_run('run:1', 'SHOW work_mem');
CALL cs_run('run:1', 'LOCK TABLE run_new; TABLE run_new', isolation => 'repeatable read');
CALL cs_run('run:1', 'TRUNCATE run_new');
CALL cs_run('run:1', ' -- nothing but this');
SELECT count(*) FROM run_new;

-- A plan that is kept follows the table, the search path and the role.
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{1}');
ALTER TABLE run_new ALTER i TYPE text USING i || '!', ADD k integer DEFAULT 5;
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{2}');
CREATE SCHEMA run_other CREATE TABLE run_new (i integer);
SET search_path = run_other, public;
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{3}');
RESET search_path;
SELECT 'public' AS schema, i, k FROM run_new UNION ALL SELECT 'run_other', i::text, 0 FROM run_other.run_new ORDER BY 2;
CREATE ROLE run_nobody;
GRANT SELECT ON run_left TO run_nobody;
SET ROLE run_nobody;
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{4}');
RESET ROLE;
DROP TABLE run_other.run_new, run_new;
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{5}');
CREATE TABLE run_new (i integer);
CALL cs_run('run:1', 'INSERT INTO run_new VALUES ($1::integer)', '{6}');
SELECT * FROM run_new;
-- What a string means belongs to the moment and its settings.
CREATE TABLE run_log (at timestamptz);
SET timezone = 'UTC';
CALL cs_run('run:1', $$ INSERT INTO run_log VALUES ('2026-01-02 00:00') $$);
SET timezone = 'Asia/Tokyo';
CALL cs_run('run:1', $$ INSERT INTO run_log VALUES ('2026-01-02 00:00') $$);
RESET timezone;
CALL cs_run('run:1', $$ TRUNCATE run_seen; INSERT INTO run_seen SELECT max(at) - min(at) FROM run_log $$);
SELECT * FROM run_seen;
-- More commands than are kept, twice.
DO $$
DECLARE
	o text;
	a integer;
BEGIN
	FOR i IN 1 .. 80 LOOP
		CALL cs_run('run:1', format('UPDATE run_new SET i = i + %s', i % 40), outcome => o, attempts => a);
	END LOOP;
END $$;
SELECT * FROM run_new;

-- Parameters are text; null elements are null; those not used are not missed.
CREATE FUNCTION run_note(VARIADIC text[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO run_seen VALUES ($1::text) $$;
TRUNCATE run_seen;
CALL cs_run('run:1', 'SELECT run_note($1, $2, $3, pg_typeof($1)::text)', ARRAY['a''b', NULL, E'"\\\n']);
CALL cs_run('run:1', 'SELECT run_note($1)', ARRAY['1', '2']);
CALL cs_run('run:1', 'SELECT run_note($1); SELECT run_note($1, $2)', ARRAY['1', NULL]);
CALL cs_run('run:1', 'SELECT run_note($1)', ARRAY[repeat('x', 5)]);
SELECT * FROM run_seen;
CALL cs_run('run:1', 'SELECT run_note($1)');
CALL cs_run('run:1', 'SELECT run_note($2)', '{1}');

-- Isolation: the session's own, or the one asked for, in any case.
TRUNCATE run_seen;
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$);
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$, isolation => 'Repeatable Read');
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$, isolation => 'SERIALIZABLE');
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$, isolation => 'read uncommitted');
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$, isolation => 'read committed');
SET default_transaction_isolation = 'repeatable read';
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$);
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES (current_setting('transaction_isolation')) $$, isolation => 'read committed');
RESET default_transaction_isolation;
SHOW transaction_isolation;
SELECT * FROM run_seen;

-- Session scope is off for others; cs_run gives its key back before it ends.
SET concurrency_safe.session_locks = off;
CALL cs_run('run:1', 'SELECT 1');
RESET concurrency_safe.session_locks;

-- A hold of the session's own stays, once.
SELECT cs_lock('run:1', scope => 'session');
CALL cs_run('run:1', 'SELECT 1');
CALL cs_run('run:1', 'SELECT 1/0');
SELECT * FROM run_left;
SELECT cs_unlock('run:1'), cs_held_mode('run:1');

-- What the command locks by itself ends with its transaction, in transaction scope.
CALL cs_run('run:1', $$ SELECT cs_lock('run:1'), cs_lock('run:1', mode => 'shared') $$);
SELECT * FROM run_left;
-- It may not give away what it runs under.
TRUNCATE run_seen;
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES ('unlocked'); SELECT cs_unlock('run:1') $$);
CALL cs_run('run:1', $$ INSERT INTO run_seen VALUES ('unlocked'); SELECT pg_advisory_unlock_all() $$);
SELECT * FROM run_seen;
SELECT * FROM run_left;

DROP TABLE run_account, run_seen, run_new;
DROP VIEW run_left;
DROP FUNCTION run_note;
DROP PROCEDURE run_add;
DROP SCHEMA run_other;
DROP ROLE run_nobody;
