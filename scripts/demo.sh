#!/usr/bin/env bash
#
# Shows six races, each without a lock, with what PostgreSQL has built in, and
# with a key lock: real sessions, in a private server that is gone afterwards.
# Or draws sessions that wait for each other.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/demo.sh [--keep] [--wait-graph]

Installs what is missing (apt), builds the extension in a temporary folder,
starts a private PostgreSQL server there and runs the races of demo/ in it.
Existing servers and databases are not touched.

  --keep        leave the server running, and print how to connect and to stop it
  --wait-graph  instead of the races, let six sessions wait for each other, and
                print the graph of it to standard output, in the DOT language
  --help        this text

environment:
  PG_CONFIG     the pg_config of the PostgreSQL to use
  CS_RUN_USER   for root: the user who builds and runs the server (nobody)
  CS_PYTHON     a python3 with psycopg2 (/usr/bin/python3)

exit status: 0 if every safe way kept its invariant and every naive way broke
it (or the graph was printed), 1 if not or if something failed, 2 for a wrong
option.
HELP
}

keep='' program=run.py
for option in "$@"; do
    case $option in
        --keep) keep=yes ;;
        --wait-graph) program=wait_graph.py ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            printf 'demo.sh: unknown option "%s"\n\n' "$option" >&2
            usage >&2
            exit 2
            ;;
    esac
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# PostgreSQL's programs refuse to run as root, except for psql.
how_to_go_on() {
    local sudo='' as_owner=''
    if ((EUID == 0)); then
        sudo=${SUDO_USER:+sudo }
        as_owner="cd / && ${sudo}runuser -u $RUN_USER -- "
    fi
    cat <<HELP

The server keeps running.  The tables of each race and way are in a schema of
their own: stock_naive, stock_row_lock, stock_key_lock, ...; those of the graph
in the schema shop.  What happened to each key: SELECT * FROM cs_stat_keys.

connect:
  $sudo$PG_BIN/psql -h $SOCKET_DIR -U postgres demo
stop it and remove its folder:
  ($as_owner$PG_BIN/pg_ctl stop -m fast -D $DATA_DIR) && ${sudo}rm -rf $TMP_ROOT
HELP
}

# The graph is to be piped: all else that is printed goes elsewhere.
exec 3>&1
[[ $program == run.py ]] || exec >&2

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3 python3-psycopg2

say "building with PostgreSQL $PG_MAJOR"
make_private_copy
build_extension with_llvm=no # nothing here is worth inlining into JIT code

say "starting a private server"
# Nothing here needs to survive a power cut, and a slow disk would only stretch
# the demo.  Locks need no preloading; names and statistics do before PostgreSQL 17.
# A deadlock is looked for soon, because one of the races is made of them.
start_server fsync=off max_connections=40 deadlock_timeout=20ms \
    shared_preload_libraries=concurrency_safe 3>&- # it may outlive whoever reads that
run_psql -d postgres -c 'CREATE DATABASE demo'
run_psql -d demo -c 'CREATE EXTENSION concurrency_safe'

# The safe ways make no mistake that a check would stop.
checks=''
for check in autocommit snapshot order; do
    checks+=" -c concurrency_safe.check_$check=error"
done

status=0
run_child "${AS_USER[@]}" env PGHOST="$SOCKET_DIR" PGUSER=postgres PGOPTIONS="$checks" \
    PGDATABASE=demo "$PYTHON" -B "$SOURCE_DIR/demo/$program" >&3 || status=$?
if [[ -n $keep ]]; then
    keep_server
    how_to_go_on
fi
exit "$status"
