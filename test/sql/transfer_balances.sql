--
-- cs_transfer: any type of id and balance, exact or not at all, and no overflow.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
SET extra_float_digits = 1;
-- The same transfers on balances of each type. The sum is always 100.
CREATE FUNCTION pg_temp.try_type(balance_type text)
RETURNS TABLE (amount text, outcome text, balances text, total numeric) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE account (id integer PRIMARY KEY, balance %s)', balance_type);
    INSERT INTO account VALUES (1, 60), (2, 40);
    FOREACH amount IN ARRAY ARRAY['10', '0.5', '0.01', '0.001', '60', '1e20'] LOOP
        outcome := pg_temp.outcome(format('CALL cs_transfer(''account'', ''1'', ''2'', %L)', amount));
        SELECT string_agg(balance::numeric::text, ', ' ORDER BY id), sum(balance::numeric) INTO balances, total FROM account;
        RETURN NEXT;
    END LOOP;
    DROP TABLE account;
END $$;
SELECT * FROM pg_temp.try_type('smallint');
SELECT * FROM pg_temp.try_type('integer');
SELECT * FROM pg_temp.try_type('bigint');
SELECT * FROM pg_temp.try_type('numeric');
SELECT * FROM pg_temp.try_type('numeric(12, 2)');
SELECT * FROM pg_temp.try_type('numeric(6, 1)');
SELECT * FROM pg_temp.try_type('money');
SELECT * FROM pg_temp.try_type('double precision');
CREATE DOMAIN euro AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE DOMAIN tip AS euro CHECK (VALUE < 1000);
SELECT * FROM pg_temp.try_type('tip');

-- The receiver's balance must fit as well; both stay as they are if it does not.
CREATE TABLE full_account (id integer, small smallint, whole integer, big bigint, fixed numeric(5, 2), cash money, capped tip);
INSERT INTO full_account VALUES
    (1, 10, 10, 10, 10, 10::money, 10),
    (2, 32760, 2147483640, 9223372036854775800, 995, '92233720368547758.00', 995);
SELECT balance, left(pg_temp.outcome(format('CALL cs_transfer(''full_account'', ''1'', ''2'', 8, balance_column => %L)', balance)), 5)
FROM unnest(ARRAY['small', 'whole', 'big', 'fixed', 'cash', 'capped']) AS balance;
SELECT count(*) AS unchanged FROM full_account
WHERE (id, small, whole, big, fixed, cash::numeric, capped) IN (
    (1, 10, 10, 10, 10, 10, 10), (2, 32760, 2147483640, 9223372036854775800, 995, 92233720368547758, 995));
-- Exactly full is not too full.
CALL cs_transfer('full_account', '1', '2', 7, balance_column => 'small');
CALL cs_transfer('full_account', '1', '2', 7, balance_column => 'big');
CALL cs_transfer('full_account', '1', '2', 4.99, balance_column => 'fixed');

-- Large balances of floating point cannot take small amounts: an error, not lost money.
CREATE TABLE float_account (id integer, balance double precision);
INSERT INTO float_account VALUES (1, 1e17), (2, 1);
SELECT pg_temp.outcome('CALL cs_transfer(''float_account'', ''2'', ''1'', 1)');
SELECT pg_temp.outcome('CALL cs_transfer(''float_account'', ''1'', ''2'', 0.5)');
SELECT * FROM float_account ORDER BY id;
UPDATE float_account SET balance = CASE id WHEN 1 THEN 1e17 ELSE 0 END;
SELECT pg_temp.outcome('CALL cs_transfer(''float_account'', ''1'', ''2'', 1000)');
SELECT * FROM float_account ORDER BY id;
-- Amounts that no float holds exactly can be moved where it is fine enough for them.
CREATE FUNCTION pg_temp.try_amount(amount text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE float_account SET balance = CASE id WHEN 1 THEN 100 ELSE 0 END;
    RETURN pg_temp.outcome(format('CALL cs_transfer(''float_account'', ''1'', ''2'', %L)', amount));
END $$;
SELECT amount, pg_temp.try_amount(amount) FROM unnest(ARRAY['0.01', '0.1', '33.33']) AS amount;
SELECT * FROM float_account ORDER BY id;

-- Types that do not add, or cannot be compared.
CREATE TABLE odd_account (id integer, odd_id point, word text, flag boolean, day date);
INSERT INTO odd_account VALUES (1, '(0,0)', 'a', true, '2000-01-01'), (2, '(1,1)', 'b', false, '2000-01-01');
\set VERBOSITY sqlstate
CALL cs_transfer('odd_account', '1', '2', 1, balance_column => 'word');
CALL cs_transfer('odd_account', '1', '2', 1, balance_column => 'flag');
CALL cs_transfer('odd_account', '1', '2', 1, balance_column => 'day');
CALL cs_transfer('odd_account', '(0,0)', '(1,1)', 1, id_column => 'odd_id', balance_column => 'id');
\set VERBOSITY default
SELECT * FROM odd_account ORDER BY id;
DROP TABLE full_account, float_account, odd_account;
DROP DOMAIN tip, euro;

-- A float keeps more digits than the amounts have; the rounding of many transfers is no loss.
CREATE TEMP TABLE float_account (id integer PRIMARY KEY, balance double precision NOT NULL);
INSERT INTO float_account VALUES (1, 100), (2, 0);
DO $$
DECLARE
    x numeric;
    y numeric;
BEGIN
    FOR i IN 1..50 LOOP
        CALL cs_transfer('float_account', '1', '2', 0.01, from_balance => x, to_balance => y);
    END LOOP;
    CALL cs_transfer('float_account', '1', '2', 99.49, from_balance => x, to_balance => y);
END $$;
SELECT id, balance::numeric(20, 10) FROM float_account ORDER BY id;
DROP TABLE float_account;
