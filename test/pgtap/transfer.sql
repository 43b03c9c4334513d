-- The contract of cs_transfer.
-- Runs on any server that has the extension and pgtap:  pg_prove -d DATABASE test/pgtap/*.sql
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS concurrency_safe;
SELECT plan(25);
-- All in one transaction: keys are locked one by one, in any order.
SET LOCAL concurrency_safe.check_order = off;

CREATE SCHEMA cs_bank;
CREATE TABLE cs_bank.account (id integer PRIMARY KEY, balance numeric(7, 2));
INSERT INTO cs_bank.account VALUES (1, 100), (2, 50), (3, NULL), (4, 99999);
CREATE FUNCTION pg_temp.balances() RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(balance::text, ' ' ORDER BY id) FROM cs_bank.account WHERE id < 3 $$;

-- What it does
SELECT lives_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 30.25) $$, 'a transfer');
SELECT is(pg_temp.balances(), '69.75 80.25', 'moves the amount');
SELECT is(cs_held_mode('cs_bank.account:1') || ', ' || cs_held_mode('cs_bank.account:2'), 'exclusive, exclusive',
          'under the keys of both accounts');
CREATE FUNCTION pg_temp.transfer(OUT from_balance numeric, OUT to_balance numeric) LANGUAGE plpgsql AS $$
BEGIN
    CALL cs_transfer('cs_bank.account', '2', '1', 30.25, from_balance => from_balance, to_balance => to_balance);
END $$;
SELECT results_eq($$ SELECT * FROM pg_temp.transfer() $$, $$ VALUES (50.00, 100.00) $$, 'and hands the new balances back');
SELECT lives_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 100, 1000); CALL cs_transfer('cs_bank.account', '2', '1', 100, -1) $$,
                'all that there is, with and without a limit to the wait');
CREATE TABLE cs_bank.purse (owner text, coins bigint);
INSERT INTO cs_bank.purse VALUES ('ann', 5), ('bob', 0);
SELECT lives_ok($$ CALL cs_transfer('cs_bank.purse', 'ann', 'bob', 5, id_column => 'owner', balance_column => 'coins') $$,
                'columns can have any name and many types');
SELECT results_eq($$ SELECT coins FROM cs_bank.purse ORDER BY owner $$, $$ VALUES (0::bigint), (5) $$, 'and are the ones that change');

-- What it refuses
SELECT throws_ok(format($$ CALL cs_transfer('cs_bank.account', '1', '2', %L) $$, amount), '22023', NULL,
                 'an amount of ' || coalesce(amount, 'null'))
FROM unnest(ARRAY[NULL, 'NaN', 'Infinity', '-Infinity', '0', '-1']) AS amount;
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '1', 1) $$, '22023', NULL, 'the same account twice');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '01', 1) $$, '22023', NULL, 'in another spelling');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 0.001) $$, '22003', NULL, 'an amount that is not exact in the column');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '4', 1) $$, '22003', NULL, 'a balance that would overflow');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '9', 1) $$, 'P0002', NULL, 'an account that does not exist');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '9', '1', 1) $$, 'P0002', NULL, 'on either side');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 100.01) $$, '23514', NULL, 'more than there is');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 1, -2) $$, '22023', NULL, 'a timeout below -1');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 1, balance_column => 'no_such') $$, '42703', NULL, 'a column that does not exist');
SELECT throws_ok($$ CALL cs_transfer('cs_bank.no_such', '1', '2', 1) $$, '42P01', NULL, 'a table that does not exist');

-- Triggers and row level security
CREATE FUNCTION cs_bank.swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN CASE WHEN NEW.id = 1 THEN NEW END; END $$;
CREATE TRIGGER swallow BEFORE UPDATE ON cs_bank.account FOR EACH ROW EXECUTE FUNCTION cs_bank.swallow();
SELECT throws_ok($$ CALL cs_transfer('cs_bank.account', '1', '2', 1) $$, NULL, NULL, 'a trigger that suppresses half of the transfer');
DROP TRIGGER swallow ON cs_bank.account;
SELECT is(pg_temp.balances(), '100.00 50.00', 'after all these errors the money is where it was');

SELECT * FROM finish();
ROLLBACK;
