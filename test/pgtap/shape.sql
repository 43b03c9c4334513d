-- What the extension consists of: names, arguments, defaults and comments.
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
SELECT plan(58);

SELECT has_extension('concurrency_safe');

CREATE TEMP TABLE promised (name name, arguments text[], result text);
INSERT INTO promised VALUES
    ('cs_lock', '{text,integer,text,text}', 'void'),
    ('cs_try_lock', '{text,integer,text,text}', 'boolean'),
    ('cs_lock_all', '{text[],integer,text,text}', 'void'),
    ('cs_try_lock_all', '{text[],integer,text,text}', 'boolean'),
    ('cs_try_lock_any', '{text[],integer,text,text}', 'text[]'),
    ('cs_lock_path', '{text,integer,text,text}', 'void'),
    ('cs_try_lock_path', '{text,integer,text,text}', 'boolean'),
    ('cs_permit', '{text,integer,integer}', 'void'),
    ('cs_try_permit', '{text,integer,integer}', 'boolean'),
    ('cs_unlock', '{text,text}', 'boolean'),
    ('cs_unlock_path', '{text,text}', 'boolean'),
    ('cs_unlock_all', '{}', 'integer'),
    ('cs_held_mode', '{text}', 'text'),
    ('cs_cancel_holders', '{text}', 'integer'),
    ('cs_lock_order_reset', '{}', 'void'),
    ('cs_wait_graph_dot', '{}', 'text'),
    ('cs_lease', '{text,integer,text,integer,jsonb}', 'bigint'),
    ('cs_renew_lease', '{text,bigint,integer}', 'boolean'),
    ('cs_release_lease', '{text,bigint}', 'boolean'),
    ('cs_check_token', '{text,bigint}', 'void'),
    ('cs_lease_cleanup', '{interval}', 'bigint');

SELECT function_returns(name, arguments, result) FROM promised ORDER BY name;
SELECT isnt_strict(name, arguments) FROM promised ORDER BY name;
SELECT has_function('cs_key_tag'::name, ARRAY['text']);
SELECT has_function('cs_holders'::name, ARRAY['text']);
SELECT is_procedure('cs_transfer'::name, ARRAY['regclass', 'text', 'text', 'numeric', 'integer', 'name', 'name', 'numeric', 'numeric']);
SELECT is_procedure('cs_run'::name, ARRAY['text', 'text', 'text[]', 'integer', 'integer', 'integer', 'integer', 'text', 'text', 'text', 'integer']);
SELECT function_returns('cs_key'::name, ARRAY['text', 'anyelement'], 'text');
SELECT function_returns('cs_guard'::name, '{}'::name[], 'trigger');
SELECT is_empty(
    $$ SELECT p.name FROM promised AS p JOIN pg_proc ON proname = name
       WHERE (provolatile, proparallel) <> ('v', 'u') $$,
    'all of them are volatile and parallel unsafe');
SELECT is_empty(
    $$ SELECT d.objid::regprocedure FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
       WHERE e.extname = 'concurrency_safe' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
         AND d.classid = 'pg_proc'::regclass AND obj_description(d.objid, 'pg_proc') IS NULL $$,
    'every function has a comment');
SELECT columns_are('cs_leases'::name,
    ARRAY['key', 'token', 'owner', 'role', 'granted_at', 'expires_at', 'expired', 'payload']);
SELECT table_privs_are('cs_leases', 'public', ARRAY['SELECT'], 'everybody may look at leases');
SELECT table_privs_are('cs_lease_table', 'public', ARRAY[]::text[], 'and nobody at the table');
SELECT is(cs_held_mode('any call loads the library'), NULL, 'nothing is locked at first');
SELECT results_eq(
    $$ SELECT name, boot_val, context FROM pg_settings
       WHERE name IN ('concurrency_safe.default_timeout', 'concurrency_safe.key_separator',
                      'concurrency_safe.max_keys_per_session', 'concurrency_safe.session_locks') ORDER BY name COLLATE "C" $$,
    $$ VALUES ('concurrency_safe.default_timeout', '3000', 'user'), ('concurrency_safe.key_separator', ':', 'user'),
              ('concurrency_safe.max_keys_per_session', '0', 'superuser'), ('concurrency_safe.session_locks', 'on', 'user') $$,
    'the settings, their defaults and who may change them');
SELECT throws_ok($$ SET concurrency_safe.key_separator = '' $$, '22023', NULL, 'the separator cannot be empty');
SELECT throws_ok($$ SET concurrency_safe.default_timeout = -2 $$, '22023', NULL, 'nor the default timeout below -1');

SELECT * FROM finish();
ROLLBACK;
