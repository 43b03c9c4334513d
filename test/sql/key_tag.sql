--
-- cs_key_tag: the lock tag of a key, in the columns of pg_locks.
--
\pset null null
-- Keys are locked one by one here, in any order.
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

SELECT attname, format_type
FROM (SELECT unnest(proargnames) AS attname, format_type(unnest(proallargtypes), NULL)
      FROM pg_proc WHERE oid = 'cs_key_tag'::regproc) AS argument;

-- The top bit of the 16-bit objsubid is always set, so as a signed number it is
-- negative: never 1 or 2 as with pg_advisory_lock, never that of another extension.
SELECT count(*) AS keys,
       count(DISTINCT (tag.classid, tag.objid, tag.objsubid)) AS tags,
       bool_and(tag.objsubid BETWEEN -32768 AND -1) AS in_our_range,
       count(DISTINCT tag.objsubid) > 8000 AS spread
FROM generate_series(1, 10000) AS n, LATERAL cs_key_tag('order:' || n) AS tag;

-- All 79 bits are used: both values of every bit occur.
SELECT bit_or(tag.classid::bigint) = 4294967295 AND bit_and(tag.classid::bigint) = 0 AS classid,
       bit_or(tag.objid::bigint) = 4294967295 AND bit_and(tag.objid::bigint) = 0 AS objid,
       bit_or(tag.objsubid) = -1 AND bit_and(tag.objsubid) = -32768 AS objsubid
FROM generate_series(1, 200) AS n, LATERAL cs_key_tag('order:' || n) AS tag;

-- The same key has the same tag, and nearly the same key another.
SELECT a = b AS equal FROM cs_key_tag('order:42') AS a, cs_key_tag('order:' || 42) AS b;
SELECT a = b AS equal FROM cs_key_tag('order:42') AS a, cs_key_tag('Order:42') AS b;

-- pg_locks shows just these numbers, in this database.
BEGIN;
SELECT cs_lock('order:42');
SELECT cs_lock('order:43', mode => 'shared');
SELECT key, l.mode, l.granted
FROM unnest(ARRAY['order:42', 'order:43', 'order:44']) AS key,
     LATERAL cs_key_tag(key) AS tag
     JOIN pg_locks AS l USING (classid, objid, objsubid)
WHERE l.locktype = 'advisory' AND l.pid = pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY key;
-- One lock for one key, however often it is taken.
SELECT cs_lock('order:42'), cs_lock('order:42');
SELECT pg_temp.my_locks();
COMMIT;
SELECT pg_temp.my_locks();

-- Keys and the numbers of pg_advisory_lock do not meet, even for the same digits.
BEGIN;
SELECT cs_lock('1');
SELECT pg_advisory_xact_lock(1), pg_advisory_xact_lock(0, 1);
SELECT pg_advisory_xact_lock(tag.classid::bigint::bit(32)::integer, tag.objid::bigint::bit(32)::integer)
FROM cs_key_tag('1') AS tag;
SELECT pg_temp.my_locks();
ROLLBACK;
