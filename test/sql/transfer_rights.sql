--
-- cs_transfer runs with the rights of its caller: privileges and row level
-- security apply, also to plans that somebody else's call has kept.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE ROLE regress_cs_teller;
CREATE ROLE regress_cs_auditor;
CREATE TABLE account (id integer PRIMARY KEY, branch text NOT NULL, balance integer NOT NULL);
INSERT INTO account VALUES (1, 'north', 100), (2, 'north', 100), (3, 'south', 100), (4, 'north', 100);
CALL cs_transfer('account', '1', '2', 1);

-- Without privileges; with one of the two; with those on the two columns.
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 1)');
RESET ROLE;
GRANT SELECT ON account TO regress_cs_teller, regress_cs_auditor;
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 1)');
RESET ROLE;
REVOKE SELECT ON account FROM regress_cs_teller;
GRANT UPDATE ON account TO regress_cs_teller;
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 1)');
RESET ROLE;
REVOKE ALL ON account FROM regress_cs_teller;
GRANT SELECT (id, balance), UPDATE (balance) ON account TO regress_cs_teller;
SET ROLE regress_cs_teller;
CALL cs_transfer('account', '1', '2', 1);
SET ROLE regress_cs_auditor;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 1)');
RESET ROLE;
SELECT id, balance FROM account ORDER BY id;

-- A hidden row is an account that does not exist, in both directions.
GRANT ALL ON account TO regress_cs_teller;
ALTER TABLE account ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_branch ON account TO regress_cs_teller USING (branch = 'north');
SET ROLE regress_cs_teller;
CALL cs_transfer('account', '1', '2', 1);
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''3'', 1)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''3'', ''1'', 1)');
RESET ROLE;
-- The table's owner is not bound by the policy, with the same kept plan.
CALL cs_transfer('account', '1', '3', 1);
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''3'', ''1'', 1)');
RESET ROLE;

-- Rows that may be read but not written, and values that may not be written.
DROP POLICY own_branch ON account;
CREATE POLICY see_all ON account FOR SELECT TO regress_cs_teller USING (true);
CREATE POLICY write_own ON account FOR UPDATE TO regress_cs_teller USING (branch = 'north') WITH CHECK (balance < 150);
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''3'', 1)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''3'', ''1'', 1)');
SELECT pg_temp.outcome('CALL cs_transfer(''account'', ''1'', ''2'', 60)');
CALL cs_transfer('account', '1', '2', 5);
RESET ROLE;
SELECT id, balance, sum(balance) OVER () FROM account ORDER BY id;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();

-- A table in a schema that the caller may not use.
CREATE SCHEMA vault;
CREATE TABLE vault.account (id integer PRIMARY KEY, balance integer NOT NULL);
INSERT INTO vault.account VALUES (1, 100), (2, 100);
GRANT ALL ON vault.account TO regress_cs_teller;
SELECT 'vault.account'::regclass::oid AS vault_account \gset
SET ROLE regress_cs_teller;
SELECT pg_temp.outcome(format('CALL cs_transfer(%s, ''1'', ''2'', 1)', :vault_account));
RESET ROLE;
TABLE vault.account ORDER BY id;

DROP SCHEMA vault CASCADE;
DROP TABLE account;
DROP ROLE regress_cs_teller, regress_cs_auditor;
