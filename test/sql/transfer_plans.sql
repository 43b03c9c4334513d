--
-- cs_transfer keeps its plans: they must follow every change of the table.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);
INSERT INTO account VALUES (1, 100), (2, 100);
CALL cs_transfer('account', '1', '2', 10);

-- The type of the balance: what was refused becomes possible, and the other way round.
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 0.5)');
ALTER TABLE account ALTER balance TYPE numeric(10, 2);
CALL cs_transfer('account', '1', '2', 0.5);
ALTER TABLE account ALTER balance TYPE numeric(10, 4);
CALL cs_transfer('account', '2', '1', 0.5001);
ALTER TABLE account ALTER balance TYPE bigint;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 0.5)');
CALL cs_transfer('account', '2', '1', 10);

-- The type of the id.
ALTER TABLE account ALTER id TYPE text;
INSERT INTO account VALUES ('01', 7);
CALL cs_transfer('account', '01', '1', 7);
ALTER TABLE account DROP CONSTRAINT account_pkey;
ALTER TABLE account ALTER id TYPE bigint USING id::bigint + balance % 2;
TABLE account ORDER BY id, balance;
DELETE FROM account WHERE balance = 0;

-- The name of the table, and with it the name of the key; another table of the old name.
UPDATE account SET id = CASE WHEN balance > 100 THEN 1 ELSE 2 END;
ALTER TABLE account RENAME TO renamed;
CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);
INSERT INTO account VALUES (1, 1000), (2, 1000);
BEGIN;
CALL cs_transfer('renamed', '1', '2', 5);
SELECT cs_held_mode('public.renamed:1'), cs_held_mode('public.account:1');
COMMIT;
CALL cs_transfer('account', '1', '2', 5);
DROP TABLE renamed;

-- The schema of the table, and the name of the schema.
CREATE SCHEMA bank;
ALTER TABLE account SET SCHEMA bank;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 5)');
CALL cs_transfer('bank.account', '1', '2', 5);
ALTER SCHEMA bank RENAME TO "The Bank";
BEGIN;
CALL cs_transfer('"The Bank".account', '1', '2', 5);
SELECT cs_held_mode('"The Bank".account:1'), cs_held_mode('bank.account:1');
COMMIT;

-- Names of columns, also when two are swapped.
ALTER TABLE "The Bank".account RENAME balance TO funds;
SELECT pg_temp.outcome('CALL cs_transfer(''"The Bank".account'', ''1'', ''2'', 5)');
CALL cs_transfer('"The Bank".account', '1', '2', 5, balance_column => 'funds');
ALTER TABLE "The Bank".account ADD balance integer DEFAULT 0;
SELECT pg_temp.outcome('CALL cs_transfer(''"The Bank".account'', ''1'', ''2'', 5)');
BEGIN;
ALTER TABLE "The Bank".account RENAME balance TO spare;
ALTER TABLE "The Bank".account RENAME funds TO balance;
ALTER TABLE "The Bank".account RENAME spare TO funds;
COMMIT;
CALL cs_transfer('"The Bank".account', '1', '2', 5);
SELECT pg_temp.outcome('CALL cs_transfer(''"The Bank".account'', ''1'', ''2'', 5, balance_column => ''funds'')');
ALTER TABLE "The Bank".account DROP balance;
SELECT pg_temp.outcome('CALL cs_transfer(''"The Bank".account'', ''1'', ''2'', 5)');
TABLE "The Bank".account ORDER BY id;
DROP SCHEMA "The Bank" CASCADE;

-- A change that is rolled back.
CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL);
INSERT INTO account VALUES (1, 1000), (2, 1000);
CALL cs_transfer('account', '1', '2', 5);
BEGIN;
ALTER TABLE account RENAME balance TO funds;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 5)');
ROLLBACK;
CALL cs_transfer('account', '1', '2', 5);
-- A domain that changes its mind.
CREATE DOMAIN amount AS integer;
ALTER TABLE account ALTER balance TYPE amount;
CALL cs_transfer('account', '2', '1', 10);
ALTER DOMAIN amount ADD CONSTRAINT ceiling CHECK (VALUE <= 1000);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 1)');
DISCARD PLANS;
ALTER DOMAIN amount DROP CONSTRAINT ceiling;
CALL cs_transfer('account', '1', '2', 1);

-- Many tables, one after the other.
DO $$
BEGIN
    FOR i IN 1..50 LOOP
        EXECUTE format('CREATE TABLE %I (id integer, balance integer)', 'account ' || i);
        EXECUTE format('INSERT INTO %I VALUES (1, 10), (2, 10)', 'account ' || i);
        EXECUTE format('CALL cs_transfer(%L, ''1'', ''2'', 3)', quote_ident('account ' || i));
        EXECUTE format('DROP TABLE %I', 'account ' || i);
    END LOOP;
END $$;
-- Nothing is kept for tables that are gone.
DO $$
BEGIN
    FOR i IN 1..30 LOOP
        CREATE TEMP TABLE gone (id integer, balance integer);
        INSERT INTO gone VALUES (1, 10), (2, 10);
        EXECUTE 'CALL cs_transfer(''gone'', ''1'', ''2'', 3)';
        DROP TABLE gone;
        COMMIT;
    END LOOP;
END $$;
SELECT count(*) <= 2 AS few FROM pg_backend_memory_contexts WHERE name = 'transfer plan';
-- A new table does not outdate the plans of the others.
CALL cs_transfer('account', '1', '2', 1);
SELECT count(*) <= 2 AS few FROM pg_backend_memory_contexts WHERE name = 'transfer plan';
DROP TABLE account;
DROP DOMAIN amount;
