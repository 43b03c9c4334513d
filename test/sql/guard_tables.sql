--
-- cs_guard on all kinds of tables: partitions, foreign keys, views, TRUNCATE, odd names.
--
\set VERBOSITY terse
-- Keys of one class one by one.
SET concurrency_safe.check_order = off;

-- Partitions: the trigger of the parent is on each of them, and a row that moves is
-- written in both.
CREATE TABLE part (id integer, place integer) PARTITION BY LIST (place);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON part
    FOR EACH ROW EXECUTE FUNCTION cs_guard('part:{id}:{place}');
CREATE TABLE part3 (place integer, id integer);
ALTER TABLE part ATTACH PARTITION part3 FOR VALUES IN (3);
BEGIN;
SELECT cs_lock_all('{part:1:1,part:1:3}');
INSERT INTO part VALUES (1, 1), (1, 3) RETURNING *;
COMMIT;
UPDATE part SET id = 2 WHERE place = 3;
INSERT INTO part2 VALUES (1, 2);
DELETE FROM part1;
BEGIN;
SELECT cs_lock('part:1:1');
SAVEPOINT s;
UPDATE part SET place = 2 WHERE place = 1;
ROLLBACK TO s;
SELECT cs_lock_all('{part:1:1,part:1:2}');
UPDATE part SET place = 2 WHERE place = 1 RETURNING *;
COMMIT;
-- The same with AFTER triggers, which see such a move as DELETE and INSERT.
DROP TRIGGER guard ON part;
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE ON part
    FOR EACH ROW EXECUTE FUNCTION cs_guard('part:{id}:{place}');
BEGIN;
SELECT cs_lock('part:1:1');
SAVEPOINT s;
UPDATE part SET place = 1 WHERE place = 2;
ROLLBACK TO s;
SELECT cs_lock('part:1:2');
UPDATE part SET place = 1 WHERE place = 2 RETURNING *;
COMMIT;
DROP TABLE part;

-- Foreign keys: what a cascade writes is written.
CREATE TABLE parent (id integer PRIMARY KEY);
CREATE TABLE child (id integer, parent integer REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE,
                    maybe integer REFERENCES parent ON DELETE SET NULL);
INSERT INTO parent VALUES (1), (2), (3);
INSERT INTO child VALUES (10, 1, NULL), (20, 2, 3);
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON child
    FOR EACH ROW EXECUTE FUNCTION cs_guard('child:{id}:{parent}');
DELETE FROM parent WHERE id = 1;
UPDATE parent SET id = 5 WHERE id = 1;
DELETE FROM parent WHERE id = 3;
BEGIN;
SELECT cs_lock_all('{child:10:1,child:10:5,child:20:2}');
UPDATE parent SET id = 5 WHERE id = 1;
DELETE FROM parent WHERE id = 3;
SELECT * FROM child ORDER BY id;
DELETE FROM parent WHERE id = 5;
SELECT * FROM child ORDER BY id;
ROLLBACK;
-- A null in the template: SET NULL cannot be written at all.
CREATE TRIGGER guard_maybe BEFORE UPDATE ON child
    FOR EACH ROW EXECUTE FUNCTION cs_guard('child:{id}:{maybe}');
BEGIN;
SELECT cs_lock_all('{child:20:2,child:20:3}');
DELETE FROM parent WHERE id = 3;
ROLLBACK;

-- TRUNCATE fires triggers on statements only.
TRUNCATE child;
CREATE TRIGGER guard_all BEFORE TRUNCATE ON child FOR EACH STATEMENT EXECUTE FUNCTION cs_guard('child');
TRUNCATE child;
TRUNCATE parent CASCADE;
BEGIN;
SELECT cs_lock('child');
TRUNCATE parent CASCADE;
ROLLBACK;
DROP TABLE child, parent;

-- Views, with INSTEAD OF triggers.
CREATE TABLE base (id integer, v integer);
CREATE VIEW shown AS SELECT * FROM base;
CREATE FUNCTION write_base() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN DELETE FROM base WHERE id = OLD.id; RETURN OLD; END IF;
    IF TG_OP = 'INSERT' THEN INSERT INTO base SELECT NEW.*; END IF;
    IF TG_OP = 'UPDATE' THEN UPDATE base SET id = NEW.id, v = NEW.v WHERE id = OLD.id; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER a_guard INSTEAD OF INSERT OR UPDATE OR DELETE ON shown FOR EACH ROW EXECUTE FUNCTION cs_guard('shown:{id}');
CREATE TRIGGER b_write INSTEAD OF INSERT OR UPDATE OR DELETE ON shown FOR EACH ROW EXECUTE FUNCTION write_base();
INSERT INTO shown VALUES (1, 1);
BEGIN;
SELECT cs_lock('shown:1');
INSERT INTO shown VALUES (1, 1) RETURNING *;
UPDATE shown SET v = 2 RETURNING *;
SAVEPOINT s;
UPDATE shown SET id = 2;
ROLLBACK TO s;
DELETE FROM shown RETURNING *;
COMMIT;
DROP VIEW shown;
DROP TABLE base;
DROP FUNCTION write_base();

-- Generated columns are not known before the row is written, and an old value is none.
CREATE TABLE computed (id integer, twice integer GENERATED ALWAYS AS (2 * id) STORED);
INSERT INTO computed VALUES (1);
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON computed
    FOR EACH ROW EXECUTE FUNCTION cs_guard('computed:{twice}');
\set VERBOSITY default
INSERT INTO computed VALUES (2);
BEGIN;
SELECT cs_lock('computed:2');
UPDATE computed SET id = 1;
ROLLBACK;
\set VERBOSITY terse
BEGIN;
SELECT cs_lock('computed:2');
DELETE FROM computed RETURNING *;
ROLLBACK;
DROP TRIGGER guard ON computed;
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE ON computed
    FOR EACH ROW EXECUTE FUNCTION cs_guard('computed:{twice}');
INSERT INTO computed VALUES (2);
BEGIN;
SELECT cs_lock('computed:2');
SAVEPOINT s;
UPDATE computed SET id = 2;
ROLLBACK TO s;
SELECT cs_lock_all('{computed:2,computed:4}');
UPDATE computed SET id = 2 RETURNING *;
ROLLBACK;
DROP TABLE computed;

-- A trigger that changes the row afterwards: an AFTER trigger sees what was written.
CREATE TABLE changed (id integer);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.id := NEW.id + 100; RETURN NEW; END $$;
CREATE TRIGGER a_guard BEFORE INSERT ON changed FOR EACH ROW EXECUTE FUNCTION cs_guard('changed:{id}');
CREATE TRIGGER b_change BEFORE INSERT ON changed FOR EACH ROW EXECUTE FUNCTION change();
BEGIN;
SELECT cs_lock('changed:1');
INSERT INTO changed VALUES (1) RETURNING *;
CREATE TRIGGER c_guard AFTER INSERT ON changed FOR EACH ROW EXECUTE FUNCTION cs_guard('changed:{id}');
INSERT INTO changed VALUES (1);
ROLLBACK;
DROP TABLE changed;
DROP FUNCTION change();

-- Names are no SQL, and no lines of the log.
CREATE TABLE "Robert""); drop table t;--" ("Robert""); drop table t;--" text, "x y" text);
CREATE TRIGGER "a""b" BEFORE INSERT ON "Robert""); drop table t;--"
    FOR EACH ROW EXECUTE FUNCTION cs_guard('k''s:{Robert"); drop table t;--}');
\set VERBOSITY default
INSERT INTO "Robert""); drop table t;--" VALUES (E'v''\n', 'x');
\set VERBOSITY terse
BEGIN;
SELECT cs_lock(E'k''s:v''\n');
INSERT INTO "Robert""); drop table t;--" VALUES (E'v''\n', 'x');
COMMIT;
DROP TABLE "Robert""); drop table t;--";
SELECT count(*) AS "locks left" FROM pg_locks WHERE locktype = 'advisory';
