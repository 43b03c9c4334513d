-- What the views consist of: columns, comments, rights.
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
SELECT plan(36);

CREATE TEMP TABLE promised (name name, columns text);
INSERT INTO promised VALUES
    ('cs_locks', 'key text, mode text, granted boolean, scope text, pid integer, database name, role name, '
        'application_name text, wait_start timestamp with time zone, waiting_for interval, blocked_by integer[], '
        'classid oid, objid oid, objsubid integer'),
    ('cs_stat_keys', 'key text, acquired bigint, waited bigint, timed_out bigint, deadlocked bigint, '
        'wait_ms_total double precision, wait_ms_max double precision, wait_histogram bigint[], '
        'last_acquired timestamp with time zone'),
    ('cs_stat', 'acquired bigint, waited bigint, timed_out bigint, deadlocked bigint, '
        'wait_ms_total double precision, wait_ms_max double precision, wait_histogram bigint[], '
        'directory_size bigint, directory_used bigint, directory_bytes bigint, evicted bigint, unnamed bigint, '
        'collisions bigint, lock_orders bigint, lock_orders_lost bigint, stats_reset timestamp with time zone'),
    ('cs_lock_order', 'held text, taken text, held_mode text, taken_mode text, in_cycle boolean, '
        'first_seen timestamp with time zone, pid integer, role name, application_name text, query text'),
    ('cs_deadlocks', 'at timestamp with time zone, key text, mode text, pid integer, role name, '
        'application_name text, detail text, query text'),
    ('cs_leases', 'key text, token bigint, owner text, role name, granted_at timestamp with time zone, '
        'expires_at timestamp with time zone, expired boolean, payload jsonb');

GRANT SELECT ON promised TO PUBLIC;

CREATE TEMP VIEW own AS
SELECT d.classid, d.objid
FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
WHERE e.extname = 'concurrency_safe' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';

SELECT has_view(name) FROM promised ORDER BY name;
SELECT is((SELECT string_agg(format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum)
           FROM pg_attribute AS a WHERE a.attrelid = name::regclass AND a.attnum > 0), columns, 'the columns of ' || name)
FROM promised ORDER BY name;
SELECT is((SELECT string_agg(format('%s %s', u.name, format_type(u.type, NULL)), ', ' ORDER BY u.i)
           FROM pg_proc AS p, unnest(p.proargnames, p.proallargtypes, p.proargmodes) WITH ORDINALITY AS u (name, type, mode, i)
           WHERE p.oid = 'cs_holders'::regproc AND u.mode = 'o'), columns, 'cs_holders has those of cs_locks')
FROM promised WHERE name = 'cs_locks';
SELECT has_function('cs_wait_graph'::name, '{}'::name[]);
SELECT function_returns('cs_wait_graph_dot'::name, '{}'::name[], 'text');
SELECT function_returns('cs_cancel_holders'::name, ARRAY['text'], 'integer');
SELECT function_returns('cs_stat_reset'::name, '{}'::name[], 'void');

SELECT is_empty($$ SELECT relname FROM own JOIN pg_class AS c ON c.oid = objid
                   WHERE classid = 'pg_class'::regclass AND relkind = 'v' EXCEPT SELECT name FROM promised $$,
                'there are no other views');
SELECT is_empty($$ SELECT pg_describe_object(classid, objid, 0) FROM own
                   WHERE classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
                     AND coalesce(obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)), '') = '' $$,
                'every function and view has a comment');
SELECT is_empty($$ SELECT attrelid::regclass, attname FROM own JOIN pg_attribute ON attrelid = objid
                   WHERE classid = 'pg_class'::regclass AND attnum > 0
                     AND coalesce(col_description(attrelid, attnum), '') = '' $$,
                'every column of a view has a comment');
SELECT results_eq($$ SELECT name, context, unit, coalesce(short_desc, '') <> '', coalesce(extra_desc, '') <> ''
                     FROM pg_settings WHERE name LIKE 'concurrency\_safe.%' ORDER BY name COLLATE "C" $$,
                  $$ VALUES ('concurrency_safe.check_autocommit', 'user', NULL, true, true),
                            ('concurrency_safe.check_order', 'user', NULL, true, true),
                            ('concurrency_safe.check_snapshot', 'user', NULL, true, true),
                            ('concurrency_safe.deadlock_history', 'postmaster', NULL, true, true),
                            ('concurrency_safe.default_timeout', 'user', 'ms', true, true),
                            ('concurrency_safe.directory_size', 'postmaster', NULL, true, true),
                            ('concurrency_safe.key_separator', 'user', NULL, true, true),
                            ('concurrency_safe.lock_order_size', 'postmaster', NULL, true, true),
                            ('concurrency_safe.max_keys_per_session', 'superuser', NULL, true, true),
                            ('concurrency_safe.session_locks', 'user', NULL, true, true) $$,
                  'preloaded: who may change a setting and when, its unit and its description');

-- What PUBLIC may do, every role may.
SELECT is_empty($$ SELECT objid::regprocedure FROM own JOIN pg_proc AS p ON p.oid = objid
                   WHERE classid = 'pg_proc'::regclass AND proname NOT SIMILAR TO 'cs\_%\_(reset|cleanup)' AND proacl IS NOT NULL $$,
                'everybody may call every function');
SELECT function_privs_are('cs_stat_reset'::name, '{}'::name[], 'public', '{}'::name[], 'but cs_stat_reset');
SELECT function_privs_are('cs_lock_order_reset'::name, '{}'::name[], 'public', '{}'::name[], 'and cs_lock_order_reset');
SELECT function_privs_are('cs_lease_cleanup'::name, ARRAY['interval'], 'public', '{}'::name[], 'and cs_lease_cleanup');
CREATE ROLE cs_pgtap_user;
SET LOCAL ROLE cs_pgtap_user;
SELECT lives_ok('SELECT count(*) FROM ' || name, 'an ordinary role may read ' || name) FROM promised ORDER BY name;
SELECT throws_ok('SELECT cs_stat_reset()', '42501', NULL, 'and not reset the statistics');
SELECT throws_ok('SELECT cs_lock_order_reset()', '42501', NULL, 'and not forget the orders of locks');
SELECT throws_ok($$ SELECT cs_lease_cleanup('0') $$, '42501', NULL, 'and not clean leases up');
SELECT throws_ok('SELECT cs_cancel_holders(NULL)', '22004', NULL, 'the holders of no key cannot be cancelled');
SELECT is(cs_cancel_holders('cs:free'), 0, 'those of a free key are none');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
