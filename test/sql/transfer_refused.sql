--
-- cs_transfer: arguments that are refused, and nothing is locked or written.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TABLE account (id integer PRIMARY KEY, balance numeric(12, 2));
INSERT INTO account VALUES (1, 100), (2, 50), (3, NULL), (42, 1);
CREATE VIEW account_view AS SELECT * FROM account;
CREATE TABLE wallet (owner text, coins numeric);
INSERT INTO wallet VALUES ('ann', 10), ('bob', 10), ('bob', 10), ('nan', 'NaN'), ('inf', 'Infinity');

BEGIN;
-- Amounts: what is not a positive number cannot be moved.
SELECT amount, pg_temp.outcome(format('CALL cs_transfer(''account'', ''1'', ''2'', %L)', amount))
FROM unnest(ARRAY[NULL, 'NaN', 'Infinity', '-Infinity', '0', '0.00', '-1', '-0.01']) AS amount;
-- Nor what the column cannot hold exactly.
SELECT amount, pg_temp.outcome(format('CALL cs_transfer(''account'', ''1'', ''2'', %L)', amount))
FROM unnest(ARRAY['0.001', '1.005', '0.009', '99.999', '1e-30']) AS amount;
-- More than there is.
SELECT amount, pg_temp.outcome(format('CALL cs_transfer(''account'', ''1'', ''2'', %L)', amount))
FROM unnest(ARRAY['100.01', '101', '9999999999']) AS amount;
SELECT pg_temp.outcome($$ CALL cs_transfer('account', '2', '1', 60) $$) AS to_one_who_has_more;

-- Accounts: two different ones that exist, however they are spelt.
SELECT from_id, to_id, pg_temp.outcome(format('CALL cs_transfer(''account'', %L, %L, 1)', from_id, to_id))
FROM (VALUES ('1', '1'), ('42', '042'), ('42', ' 42 '), ('42', '+42'), ('1', '7'), ('7', '1'), ('7', '8'), ('7', '7'),
             (NULL, '1'), ('1', NULL), ('x', '1'), ('1', ''), ('1', '99999999999'), ('3', '1'), ('1', '3'),
             ('1 OR true', '2')) AS pair (from_id, to_id);
SELECT from_id, to_id, pg_temp.outcome(format('CALL cs_transfer(''wallet'', %L, %L, 1, NULL, ''owner'', ''coins'')', from_id, to_id))
FROM (VALUES ('ann', 'bob'), ('bob', 'ann'), ('ann', 'Ann'), ('ann', 'ann '), ('ann', ''), ('ann', 'nan'), ('nan', 'ann'),
             ('inf', 'ann'), ('ann', 'inf')) AS pair (from_id, to_id);
SELECT pg_temp.outcome(format('CALL cs_transfer(''wallet'', ''ann'', %L, 1, NULL, ''owner'', ''coins'')', repeat('x', 1024)));

-- Timeouts, tables and columns.
SELECT call, pg_temp.outcome(format('CALL cs_transfer(%s)', call))
FROM unnest(ARRAY[$$'account', '1', '2', 1, -2$$,
                  $$NULL, '1', '2', 1$$,
                  $$0, '1', '2', 1$$,
                  $$'no_such_table', '1', '2', 1$$,
                  $$'account_view', '1', '2', 1$$,
                  $$'account_pkey', '1', '2', 1$$,
                  $$'account', '1', '2', 1, id_column => 'no_such'$$,
                  $$'account', '1', '2', 1, balance_column => 'no_such'$$,
                  $$'account', '1', '2', 1, id_column => NULL$$,
                  $$'account', '1', '2', 1, balance_column => NULL$$,
                  $$'account', '1', '2', 1, balance_column => 'id'$$,
                  $$'account', '1', '2', 1, id_column => 'balance', balance_column => 'balance'$$,
                  $$'account', '1', '2', 1, balance_column => 'ctid'$$,
                  $$'account', '1', '2', 1, balance_column => 'balance = 0 --'$$]) AS call;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
COMMIT;

-- A timeout of null or -1 is fine.
CALL cs_transfer('account', '1', '2', 1, NULL);
CALL cs_transfer('account', '2', '1', 1, -1);
CALL cs_transfer('account', '2', '1', 1, 0);
-- Trailing zeros do not change the value of an amount.
CALL cs_transfer('account', '1', '2', 1.0000);
-- Nothing was moved on balance.
SELECT * FROM account ORDER BY id;
SELECT * FROM wallet ORDER BY owner COLLATE "C";
DROP VIEW account_view;
DROP TABLE account, wallet;
