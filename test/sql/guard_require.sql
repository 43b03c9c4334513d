--
-- cs_guard: rows are written only under their key.
--
-- Keys of one class one by one.
SET concurrency_safe.check_order = off;
CREATE TABLE stock (sku text PRIMARY KEY, amount integer);
INSERT INTO stock VALUES ('a', 1), ('b', 1), ('c', 1);
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON stock
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}');

-- Without the key: 55000.
INSERT INTO stock VALUES ('d', 1);
UPDATE stock SET amount = 2 WHERE sku = 'a';
DELETE FROM stock WHERE sku = 'a';
\set VERBOSITY sqlstate
UPDATE stock SET amount = 2 WHERE sku = 'a';
\set VERBOSITY default

-- With it.
BEGIN;
SELECT cs_lock('stock:a');
UPDATE stock SET amount = 2 WHERE sku = 'a' RETURNING *;
DELETE FROM stock WHERE sku = 'a' RETURNING *;
INSERT INTO stock VALUES ('a', 3) RETURNING *;
COMMIT;
UPDATE stock SET amount = 4 WHERE sku = 'a';

-- Another column than that of the key: a write all the same. Nothing written: nothing checked.
UPDATE stock SET amount = 2 WHERE sku = 'x';

-- Another mode, another scope, several keys at once.
BEGIN;
SELECT cs_lock('stock:a', mode => 'shared');
UPDATE stock SET amount = 4 WHERE sku = 'a';
ROLLBACK;
SELECT cs_lock('stock:a', scope => 'session');
UPDATE stock SET amount = 4 WHERE sku = 'a';
SELECT cs_unlock('stock:a');
UPDATE stock SET amount = 5 WHERE sku = 'a';
BEGIN;
SELECT cs_lock_all(ARRAY(SELECT cs_key('stock:{sku}', s) FROM stock s));
UPDATE stock SET amount = 6;
COMMIT;

-- The key changes: both are needed.
BEGIN;
SELECT cs_lock('stock:a');
SAVEPOINT one;
UPDATE stock SET sku = 'n' WHERE sku = 'a';
ROLLBACK TO one;
SELECT cs_lock_all('{stock:a,stock:n}');
UPDATE stock SET sku = 'n' WHERE sku = 'a';
ROLLBACK;
BEGIN;
SELECT cs_lock('stock:n');
UPDATE stock SET sku = 'n' WHERE sku = 'a';
ROLLBACK;

-- A rollback to a savepoint gives the key back.
BEGIN;
SAVEPOINT one;
SELECT cs_lock('stock:a');
UPDATE stock SET amount = 7 WHERE sku = 'a';
ROLLBACK TO one;
UPDATE stock SET amount = 7 WHERE sku = 'a';
ROLLBACK;

-- Prepared statements, functions, cursors.
PREPARE set_amount AS UPDATE stock SET amount = $2 WHERE sku = $1;
BEGIN;
SELECT cs_lock('stock:a');
EXECUTE set_amount('a', 7);
EXECUTE set_amount('a', 7);
COMMIT;
EXECUTE set_amount('a', 8);
DEALLOCATE set_amount;
DO $$
BEGIN
    PERFORM cs_lock('stock:a');
    UPDATE stock SET amount = 9 WHERE sku = 'a';
    BEGIN
        UPDATE stock SET amount = 9 WHERE sku = 'b';
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RAISE NOTICE '%', SQLERRM;
    END;
END $$;

-- INSERT ... ON CONFLICT: the key of the row that is proposed, then of those that are updated.
INSERT INTO stock VALUES ('a', 1) ON CONFLICT (sku) DO UPDATE SET amount = 10;
BEGIN;
SELECT cs_lock('stock:a');
INSERT INTO stock VALUES ('a', 1) ON CONFLICT (sku) DO UPDATE SET amount = 10 RETURNING *;
INSERT INTO stock VALUES ('a', 1) ON CONFLICT (sku) DO UPDATE SET sku = 'z';
ROLLBACK;

-- COPY.
\set VERBOSITY terse
COPY stock FROM stdin;
e	1
\.
BEGIN;
SELECT cs_lock_all('{stock:e,stock:f}');
COPY stock FROM stdin;
e	1
f	1
\.
COMMIT;
\set VERBOSITY default
SELECT * FROM stock ORDER BY sku;

-- Replication roles: as for any trigger.
SET session_replication_role = replica;
UPDATE stock SET amount = 11 WHERE sku = 'e';
ALTER TABLE stock ENABLE ALWAYS TRIGGER guard;
UPDATE stock SET amount = 12 WHERE sku = 'e';
RESET session_replication_role;
ALTER TABLE stock DISABLE TRIGGER guard;
UPDATE stock SET amount = 13 WHERE sku = 'e';

DROP TABLE stock;
SELECT count(*) AS "locks left" FROM pg_locks WHERE locktype = 'advisory';

-- Who may not read the rows sees the template, and no key of them; a cascade has the owner's rights, and its error goes to the client.
CREATE ROLE guard_nobody;
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE child (id integer REFERENCES parent ON DELETE CASCADE, secret text);
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE ON child
    FOR EACH ROW EXECUTE FUNCTION cs_guard('child:{secret}');
BEGIN;
SELECT cs_lock('child:hidden');
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (1, 'hidden');
COMMIT;
GRANT SELECT, DELETE ON parent TO guard_nobody;
GRANT UPDATE (id) ON child TO guard_nobody;
SET ROLE guard_nobody;
DELETE FROM parent;
UPDATE child SET id = 1;
RESET ROLE;
GRANT SELECT ON child TO guard_nobody;
SET ROLE guard_nobody;
DELETE FROM parent;
RESET ROLE;
ALTER TABLE child ENABLE ROW LEVEL SECURITY;
SET ROLE guard_nobody;
DELETE FROM parent;
RESET ROLE;
DROP TABLE child, parent;
DROP ROLE guard_nobody;

-- 'require' may be said, and does not lock where it could.
CREATE TABLE said (id integer);
CREATE TRIGGER guard BEFORE INSERT ON said FOR EACH ROW EXECUTE FUNCTION cs_guard('said:{id}', 'require');
INSERT INTO said VALUES (1);
DROP TABLE said;
