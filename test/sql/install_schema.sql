--
-- Where the extension can be installed. Who owns its schema could put other
-- functions of the same names there, or drop the extension with the schema.
--
CREATE ROLE regress_cs_owner;
\set VERBOSITY terse

-- A schema of an ordinary role is refused, and nothing is left of the attempt.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA theirs AUTHORIZATION regress_cs_owner;
SAVEPOINT refused;
CREATE EXTENSION concurrency_safe SCHEMA theirs;
\echo :SQLSTATE
ROLLBACK TO refused;
SELECT count(*) FROM pg_proc WHERE proname LIKE 'cs\_%';
SELECT count(*) FROM pg_extension WHERE extname = 'concurrency_safe';
-- Nor can the schema be one of several in the search path.
SET LOCAL search_path = theirs, public;
CREATE EXTENSION concurrency_safe;
ROLLBACK;
SELECT count(*) FROM pg_extension WHERE extname = 'concurrency_safe';

-- One's own schema will do, and everything is in it.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA ours;
CREATE EXTENSION concurrency_safe SCHEMA ours;
SELECT ours.cs_lock('k'), ours.cs_held_mode('k'), ours.cs_unlock_all();
SELECT DISTINCT pronamespace::regnamespace FROM pg_proc WHERE proname LIKE 'cs\_%';
SAVEPOINT fixed;
ALTER EXTENSION concurrency_safe SET SCHEMA public;
ROLLBACK TO fixed;
-- The functions do not need their schema in the search path.
SET LOCAL search_path = pg_catalog;
SELECT ours.cs_try_lock_all('{a,b}'), ours.cs_try_lock_any('{c}'), ours.cs_try_lock_path('d:e');
SELECT count(*) FROM ours.cs_holders('a');
ROLLBACK;

-- A schema of the database's owner, who is not a superuser, will do.
BEGIN;
DROP EXTENSION concurrency_safe;
SELECT current_database() AS database \gset
ALTER DATABASE :"database" OWNER TO regress_cs_owner;
CREATE SCHEMA theirs AUTHORIZATION regress_cs_owner;
CREATE EXTENSION concurrency_safe SCHEMA theirs;
SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'concurrency_safe';
ROLLBACK;

-- A quoted name is nothing special.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA "Robert""); DROP TABLE students;--";
CREATE EXTENSION concurrency_safe SCHEMA "Robert""); DROP TABLE students;--";
SELECT "Robert""); DROP TABLE students;--".cs_try_lock('k');
ROLLBACK;

-- An ordinary role cannot install it.
BEGIN;
DROP EXTENSION concurrency_safe;
CREATE SCHEMA theirs AUTHORIZATION regress_cs_owner;
SET LOCAL ROLE regress_cs_owner;
CREATE EXTENSION concurrency_safe SCHEMA theirs;
ROLLBACK;
DROP ROLE regress_cs_owner;
