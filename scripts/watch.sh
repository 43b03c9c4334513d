#!/usr/bin/env bash
#
# Shows the keys of a database, again and again, until Ctrl-C: who waits for
# which key behind whom, who holds keys longest, which keys are contended.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/watch.sh [--interval SECONDS] [psql arguments]

A live picture of the keys of a database that has the extension
concurrency_safe, by psql's \watch.  Connects as psql does: PGHOST, PGDATABASE
and the like, and arguments such as -h, -p, -U, -d or a connection string.
Changes nothing.  Ctrl-C ends it.

  --interval SECONDS  time between two pictures, a whole number (2)
  --help              this text

Keys and sessions of other roles are shown to members of pg_read_all_stats.
Without the library's shared memory (before PostgreSQL 17: not preloaded) keys
are shown by their lock tags, and there are no statistics.

exit status: that of psql, or 2 for a wrong option.
HELP
}

wrong() {
    printf 'watch.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

interval=2
while (($# > 0)); do
    case $1 in
        --interval)
            (($# > 1)) || wrong "--interval needs a number of seconds"
            interval=$2
            shift 2
            ;;
        --interval=*)
            interval=${1#*=}
            shift
            ;;
        --help)
            usage
            exit 0
            ;;
        *) break ;;
    esac
done
[[ $interval =~ ^[1-9][0-9]{0,4}$ ]] ||
    wrong "\"$interval\" is not a whole number of seconds from 1 to 99999"
command -v psql >/dev/null || {
    printf 'watch.sh: there is no psql in PATH\n' >&2
    exit 1
}

# On a terminal each picture takes the place of the one before.
columns=120 lines=50 clear=''
if [[ -t 1 ]]; then
    columns=$(tput cols) lines=$(tput lines) clear=$'\e[H\e[2J'
fi
((columns >= 80)) || columns=80
((lines >= 24)) || lines=24

# The whole picture is one query, so that one connection is enough for all
# versions of psql.  Every line has the columns milliseconds, who, mode, key and
# remarks; ">" marks a column that was cut.
PGAPPNAME=${PGAPPNAME-watch.sh} exec psql -X -q -A -t -v ON_ERROR_STOP=1 \
    -v SHOW_CONTEXT=never -v interval="$interval" -v clear="$clear" \
    -v rows=$(((lines - 15) / 3)) -v who=26 -v key=$(((columns - 43) / 2)) \
    -v remarks=$(((columns - 44) / 2)) "$@" <<'SQL'
SET default_transaction_read_only = on;
SET search_path = pg_catalog;
SET standard_conforming_strings = on;
SET jit = off;
SET enable_nestloop = off; -- nobody can estimate how many wait

DO $do$
DECLARE
    schema name;
BEGIN
    SELECT n.nspname INTO schema
    FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
    WHERE e.extname = 'concurrency_safe';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'database "%" does not have the extension concurrency_safe',
            current_database()
            USING HINT = 'Connect to the database that has it, with -d or PGDATABASE.';
    END IF;
    PERFORM set_config('watch.schema', schema, false);
    PERFORM set_config('watch.statistics', 'on', false);
    EXECUTE format('SELECT FROM %I.cs_stat()', schema);
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        PERFORM set_config('watch.schema', schema, false);
        PERFORM set_config('watch.statistics', 'off', false);
END
$do$;

SELECT current_setting('watch.schema') AS schema,
       current_setting('watch.statistics') AS statistics \gset

WITH locks AS MATERIALIZED (
    SELECT l.pid, l.granted, l.scope, l.classid, l.objid, l.objsubid, l.waiting_for,
           coalesce(l.key, format('[%s,%s,%s]', l.classid, l.objid, l.objsubid)) AS key,
           CASE l.mode WHEN 'exclusive' THEN 'X' WHEN 'shared' THEN 'S'
                       WHEN 'intent exclusive' THEN 'IX' WHEN 'intent shared' THEN 'IS'
                       ELSE 'SIX' END AS mode
    FROM :"schema".cs_locks() AS l
    WHERE l.database = current_database()
), sessions AS MATERIALIZED (
    SELECT a.pid, a.datname,
           concat_ws(' ', a.pid, concat_ws('/', a.usename, nullif(a.application_name, '')))
               AS who,
           a.state, coalesce(a.xact_start, a.state_change) AS since
    FROM pg_stat_activity AS a
), graph AS MATERIALIZED (
    SELECT g.pid, g.blocked_by, g.locktype, g.key, g.waiting_for
    FROM :"schema".cs_wait_graph() AS g
    JOIN sessions AS s ON s.pid = g.pid AND s.datname = current_database()
), prepared AS MATERIALIZED (
    SELECT DISTINCT p.classid, p.objid, p.objsubid, x.gid, x.prepared
    FROM pg_prepared_xacts AS x
    JOIN pg_locks AS t ON t.transactionid = x.transaction AND t.pid IS NULL
    JOIN pg_locks AS p ON p.virtualtransaction = t.virtualtransaction AND p.pid IS NULL
    WHERE p.locktype = 'advisory' AND x.database = current_database()
), totals AS MATERIALIZED (
    SELECT * FROM :"schema".cs_stat() WHERE :'statistics'::boolean
), waiting AS (
    SELECT extract(epoch FROM max(g.waiting_for)) * 1000 AS ms, max(w.who) AS who,
           max(l.mode) AS mode, max(coalesce(g.key, l.key, g.locktype)) AS key,
           string_agg(
               CASE WHEN g.blocked_by = 0 THEN 'prepared transaction' ELSE b.who END,
               ', ' ORDER BY g.blocked_by) AS remarks
    FROM graph AS g
    JOIN sessions AS w ON w.pid = g.pid
    LEFT JOIN sessions AS b ON b.pid = g.blocked_by
    LEFT JOIN locks AS l ON l.pid = g.pid AND NOT l.granted
    GROUP BY g.pid
), wanted AS (
    SELECT DISTINCT l.classid, l.objid, l.objsubid FROM locks AS l WHERE NOT l.granted
), blocked AS (
    SELECT g.blocked_by AS pid, count(DISTINCT g.pid) AS count FROM graph AS g GROUP BY g.blocked_by
), holds AS (
    SELECT coalesce(s.who, 'prepared ' || p.gid) AS who, l.mode, l.key, l.pid, l.scope,
           coalesce(s.since, p.prepared) AS since, s.state, b.count AS blocks,
           w.classid IS NOT NULL AS wanted
    FROM locks AS l
    LEFT JOIN sessions AS s ON s.pid = l.pid
    LEFT JOIN blocked AS b ON b.pid = l.pid
    LEFT JOIN wanted AS w ON (w.classid, w.objid, w.objsubid)
                           = (l.classid, l.objid, l.objsubid)
    LEFT JOIN prepared AS p ON l.pid IS NULL AND (p.classid, p.objid, p.objsubid)
                                               = (l.classid, l.objid, l.objsubid)
    WHERE l.granted
), holding AS (
    SELECT extract(epoch FROM clock_timestamp() - min(h.since)) * 1000 AS ms, h.who,
           (array_agg(h.mode ORDER BY h.wanted DESC, h.key, h.mode))[1] AS mode,
           (array_agg(h.key ORDER BY h.wanted DESC, h.key, h.mode))[1] AS key,
           concat_ws(', ', 'blocks ' || max(h.blocks),
                     CASE WHEN h.pid IS NULL AND bool_or(h.wanted) THEN 'waited for' END,
                     max(h.state),
                     CASE WHEN count(*) > 1 THEN count(*) || ' locks' END,
                     CASE WHEN bool_or(h.scope = 'session') THEN 'session scope' END) AS remarks
    FROM holds AS h
    GROUP BY h.pid, h.who
), contended AS (
    SELECT k.wait_ms_total AS ms,
           format('%s waits, longest %s ms', k.waited, round(k.wait_ms_max)) AS who,
           NULL::text AS mode, k.key,
           format('%s timed out, %s deadlocked', k.timed_out, k.deadlocked) AS remarks
    FROM :"schema".cs_stat_keys() AS k
    WHERE :'statistics'::boolean AND (k.waited > 0 OR k.timed_out > 0)
), ranked AS (
    SELECT 1 AS section, row_number() OVER w AS place, count(*) OVER () AS count, *
    FROM waiting WINDOW w AS (ORDER BY ms DESC NULLS LAST, who)
    UNION ALL
    SELECT 2, row_number() OVER w, count(*) OVER (), *
    FROM holding WINDOW w AS (ORDER BY ms DESC NULLS LAST, who)
    UNION ALL
    SELECT 3, row_number() OVER w, count(*) OVER (), *
    FROM contended WINDOW w AS (ORDER BY ms DESC, key)
), lines AS (
    SELECT 0 AS section, 1 AS place,
           format('%s, database %I, role %I, every %s s', to_char(now(), 'YYYY-MM-DD HH24:MI:SS'),
                  current_database(), current_user, :'interval') AS line
    UNION ALL
    SELECT 0, 2, format('now: %s locks on keys held, %s waited for',
                        count(*) FILTER (WHERE l.granted), count(*) FILTER (WHERE NOT l.granted))
    FROM locks AS l
    UNION ALL
    SELECT 0, 3, format('cluster since %s: %s acquired, %s waited, %s timed out, %s deadlocked',
                        to_char(t.stats_reset, 'YYYY-MM-DD HH24:MI:SS'),
                        t.acquired, t.waited, t.timed_out, t.deadlocked)
    FROM totals AS t
    UNION ALL
    SELECT 0, 4, format('directory: %s of %s places used, %s evicted, %s unnamed, %s collisions',
                        t.directory_used, t.directory_size, t.evicted, t.unnamed, t.collisions)
    FROM totals AS t
    UNION ALL
    SELECT 0, 3, 'no names and no statistics: concurrency_safe has no shared memory (preload it)'
    WHERE NOT :'statistics'::boolean
    UNION ALL
    SELECT 0, 5, 'keys and sessions of other roles are hidden: not a member of pg_read_all_stats'
    WHERE NOT pg_has_role('pg_read_all_stats', 'USAGE')
    UNION ALL
    SELECT h.section, -1, ''
    FROM generate_series(1, 3) AS h (section)
    WHERE h.section < 3 OR :'statistics'::boolean
    UNION ALL
    SELECT h.section, 0, h.line
    FROM (VALUES (1, 'WAITING: since, who, for which key, behind whom'),
                 (2, 'HOLDING: age of the transaction, who, which key'),
                 (3, 'MOST CONTENDED: sum of the waits, which key')) AS h (section, line)
    WHERE h.section < 3 OR :'statistics'::boolean
    UNION ALL
    SELECT r.section, r.place,
           concat(lpad(CASE WHEN r.ms IS NULL THEN '?'
                            WHEN r.ms < 1000 THEN round(r.ms::numeric) || ' ms'
                            WHEN r.ms < 120000 THEN round(r.ms::numeric / 1000, 1) || ' s'
                            WHEN r.ms < 7200000 THEN round(r.ms::numeric / 60000) || ' min'
                            ELSE round(r.ms::numeric / 3600000) || ' h' END, 8), '  ',
                  rpad(coalesce(r.who, ''), :who),
                  CASE WHEN length(r.who) > :who THEN '>' ELSE ' ' END,
                  rpad(coalesce(r.mode, ''), 4),
                  rpad(coalesce(r.key, '(hidden)'), :key),
                  CASE WHEN length(r.key) > :key THEN '>' ELSE ' ' END,
                  left(r.remarks, :remarks),
                  CASE WHEN length(r.remarks) > :remarks THEN '>' END)
    FROM ranked AS r
    WHERE r.place <= :rows
    UNION ALL
    SELECT r.section, r.place, format('          and %s more', r.count - :rows)
    FROM ranked AS r
    WHERE r.place = :rows + 1
)
-- Names come from users: nothing in them may reach the terminal as a command.
SELECT CASE WHEN row_number() OVER (ORDER BY l.section, l.place) = 1 THEN :'clear' ELSE '' END ||
       regexp_replace(l.line, '[\u0001-\u001f\u007f-\u009f]', '?', 'g')
FROM lines AS l
ORDER BY l.section, l.place
\watch :interval
SQL
