-- How many keys one session may hold, and what ordinary roles may do. Needs a superuser.
-- Runs on any server that has the extension and pgtap:  pg_prove -d DATABASE test/pgtap/*.sql
\set ECHO none
\set QUIET 1
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true

BEGIN;
SET LOCAL client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS concurrency_safe;
SELECT plan(16);

LOAD 'concurrency_safe';
SET LOCAL concurrency_safe.max_keys_per_session = 3;
SELECT lives_ok($$ SELECT cs_lock_all(ARRAY['a', 'b', 'c']) $$, 'as many keys as the limit');
SELECT throws_ok(format('SELECT %s', call), '53400', NULL, 'one more: ' || call)
FROM unnest(ARRAY[$$cs_lock('d')$$, $$cs_try_lock('d')$$, $$cs_lock_all(ARRAY['a', 'd'])$$, $$cs_try_lock_all(ARRAY['d', 'a'])$$,
                  $$cs_try_lock_any(ARRAY['d'])$$, $$cs_lock_path('a:d')$$, $$cs_try_lock_path('a:d')$$]) AS call;
SELECT is((SELECT count(*) FROM unnest(ARRAY['d', 'a:d']) AS key WHERE cs_held_mode(key) IS NOT NULL), 0::bigint, 'and none of it is locked');
SELECT lives_ok($$ SELECT cs_lock('a'), cs_lock('b', mode => 'S'), cs_lock('c', scope => 'session') $$, 'the same keys again are not more keys');
SELECT is(cs_unlock_all(), 1, 'and can be unlocked');
SET LOCAL concurrency_safe.max_keys_per_session = -1;
SELECT lives_ok($$ SELECT cs_lock('d') $$, '-1 is no limit');

CREATE ROLE cs_pgtap_user;
SET LOCAL ROLE cs_pgtap_user;
SELECT throws_ok($$ SET concurrency_safe.max_keys_per_session = -1 $$, '42501', NULL, 'an ordinary role cannot raise the limit');
SELECT lives_ok($$ SELECT cs_lock('e') $$, 'but it may lock');
SELECT results_eq($$ SELECT mode, role, application_name FROM cs_holders('e') $$,
                  $$ VALUES ('exclusive', NULL::name, NULL::text) $$, 'and see that, not by which role, a key is held');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION cs_lock(text, integer, text, text) FROM PUBLIC;
SET LOCAL ROLE cs_pgtap_user;
SELECT throws_ok($$ SELECT cs_lock('f') $$, '42501', NULL, 'unless the right was revoked');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
