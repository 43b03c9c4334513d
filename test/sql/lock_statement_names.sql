--
-- LOCK cs_key."key": PostgreSQL's own statement on a key. The session has to
-- have the library; without it, see test/t/033_lock_statement.pl.
--
\pset null null
LOAD 'concurrency_safe';
SET concurrency_safe.check_order = off;
CREATE FUNCTION pg_temp.outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- The key of this name, in transaction scope, until the end of the transaction.
BEGIN;
LOCK cs_key."withdraw:user:42";
SELECT key, mode, granted, scope, pid = pg_backend_pid() AS mine FROM cs_holders('withdraw:user:42');
SELECT pg_temp.my_locks(), count(*) AS relations FROM pg_locks
WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock' AND pid = pg_backend_pid();
COMMIT;
SELECT pg_temp.my_locks();
BEGIN;
SAVEPOINT s;
LOCK TABLE cs_key."k" IN SHARE MODE NOWAIT;
SELECT cs_held_mode('k');
ROLLBACK TO s;
SELECT cs_held_mode('k');
LOCK ONLY cs_key.k;
RELEASE s;
SELECT cs_held_mode('k');
ROLLBACK;
SELECT pg_temp.my_locks();

-- Every mode that PostgreSQL has, and what the key is locked in then.
BEGIN;
SELECT m AS lock_mode, pg_temp.outcome(format('LOCK cs_key.%I IN %s MODE', m, m))
FROM unnest(ARRAY['ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE',
                  'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE']) AS m;
LOCK cs_key."default";
SELECT k, cs_held_mode(k), l.mode AS pg_lock
FROM unnest(ARRAY['ROW SHARE', 'ROW EXCLUSIVE', 'SHARE', 'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE', 'default']) AS k,
     cs_key_tag(k) AS t LEFT JOIN pg_locks AS l USING (classid, objid, objsubid)
ORDER BY k COLLATE "C";
LOCK cs_key."k" IN SHARE UPDATE EXCLUSIVE MODE;
ROLLBACK;

-- Only in a transaction block, but in any.
LOCK cs_key."k";
SELECT pg_temp.my_locks();
LOCK cs_key."k" \; SELECT cs_held_mode('k');
BEGIN READ ONLY;
LOCK cs_key."k";
SELECT cs_held_mode('k');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE;
LOCK cs_key."k", cs_key.l IN ROW EXCLUSIVE MODE;
SELECT cs_held_mode('k'), cs_held_mode('l');
COMMIT;

-- Names are identifiers: folded to lower case unless quoted, and any characters if quoted.
SELECT pg_temp.outcome('LOCK cs_key.""');
BEGIN;
LOCK cs_key.Folded, cs_key."Quoted", cs_key.a$b, cs_key."$1", cs_key."$x$", cs_key."it's", cs_key."say ""hi""",
    cs_key."back\slash", cs_key." space ", cs_key."a.b", cs_key."%s%n", cs_key.U&"\00fc", cs_key.U&"!+01f600" UESCAPE '!',
    cs_key."new
line" IN SHARE MODE;
SELECT k, cs_held_mode(k)
FROM unnest(ARRAY['folded', 'Folded', 'Quoted', 'quoted', 'a$b', '$1', '$x$', 'it''s', 'say "hi"', 'back\slash', ' space ',
                  'space', 'a.b', '%s%n', U&'\00fc', U&'\+01f600', E'new\nline']) AS k;
SELECT pg_temp.my_locks();
ROLLBACK;

-- Several keys, each once; another table mode may be added.
BEGIN;
SET LOCAL concurrency_safe.max_keys_per_session = 3;
LOCK cs_key.a, cs_key."c", cs_key.b, cs_key.a, cs_key."a", cs_key.c;
SELECT pg_temp.my_locks();
LOCK cs_key.a, cs_key."b" IN SHARE MODE;
SELECT pg_temp.my_locks();
SELECT pg_temp.outcome('LOCK cs_key.d'), pg_temp.outcome('LOCK cs_key.d, cs_key.e'), pg_temp.my_locks();
ROLLBACK;

-- The parser cuts long identifiers. What may have been cut is refused.
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.lock_long(k text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK cs_key.%I', k);
    RETURN 'locked, ' || coalesce(cs_held_mode(k), 'but another key');
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;
BEGIN;
SELECT octet_length(k), pg_temp.lock_long(k) FROM (SELECT repeat('Kk', n / 2) || repeat('k', n % 2) FROM unnest(ARRAY[1, 58, 59, 60, 61, 62, 63, 64, 65, 200]) AS n) AS s (k);
-- The same with characters of two, three and four bytes, which are cut before a length of 63 bytes.
SELECT octet_length(k), pg_temp.lock_long(k)
FROM unnest(ARRAY[repeat(chr(233), 29), repeat(chr(233), 32), repeat(chr(8364), 19), repeat(chr(8364), 22),
                  'kk' || repeat(chr(8364), 21), 'k' || repeat(chr(8364), 21),
                  repeat(chr(128512), 14), repeat(chr(128512), 16), repeat('k', 62) || chr(233), repeat('k', 61) || chr(8364),
                  repeat('k', 60) || chr(128512), repeat('k', 60) || chr(128512) || 'k', repeat('k', 1000)]) AS k;
SELECT pg_temp.outcome(format('LOCK cs_key.U&"%s"', repeat('\00e9', 29)));
SELECT left(pg_temp.outcome(format('LOCK cs_key.U&"%s"', repeat('\00e9', 32))), 5);
SELECT left(pg_temp.outcome(format('LOCK cs_key.u&"%s!+01f600" UESCAPE ''!''', repeat('k', 60))), 5);
SELECT left(pg_temp.outcome(format('LOCK cs_key.a, cs_key.%I, cs_key.b', repeat('k', 63))), 5);
-- The rest of a name is not taken for whole because it is elsewhere in the text.
SELECT left(pg_temp.outcome(format(command, repeat('k', 60), chr(128512))), 5)
FROM unnest(ARRAY['LOCK cs_key."%1$s%2$s", cs_key."%1$s"', 'LOCK cs_key."%1$s%2$s"; LOCK cs_key."%1$s"',
                  'LOCK cs_key."%1$s%2$s" -- "%1$s"', 'LOCK cs_key."%1$s", cs_key."%1$s%2$s"']) AS command;
-- It is whole behind every qualification, after other names and with commas.
SELECT pg_temp.outcome(format('LOCK cs_key."%1$s", "cs_key" . "a,%1$s", cs_key."say ""%1$s""", %3$I . cs_key."%2$s"',
                              repeat('k', 56), repeat(chr(233), 31), current_database()));
SELECT cs_held_mode(k) FROM unnest(ARRAY['a,' || repeat('k', 56), 'say "' || repeat('k', 56) || '"', repeat(chr(233), 31)]) AS k;
LOCK cs_key."0123456789_123456789_123456789_123456789_123456789_123456789_12";
ROLLBACK;
RESET client_min_messages;

-- Keys alone, of this database alone.
SELECT current_database() AS database \gset
CREATE TEMPORARY TABLE t ();
BEGIN;
SELECT pg_temp.outcome(format('LOCK %s', tables))
FROM unnest(ARRAY['cs_key.k, t', 't, cs_key.k', 'cs_key.k, cs_key.l, nowhere', 'elsewhere.cs_key.k',
                  'cs_key.a, elsewhere.cs_key.k', 'k', '"CS_KEY".k', 'cs_keys.k', 'elsewhere.cs_keys.k']) AS tables;
LOCK :"database".cs_key.k;
SELECT cs_held_mode('k'), pg_temp.my_locks();
SET LOCAL search_path = cs_key, public, pg_temp;
SELECT pg_temp.outcome('LOCK unqualified');
ROLLBACK;
-- Tables are locked as always.
BEGIN;
LOCK t;
LOCK TABLE ONLY pg_temp.t IN ACCESS SHARE MODE NOWAIT;
SELECT mode FROM pg_locks WHERE relation = 't'::regclass ORDER BY mode;
ROLLBACK;

-- In functions, procedures and blocks; a kept plan locks again.
CREATE FUNCTION lock_k() RETURNS text LANGUAGE plpgsql
AS $$ BEGIN LOCK cs_key.k IN SHARE MODE; RETURN cs_held_mode('k'); END $$;
CREATE FUNCTION lock_in_sql() RETURNS text LANGUAGE sql
AS $$ LOCK cs_key.k, cs_key.l IN ROW SHARE MODE; SELECT cs_held_mode('k') || ', ' || cs_held_mode('l') $$;
CREATE PROCEDURE lock_twice() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 2 LOOP
        LOCK cs_key.k;
        RAISE NOTICE '%', cs_held_mode('k');
        COMMIT;
        RAISE NOTICE '%', cs_held_mode('k');
    END LOOP;
END $$;
SELECT lock_k();
SELECT lock_k();
SELECT lock_in_sql(), lock_in_sql();
SELECT pg_temp.my_locks();
CALL lock_twice();
DO $$
BEGIN
    FOR i IN 1 .. 8 LOOP
        BEGIN
            LOCK cs_key.k;
            RAISE 'round %: %', i, cs_held_mode('k');
        EXCEPTION WHEN raise_exception THEN
            RAISE NOTICE '%, then %', SQLERRM, coalesce(cs_held_mode('k'), 'released');
        END;
    END LOOP;
END $$;
SELECT pg_temp.my_locks();

DROP PROCEDURE lock_twice();
DROP FUNCTION lock_k(), lock_in_sql();
