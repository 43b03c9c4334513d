--
-- cs_transfer: ids of many types, and names that need quotes.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE DOMAIN account_number AS integer CHECK (VALUE > 0);
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE account (i integer, b bigint, n numeric, t text, v varchar(20), c char(8), u uuid, d date, e colour,
                      a account_number, balance integer NOT NULL);
INSERT INTO account VALUES
    (1, 1, 1.5, 'one', 'one', 'one', '00000000-0000-0000-0000-00000000000a', '2000-01-01', 'red', 1, 10),
    (2, 9223372036854775807, 2.5, 'Robert"); drop table t;--', 'it''s', 'two', '00000000-0000-0000-0000-00000000000b',
     '2000-01-02', 'green', 2, 0);
SELECT id_column, pg_temp.outcome(format('CALL cs_transfer(''account'', %L, %L, 1, id_column => %L)', from_id, to_id, id_column))
FROM (VALUES ('i', '1', '2'), ('b', '1', '9223372036854775807'), ('n', '1.5', '2.5'), ('t', 'one', 'Robert"); drop table t;--'),
             ('v', 'one', 'it''s'), ('c', 'one', 'two'),
             ('u', '{00000000-0000-0000-0000-00000000000A}', '0000000000000000000000000000000b'),
             ('d', '2000-01-01', '2000-01-02'), ('e', 'red', 'green'), ('a', '1', '2')) AS try (id_column, from_id, to_id);
SELECT i, balance FROM account ORDER BY i;

-- One account spelt in two ways is one account.
SELECT id_column, pg_temp.outcome(format('CALL cs_transfer(''account'', %L, %L, 1, id_column => %L)', from_id, to_id, id_column))
FROM (VALUES ('i', '1', '01'), ('n', '1.5', '1.50'), ('c', 'one', 'one  '), ('d', '2000-01-01', 'Jan 1, 2000'),
             ('u', '{00000000-0000-0000-0000-00000000000A}', '0000000000000000000000000000000a'),
             ('a', '1', '01'), ('e', 'red', 'blue')) AS try (id_column, from_id, to_id);

-- The key names the id as its type writes it, so both spellings lock the same key.
BEGIN;
CALL cs_transfer('account', '0000000000000000000000000000000b', '{00000000-0000-0000-0000-00000000000A}', 1, id_column => 'u');
SELECT cs_held_mode('public.account:00000000-0000-0000-0000-00000000000a') AS a,
       cs_held_mode('public.account:00000000-0000-0000-0000-00000000000b') AS b;
CALL cs_transfer('account', '002', ' 1', 1, id_column => 'i');
SELECT cs_held_mode('public.account:1') AS "1", cs_held_mode('public.account:2') AS "2";
COMMIT;
-- Nor does it depend on the settings of the session how a key is written.
BEGIN;
SET LOCAL datestyle = 'ISO';
CALL cs_transfer('account', '2000-01-02', '2000-01-01', 1, id_column => 'd');
SET LOCAL datestyle = 'German';
CALL cs_transfer('account', '2000-01-02', '2000-01-01', 1, id_column => 'd');
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;
-- Nor whether the session quotes all names, or did when the plan was made.
BEGIN;
SET LOCAL quote_all_identifiers = on;
CALL cs_transfer('account', '1', '2', 1, id_column => 'i');
SELECT cs_held_mode('public.account:1') AS kept_plan;
COMMIT;
ALTER TABLE account ADD spare integer;
BEGIN;
SET LOCAL quote_all_identifiers = on;
CALL cs_transfer('account', '2', '1', 1, id_column => 'i');
SELECT cs_held_mode('public.account:1') AS new_plan, current_setting('quote_all_identifiers') AS quoted;
COMMIT;
BEGIN;
CALL cs_transfer('account', '1', '2', 1, id_column => 'i');
SELECT cs_held_mode('public.account:1') AS "1", cs_held_mode('public.account:2') AS "2";
ROLLBACK;
DROP TABLE account;
DROP DOMAIN account_number;
DROP TYPE colour;

-- Ids that are arrays: there are no arrays of arrays.
CREATE TABLE account (id integer[] PRIMARY KEY, balance integer NOT NULL);
INSERT INTO account VALUES ('{1}', 100), ('{1,2}', 100), ('{}', 100), ('{1,NULL}', 100);
BEGIN;
CALL cs_transfer('account', '{1}', '{ 1, 2 }', 10);
SELECT cs_held_mode('public.account:{1}') AS "{1}", cs_held_mode('public.account:{1,2}') AS "{1,2}";
COMMIT;
CALL cs_transfer('account', '{1,2}', '{}', 10);
CALL cs_transfer('account', '{1,null}', '{1}', 10);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''{1,2}'', ''{1, 2}'', 1)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''{1,2}'', ''{2,1}'', 1)');
SELECT id, balance, sum(balance) OVER () FROM account ORDER BY id;
DROP TABLE account;

-- Names of schemas, tables and columns that try to be commands.
CREATE SCHEMA "Robert""); drop table t;--";
CREATE TABLE t (id integer);
CREATE TABLE "Robert""); drop table t;--"."Robert""); drop table t;--"
    ("Robert""); drop table t;--" text PRIMARY KEY, "$1" integer, "select" integer, "Balance" integer, "t.balance" integer);
INSERT INTO "Robert""); drop table t;--"."Robert""); drop table t;--"
    VALUES ('Robert"); drop table t;--', 10, 10, 10, 10), ($$'; drop table t;--$$, 0, 0, 0, 0);
BEGIN;
SELECT balance, pg_temp.outcome(format($call$CALL cs_transfer('"Robert""); drop table t;--"."Robert""); drop table t;--"',
    'Robert"); drop table t;--', '''; drop table t;--', 1, id_column => 'Robert"); drop table t;--', balance_column => %L)$call$, balance))
FROM unnest(ARRAY['$1', 'select', 'Balance', 't.balance', 'balance', '"Balance"', 'SELECT']) AS balance;
-- The key has the name of the table in quotes where it needs them.
SELECT cs_held_mode('"Robert""); drop table t;--"."Robert""); drop table t;--":Robert"); drop table t;--') AS key_of_payer,
       count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;
TABLE "Robert""); drop table t;--"."Robert""); drop table t;--" ORDER BY 2;
SELECT count(*) FROM t;
-- Control characters in an id are escaped in messages.
SELECT pg_temp.outcome(format($call$CALL cs_transfer('"Robert""); drop table t;--"."Robert""); drop table t;--"',
    %L, 'x', 1, id_column => 'Robert"); drop table t;--', balance_column => '$1')$call$, E'a\nERROR:  b\x1b[2J'));
DROP SCHEMA "Robert""); drop table t;--" CASCADE;
DROP TABLE t;
