--
-- cs_transfer: balance types whose operators or casts return null are refused.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TYPE mon AS (v numeric);
CREATE FUNCTION mon_add(mon, mon) RETURNS mon LANGUAGE sql AS $$ SELECT ROW(($1).v + ($2).v)::mon $$;
CREATE FUNCTION mon_subtract(mon, mon) RETURNS mon LANGUAGE sql AS $$ SELECT NULL::mon $$;
CREATE FUNCTION mon_from_numeric(numeric) RETURNS mon LANGUAGE sql AS $$ SELECT ROW($1)::mon $$;
CREATE FUNCTION mon_to_numeric(mon) RETURNS numeric LANGUAGE sql AS $$ SELECT ($1).v $$;
CREATE OPERATOR + (LEFTARG = mon, RIGHTARG = mon, FUNCTION = mon_add);
CREATE OPERATOR - (LEFTARG = mon, RIGHTARG = mon, FUNCTION = mon_subtract);
CREATE CAST (numeric AS mon) WITH FUNCTION mon_from_numeric(numeric);
CREATE CAST (mon AS numeric) WITH FUNCTION mon_to_numeric(mon);
CREATE TABLE purse (id integer, balance mon);
INSERT INTO purse VALUES (1, ROW(10)), (2, ROW(0));

-- The difference is null.
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''2'', ''1'', 4)');
-- Only that between the new balance and the old one is.
CREATE OR REPLACE FUNCTION mon_subtract(mon, mon) RETURNS mon LANGUAGE sql AS
$$ SELECT CASE WHEN ($2).v = 4 THEN ROW(($1).v - ($2).v)::mon END $$;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
-- The sum is.
CREATE OR REPLACE FUNCTION mon_subtract(mon, mon) RETURNS mon LANGUAGE sql AS $$ SELECT ROW(($1).v - ($2).v)::mon $$;
CREATE OR REPLACE FUNCTION mon_add(mon, mon) RETURNS mon LANGUAGE sql AS $$ SELECT NULL::mon $$;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
-- The cast of the amount, and the cast of the balance.
CREATE OR REPLACE FUNCTION mon_add(mon, mon) RETURNS mon LANGUAGE sql AS $$ SELECT ROW(($1).v + ($2).v)::mon $$;
CREATE OR REPLACE FUNCTION mon_from_numeric(numeric) RETURNS mon LANGUAGE sql AS $$ SELECT NULL::mon $$;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
CREATE OR REPLACE FUNCTION mon_from_numeric(numeric) RETURNS mon LANGUAGE sql AS $$ SELECT ROW($1)::mon $$;
CREATE OR REPLACE FUNCTION mon_to_numeric(mon) RETURNS numeric LANGUAGE sql AS $$ SELECT NULL::numeric $$;
SELECT pg_temp.outcome('CALL cs_transfer(''purse'', ''1'', ''2'', 4)');
CREATE OR REPLACE FUNCTION mon_to_numeric(mon) RETURNS numeric LANGUAGE sql AS $$ SELECT ($1).v $$;
TABLE purse ORDER BY id;
-- With all of them in order it works.
CALL cs_transfer('purse', '1', '2', 4);

DROP TABLE purse;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP TYPE mon CASCADE;
