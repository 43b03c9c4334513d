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

# Runs A B, B A, A B, ... so that neither always profits from going first.
# Prints A, B and the ratio of each pair, then the median ratio.
alternate() {
    local measure=$1 reference=$2 candidate=$3 i a b ratios=()
    for ((i = 1; i <= runs; i++)); do
        if ((i % 2)); then
            a=$("$measure" "$reference") b=$("$measure" "$candidate")
        else
            b=$("$measure" "$candidate") a=$("$measure" "$reference")
        fi
        ratios+=("$(awk -v a="$a" -v b="$b" 'BEGIN {printf "%.3f", b / a}')")
        printf '  run %d: %10s %10s   ratio %s\n' "$i" "$a" "$b" "${ratios[-1]}" >&2
    done
    printf '%s\n' "${ratios[@]}" | median
}

# Milliseconds of one statement over all keys and of its commit. A first, not
# measured run of the same statement comes before it: the order in which the
# server's lock table reuses its memory is then its own and not its rival's.
bulk_ms() {
    run_psql -d bench -At <<SQL | awk '
        $1 == "held" { held = $2 }
        $1 == "Time:" { ms += $2 }
        END { if (held != 100000) { print "held " held > "/dev/stderr"; exit 1 } print ms }'
LOAD 'concurrency_safe';
SET concurrency_safe.max_keys_per_session = -1;
SELECT count($1) FROM keys \g /dev/null
BEGIN;
\timing on
SELECT count($1) FROM keys \g /dev/null
\timing off
SELECT 'held ' || count(*) FROM pg_locks WHERE locktype = 'advisory';
\timing on
COMMIT;
SQL
}

bulk() {
    say "bulk: milliseconds for 100,000 keys; built-in, cs_lock" >&2
    run_psql -d bench -c "
        CREATE TABLE keys AS
            SELECT 'withdraw:user:' || i AS key FROM generate_series(1, 100000) AS i"
    run_psql -d bench -c "VACUUM (FREEZE, ANALYZE) keys"
    say "bulk: cs_lock takes $(alternate bulk_ms \
        'pg_advisory_xact_lock(hashtextextended(key, 0))' 'cs_lock(key)') of the built-in pair's time"
}

# Transactions per second of a pgbench script.
transfer_tps() {
    "${AS_USER[@]}" "$PG_BIN/pgbench" -h "$SOCKET_DIR" -U postgres -n -M prepared -c 16 -j 2 \
        -T "${BENCH_SECONDS:-5}" -f "$SOURCE_DIR/bench/$1.sql" bench |
        sed -nE 's/^tps = ([0-9.]+) .*/\1/p'
}

transfer() {
    local sum
    say "transfer: per second, 16 clients, 1,000 accounts; row locks from the client, cs_transfer" >&2
    run_psql -d bench -c "
        CREATE TABLE accounts (id integer PRIMARY KEY, balance numeric NOT NULL);
        INSERT INTO accounts SELECT i, 1000000 FROM generate_series(1, 1000) AS i"
    run_psql -d bench -c "VACUUM (ANALYZE) accounts"
    say "transfer: cs_transfer does $(alternate transfer_tps client_row_locks transfer) times as many"
    sum=$(run_psql -d bench -At -c "SELECT sum(balance) FROM accounts")
    ((sum == 1000000000)) || die "the sum of the balances is $sum"
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
