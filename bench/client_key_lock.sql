BEGIN;
SELECT cs_lock('withdraw');
SELECT balance FROM account WHERE id = 1;
UPDATE account SET balance = balance - 1 WHERE id = 1 AND balance >= 1;
COMMIT;
