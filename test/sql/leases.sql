--
-- Leases in one session: arguments, tokens, renewal, release, check, cleanup, and what transactions make of them.
-- Tokens are shown relative to the first one of their key.
--
\pset null null

CREATE TABLE first_token (key text PRIMARY KEY, token bigint NOT NULL);
CREATE FUNCTION n(which text, token bigint) RETURNS bigint LANGUAGE sql
AS $$ SELECT $2 - f.token + 1 FROM first_token AS f WHERE f.key = which $$;
-- SQLSTATE, message and detail, with what differs from run to run taken out.
CREATE FUNCTION fails(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail text;
BEGIN
    EXECUTE command;
    RETURN 'does not fail';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
    RETURN sqlstate || ': ' || regexp_replace(regexp_replace(sqlerrm || coalesce(nullif(' / ' || detail, ' / '), ''),
        '\d{13,}', 'N', 'g'), 'at \d{4}-.*\.$', 'at T.');
END $$;

-- Arguments.
SELECT call, fails('SELECT ' || call) FROM (VALUES
    (1, 'cs_lease(NULL, 1)'), (2, 'cs_lease('''', 1)'), (3, 'cs_lease(repeat(''x'', 1025), 1)'),
    (4, 'cs_lease(''k'', NULL)'), (5, 'cs_lease(''k'', 0)'), (6, 'cs_lease(''k'', -1)'),
    (7, 'cs_lease(''k'', 1, timeout_ms => -2)'),
    (11, 'cs_renew_lease(NULL, 1, 1)'), (12, 'cs_renew_lease('''', 1, 1)'), (13, 'cs_renew_lease(''k'', NULL, 1)'),
    (14, 'cs_renew_lease(''k'', 1, NULL)'), (15, 'cs_renew_lease(''k'', 1, 0)'),
    (21, 'cs_release_lease(NULL, 1)'), (22, 'cs_release_lease('''', 1)'), (23, 'cs_release_lease(''k'', NULL)'),
    (31, 'cs_check_token(NULL, 1)'), (32, 'cs_check_token('''', 1)'), (33, 'cs_check_token(''k'', NULL)'),
    (41, 'cs_lease_cleanup(NULL)'), (42, 'cs_lease_cleanup(''-1 s'')'), (43, 'cs_lease_cleanup(''-1 us'')'),
    (44, 'cs_lease_cleanup(''300000 years'')')) AS c (i, call)
ORDER BY i;
SELECT count(*) AS rows FROM cs_lease_table;
SELECT count(*) AS locks FROM pg_locks WHERE locktype IN ('advisory', 'userlock');

-- The first token of a key is one above the timeline; a key of the greatest size, one of odd characters.
SELECT cs_lease('job', 3600000, 'me', payload => '{"a": 1}') AS token \gset
INSERT INTO first_token VALUES ('job', :token);
SELECT :token >> 40 = timeline_id AS timeline, :token & ((1::bigint << 40) - 1) AS counter FROM pg_control_checkpoint();
SELECT cs_lease(repeat('é', 512), 3600000) = cs_lease(E'a\nb ', 2147483647) AS both;
SELECT octet_length(key), owner, expired, payload, expires_at - granted_at AS ttl FROM cs_leases ORDER BY 1;
SELECT key, owner, role = current_user AS role, granted_at <= now() AS granted, expired, payload FROM cs_leases WHERE owner = 'me';

-- One at a time, whoever asks.
SELECT cs_lease('job', 1, 'me') AS held, cs_lease('job', 1, 'me', 1) AS "still held",
       cs_lease('job', 1, 'me', 1) AS "and again";
SET lock_timeout = 1;
SELECT cs_lease('job', 1, timeout_ms => -1) AS "lock_timeout ends a wait without limit";
RESET lock_timeout;
SET concurrency_safe.default_timeout = 1;
SELECT cs_lease('job', 1, timeout_ms => NULL) AS "the default timeout";
RESET concurrency_safe.default_timeout;

-- With the token alone: it is checked, renewed, released.
SELECT cs_check_token('job', :token) AS "no error";
SELECT cs_renew_lease('job', :token + 1, 1000), cs_renew_lease('job', :token - 1, 1000), cs_renew_lease('job', 0, 1000),
       cs_renew_lease('other', :token, 1000);
SELECT cs_renew_lease('job', :token, 7200000);
SELECT expires_at - now() BETWEEN '1 hour' AND '3 hours' AS renewed, owner, payload FROM cs_leases WHERE key = 'job';
SELECT cs_release_lease('job', :token + 1), cs_release_lease('other', :token);
SELECT cs_release_lease('job', :token), cs_release_lease('job', :token) AS again, cs_renew_lease('job', :token, 1000) AS renewed;
SELECT count(*) FROM cs_leases WHERE key = 'job';

-- The next token is higher; owner and payload are those of the new lease.
SELECT n('job', cs_lease('job', 3600000));
SELECT owner, payload FROM cs_leases WHERE key = 'job';

-- Why a token is refused.
SELECT fails($$ SELECT cs_check_token('nobody', 1) $$);
SELECT fails(format('SELECT cs_check_token(%L, %s)', 'job', :token));
SELECT fails(format('SELECT cs_check_token(%L, %s)', 'job', :token + 2));
SELECT cs_release_lease('job', :token + 1);
SELECT fails(format('SELECT cs_check_token(%L, %s)', 'job', :token + 1));
SELECT n('job', cs_lease('job', 1, timeout_ms => 60000)) AS short, n('job', cs_lease('job', 1, timeout_ms => 60000)) AS "waits for its end",
       n('job', cs_lease('job', 1, timeout_ms => 60000)) AS "once more";
SELECT n('job', cs_lease('job', 20, timeout_ms => 60000)) AS "expires soon";
SELECT pg_sleep_for(expires_at - clock_timestamp() + interval '2 ms') FROM cs_leases WHERE key = 'job';
SELECT expired FROM cs_leases WHERE key = 'job';
SELECT fails(format('SELECT cs_check_token(%L, %s)', 'job', :token + 5));
SELECT cs_renew_lease('job', :token + 5, 1000) AS "renewed after its end", cs_release_lease('job', :token + 5) AS released;

-- Errors name the key, with control characters escaped.
SELECT cs_check_token(E'a\nb', 1);

-- A rollback takes back grant, renewal and release; the token was never valid and may come again.
BEGIN;
SELECT n('job', cs_lease('job', 3600000));
ROLLBACK;
SELECT fails(format('SELECT cs_check_token(%L, %s)', 'job', :token + 6));
SELECT n('job', cs_lease('job', 3600000));
BEGIN;
SELECT cs_release_lease('job', :token + 6);
SELECT n('job', cs_lease('job', 3600000)), n('job', cs_lease('job', 3600000));
ROLLBACK;
SELECT cs_check_token('job', :token + 6);
BEGIN;
SAVEPOINT a;
SELECT cs_release_lease('job', :token + 6);
SAVEPOINT b;
SELECT n('job', cs_lease('job', 3600000, 'b'));
SELECT cs_renew_lease('job', :token + 7, 1);
ROLLBACK TO b;
SELECT n('job', cs_lease('job', 3600000, 'b2'));
RELEASE b;
SELECT owner FROM cs_leases WHERE key = 'job';
ROLLBACK TO a;
SELECT cs_check_token('job', :token + 6);
SELECT owner FROM cs_leases WHERE key = 'job';
COMMIT;
SELECT cs_check_token('job', :token + 6);

-- The locks beside it: of the kind "userlock", until the (sub)transaction ends.
BEGIN;
SAVEPOINT a;
SELECT cs_check_token('job', :token + 6), cs_renew_lease('job', :token + 6, 3600000);
SELECT mode, granted, objsubid < 0 OR objsubid > 32767 AS own FROM pg_locks WHERE locktype = 'userlock' ORDER BY mode;
ROLLBACK TO a;
SELECT count(*) FROM pg_locks WHERE locktype = 'userlock';
SELECT cs_lease('other', 1) IS NOT NULL;
SELECT mode, granted FROM pg_locks WHERE locktype = 'userlock';
COMMIT;
-- A try that gets nothing keeps nothing.
BEGIN;
SELECT cs_lease('job', 1), cs_lease('job', 1, timeout_ms => 5), cs_renew_lease('job', 1, 1), cs_release_lease('job', 1);
SELECT count(*) FROM pg_locks WHERE locktype = 'userlock';
COMMIT;

-- Several calls in one statement, over a set, and in functions, triggers and DO.
SELECT count(DISTINCT t), count(*) FROM (SELECT cs_lease('set:' || i % 5, 3600000) AS t, i FROM generate_series(1, 20) AS i) AS s;
SELECT count(t) AS granted FROM (SELECT cs_lease('set:' || i, 3600000) AS t FROM generate_series(1, 9) AS i OFFSET 0) AS s;
SELECT bool_and(cs_release_lease(key, token)) FROM cs_leases WHERE key LIKE 'set:%';
CREATE TABLE work (key text, token bigint, n integer);
CREATE FUNCTION fence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cs_check_token(new.key, new.token);
    RETURN new;
END $$;
CREATE TRIGGER fence BEFORE INSERT OR UPDATE ON work FOR EACH ROW EXECUTE FUNCTION fence();
INSERT INTO work VALUES ('job', :token + 6, 1), ('job', :token + 6, 2);
SELECT fails(format('INSERT INTO work SELECT ''job'', %s + i, i FROM generate_series(1, 2) AS i', :token + 5));
SELECT fails(format('UPDATE work SET token = %s, n = n + 10', :token + 5));
SELECT key, n('job', token) AS token, work.n FROM work ORDER BY work.n;
DO $$
DECLARE
    mine bigint;
    last bigint := 0;
BEGIN
    FOR i IN 1 .. 100 LOOP
        BEGIN
            mine := cs_lease('loop', 3600000);
            IF mine <= last OR NOT cs_renew_lease('loop', mine, 1000 * i) OR NOT cs_release_lease('loop', mine) THEN
                RAISE 'wrong: % after %', mine, last;
            END IF;
            IF i % 3 = 0 THEN
                RAISE division_by_zero;
            END IF;
            last := mine;
        EXCEPTION WHEN division_by_zero THEN
        END;
    END LOOP;
    RAISE NOTICE 'granted % times', last & 1023;
END $$;

-- REPEATABLE READ and SERIALIZABLE: what others committed counts, and so does what is written here.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM work;
SELECT cs_check_token('job', :token + 6), cs_renew_lease('job', :token + 6, 3600000), cs_release_lease('job', :token + 6);
SELECT n('job', cs_lease('job', 3600000));
SELECT cs_check_token('job', :token + 7);
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT cs_check_token('job', :token + 7), cs_renew_lease('job', :token + 7, 3600000), cs_release_lease('job', :token + 7);
SELECT n('job', cs_lease('job', 3600000));
SELECT cs_check_token('job', :token + 8);
COMMIT;
SELECT cs_check_token('job', :token + 8);

-- Read-only transactions: only the check writes nothing.
BEGIN READ ONLY;
SELECT fails('SELECT cs_lease(''k'', 1)');
SELECT fails('SELECT cs_renew_lease(''k'', 1, 1)');
SELECT fails('SELECT cs_release_lease(''k'', 1)');
SELECT fails('SELECT cs_lease_cleanup(''1 s'')');
SELECT cs_check_token('job', :token + 8);
COMMIT;

-- A big payload, which the table keeps beside the row: it stays whole.
CREATE TABLE big (payload jsonb);
ALTER TABLE big ALTER payload SET STORAGE EXTERNAL;
INSERT INTO big SELECT to_jsonb(string_agg(md5(i::text), '' ORDER BY i)) FROM generate_series(1, 10000) AS i;
SELECT cs_lease('big', 3600000, payload => payload) AS big FROM big \gset
DROP TABLE big;
SELECT length(payload #>> '{}'), md5(payload #>> '{}') FROM cs_leases WHERE key = 'big';
DO $$
BEGIN
    FOR i IN 1 .. 50 LOOP
        IF NOT cs_renew_lease('big', (SELECT token FROM cs_leases WHERE key = 'big'), 3600000) THEN
            RAISE 'lost';
        END IF;
    END LOOP;
END $$;
SELECT length(payload #>> '{}'), md5(payload #>> '{}') FROM cs_leases WHERE key = 'big';
SELECT cs_release_lease('big', :big);
SELECT cs_lease('big', 3600000, payload => '[]') - :big AS next;
SELECT payload FROM cs_leases WHERE key = 'big';

-- Cleanup removes what ended long enough ago; tokens of its keys go on growing.
SELECT count(*) AS held FROM cs_leases WHERE NOT expired;
SELECT cs_lease_cleanup('1 hour') AS "nothing is that old";
SELECT pg_sleep_for(max(expires_at) - clock_timestamp() + interval '2 ms') IS NOT NULL AS slept FROM cs_leases WHERE key = 'other';
SELECT count(*) AS ended FROM cs_lease_table WHERE key <> '' AND (released OR expires_at <= clock_timestamp()) \gset
SELECT cs_lease_cleanup('0') = :ended AS "all that ended", cs_lease_cleanup('0') AS again;
SELECT count(*) AS held FROM cs_leases;
SELECT cs_check_token('job', :token + 8);
SELECT fails('SELECT cs_check_token(''loop'', 1)');
SELECT token >= (SELECT token FROM first_token) AS remembered, key = '' AS empty_key, released FROM cs_lease_table WHERE key = '';
SELECT min(t) > (SELECT token FROM cs_lease_table WHERE key = '') AS above, count(DISTINCT t) AS tokens, count(*)
FROM (SELECT cs_lease(k, 3600000) AS t FROM unnest('{loop,set:1,never}'::text[]) AS k OFFSET 0) AS s;
-- A lease counts as a key, once a transaction; cs_lease_cleanup does what is possible.
SELECT bool_and(cs_release_lease(key, token)) FROM cs_leases;
SET concurrency_safe.max_keys_per_session = 3;
BEGIN;
SELECT cs_lock('x');
SELECT count(cs_lease('limit', 3600000)), count(cs_lease('limit', 3600000));
SELECT cs_check_token(key, token), cs_renew_lease(key, token, 3600000), cs_check_token(key, token) FROM cs_leases;
SAVEPOINT s;
SELECT cs_lease('one more', 3600000) > 0 AS one_more;
ROLLBACK TO s;
SELECT cs_lease('another one', 3600000) > 0 AS another_one;
SELECT cs_lease('too many', 3600000);
ROLLBACK;
SELECT cs_lease('job', 3600000) AS token \gset
BEGIN;
SELECT cs_check_token('job', :token);
SELECT cs_lock(k) FROM unnest('{x,y}'::text[]) AS k;
SELECT cs_renew_lease('job', :token, 3600000), cs_release_lease('job', :token);
SELECT cs_lease('job', 3600000) > :token AS granted_again;
SELECT cs_lock('z');
ROLLBACK;
SELECT cs_release_lease('job', :token);
BEGIN;
SELECT cs_lock(k) FROM unnest('{x,y,z}'::text[]) AS k;
SELECT cs_lease_cleanup('0');
ROLLBACK;
SELECT cs_lease_cleanup('0');
SELECT cs_lease_cleanup('0');
RESET concurrency_safe.max_keys_per_session;
BEGIN;
SELECT cs_lease_cleanup('0') > 0 AS removed;
SELECT count(*) FROM cs_lease_table WHERE key <> '';
ROLLBACK;
SELECT count(*) > 0 AS "back again" FROM cs_lease_table WHERE key <> '';
SELECT n('job', cs_lease('job', 1)) AS job;
SELECT cs_lease_cleanup('0') > 0 AS removed;
SELECT count(*) AS locks FROM pg_locks WHERE locktype IN ('advisory', 'userlock');

-- The row that remembers tokens was deleted: a cleanup writes a new one.
SELECT cs_lease('kept', 3600000) AS token \gset
SELECT cs_release_lease('kept', :token);
DELETE FROM cs_lease_table WHERE key = '';
SELECT cs_lease_cleanup('0') > 0 AS removed;
SELECT token - :token AS same, owner FROM cs_lease_table WHERE key = '';
SELECT cs_lease('kept', 1) > :token AS above;
-- A permit of the key has nothing to do with its lease.
BEGIN;
SELECT cs_lease('both', 3600000) > 0 AS granted;
SELECT cs_try_permit('both', 1);
SELECT mode, granted FROM cs_holders('both');
ROLLBACK;

-- A table that this library does not know.
BEGIN;
ALTER TABLE cs_lease_table ADD COLUMN more integer;
SELECT cs_lease('job', 1);
ROLLBACK;

DROP TABLE work, first_token;
DROP FUNCTION fence(), fails(text), n(text, bigint);
