#!/usr/bin/env bash
#
# Counts the instructions that one uncontended cs_lock executes in our own functions, and
# with --check compares them with bench/instructions.txt: more than 10 % above is an error,
# and so is more than 10 % below, until the file is brought up to date with --update.
#
# Valgrind's callgrind counts in a server of a single process. What a session costs by itself, and
# the first lock of each key, is taken away: it is the difference between many calls and few.

set -euo pipefail

case ${1-} in
    '' | --check | --update) action=${1-} ;;
    *)
        echo "usage: bash bench/instructions.sh [--check | --update]" >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

KEYS=1000 FEW=2 MANY=4
COMMITTED=$CHECKOUT/bench/instructions.txt

# instructions TIMES [SETTING=VALUE...]: of a session that locks all keys so many times, each
# time in one statement.
instructions() {
    local times=$1 setting options=() profile=$TMP_ROOT/callgrind statement i
    statement="SELECT count(cs_lock('withdraw:user:' || i)) FROM generate_series(1, $KEYS) AS i"
    shift
    for setting in "$@"; do options+=(-c "$setting"); done
    "${AS_USER[@]}" valgrind --quiet --tool=callgrind --callgrind-out-file="$profile" \
        "$PG_BIN/postgres" --single -D "$DATA_DIR" "${options[@]}" postgres >"$TMP_ROOT/single.log" 2>&1 \
        < <(for ((i = 0; i < times; i++)); do echo "$statement"; done)
    [[ $(grep -c "count = \"$KEYS\"" "$TMP_ROOT/single.log") == "$times" ]] || {
        cat "$TMP_ROOT/single.log" >&2
        die "the statement failed"
    }
    callgrind_annotate --threshold=100 --show-percs=no "$profile" |
        awk '/concurrency_safe\.so\]/ { gsub(",", "", $1); sum += $1 } END { print sum }'
}

# a_lock [SETTING=VALUE...]: the instructions of one call.
a_lock() {
    local few many
    few=$(instructions "$FEW" "$@")
    many=$(instructions "$MANY" "$@")
    echo $(((many - few) / ((MANY - FEW) * KEYS)))
}

measure() {
    echo "compiler $(g++ -dumpversion), PostgreSQL $PG_MAJOR"
    echo "not-preloaded $(a_lock)"
    echo "preloaded-all-checks $(a_lock shared_preload_libraries=concurrency_safe)"
}

# compare MEASURED: says each, and fails if one is out of bounds.
compare() {
    local name committed measured status=0
    if [[ $(head -n 1 "$1") != "$(head -n 1 "$COMMITTED")" ]]; then
        say "not compared: counted for $(head -n 1 "$COMMITTED"), this is $(head -n 1 "$1")"
        return 0
    fi
    while read -r name committed; do
        measured=$(awk -v name="$name" '$1 == name { print $2 }' "$1")
        say "$name: $measured instructions, $committed committed"
        if ((measured * 10 > committed * 11 || measured * 10 < committed * 9)); then status=1; fi
    done < <(tail -n +2 "$COMMITTED")
    return "$status"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" valgrind
make_private_copy
build_extension with_llvm=no
start_server fsync=off max_locks_per_transaction=1000 concurrency_safe.check_order=log
run_psql -d postgres -c 'CREATE EXTENSION concurrency_safe'
stop_server
measured=$TMP_ROOT/instructions.txt
measure >"$measured"
case $action in
    --check) compare "$measured" ;;
    --update) tee "$COMMITTED" <"$measured" ;;
    *) cat "$measured" ;;
esac
