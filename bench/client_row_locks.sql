\set from random(1, 1000)
\set to (:from + random(1, 998)) % 1000 + 1
\set amount random(1, 10)
BEGIN;
SELECT id, balance FROM accounts WHERE id IN (:from, :to) ORDER BY id FOR UPDATE;
UPDATE accounts SET balance = balance - :amount WHERE id = :from;
UPDATE accounts SET balance = balance + :amount WHERE id = :to;
COMMIT;
