-- The contract of the lock functions, as far as one session can see it.
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
SELECT plan(60);
-- All in one transaction: keys are locked one by one, in any order.
SET LOCAL concurrency_safe.check_order = off;

CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- cs_lock, cs_try_lock
SELECT lives_ok($$ SELECT cs_lock('order:1') $$, 'cs_lock locks a key');
SELECT is(cs_held_mode('order:1'), 'exclusive', 'in exclusive mode');
SELECT is(cs_held_mode('order:2'), NULL, 'and no other');
SELECT ok(cs_try_lock('order:1'), 'a key of one''s own can be locked again');
SELECT ok(cs_try_lock('order:2', 10, 'shared', 'transaction'), 'cs_try_lock with all arguments');
SELECT is(cs_held_mode('order:2'), 'shared', 'takes the mode it is told');
SELECT is(pg_temp.my_locks(), 2::bigint, 'one lock for each key');
SELECT throws_ok($$ SELECT cs_lock(NULL) $$, '22004', NULL, 'a null key is an error');
SELECT throws_ok($$ SELECT cs_try_lock(NULL) $$, '22004', NULL, 'for cs_try_lock as well');
SELECT throws_ok($$ SELECT cs_lock('') $$, '22023', NULL, 'so is an empty key');
SELECT throws_ok($$ SELECT cs_lock(repeat('k', 1025)) $$, '54000', NULL, 'and one of more than 1024 bytes');
SELECT lives_ok($$ SELECT cs_lock(repeat('k', 1024)) $$, '1024 bytes are fine');
SELECT throws_ok($$ SELECT cs_lock('k', -2) $$, '22023', NULL, 'a timeout below -1 is an error');
SELECT lives_ok($$ SELECT cs_lock('k', -1), cs_lock('k', 0), cs_lock('k', NULL) $$, '-1, 0 and null are not');
SELECT throws_ok($$ SELECT cs_lock('k', mode => 'Exclusive') $$, '22023', NULL, 'names of modes are exact');
SELECT throws_ok($$ SELECT cs_lock('k', mode => NULL) $$, '22004', NULL, 'a null mode is an error');
SELECT throws_ok($$ SELECT cs_lock('k', scope => 'forever') $$, '22023', NULL, 'so is an unknown scope');
SELECT throws_ok($$ SELECT cs_lock('k', scope => NULL) $$, '22004', NULL, 'and a null scope');

-- Modes
SELECT results_eq(
    $$ SELECT cs_lock('mode ' || mode, mode => mode)::text, cs_held_mode('mode ' || mode)
       FROM unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS mode $$,
    $$ VALUES ('', 'intent shared'), ('', 'intent exclusive'), ('', 'shared'), ('', 'shared intent exclusive'), ('', 'exclusive') $$,
    'every mode has a short and a long name');
SELECT cs_lock('k', mode => 'IS') \g /dev/null
SELECT is(cs_held_mode('k'), 'exclusive', 'cs_held_mode tells the strongest mode');

-- cs_lock_all, cs_try_lock_all
SELECT lives_ok($$ SELECT cs_lock_all(ARRAY['b', 'a', 'b']) $$, 'cs_lock_all folds duplicates');
SELECT is(cs_held_mode('a') || cs_held_mode('b'), 'exclusiveexclusive', 'and locks every key');
SELECT ok(cs_try_lock_all(ARRAY['c', 'a'], 10, 'shared', 'transaction'), 'cs_try_lock_all');
SELECT lives_ok($$ SELECT cs_lock_all('{}') $$, 'an empty array is nothing to do');
SELECT ok(cs_try_lock_all('{}'), 'which is success');
SELECT throws_ok($$ SELECT cs_lock_all(NULL) $$, '22004', NULL, 'a null array is an error');
SELECT throws_ok($$ SELECT cs_try_lock_all(ARRAY['d', NULL]) $$, '22004', NULL, 'so is a null in it');
SELECT throws_ok($$ SELECT cs_lock_all(ARRAY[['d'], ['e']]) $$, '22023', NULL, 'and a second dimension');
SELECT is(cs_held_mode('d'), NULL, 'an error locks nothing');

-- cs_try_lock_any
SELECT is(cs_try_lock_any(ARRAY['job:2', 'job:1', 'job:3']), ARRAY['job:2'], 'cs_try_lock_any takes one key');
SELECT is(cs_try_lock_any(ARRAY['job:3', 'job:1'], 5, 'shared', 'transaction'), ARRAY['job:3', 'job:1'], 'or more, in array order');
SELECT is(cs_try_lock_any('{}'), '{}'::text[], 'or none');
SELECT throws_ok($$ SELECT cs_try_lock_any(ARRAY['a'], 0) $$, '22023', NULL, 'but it must be asked for one at least');
SELECT throws_ok($$ SELECT cs_try_lock_any(NULL) $$, '22004', NULL, 'from an array that is not null');

-- cs_lock_path, cs_try_lock_path
SELECT lives_ok($$ SELECT cs_lock_path('org:1:acct:7') $$, 'cs_lock_path');
SELECT results_eq(
    $$ SELECT cs_held_mode(key) FROM unnest(ARRAY['org', 'org:1', 'org:1:acct', 'org:1:acct:7']) AS key $$,
    $$ VALUES ('intent exclusive'), ('intent exclusive'), ('intent exclusive'), ('exclusive') $$,
    'locks the ancestors in intent mode');
SELECT ok(cs_try_lock_path('dept:1', 10, 'shared', 'transaction'), 'cs_try_lock_path');
SELECT is(cs_held_mode('dept'), 'intent shared', 'for reading as well');
SELECT throws_ok($$ SELECT cs_lock_path('org::7') $$, '22023', NULL, 'an empty segment is an error');
SELECT throws_ok($$ SELECT cs_try_lock_path(':org') $$, '22023', NULL, 'at the beginning, too');
SELECT throws_ok($$ SELECT cs_lock_path(NULL) $$, '22004', NULL, 'and so is a null path');
SET LOCAL concurrency_safe.key_separator = '/';
SELECT cs_lock_path('x/y:z') \g /dev/null
SELECT is(cs_held_mode('x') || ', ' || cs_held_mode('x/y:z'), 'intent exclusive, exclusive', 'the separator can be set');
RESET concurrency_safe.key_separator;

-- Savepoints
SAVEPOINT s;
SELECT cs_lock('after') \g /dev/null
ROLLBACK TO s;
SELECT is(cs_held_mode('after'), NULL, 'a rollback to a savepoint frees what came after it');

-- Session scope
SELECT lives_ok($$ SELECT cs_lock('s', scope => 'session'), cs_lock('s', scope => 'session') $$, 'session scope');
SET LOCAL client_min_messages = error;
SELECT ok(cs_unlock('s') AND cs_held_mode('s') IS NOT NULL, 'counts');
SELECT ok(cs_unlock('s') AND cs_held_mode('s') IS NULL, 'and ends with as many unlocks');
SELECT ok(NOT cs_unlock('s'), 'cs_unlock says when there is nothing to unlock');
SELECT ok(NOT cs_unlock('order:1'), 'which is so in transaction scope');
SELECT throws_ok($$ SELECT cs_unlock(NULL) $$, '22004', NULL, 'a null key is an error there, too');
SELECT cs_lock_path('p:q', scope => 'session') \g /dev/null
SELECT ok(cs_unlock_path('p:q') AND cs_held_mode('p') IS NULL, 'cs_unlock_path');
SELECT ok(NOT cs_unlock_path('p:q'), 'only once');
SET LOCAL client_min_messages = warning;
SELECT cs_lock_all(ARRAY['u', 'v'], scope => 'session'), cs_lock('u', scope => 'session') \g /dev/null
SELECT is(cs_unlock_all(), 3, 'cs_unlock_all counts every hold');
SELECT is(cs_held_mode('order:1'), 'exclusive', 'and leaves transaction scope alone');
SET LOCAL concurrency_safe.session_locks = off;
SELECT throws_ok($$ SELECT cs_lock('s', scope => 'session') $$, '55000', NULL, 'session scope can be switched off');

-- cs_key_tag, cs_holders
SELECT results_eq(
    $$ SELECT count(*) FROM pg_locks JOIN cs_key_tag('order:1') USING (classid, objid, objsubid) WHERE pid = pg_backend_pid() $$,
    $$ VALUES (1::bigint) $$, 'cs_key_tag finds the lock of a key in pg_locks');
SELECT ok(objsubid < 0, 'apart from those of pg_advisory_lock') FROM cs_key_tag('order:1');
SELECT throws_ok($$ SELECT cs_key_tag(NULL) $$, '22004', NULL, 'a null key has no tag');
SELECT results_eq($$ SELECT key, mode, granted, scope, pid FROM cs_holders('order:2') $$,
    $$ VALUES ('order:2', 'shared', true, 'transaction', pg_backend_pid()) $$, 'cs_holders shows who holds a key');
SELECT is_empty($$ SELECT * FROM cs_holders('nobody''s') $$, 'or that nobody does');
SELECT throws_ok($$ SELECT * FROM cs_holders('') $$, '22023', NULL, 'for keys that can be keys');

SELECT * FROM finish();
ROLLBACK;
