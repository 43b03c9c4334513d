#!/usr/bin/env bash
#
# Lets each allocation of each SQL function fail, one after the other.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/oom.sh [--quick] [--only TEXT] [--state TEXT] [--number N]

Builds the extension, starts private servers in which any one allocation of a
session can be made to fail, and does that for each allocation of each
statement of test/faults/out_of_memory_cases.py, which has all functions: with
the library preloaded and without; where that one allocation fails, and where
nothing is left for the extension after it; in a subtransaction; as the first
statement of a session; and for all allocations of the server for that statement.
The error has to be 53200, nothing may be left behind, and the session goes on.

  --quick       under a minute: the most costly states and statements are left out
  --only TEXT   only statements that have this in their text
  --state TEXT  only states that have this in their name
  --number N    only the allocation of this number, and the server's log at the end
HELP
}

options=()
while (($# > 0)); do
    case $1 in
        --quick) options+=("$1") ;;
        --only | --state | --number)
            options+=("$1" "${2?}")
            shift
            ;;
        --help | -h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

build_injector() {
    run_child "${AS_USER[@]}" "${CXX:-g++}" -std=c++20 -O1 -g -Wall -Wextra -Werror -Wno-register \
        -fno-exceptions -fno-rtti -shared -fPIC -Wl,-z,lazy \
        -isystem "$("$PG_CONFIG" --includedir-server)" \
        -o "$TMP_ROOT/out_of_memory.so" "$SOURCE_DIR/test/faults/out_of_memory.cpp" ||
        die "out_of_memory.cpp does not compile"
}

# start_injected_server LIBRARIES: preloads ours as a library of libc's rank, too.
start_injected_server() {
    local control=$TMP_ROOT/control
    # shellcheck disable=SC2034 # for start_server
    local AS_USER=("${AS_USER[@]}" env "CS_OUT_OF_MEMORY=$control"
        "LD_PRELOAD=$TMP_ROOT/out_of_memory.so")
    start_server fsync=off max_prepared_transactions=5 autovacuum=off concurrency_safe.directory_size=64 concurrency_safe.deadlock_history=3 \
        "shared_preload_libraries=$TMP_ROOT/out_of_memory.so$1"
    run_psql -d postgres -c 'CREATE DATABASE oom'
}

run_cases() {
    run_child "${AS_USER[@]}" env PGHOST="$SOCKET_DIR" PGUSER=postgres PYTHONDONTWRITEBYTECODE=1 \
        "$PYTHON" -s "$SOURCE_DIR/test/faults/out_of_memory.py" --control "$TMP_ROOT/control" \
        --totals "$TMP_ROOT/totals" "${options[@]}" && return
    tail -n 100 "$TMP_ROOT/server.log"
    return 1
}

# The totals of both servers, added up.
print_figures() {
    awk -v seconds="$SECONDS" -v version="$("$PG_CONFIG" --version)" '
        { count = $1; sub(/^[0-9]+ /, ""); sum[$0] += count; if (/^points, /) points += count }
        END {
            for (name in sum) print "figure: out of memory, " name " = " sum[name] | "sort"
            close("sort")
            print "figure: out of memory, points = " points
            print "figure: out of memory, seconds = " seconds
            print "figure: out of memory, server = " version
        }' "$TMP_ROOT/totals"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3 python3-psycopg2
make_private_copy
say "building with PostgreSQL $PG_MAJOR"
# Without calls turned into jumps: who called whom is read from the stack.
build_extension CXX="${CXX:-g++}" with_llvm=no COPT=-fno-optimize-sibling-calls
build_injector
"${AS_USER[@]}" truncate -s 2M "$TMP_ROOT/control"

status=0
for libraries in '' ', concurrency_safe'; do
    if [[ -n $libraries ]]; then say "preloaded:"; else say "not preloaded:"; fi
    start_injected_server "$libraries"
    run_cases || status=1
    stop_server
done
print_figures
exit "$status"
