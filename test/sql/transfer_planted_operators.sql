--
-- cs_transfer does not use operators that somebody else than the owner of the
-- balance's type has put into the schema of that type.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE ROLE regress_cs_planter;
CREATE ROLE regress_cs_minter;
CREATE SCHEMA coin;
GRANT USAGE, CREATE ON SCHEMA coin TO regress_cs_planter, regress_cs_minter;
CREATE TYPE coin.coins AS (amount integer);
ALTER TYPE coin.coins OWNER TO regress_cs_minter;
CREATE FUNCTION coin.from_numeric(numeric) RETURNS coin.coins LANGUAGE sql AS $$ SELECT ROW($1::integer)::coin.coins $$;
CREATE FUNCTION coin.to_numeric(coin.coins) RETURNS numeric LANGUAGE sql AS $$ SELECT ($1).amount::numeric $$;
CREATE CAST (numeric AS coin.coins) WITH FUNCTION coin.from_numeric(numeric);
CREATE CAST (coin.coins AS numeric) WITH FUNCTION coin.to_numeric(coin.coins);
CREATE TABLE purse (id integer, balance coin.coins);
INSERT INTO purse VALUES (1, ROW(10)), (2, ROW(0));

-- Both operators planted.
SET ROLE regress_cs_planter;
CREATE FUNCTION coin.add(coin.coins, coin.coins) RETURNS coin.coins LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'the planted function was called';
    RETURN ROW(($1).amount + ($2).amount);
END $$;
CREATE FUNCTION coin.subtract(coin.coins, coin.coins) RETURNS coin.coins LANGUAGE plpgsql AS $$
BEGIN
    RAISE NOTICE 'the planted function was called';
    RETURN ROW(($1).amount - ($2).amount);
END $$;
CREATE OPERATOR coin.+ (LEFTARG = coin.coins, RIGHTARG = coin.coins, FUNCTION = coin.add);
CREATE OPERATOR coin.- (LEFTARG = coin.coins, RIGHTARG = coin.coins, FUNCTION = coin.subtract);
RESET ROLE;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
-- One of the two.
ALTER OPERATOR coin.- (coin.coins, coin.coins) OWNER TO regress_cs_minter;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
TABLE purse ORDER BY id;

-- Those of the type's owner and of a superuser are used.
SET client_min_messages = warning;
ALTER OPERATOR coin.+ (coin.coins, coin.coins) OWNER TO regress_cs_minter;
CALL cs_transfer('purse', '1', '2', 4);
ALTER OPERATOR coin.+ (coin.coins, coin.coins) OWNER TO CURRENT_USER;
CALL cs_transfer('purse', '1', '2', 4);
-- A kept plan is given up when an operator changes hands.
ALTER OPERATOR coin.+ (coin.coins, coin.coins) OWNER TO regress_cs_planter;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 1)');
TABLE purse ORDER BY id;

DROP TABLE purse;
\set VERBOSITY terse
DROP SCHEMA coin CASCADE;
DROP ROLE regress_cs_planter, regress_cs_minter;
