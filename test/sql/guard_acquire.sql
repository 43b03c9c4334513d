--
-- cs_guard that locks the key itself, where nothing is locked yet; and wrong guards.
--
CREATE TABLE stock (sku text, amount integer DEFAULT 0);
CREATE TRIGGER guard BEFORE INSERT ON stock
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}', 'acquire', 100);
BEGIN;
INSERT INTO stock VALUES ('a') RETURNING *;
SELECT cs_held_mode('stock:a');
INSERT INTO stock VALUES ('a') RETURNING *;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
COMMIT;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
-- A transaction of its own is enough; a rollback gives the key back.
INSERT INTO stock VALUES ('b');
BEGIN;
SAVEPOINT s;
INSERT INTO stock VALUES ('c');
ROLLBACK TO s;
SELECT cs_held_mode('stock:c');
COMMIT;
INSERT INTO stock VALUES (NULL);

-- After a row is locked, its key cannot be: 0A000.
DROP TRIGGER guard ON stock;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON stock
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}', 'acquire');
UPDATE stock SET amount = 1 WHERE sku = 'b';
\set VERBOSITY sqlstate
UPDATE stock SET amount = 1 WHERE sku = 'b';
DELETE FROM stock WHERE sku = 'b';
BEGIN;
SELECT cs_lock('stock:b');
UPDATE stock SET amount = 1 WHERE sku = 'b';
ROLLBACK;
INSERT INTO stock VALUES ('d');
DROP TRIGGER guard ON stock;
CREATE TRIGGER guard AFTER INSERT ON stock FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}', 'acquire');
INSERT INTO stock VALUES ('e');
DROP TRIGGER guard ON stock;
\set VERBOSITY default

-- A view: nothing is locked before INSTEAD OF INSERT.
CREATE VIEW shown AS SELECT * FROM stock;
CREATE TRIGGER guard INSTEAD OF INSERT OR DELETE ON shown FOR EACH ROW EXECUTE FUNCTION cs_guard('shown:{sku}', 'acquire');
BEGIN;
INSERT INTO shown VALUES ('s') RETURNING sku;
SELECT cs_held_mode('shown:s');
DELETE FROM shown;
ROLLBACK;
DROP VIEW shown;

-- Statements: one key for all rows; to lock it after them would be too late.
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION cs_guard('stock', 'acquire', '-1');
BEGIN;
UPDATE stock SET amount = 2 WHERE sku = 'none';
SELECT cs_held_mode('stock');
ROLLBACK;
BEGIN;
TRUNCATE stock;
SELECT cs_held_mode('stock');
ROLLBACK;
DROP TRIGGER guard ON stock;
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON stock
    FOR EACH STATEMENT EXECUTE FUNCTION cs_guard('st{{oc}}k', 'require');
DELETE FROM stock WHERE sku = 'none';
TRUNCATE stock;
BEGIN;
SELECT cs_lock('st{oc}k');
DELETE FROM stock WHERE sku = 'none';
TRUNCATE stock;
ROLLBACK;
DROP TRIGGER guard ON stock;
CREATE TRIGGER guard AFTER UPDATE ON stock FOR EACH STATEMENT EXECUTE FUNCTION cs_guard('stock', 'acquire');
UPDATE stock SET amount = 2 WHERE sku = 'none';
DROP TRIGGER guard ON stock;
CREATE TRIGGER guard BEFORE INSERT ON stock FOR EACH STATEMENT EXECUTE FUNCTION cs_guard('stock:{sku}');
INSERT INTO stock VALUES ('f');
DROP TRIGGER guard ON stock;

-- A check that can be put off is none.
CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON stock DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}');
INSERT INTO stock VALUES ('f');
DROP TRIGGER guard ON stock;
CREATE CONSTRAINT TRIGGER guard AFTER INSERT ON stock
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}');
INSERT INTO stock VALUES ('f');
DROP TRIGGER guard ON stock;

-- Wrong arguments: 22023, and what cs_key refuses.
CREATE FUNCTION try_guard(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE format('CREATE TRIGGER guard BEFORE INSERT ON stock FOR EACH ROW EXECUTE FUNCTION cs_guard(%s)', arguments);
    INSERT INTO stock VALUES ('g');
    RETURN 'inserted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN concat_ws(' | ', SQLSTATE, SQLERRM, hint);
END $$;
SELECT arguments, try_guard(arguments)
FROM unnest(ARRAY['', $$'k', 'acquire', 1, 2$$, $$'k', 'Require'$$, $$'k', ''$$, $$'k', 'acquire', 'x'$$,
    $$'k', 'acquire', ''$$, $$'k', 'acquire', 1.5$$, $$'k', 'acquire', '1 '$$, $$'k', 'acquire', '-2'$$,
    $$'k', 'acquire', 2147483648$$, $$'k', 'acquire', 99999999999999999999$$, $$'k:{no}'$$, $$'{amount'$$, $$''$$,
    $$'k', 'acquire', 0$$]) AS arguments;
DROP FUNCTION try_guard(text);
DROP TABLE stock;

-- Not a trigger at all: 39P01.
SELECT cs_guard();
SELECT count(*) AS "locks left" FROM pg_locks WHERE locktype = 'advisory';
