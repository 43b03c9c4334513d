--
-- cs_transfer: triggers, constraints, rules and partitions of the table apply,
-- and none of them can make money vanish unnoticed.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE TABLE account (id integer PRIMARY KEY, balance integer NOT NULL, note text);
INSERT INTO account VALUES (1, 100), (2, 100), (3, 100);
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = TG_ARGV[0]::integer THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;

-- A trigger that swallows one of the two rows fails the transfer.
CREATE TRIGGER swallow BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION suppress(2);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''2'', ''1'', 10)');
CALL cs_transfer('account', '1', '3', 10);
DROP TRIGGER swallow ON account;
-- So does a rule that replaces the update by nothing or by something else.
CREATE RULE nothing AS ON UPDATE TO account DO INSTEAD NOTHING;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)') <> 'no error' AS failed;
DROP RULE nothing ON account;
SELECT id, balance, sum(balance) OVER () FROM account ORDER BY id;

-- And so does one that puts the old balance back, for either row, or for both.
CREATE FUNCTION revert() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = ANY (TG_ARGV[0]::integer[]) THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER revert BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION revert('{2}');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''2'', ''1'', 10)');
BEGIN;
CALL cs_transfer('account', '3', '1', 10);
ROLLBACK;
DROP TRIGGER revert ON account;
CREATE TRIGGER revert BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION revert('{1,2}');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)');
DROP TRIGGER revert ON account;
SELECT id, balance, sum(balance) OVER () FROM account ORDER BY id;

-- One that changes the id of a row, so that it cannot be told from the other.
CREATE FUNCTION renumber() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id = TG_ARGV[0]::integer THEN
        NEW.id := TG_ARGV[1];
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER renumber BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION renumber(1, 4);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)');
DROP TRIGGER renumber ON account;
SELECT id, balance, sum(balance) OVER () FROM account ORDER BY id;

-- Triggers run once for each row, and see and shape what is stored.
CREATE FUNCTION annotate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.note := concat_ws(' ', OLD.note, format('%s to %s', OLD.balance, NEW.balance));
    RETURN NEW;
END $$;
CREATE TRIGGER annotate BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION annotate();
CALL cs_transfer('account', '1', '2', 10);
SELECT * FROM account ORDER BY id;
DROP TRIGGER annotate ON account;

-- The result is what is stored, not what was meant to be.
CREATE FUNCTION take_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.balance := NEW.balance - 1;
    RETURN NEW;
END $$;
CREATE TRIGGER take_fee BEFORE UPDATE ON account FOR EACH ROW EXECUTE FUNCTION take_fee();
CALL cs_transfer('account', '1', '2', 10);
DROP TRIGGER take_fee ON account;
SELECT id, balance FROM account ORDER BY id;

-- A trigger that calls cs_transfer again, for the same table.
CREATE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mine numeric;
    theirs numeric;
BEGIN
    IF pg_trigger_depth() = 1 AND NEW.id = 2 THEN
        CALL cs_transfer('account', '3', '1', 50, from_balance => mine, to_balance => theirs);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pass_on AFTER UPDATE ON account FOR EACH ROW EXECUTE FUNCTION pass_on();
CALL cs_transfer('account', '1', '2', 10);
SELECT id, balance FROM account ORDER BY id;
DROP TRIGGER pass_on ON account;

-- And before that does something after which the commands have to be planned anew.
CREATE OR REPLACE FUNCTION pass_on() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    mine numeric;
    theirs numeric;
BEGIN
    IF pg_trigger_depth() = 1 AND NEW.id = 2 THEN
        CREATE SCHEMA new_names;
        CALL cs_transfer('account', '3', '1', 1, from_balance => mine, to_balance => theirs);
        DROP SCHEMA new_names;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pass_on AFTER UPDATE ON account FOR EACH ROW EXECUTE FUNCTION pass_on();
CALL cs_transfer('account', '1', '2', 1);
CALL cs_transfer('account', '2', '1', 1);
SELECT id, balance FROM account ORDER BY id;
DROP TRIGGER pass_on ON account;

-- Constraints.
ALTER TABLE account ADD CONSTRAINT ceiling CHECK (balance <= 130);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 10)');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER UPDATE ON account DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION refuse();
\set VERBOSITY terse
CALL cs_transfer('account', '1', '2', 1);
\set VERBOSITY default
DROP TRIGGER at_commit ON account;
SELECT id, balance FROM account ORDER BY id;

-- Partitions, also where the balance decides on the partition.
CREATE TABLE parted (id integer, balance integer) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO parted VALUES (1, 100), (11, 100);
CALL cs_transfer('parted', '1', '11', 30);
CALL cs_transfer('parted', '11', '1', 20);
SELECT tableoid::regclass, id, balance FROM parted ORDER BY id;
CREATE TABLE sorted (id integer, balance integer) PARTITION BY RANGE (balance);
CREATE TABLE sorted_poor PARTITION OF sorted FOR VALUES FROM (0) TO (100);
CREATE TABLE sorted_rich PARTITION OF sorted FOR VALUES FROM (100) TO (1000);
INSERT INTO sorted VALUES (1, 150), (2, 50);
CALL cs_transfer('sorted', '1', '2', 100);
SELECT tableoid::regclass, id, balance FROM sorted ORDER BY id;
SELECT pg_temp.outcome('CALL cs_transfer(''parted_low'', ''1'', ''11'', 1)');

DROP TABLE account, parted, sorted;
DROP FUNCTION suppress(), revert(), renumber(), annotate(), take_fee(), pass_on(), refuse();
