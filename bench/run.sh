#!/usr/bin/env bash
#
# Measures two things, each as a ratio to a reference on the same work, on one
# private server, in alternating runs; prints every run and the median:
#
#   bulk      one statement that locks 100,000 keys, and the commit that releases
#             them, against pg_advisory_xact_lock(hashtextextended(key, 0))
#   transfer  CALL cs_transfer, 16 clients on 1,000 accounts, against the same
#             transfer with row locks from the client
#
# Each case checks that the work done is right and fails if it is not.

set -euo pipefail

usage() {
    echo "usage: bash bench/run.sh [--runs N] [bulk] [transfer]"
}

runs=7 cases=()
while (($# > 0)); do
    case $1 in
        --runs)
            runs=${2:?$(usage)}
            shift
            ;;
        bulk | transfer) cases+=("$1") ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
    shift
done
((${#cases[@]} > 0)) || cases=(bulk transfer)

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

median() { sort -g | awk '{v[NR] = $1} END {printf "%.3f\n", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2}'; }

# Prints one pair of measurements and its ratio, and remembers the ratio.
ratios=()
note_pair() {
    ratios+=("$(awk -v a="$1" -v b="$2" 'BEGIN {printf "%.3f", b / a}')")
    printf '  run %2d: %12.1f %12.1f   ratio %s\n' "${#ratios[@]}" "$1" "$2" "${ratios[-1]}"
}

median_ratio() { printf '%s\n' "${ratios[@]}" | median; }

# Prints milliseconds for the reference and the candidate, alternating, in one
# session. A not measured execution of the same statement comes before each: the
# order in which the lock table reuses its memory is then its own and not its
# rival's. Each statement is its own transaction, so the release counts, too.
bulk_ms() {
    local i statement
    {
        echo "LOAD 'concurrency_safe'; SET concurrency_safe.max_keys_per_session = -1;"
        for ((i = 0; i < runs; i++)); do
            for statement in "$@"; do
                printf '%s\n' "$statement" '\timing on' "$statement" '\timing off'
            done
        done
    } | run_psql -d bench -At | sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | paste - -
}

# How many locks the statement holds before it ends.
locks_held() {
    run_psql -d bench -At -c "SET concurrency_safe.max_keys_per_session = -1" -c BEGIN \
        -c "$1" -c "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'" | tail -n 1
}

bulk() {
    local a b statement
    local reference='SELECT count(pg_advisory_xact_lock(hashtextextended(key, 0))) FROM keys;'
    local candidate='SELECT count(cs_lock(key)) FROM keys;'
    say "bulk: milliseconds for 100,000 keys; built-in, cs_lock"
    run_psql -d bench -c "
        CREATE TABLE keys AS
            SELECT 'withdraw:user:' || i AS key FROM generate_series(1, 100000) AS i"
    run_psql -d bench -c "VACUUM (FREEZE, ANALYZE) keys"
    for statement in "$reference" "$candidate"; do
        [[ $(locks_held "$statement") == 100000 ]] || die "not 100,000 locks: $statement"
    done
    ratios=()
    while read -r a b; do
        note_pair "$a" "$b"
    done < <(bulk_ms "$reference" "$candidate")
    say "bulk: cs_lock takes $(median_ratio) of the built-in pair's time"
}

# Transactions per second of a pgbench script.
transfer_tps() {
    "${AS_USER[@]}" "$PG_BIN/pgbench" -h "$SOCKET_DIR" -U postgres -n -M prepared -c 16 -j 2 \
        -T "${BENCH_SECONDS:-5}" -f "$SOURCE_DIR/bench/$1.sql" bench |
        sed -nE 's/^tps = ([0-9.]+) .*/\1/p'
}

transfer() {
    local sum i a b
    say "transfer: per second, 16 clients, 1,000 accounts; row locks from the client, cs_transfer"
    run_psql -d bench -c "
        CREATE TABLE accounts (id integer PRIMARY KEY, balance numeric NOT NULL);
        INSERT INTO accounts SELECT i, 1000000 FROM generate_series(1, 1000) AS i"
    run_psql -d bench -c "VACUUM (ANALYZE) accounts"
    ratios=()
    for ((i = 0; i < runs; i++)); do
        a=$(transfer_tps client_row_locks)
        b=$(transfer_tps transfer)
        note_pair "$a" "$b"
    done
    sum=$(run_psql -d bench -At -c "SELECT sum(balance) FROM accounts")
    ((sum == 1000000000)) || die "the sum of the balances is $sum"
    say "transfer: cs_transfer does $(median_ratio) times as many, and the sum is exact"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}"
make_private_copy
build_extension with_llvm=no
start_server fsync=off max_locks_per_transaction=4000 shared_buffers=256MB autovacuum=off
run_psql -d postgres -c 'CREATE DATABASE bench'
run_psql -d bench -c 'CREATE EXTENSION concurrency_safe'
"$PG_BIN/postgres" --version
for each in "${cases[@]}"; do
    "$each"
done
