--
-- cs_key: the key that a template makes from a row or a jsonb object.
--
\set VERBOSITY terse
CREATE TABLE stock (gone integer, sku text, place integer, "Robert""); drop table t;--" text, day date);
ALTER TABLE stock DROP COLUMN gone;
INSERT INTO stock VALUES ('ABC', 7, 'x', '2026-02-01');

-- Rows of tables, of queries, anonymous ones, row types and domains over them.
SELECT cs_key('stock:{sku}:{place}', s) FROM stock s;
SELECT cs_key('stock:{sku}', r) FROM (SELECT upper('abc') AS sku) r;
SELECT cs_key('{f1}/{f2}', ROW(1, 'two'));
SELECT cs_key('{sku}', ('a', 1, 'b', NULL)::stock);
CREATE DOMAIN one_stock AS stock;
SELECT cs_key('{sku}', ('a', 1, 'b', NULL)::stock::one_stock);
DO $$
DECLARE
    any_row record;
    its_row stock;
BEGIN
    SELECT * INTO any_row FROM stock;
    SELECT * INTO its_row FROM stock;
    ASSERT cs_key('{sku}', any_row) = 'ABC' AND cs_key('{sku}', its_row) = 'ABC';
    ASSERT cs_lock(cs_key('stock:{sku}', its_row)) IS NOT NULL;
    ASSERT cs_held_mode('stock:ABC') = 'exclusive';
END $$;
-- A column that older rows do not have.
ALTER TABLE stock ADD COLUMN owner text DEFAULT 'me';
SELECT cs_key('{owner}', s) FROM stock s;

-- Names are taken as they are, and so are values.
SELECT cs_key('{Robert"); drop table t;--}', s) FROM stock s;
SELECT cs_key('{v}', r) FROM (SELECT '{w}}{{'::text AS v) r;
SELECT cs_key('a{{{sku}}}:{{sku}}', s) FROM stock s;
SELECT cs_key('no field', ROW()), cs_key('no field', '{}'::jsonb);

-- jsonb: what ->> returns.
SELECT cs_key('{s}:{n}:{b}:{o}:{a}', j), j->>'s', j->>'n', j->>'b', j->>'o', j->>'a'
FROM (SELECT '{"s": "x\u0020\"y", "n": 1.50, "b": true, "o": {"k": null}, "a": [1, "2"]}'::jsonb AS j) AS t;
CREATE DOMAIN fields AS jsonb;
SELECT cs_key('{a}', '{"a": 1, "a": 2}'::fields);

-- The same key in every session, however it likes its values printed.
CREATE FUNCTION key_of_many() RETURNS text LANGUAGE sql AS
$$ SELECT public.cs_key('{f1} {f2} {f3} {f4} {f5} {f6} {f7} {f8}', ROW(DATE '2026-02-01', TIMESTAMPTZ '2026-02-01 00:00+00',
       INTERVAL '1 day 2:03', 0.1::float8, '\xff'::bytea, true, 1.10,
       'public.key_of_many'::regproc)) $$;
SELECT key_of_many();
SET datestyle = german;
SET timezone = 'Asia/Tokyo';
SET intervalstyle = iso_8601;
SET extra_float_digits = -10;
SET bytea_output = escape;
SET quote_all_identifiers = on;
SET search_path = pg_catalog;
SELECT public.key_of_many();
SHOW datestyle;
RESET ALL;
\set VERBOSITY default

-- A name that is not there: 42703.
\set VERBOSITY sqlstate
SELECT cs_key('{gone}', s) FROM stock s;
\set VERBOSITY default
SELECT cs_key('{Sku}', s) FROM stock s;
SELECT cs_key('{........pg.dropped.1........}', s) FROM stock s;
SELECT cs_key('{ctid}', s) FROM stock s;
SELECT cs_key('{x}', ROW());
SELECT cs_key('{x}', '{"a": {"inner": 1}, "b": [{"c": 2}], "d\n": 3}'::jsonb);
SELECT cs_key('{x}', jsonb_object_agg('k' || i, i)) FROM generate_series(100, 140) i;
SELECT cs_key(E'{a\nb}', '{}'::jsonb);
-- Or there twice: 42702.
SELECT cs_key('{a}', r) FROM (SELECT 1 AS a, 1 AS a) r;

-- Nulls: 22004.
SELECT cs_key('{day}', ('a', 1, 'b', NULL, NULL)::stock);
SELECT cs_key('{a}', '{"a": null}'::jsonb);
SELECT cs_key(NULL, ROW(1));
SELECT cs_key('a', NULL::stock);
SELECT cs_key('a', NULL::jsonb);

-- No template, no source: 22023, 42804.
SELECT cs_key('a{', ROW(1));
SELECT cs_key('a{f1', ROW(1));
SELECT cs_key('a}', ROW(1));
SELECT cs_key('{f1}}', ROW(1));
SELECT cs_key('{}', ROW(1));
SELECT cs_key('a', '[1]'::jsonb);
SELECT cs_key('a', '"a"'::jsonb);
SELECT cs_key('{f1}', 1);
SELECT cs_key('{f1}', ARRAY[ROW(1)]);
SELECT cs_key('{a}', '{"a": 1}'::json);

-- What it makes is a key: 22023 if empty, 54000 if too long.
SELECT cs_key('', ROW(1));
SELECT cs_key('{f1}', ROW(''));
SELECT length(cs_key('{f1}x', ROW(repeat('a', 1023))));
SELECT cs_key('{f1}xy', ROW(repeat('a', 1023)));
SELECT cs_key('x{f1}', ROW(repeat('a', 1024)));
SELECT cs_key('{a}', jsonb_build_object('a', repeat('a', 1025)));
SELECT cs_key('{f1}', ROW(repeat('a', 10000000)));
SELECT cs_key(repeat('a', 1025), ROW(1));
SELECT cs_key(repeat('{', 16385), ROW(1));

-- In parallel, with settings of its own for the dates.
CREATE TABLE days AS SELECT DATE '2026-01-01' + i AS day FROM generate_series(1, 1000) i;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT count(DISTINCT cs_key('{day}', d)) FROM days d WHERE cs_key('{day}', d) LIKE '2026-%';

DROP TABLE days;
DROP FUNCTION key_of_many();
DROP DOMAIN fields, one_stock;
DROP TABLE stock;
