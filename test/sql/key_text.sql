--
-- What is a key: text of 1 to 1024 bytes, compared byte for byte.
--
\pset null null
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- Each function that takes one key refuses what is not a key.
BEGIN;
SELECT f AS function,
       pg_temp.outcome(format('SELECT %s(NULL)', f)) AS "null",
       pg_temp.outcome(format('SELECT %s('''')', f)) AS empty
FROM unnest(ARRAY['cs_lock', 'cs_try_lock', 'cs_lock_path', 'cs_try_lock_path', 'cs_unlock',
                  'cs_unlock_path', 'cs_held_mode', 'cs_key_tag', 'cs_holders']) AS f;
SELECT f AS function, pg_temp.outcome(format('SELECT %s(repeat(''k'', 1025))', f)) AS too_long
FROM unnest(ARRAY['cs_lock', 'cs_try_lock', 'cs_lock_path', 'cs_try_lock_path', 'cs_unlock',
                  'cs_unlock_path', 'cs_held_mode', 'cs_key_tag', 'cs_holders']) AS f;
SELECT pg_temp.my_locks();
ROLLBACK;

-- The limit is 1024 bytes, not characters, and the key is never cut.
BEGIN;
SELECT cs_try_lock(repeat('k', 1024));
SELECT cs_held_mode(repeat('k', 1024)), cs_held_mode(repeat('k', 1023));
SELECT cs_try_lock(repeat('é', 512)), octet_length(repeat('é', 512));
SELECT cs_try_lock(repeat('é', 513));
ROLLBACK;

-- A long value that is stored compressed or out of line is too long as well.
CREATE TEMP TABLE long_key (key text);
INSERT INTO long_key VALUES (repeat('k', 1000000)), (repeat('k', 1024));
ALTER TABLE long_key ALTER key SET STORAGE EXTERNAL;
INSERT INTO long_key VALUES (repeat('x', 100000));
BEGIN;
SELECT length(key), pg_temp.outcome(format('SELECT cs_lock(key) FROM long_key WHERE length(key) = %s', length(key)))
FROM long_key ORDER BY 1;
ROLLBACK;
DROP TABLE long_key;

-- A key is the same however it is stored: compressed, or out of line. Only long rows are.
CREATE TEMP TABLE stored_key (key text, rest text);
ALTER TABLE stored_key ALTER rest SET STORAGE PLAIN;
INSERT INTO stored_key VALUES (repeat('k', 1000), repeat('r', 2000));
ALTER TABLE stored_key ALTER key SET STORAGE EXTERNAL;
INSERT INTO stored_key VALUES (repeat('x', 1000), repeat('r', 2000));
SELECT left(key, 1) AS key, pg_column_size(key) < 100 AS compressed,
       cs_key_tag(key) = cs_key_tag(repeat(left(key, 1), 1000)) AS same
FROM stored_key ORDER BY 1;
SELECT pg_relation_size(reltoastrelid) > 0 AS out_of_line FROM pg_class WHERE oid = 'stored_key'::regclass;
DROP TABLE stored_key;

-- No folding of case, no trimming, no normalization: 13 different keys.
BEGIN;
-- The two accented letters look alike: one character here, a letter and a combining accent there.
SELECT count(*) AS keys, bool_and(cs_try_lock(key)) AS locked
FROM unnest(ARRAY['k', 'K', ' k', 'k ', 'k' || chr(10), 'k' || chr(13), chr(9) || 'k', 'é', 'é',
                  '0', '00', 'null', 'k:']) AS key;
SELECT pg_temp.my_locks();
ROLLBACK;

-- The type does not matter, only the text does: char(n) loses its padding when it becomes text.
BEGIN;
SELECT cs_try_lock('k'::char(5)), cs_held_mode('k'), cs_held_mode('k    ');
SELECT cs_try_lock('v'::varchar(5)), cs_held_mode('v');
SELECT pg_temp.my_locks();
ROLLBACK;

-- A key cannot forge a line of a message or drive a terminal.
SELECT cs_unlock('a' || chr(10) || 'b' || chr(13) || 'c' || chr(9) || 'd' || chr(27) || 'e' || chr(127));
SELECT cs_unlock('a "quoted" key: %s \n');

SELECT pg_temp.my_locks();
