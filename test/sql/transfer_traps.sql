--
-- cs_transfer does not fall for what others put into the search path.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TABLE account (id integer PRIMARY KEY, balance numeric(12, 2) NOT NULL);
INSERT INTO account VALUES (1, 100), (2, 100);
CREATE SCHEMA trap;
CREATE FUNCTION trap.sprung() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'the trap was sprung'; END $$;
CREATE FUNCTION trap.plus(numeric, numeric) RETURNS numeric LANGUAGE sql AS $$ SELECT trap.sprung()::integer::numeric $$;
CREATE FUNCTION trap.equal(integer, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.sprung() $$;
CREATE FUNCTION trap.less(numeric, numeric) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.sprung() $$;
CREATE FUNCTION trap.concat(text, text) RETURNS text LANGUAGE sql AS $$ SELECT trap.sprung()::text $$;
CREATE OPERATOR trap.+ (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.plus);
CREATE OPERATOR trap.- (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.plus);
CREATE OPERATOR trap.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = trap.equal);
CREATE OPERATOR trap.< (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.less);
CREATE OPERATOR trap.>= (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = trap.less);
CREATE OPERATOR trap.|| (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.concat);
CREATE DOMAIN trap.numeric AS text;
CREATE TABLE trap.account (id integer PRIMARY KEY, balance numeric(12, 2) NOT NULL);
INSERT INTO trap.account VALUES (1, 5), (2, 5);

-- The trap works, and the procedure steps over it, for the table that was meant.
SET search_path = trap, pg_catalog, public;
\set VERBOSITY terse
SELECT 1::pg_catalog.numeric + 1::pg_catalog.numeric;
SELECT 1 = 1;
\set VERBOSITY default
CALL cs_transfer('public.account', '1', '2', 10);
RESET search_path;
CALL cs_transfer('account', '1', '2', 10);
SELECT 'account'::regclass::oid AS account \gset
SET search_path = trap, pg_catalog, public;
CALL cs_transfer(:account, '1', '2', 10);
CALL cs_transfer('account', '1', '2', 1);
RESET search_path;
TABLE account ORDER BY id;
TABLE trap.account ORDER BY id;

-- A temporary table does not take the place of the one that was meant, either.
CREATE TEMP TABLE account (id integer, balance numeric);
INSERT INTO pg_temp.account VALUES (1, 1000000), (2, 0);
CALL cs_transfer('public.account', '1', '2', 10);
CALL cs_transfer(:account, '1', '2', 10);
TABLE pg_temp.account ORDER BY id;
DROP TABLE pg_temp.account;

-- An unusable search path.
SET search_path = '';
CALL public.cs_transfer('public.account', '2', '1', 50);
RESET search_path;

-- Operators that come with a type of one's own are used, whatever the search path is.
CREATE SCHEMA coin;
CREATE TYPE coin.coins AS (amount integer);
CREATE FUNCTION coin.add(coin.coins, coin.coins) RETURNS coin.coins LANGUAGE sql AS $$ SELECT ROW(($1).amount + ($2).amount)::coin.coins $$;
CREATE FUNCTION coin.subtract(coin.coins, coin.coins) RETURNS coin.coins LANGUAGE sql AS $$ SELECT ROW(($1).amount - ($2).amount)::coin.coins $$;
CREATE FUNCTION coin.from_numeric(pg_catalog.numeric) RETURNS coin.coins LANGUAGE sql AS $$ SELECT ROW($1::integer)::coin.coins $$;
CREATE FUNCTION coin.to_numeric(coin.coins) RETURNS pg_catalog.numeric LANGUAGE sql AS $$ SELECT ($1).amount::pg_catalog.numeric $$;
CREATE OPERATOR coin.+ (LEFTARG = coin.coins, RIGHTARG = coin.coins, FUNCTION = coin.add);
CREATE OPERATOR coin.- (LEFTARG = coin.coins, RIGHTARG = coin.coins, FUNCTION = coin.subtract);
CREATE CAST (pg_catalog.numeric AS coin.coins) WITH FUNCTION coin.from_numeric(pg_catalog.numeric);
CREATE CAST (coin.coins AS pg_catalog.numeric) WITH FUNCTION coin.to_numeric(coin.coins);
CREATE TABLE purse (id integer, balance coin.coins);
INSERT INTO purse VALUES (1, ROW(10)), (2, ROW(0));
CALL cs_transfer('purse', '1', '2', 4);
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 0.4)');
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 7)');
TABLE purse ORDER BY id;

DROP TABLE account, purse;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA trap, coin CASCADE;
