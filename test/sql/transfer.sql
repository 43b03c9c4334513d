--
-- cs_transfer: what it does when all is well.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE TABLE account (id integer PRIMARY KEY, balance numeric(12, 2) NOT NULL);
INSERT INTO account VALUES (1, 100), (2, 50), (3, 0);

CALL cs_transfer('account', '1', '2', 30.25);
SELECT * FROM account ORDER BY id;

-- All of a balance, to an empty account; the smallest amount; back again.
CALL cs_transfer('account', '2', '3', 80.25);
CALL cs_transfer('account', '3', '2', 0.01);
CALL cs_transfer('account', '3', '2', 80.24, 1000);
SELECT * FROM account ORDER BY id;

-- It takes both keys in transaction scope, named after table and id, and nothing else.
BEGIN;
CALL cs_transfer('account', '1', '2', 1);
SELECT key, cs_held_mode(key) FROM unnest('{public.account:1,public.account:2,public.account:3}'::text[]) AS key;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();
-- More than once in a transaction, and what the transaction wrote before is seen.
CALL cs_transfer('account', '1', '2', 1);
UPDATE account SET balance = balance + 1000 WHERE id = 1;
CALL cs_transfer('account', '1', '3', 1000);
SELECT * FROM account ORDER BY id;
ROLLBACK;
SELECT * FROM account ORDER BY id;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

-- Other columns, by name; other spellings of the table.
CREATE TABLE wallet (owner text PRIMARY KEY, coins bigint, id integer);
INSERT INTO wallet VALUES ('ann', 10, 1), ('bob', 0, 2);
CALL cs_transfer('wallet', 'ann', 'bob', 4, id_column => 'owner', balance_column => 'coins');
CALL cs_transfer('public.wallet'::regclass, '1', '2', 1, balance_column => 'coins');
CALL cs_transfer(accounts => 'wallet', amount => 2, to_id => '1', from_id => '2', balance_column => 'coins');
SELECT owner, coins FROM wallet ORDER BY id;

-- From PL/pgSQL, with the new balances.
DO $$
DECLARE
    left_over numeric;
    received numeric;
BEGIN
    CALL cs_transfer('account', '1', '2', 10.5, from_balance => left_over, to_balance => received);
    RAISE NOTICE '% left, % received', left_over, received;
END $$;
CREATE PROCEDURE pay_twice() LANGUAGE plpgsql AS $$
DECLARE
    mine numeric;
    theirs numeric;
BEGIN
    CALL cs_transfer('account', '2', '1', 5.25, from_balance => mine, to_balance => theirs);
    COMMIT;
    RAISE NOTICE 'key held after the commit: %', cs_held_mode('public.account:1');
    CALL cs_transfer('account', '2', '1', 5.25, from_balance => mine, to_balance => theirs);
END $$;
CALL pay_twice();
SELECT * FROM account ORDER BY id;

-- A failure caught half way leaves no trace of the transfer it failed in.
DO $$
DECLARE
    mine numeric;
    theirs numeric;
BEGIN
    CALL cs_transfer('account', '1', '2', 10, from_balance => mine, to_balance => theirs);
    BEGIN
        CALL cs_transfer('account', '1', '3', 10, from_balance => mine, to_balance => theirs);
        CALL cs_transfer('account', '1', '2', 100000, from_balance => mine, to_balance => theirs);
    EXCEPTION WHEN check_violation THEN
        RAISE NOTICE 'key of account 3: %, key of account 2: %',
            cs_held_mode('public.account:3'), cs_held_mode('public.account:2');
    END;
END $$;
SELECT * FROM account ORDER BY id;
SELECT sum(balance) FROM account;

-- In the stricter isolation levels, and not in a read-only transaction.
BEGIN ISOLATION LEVEL SERIALIZABLE;
CALL cs_transfer('account', '2', '1', 10);
COMMIT;
BEGIN READ ONLY;
\set VERBOSITY sqlstate
CALL cs_transfer('account', '2', '1', 10);
ROLLBACK;
SELECT * FROM account ORDER BY id;
DROP PROCEDURE pay_twice();
DROP TABLE account, wallet;
