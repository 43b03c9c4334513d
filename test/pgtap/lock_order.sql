-- What check_order makes of the locks of one session: which requests are an
-- order, which orders are a cycle, and what the view shows. At error, where a
-- cycle is an answer that SQL can see; other levels, several sessions and the log
-- are in test/t/034_lock_order.pl. For a server of its own that has preloaded the
-- library: it resets the orders.
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
SELECT plan(270);
SET LOCAL concurrency_safe.check_order = error;

-- Evaluates expressions one after the other, then undoes them, as the end of a
-- transaction would. Returns the cycle that was reported, or null.
CREATE FUNCTION pg_temp.cycle(VARIADIC expressions text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    expression text;
BEGIN
    FOREACH expression IN ARRAY expressions LOOP
        EXECUTE regexp_replace(expression, '^\s*(?=cs_)', 'SELECT ');
    END LOOP;
    RAISE EXCEPTION USING ERRCODE = 'CS000';
EXCEPTION
    WHEN SQLSTATE 'CS000' THEN RETURN NULL;
    WHEN object_not_in_prerequisite_state THEN
        RETURN replace(SQLERRM, 'keys are locked in orders that can deadlock: ', '');
END $$;

-- The same for keys that cs_lock takes one by one.
CREATE FUNCTION pg_temp.one_by_one(VARIADIC keys text[]) RETURNS text LANGUAGE sql AS
$$ SELECT pg_temp.cycle(VARIADIC array_agg(format('cs_lock(%L)', key) ORDER BY i)) FROM unnest(keys) WITH ORDINALITY AS k (key, i) $$;

-- All orders since the last call, and forgets them.
CREATE FUNCTION pg_temp.orders() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    orders text;
BEGIN
    SELECT coalesce(string_agg(held || '>' || taken, ' ' ORDER BY held COLLATE "C", taken COLLATE "C"), 'none') INTO orders
    FROM (SELECT DISTINCT held, taken FROM cs_lock_order) AS o;
    PERFORM cs_lock_order_reset();
    RETURN orders;
END $$;

CREATE FUNCTION pg_temp.my_locks() RETURNS bigint LANGUAGE sql AS
$$ SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() $$;

-- Keys of a class in the order in which cs_lock_all takes them.
CREATE FUNCTION pg_temp.in_tag_order(class text, number integer) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(class || ':' || i ORDER BY classid::bigint, objid::bigint, objsubid)
    FROM generate_series(1, number) AS i, cs_key_tag(class || ':' || i)
$$;

-- Settings
SELECT results_eq($$ SELECT name, boot_val, vartype, context, enumvals, min_val, max_val FROM pg_settings
                     WHERE name IN ('concurrency_safe.check_order', 'concurrency_safe.lock_order_size') ORDER BY name $$,
                  $$ VALUES ('concurrency_safe.check_order', 'log', 'enum', 'user', '{off,log,warning,error}'::text[], NULL, NULL),
                            ('concurrency_safe.lock_order_size', '1000', 'integer', 'postmaster', NULL, '16', '32767') $$, 'two settings');
SELECT throws_ok($$ SET concurrency_safe.check_order = 'on' $$, '22023', NULL, 'no other value is allowed');

-- Two classes in both orders
SELECT lives_ok('SELECT cs_lock_order_reset()', 'a superuser may reset the orders');
SELECT is_empty('TABLE cs_lock_order', 'none is left');
SELECT is(pg_temp.one_by_one('account:1', 'stock:1'), NULL, 'one order');
SELECT results_eq($$ SELECT held, taken, held_mode, taken_mode, in_cycle, pid, role, application_name, query FROM cs_lock_order $$,
                  format($$ VALUES ('account', 'stock', 'exclusive', 'exclusive', false, pg_backend_pid(), current_user::name, %L,
                         'SELECT is(pg_temp.one_by_one(''account:1'', ''stock:1''), NULL, ''one order'');') $$, current_setting('application_name')),
                  'is remembered, with who took it');
SELECT ok(first_seen BETWEEN now() AND clock_timestamp(), 'and when') FROM cs_lock_order;
SELECT is((SELECT (lock_orders, lock_orders_lost)::text FROM cs_stat), '(1,0)', 'cs_stat counts it');
SELECT is(pg_temp.one_by_one('account:2', 'stock:2', 'stock:2'), NULL, 'other keys of the same classes are the same order');
SELECT is(pg_temp.one_by_one('stock:3', 'account:3'), '"stock" -> "account" -> "stock"', 'the other order is a cycle');
SELECT results_eq('SELECT held, taken, in_cycle FROM cs_lock_order', $$ VALUES ('account', 'stock', true), ('stock', 'account', true) $$,
                  'of which both are a part');
SELECT is(pg_temp.one_by_one('stock:1', 'account:1'), NULL, 'it is reported once');
SELECT is(pg_temp.one_by_one('account:1', 'stock:1'), NULL, 'whichever order comes next');
SELECT is(pg_temp.orders(), 'account>stock stock>account', 'nor is an order remembered twice');
SELECT is(pg_temp.one_by_one('stock:1', 'account:1'), NULL, 'after a reset this is the first one');
SELECT is(pg_temp.one_by_one('account:1', 'stock:1'), '"account" -> "stock" -> "account"', 'and the other closes the cycle anew');

-- An error comes before the lock: none of the call is held, in whatever scope, or counted.
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');
SELECT is(pg_temp.one_by_one('a:1', 'b:1'), NULL, 'a before b');
SELECT lives_ok($$ SELECT cs_lock('b:1', scope => 'session') $$, 'b is held');
CREATE TEMP TABLE before AS SELECT acquired, waited, timed_out FROM cs_stat;
SELECT throws_ok($$ SELECT cs_lock_all(ARRAY['a:1', 'a:2', 'c:1'], scope => 'session') $$, '55000',
                 'keys are locked in orders that can deadlock: "b" -> "a" -> "b"', 'three keys that nobody may wait for');
SELECT is((cs_held_mode('a:1'), cs_held_mode('a:2'), cs_held_mode('c:1'), pg_temp.my_locks())::text, '(,,,1)', 'none is locked');
SELECT results_eq('SELECT acquired, waited, timed_out FROM cs_stat', 'TABLE before', 'or counted');
SELECT lives_ok($$ SELECT cs_lock_all(ARRAY['a:1', 'a:2', 'c:1'], scope => 'session') $$, 'a retry goes through');
SELECT is(cs_unlock_all() || pg_temp.orders(), '4a>b b>a b>c', 'with all that was asked for');

-- Cycles of up to eight classes, each reported once
CREATE FUNCTION pg_temp.ring(size integer, round integer) RETURNS text[] LANGUAGE sql AS $$
    SELECT array_agg(pg_temp.one_by_one(format('%s of %s:%s', i, size, round), format('%s of %s:%s', i % size + 1, size, round)) ORDER BY i)
    FROM generate_series(1, size) AS i
$$;
SELECT is(pg_temp.ring(size, 1), array_fill(NULL::text, ARRAY[size - 1])
          || (SELECT format('"%s of %s" -> ', size, size) || string_agg(format('"%s of %s"', i, size), ' -> ' ORDER BY i) FROM generate_series(1, size) AS i),
          'a cycle of ' || size)
FROM generate_series(2, 8) AS size;
SELECT is(pg_temp.ring(size, 2), array_fill(NULL::text, ARRAY[size]), 'reported once') FROM generate_series(2, 8) AS size;
SELECT is(pg_temp.ring(9, 1), array_fill(NULL::text, ARRAY[9]), 'a cycle of 9 is too long');
SELECT results_eq($$ SELECT right(held, 1)::integer, count(*), bool_and(in_cycle) FROM cs_lock_order GROUP BY 1 ORDER BY 1 $$,
                  'SELECT i, i::bigint, i < 9 FROM generate_series(2, 9) AS i', 'all orders of a cycle are marked');
SELECT is(pg_temp.one_by_one('5 of 9:1', '4 of 9:1'), '"5 of 9" -> "4 of 9" -> "5 of 9"', 'a shorter way through them is a cycle');

-- Modes: who shares a key does not wait. A pair of classes for each pair of modes.
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');
CREATE TEMP TABLE pair AS
SELECT a AS one, b AS other, a || b || '1:' AS class1, a || b || '2:' AS class2,
       b IN ('X', 'SIX') AND a <> 'IS' OR a IN ('X', 'SIX') AND b <> 'IS' OR 'X' IN (a, b) OR (a, b) IN (('S', 'IX'), ('IX', 'S')) AS conflict
FROM unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS a, unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS b;
SELECT is((SELECT count(*) FROM pair WHERE conflict), 16::bigint, '16 of 25 pairs of modes conflict');
SELECT is_empty($$ SELECT one FROM pair WHERE pg_temp.cycle(format('cs_lock(%L, mode => %L)', class1, one),
                                                            format('cs_lock(%L, mode => %L)', class2, one)) IS NOT NULL $$,
                'two keys, both in one mode');
SELECT results_eq($$ SELECT one, other FROM pair WHERE pg_temp.cycle(format('cs_lock(%L, mode => %L)', class2, other),
                                                                     format('cs_lock(%L, mode => %L)', class1, other)) IS NOT NULL ORDER BY 1, 2 $$,
                  'SELECT one, other FROM pair WHERE conflict ORDER BY 1, 2', 'in the other order: a cycle if the modes conflict');
SELECT is(pg_temp.cycle($$ cs_lock('x1:', mode => 'X') $$, $$ cs_lock('s1:', mode => 'S') $$), NULL, 'exclusive, then shared');
SELECT is(pg_temp.cycle($$ cs_lock('s1:', mode => 'S') $$, $$ cs_lock('x1:', mode => 'X') $$), NULL,
          'back again: they share the one for which the other would wait');
SELECT is(pg_temp.cycle($$ cs_lock('s1:', mode => 'X') $$, $$ cs_lock('x1:', mode => 'S') $$), '"s1" -> "x1" -> "s1"', 'until somebody does not');
SELECT is(pg_temp.cycle($$ cs_lock('s2:', mode => 'S') $$, $$ cs_lock('x2:', mode => 'X') $$), NULL, 'shared, then exclusive');
SELECT is(pg_temp.cycle($$ cs_lock('x2:', mode => 'X') $$, $$ cs_lock('s2:', mode => 'S') $$), NULL, 'back again: the same');
SELECT is(pg_temp.cycle($$ cs_lock('x2:', mode => 'X') $$, $$ cs_lock('s2:', mode => 'X') $$), '"x2" -> "s2" -> "x2"', 'until somebody does not');
SELECT is(pg_temp.cycle($$ cs_lock('s2:', mode => 'SIX') $$, $$ cs_lock('x2:', mode => 'X') $$), NULL, 'a cycle of the same classes in other modes is known');
SELECT is(pg_temp.cycle($$ cs_lock('x2:', mode => 'SIX') $$, $$ cs_lock('s2:', mode => 'X') $$), NULL, 'wherever it closes');
SELECT results_eq($$ SELECT held_mode, taken_mode, in_cycle FROM cs_lock_order WHERE held IN ('s1', 'x1') $$,
                  $$ VALUES ('exclusive', 'shared', true), ('shared', 'exclusive', false), ('exclusive', 'shared', true) $$,
                  'an order for each pair of modes');
SELECT is(pg_temp.cycle($$ cs_lock_path('roof:1', mode => 'IX') $$, $$ cs_lock_path('wall:1', mode => 'IX') $$), NULL, 'intent locks on two paths');
SELECT is(pg_temp.cycle($$ cs_lock_path('wall:2', mode => 'IX') $$, $$ cs_lock_path('roof:2', mode => 'IX') $$), NULL, 'in both orders');
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');
SELECT is(pg_temp.cycle($$ cs_lock('a:1', mode => 'S') $$, $$ cs_lock('a:1', mode => 'X') $$, $$ cs_lock('b:1') $$), NULL, 'a key held in two modes');
SELECT results_eq('SELECT held_mode, taken_mode FROM cs_lock_order ORDER BY held_mode', $$ VALUES ('exclusive', 'exclusive'), ('shared', 'exclusive') $$,
                  'is two orders');
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');

-- Keys of one class, one by one
SELECT is(pg_temp.one_by_one(VARIADIC keys), NULL, '40 keys of one class in the order of their tags') FROM pg_temp.in_tag_order('room', 40) AS keys;
SELECT is(pg_temp.orders(), 'none', 'are no order');
CREATE TEMP TABLE room AS SELECT keys[1] AS low, keys[2] AS middle, keys[3] AS high FROM pg_temp.in_tag_order('room', 3) AS keys;
SELECT is(pg_temp.cycle(format('cs_lock(%L, mode => %L)', high, 'S'), format('cs_lock(%L, mode => %L)', low, 'S')), NULL,
          'shared keys against that order') FROM room;
SELECT is(pg_temp.one_by_one(low, high, middle), 'keys of class "room" are locked one by one, against their order', 'exclusive ones against it') FROM room;
SELECT is(pg_temp.one_by_one(high, low), NULL, 'reported once') FROM room;
SELECT results_eq('SELECT held, taken, held_mode, in_cycle FROM cs_lock_order',
                  $$ VALUES ('room', 'room', 'shared', false), ('room', 'room', 'exclusive', true) $$, 'an order of a class with itself');

-- A key without a separator has a class of its own, so a parent comes before its children and not
-- among them. A parent whose tag is above those of two children, which are in the order of their tags:
CREATE TEMP TABLE shelf AS
SELECT name, keys[1] AS low, keys[2] AS high
FROM generate_series(1, 200) AS i, LATERAL (SELECT 'shelf' || i) AS n (name), pg_temp.in_tag_order(name, 2) AS keys,
     cs_key_tag(name) AS parent, cs_key_tag(keys[2]) AS child
WHERE parent.classid::bigint > child.classid::bigint LIMIT 1;
SELECT is(pg_temp.cycle(format('cs_lock_path(%L)', low), format('cs_lock_path(%L)', high)), NULL, 'two paths below one parent') FROM shelf;
SELECT is(pg_temp.one_by_one(name, low, high), NULL, 'a parent, then its children') FROM shelf;
SELECT is(pg_temp.one_by_one(low, name), format('"%s" -> "%1$s" -> "%1$s"', name), 'a child, then its parent') FROM shelf;

-- A key that is no longer held sets no mark for those that come after it.
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');
SELECT is(pg_temp.cycle(format('cs_lock(%L)', low), format('cs_lock(%L, scope => %L)', high, 'session'), 'cs_unlock_all()',
                        format('cs_lock(%L)', middle)), NULL, 'the highest key was unlocked') FROM room;
SELECT is(pg_temp.cycle(format('cs_lock(%L)', low), format('cs_lock(%L, scope => %L)', high, 'session'), 'SELECT pg_advisory_unlock_all()',
                        format('cs_lock(%L)', middle)), NULL, 'by whomever') FROM room;
SELECT is(pg_temp.orders(), 'none', 'what is left is in the order of the tags');

-- The keys of one call are no order among each other, but one with those that are held.
CREATE TABLE public.lo_account AS SELECT id, 100.0 AS balance FROM generate_series(1, 2) AS id;
CREATE TEMP TABLE call (command text, orders text);
INSERT INTO call
SELECT $$ cs_lock_all(ARRAY['p:1', 'q:1', 'p:2', 'q:2', 'p:3']) $$, 'held>p held>q'
UNION ALL SELECT $$ cs_lock_all(ARRAY['p:3', 'q:2', 'p:2', 'q:1', 'p:1']) $$, 'held>p held>q'
UNION ALL SELECT $$ cs_try_lock_all(ARRAY['p:1', 'q:1', 'p:2', 'q:2', 'p:3'], 10) $$, 'held>p held>q'
UNION ALL SELECT $$ cs_lock_path('p:q:r') $$, 'held>p held>p:q'
UNION ALL SELECT $$ cs_try_lock_path('p:q:r', 10) $$, 'held>p held>p:q'
UNION ALL SELECT $$ LOCK cs_key."p:1", cs_key."q:1", cs_key."p:2", cs_key."q:2" $$, 'held>p held>q'
UNION ALL SELECT format('CALL cs_transfer(%L, %L, %L, 1)', 'public.lo_account', a, 3 - a), 'held>public.lo_account' FROM generate_series(1, 2) AS a
UNION ALL SELECT $$ cs_lock('p:1', -1) $$, 'held>p'
UNION ALL SELECT $$ cs_try_lock('p:1', 10) $$, 'held>p'
-- What cannot wait is no order.
UNION ALL SELECT $$ cs_lock('p:1', 0) $$, 'none'
UNION ALL SELECT $$ cs_lock_all(ARRAY['p:1', 'q:1'], 0) $$, 'none'
UNION ALL SELECT $$ cs_lock_path('p:q:r', 0) $$, 'none'
UNION ALL SELECT $$ cs_try_lock('p:1') $$, 'none'
UNION ALL SELECT $$ cs_try_lock_all(ARRAY['p:1', 'q:1']) $$, 'none'
UNION ALL SELECT $$ cs_try_lock_path('p:q:r') $$, 'none'
UNION ALL SELECT $$ cs_try_lock_any(ARRAY['p:1', 'q:1', 'p:2'], 2) $$, 'none'
UNION ALL SELECT $$ LOCK cs_key."p:1", cs_key."q:1" NOWAIT $$, 'none'
UNION ALL SELECT $$ SELECT set_config('concurrency_safe.default_timeout', '0', true), cs_lock('p:1') $$, 'none';
SELECT is((pg_temp.cycle(command), pg_temp.orders())::text, '(,none)', 'among themselves: ' || ltrim(command)) FROM call;
SELECT is(pg_temp.cycle($$ cs_lock('held:1') $$, command), NULL, 'after a key that is held: ' || ltrim(command))
       || E'\n' || is(pg_temp.orders(), orders, 'is ' || orders) FROM call;
-- All of it counts as held.
SELECT is(pg_temp.cycle(command, $$ cs_lock('next:1', 1000) $$), NULL, 'before another key: ' || ltrim(command))
       || E'\n' || is(pg_temp.orders(), CASE WHEN command ~ 'q:1' THEN 'p>next q>next' WHEN command ~ 'p:q' THEN 'p>next p:q>next'
                                              WHEN command ~ 'transfer' THEN 'public.lo_account>next' ELSE 'p>next' END, 'counts as held') FROM call;

-- A key that is held already needs no wait, unless the new mode does.
CREATE TEMP TABLE again AS
SELECT a AS held, b AS taken, (a, b) IN (('IS', 'IS'), ('IX', 'IS'), ('IX', 'IX'), ('S', 'IS'), ('S', 'S'), ('SIX', 'IS'), ('SIX', 'IX'),
                                         ('SIX', 'S'), ('SIX', 'SIX')) OR a = 'X' AS covered
FROM unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS a, unnest(ARRAY['IS', 'IX', 'S', 'SIX', 'X']) AS b;
SELECT is((ARRAY[pg_temp.cycle(format('cs_lock(%L, mode => %L)', 'a:1', held), $$ cs_lock('b:1') $$,
                               format('cs_lock(%L, mode => %L)', 'a:1', taken)), pg_temp.orders()])[2],
          CASE WHEN covered THEN 'a>b' ELSE 'a>b b>a' END, format('a key in mode %s, then another key, then the first one in mode %s', held, taken))
FROM again;
SELECT is(pg_temp.cycle($$ cs_lock('a:1', scope => 'session') $$, $$ cs_lock('b:1', scope => 'session') $$, $$ cs_lock_all(ARRAY['a:1', 'b:1']) $$,
                        $$ cs_lock('a:1', scope => 'session') $$, $$ cs_lock('b:1', mode => 'S', scope => 'session') $$, 'cs_unlock_all()'), NULL,
          'keys taken again in the other scope') || E'\n' || is(pg_temp.orders(), 'a>b', 'are no order');
SELECT is(pg_temp.cycle($$ cs_lock('a:1') $$, $$ cs_lock('b:1') $$, $$ cs_lock_all(ARRAY['a:1', 'c:1']) $$), NULL, 'a call for a key that is held')
       || E'\n' || is(pg_temp.orders(), 'a>b a>c b>c', 'and for another one');

-- What was given back makes no order.
CREATE FUNCTION pg_temp.undone(command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.cycle(command);
END $$;
CREATE TEMP TABLE loss AS
SELECT * FROM (VALUES
    ('rollback to a savepoint', $$ SELECT pg_temp.undone('cs_lock(''a:1'')') $$, NULL, 'none'),
    ('rollback of a part', $$ cs_lock('c:1') $$, $$ SELECT pg_temp.undone('cs_lock(''a:1'')') $$, 'c>a c>b'),
    ('cs_unlock', $$ cs_lock('a:1', scope => 'session') $$, $$ cs_unlock('a:1') $$, 'none'),
    ('cs_unlock of one hold of two', $$ SELECT cs_lock('a:1', scope => 'session'), cs_lock('a:1', scope => 'session') $$, $$ cs_unlock('a:1') $$, 'a>b'),
    ('cs_unlock of one key of two', $$ cs_lock_all(ARRAY['a:1', 'a:2'], scope => 'session') $$, $$ cs_unlock('a:1') $$, 'a>b'),
    ('cs_unlock in one mode of two', $$ SELECT cs_lock('a:1', mode => 'S', scope => 'session'), cs_lock('a:1', mode => 'IS', scope => 'session') $$,
     $$ cs_unlock('a:1', 'IS') $$, 'a>b'),
    ('cs_unlock of a key held in both scopes', $$ SELECT cs_lock('a:1', scope => 'session'), cs_lock('a:1') $$, $$ cs_unlock('a:1') $$, 'a>b'),
    ('cs_unlock_path', $$ cs_lock_path('a:x:1', scope => 'session') $$, $$ cs_unlock_path('a:x:1') $$, 'none'),
    ('cs_unlock_all', $$ cs_lock_all(ARRAY['a:1', 'a:2'], scope => 'session') $$, $$ cs_unlock_all() $$, 'none'),
    ('pg_advisory_unlock_all', $$ cs_lock_all(ARRAY['a:1', 'a:2'], scope => 'session') $$, $$ SELECT pg_advisory_unlock_all() $$, 'none'),
    ('nothing', $$ cs_lock('a:1', scope => 'session') $$, NULL, 'a>b')) AS l (loss, lock, release, orders);
SELECT is(pg_temp.cycle(lock, coalesce(release, 'SELECT'), $$ cs_lock('b:1') $$, 'cs_unlock_all()'), NULL, 'a key, its loss and another key: ' || loss)
       || E'\n' || is(pg_temp.orders(), orders, 'orders: ' || orders) FROM loss;

-- Classes
CREATE TEMP TABLE class (key text, separator text, name text, description text);
INSERT INTO class VALUES
    ('a:b:1', ':', 'a:b', 'the class is what comes before the last separator'),
    ('user42', ':', 'user42', 'or all of it if there is none'),
    (':1', ':', ':1', 'or nothing before it'),
    (':', ':', ':', 'not even a separator alone has an empty class'),
    ('a:', ':', 'a', 'what comes after it may be empty'),
    ('a::1', ':', 'a:', 'an empty segment is a part like others'),
    ('a/b:1', '/', 'a', 'another separator'),
    ('a:b', '/', 'a:b', 'makes the first one an ordinary character'),
    ('a::b:1', '::', 'a', 'one of two characters'),
    ('::', '::', '::', 'alone'),
    ('é→ü→1', '→', 'é→ü', 'one of several bytes'),
    ('é→ü', 'ü', 'é→', 'at the end'),
    (E'a\nb\x1b[2J:1', ':', 'a\nb\x1b[2J', 'control characters are escaped'),
    (repeat('x', 72) || ':1', ':', repeat('x', 72), '72 bytes are shown'),
    (repeat('x', 71) || 'é:1', ':', repeat('x', 71) || '...', 'longer names are cut at a character'),
    (repeat('y', 1022) || ':1', ':', repeat('y', 72) || '...', 'up to the longest');
SELECT is(pg_temp.cycle($$ cs_lock('held:1') $$, format('SELECT set_config(%L, %L, true), cs_lock(%L)', 'concurrency_safe.key_separator', separator, key)), NULL, 'a key is held, then another one')
       || E'\n' || is(pg_temp.orders(), 'held>' || name, description) FROM class;
SELECT is(pg_temp.one_by_one(repeat('z', 1000) || '1:', repeat('z', 1000) || '2:'), NULL, 'classes that differ in what is not shown')
       || E'\n' || alike(pg_temp.one_by_one(repeat('z', 1000) || '2:', repeat('z', 1000) || '1:'), '%zzz..." -> "zzz%', 'are two classes');
SELECT is(pg_temp.one_by_one(E'n\n:1', E'm\t:1'), NULL, 'escaped') || E'\n' || is(pg_temp.one_by_one(E'm\t:1', E'n\n:1'), '"m\t" -> "n\n" -> "m\t"', 'in messages, too');
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');

-- What the error says
CREATE FUNCTION pg_temp.report(command text, OUT message text, OUT detail text, OUT hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;
SELECT is(pg_temp.one_by_one('u:1', 'v:1'), NULL, 'first order');
SELECT matches(detail, '^"v" \(shared\), then "u" \(intent shared\): now, role "\w+", application "[^"]*": SELECT matches.*'
                       '\n"u" \(exclusive\), then "v" \(exclusive\): first seen \d{4}-\d\d-\d\d [^,]*, role "\w+", application "[^"]*": SELECT is\(pg_temp\.one_by_one',
               'the detail tells who took which order when')
FROM pg_temp.report($$ SELECT cs_lock('v:1', mode => 'S'), cs_lock('u:1', mode => 'IS') $$);
SELECT is(hint, 'Lock the keys in one order everywhere, or in one call of cs_lock_all.  The view cs_lock_order shows all orders.', 'the hint what to do')
FROM (SELECT pg_temp.one_by_one('w:1', 'v:1')) AS first, pg_temp.report($$ SELECT cs_lock('v:1'), cs_lock('w:1') $$);
SELECT is((message, hint)::text, '("keys of class ""room"" are locked one by one, against their order",'
          '"Keys of one class that are locked one by one can meet in both orders.  Lock them in one call of cs_lock_all.")', 'for one class, too')
FROM room, pg_temp.report(format('SELECT cs_lock(%L), cs_lock(%L)', high, low));
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');

-- Off: nothing is remembered, of what is held neither.
SET LOCAL concurrency_safe.check_order = off;
SELECT is(pg_temp.one_by_one('a:1', 'b:1', 'a:2') || pg_temp.one_by_one('b:1', 'a:1'), NULL, 'at off');
SELECT is(pg_temp.orders(), 'none', 'no order is remembered');
SELECT is(pg_temp.cycle($$ cs_lock('a:1') $$, 'SET LOCAL concurrency_safe.check_order = error', $$ cs_lock('b:1') $$, $$ cs_lock('c:1') $$), NULL, 'from then on');
SELECT is(pg_temp.orders(), 'b>c', 'only what is locked from then on');

-- The check changes nothing of what is locked and counted.
CREATE FUNCTION pg_temp.work(level text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    counts text;
    results text[];
BEGIN
    PERFORM set_config('concurrency_safe.check_order', level, true), cs_stat_reset();
    BEGIN
        PERFORM cs_lock('a:' || i % 5, mode => m), cs_lock('b:' || i % 7, mode => m, scope => 'session'), cs_try_lock('c' || i, 10)
        FROM generate_series(1, 40) AS i, unnest(ARRAY['IS', 'S', 'X']) AS m;
        results := ARRAY[cs_try_lock_any(ARRAY['a:1', 'd:2', 'c3'], 2)::text, cs_unlock('b:1')::text, cs_try_lock_all(ARRAY['b:2', 'a:1'])::text,
                         cs_held_mode('a:1'), cs_held_mode('b:1'), cs_held_mode('c40'), pg_temp.my_locks()::text];
        SELECT string_agg((to_jsonb(k) - 'last_acquired')::text, E'\n' ORDER BY key COLLATE "C") INTO counts FROM cs_stat_keys AS k WHERE acquired > 0;
        results := results || counts || (SELECT (acquired, waited, timed_out, evicted, unnamed)::text FROM cs_stat) || cs_unlock_all()::text;
        RAISE EXCEPTION USING ERRCODE = 'CS000';
    EXCEPTION WHEN SQLSTATE 'CS000' THEN RETURN results::text;
    END;
END $$;
SET LOCAL client_min_messages = error;
SELECT is(pg_temp.work(level), pg_temp.work('off'), 'at ' || level || ' what is held and counted is the same') FROM unnest(ARRAY['log', 'warning']) AS level;
SELECT ok(lock_orders > 40, 'while many orders were seen') FROM cs_stat;
SELECT lives_ok('SELECT cs_lock_order_reset()', 'reset');
SELECT is(pg_temp.my_locks(), 0::bigint, 'nothing is left');

SELECT * FROM finish();
ROLLBACK;
