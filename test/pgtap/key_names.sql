-- Key names as cs_locks and cs_stat_keys show them: control characters escaped,
-- names of more than 72 bytes cut at a character boundary and marked.
-- For a server that has preloaded the library and a database in UTF8.
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
SELECT plan(22);

CREATE TEMP TABLE names (key text, shown text, description text);
INSERT INTO names VALUES
    (repeat('x', 72), repeat('x', 72), '72 bytes are shown in full'),
    (repeat('x', 73), repeat('x', 72) || '...', '73 bytes are cut'),
    (repeat('y', 1024), repeat('y', 72) || '...', 'so is the longest key'),
    (repeat('x', 70) || 'é', repeat('x', 70) || 'é', 'a character of two bytes up to the 72nd byte'),
    (repeat('x', 71) || 'é', repeat('x', 71) || '...', 'or beyond it'),
    (repeat('x', 69) || '€', repeat('x', 69) || '€', 'a character of three bytes up to the 72nd byte'),
    (repeat('x', 70) || '€', repeat('x', 70) || '...', 'or beyond it'),
    (repeat('x', 68) || '😀', repeat('x', 68) || '😀', 'a character of four bytes up to the 72nd byte'),
    (repeat('x', 69) || '😀', repeat('x', 69) || '...', 'or beyond it'),
    (repeat('😀', 256), repeat('😀', 18) || '...', 'nothing but long characters'),
    (repeat('z', 72) || 'é', repeat('z', 72) || '...', 'a cut right after the 72nd byte'),
    (repeat('x', 71) || E'\n', repeat('x', 71) || '\n', 'what is escaped counts as one byte'),
    (repeat(E'\x01', 1024), repeat('\x01', 72) || '...', 'even 72 times'),
    (repeat('x', 70) || chr(155) || 'x', repeat('x', 70) || '\x9b...', 'a control character of two bytes'),
    (repeat('x', 71) || chr(155), repeat('x', 71) || '...', 'which may be cut as well'),
    (E'a\nb\r\tc\x7f\x1b[31m' || chr(128), 'a\nb\r\tc\x7f\x1b[31m\x80', 'control characters are escaped'),
    ('a "b" ''c'' \n %s', 'a "b" ''c'' \n %s', 'nothing else is'),
    ('...', '...', 'three dots may be a name'),
    (' ', ' ', 'and so may a blank');

SELECT lives_ok($$ SELECT cs_lock(key) FROM names $$, 'lock keys of all kinds');
SELECT is((SELECT l.key FROM cs_locks AS l JOIN cs_key_tag(n.key) USING (classid, objid, objsubid)
           WHERE l.database = current_database()), n.shown, n.description)
FROM names AS n;
SELECT is((SELECT h.key FROM cs_holders(repeat('y', 1024)) AS h), repeat('y', 1024), 'cs_holders shows the whole name');
SELECT is_empty(
    $$ SELECT shown FROM names EXCEPT ALL SELECT key FROM cs_stat_keys $$,
    'cs_stat_keys shows the same names');

SELECT * FROM finish();
ROLLBACK;
