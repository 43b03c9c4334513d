#!/usr/bin/env bash
#
# Measures each of these as a ratio to a reference on the same work, on private
# servers, in alternating runs; prints every run and the median:
#
#   bulk            one statement that locks 100,000 keys, and the commit that releases
#                   them, against pg_advisory_xact_lock(hashtextextended(key, 0))
#   bulk-unchecked  the same with the library preloaded, for names and statistics, and
#                   the checks off
#   bulk-preloaded  the same with the library preloaded and all checks on
#   hot             one key taken again and again, preloaded against not preloaded: in
#                   one statement, and in a transaction each
#   order           the check of an order of locks that is known: one key taken again and
#                   again while another one is held, check_order on against off
#   views           cs_locks with 10,000 keys held, against pg_locks
#   transfer        CALL cs_transfer, 16 clients on 1,000 accounts, against the same
#                   transfer with row locks from the client
#   run             CALL cs_run with a withdrawal, 16 clients on one key, against the same
#                   under cs_lock in a transaction of the client
#
# Each case checks that the work done is right and fails if it is not.

set -euo pipefail

ALL_CASES=(bulk bulk-unchecked bulk-preloaded hot order views transfer run)

usage() {
    echo "usage: bash bench/run.sh [--runs N] [CASE...]"
    echo "cases: ${ALL_CASES[*]}"
}

runs=7 cases=()
while (($# > 0)); do
    case $1 in
        --runs)
            runs=${2:?$(usage)}
            shift
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            [[ " ${ALL_CASES[*]} " == *" $1 "* ]] || {
                usage >&2
                exit 2
            }
            cases+=("$1")
            ;;
    esac
    shift
done
((${#cases[@]} > 0)) || cases=("${ALL_CASES[@]}")

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

# fresh_server [preloaded [SETTING...]]: with the extension in database bench. What is
# measured makes no mistake that a check would report: at error it would fail.
fresh_server() {
    local settings=(fsync=off max_locks_per_transaction=4000 shared_buffers=256MB
        autovacuum=off concurrency_safe.check_autocommit=error
        concurrency_safe.check_snapshot=error concurrency_safe.check_order=error)
    [[ ${1-} != preloaded ]] || settings+=(shared_preload_libraries=concurrency_safe "${@:2}")
    start_server "${settings[@]}"
    run_psql -d postgres -c 'CREATE DATABASE bench'
    run_psql -d bench -c 'CREATE EXTENSION concurrency_safe'
}

# bulk [preloaded SETTING...]: its keys are locked one by one, in any order, which is
# what check_order reports once.
bulk() {
    local a b statement preloaded=${1-}
    local reference='SELECT count(pg_advisory_xact_lock(hashtextextended(key, 0))) FROM keys;'
    local candidate='SELECT count(cs_lock(key)) FROM keys;'
    say "bulk: milliseconds for 100,000 keys; built-in, cs_lock${preloaded:+, $*}"
    fresh_server "$@"
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
    if [[ -n $preloaded ]]; then
        say "bulk: $(run_psql -d bench -At -c "
            SELECT format('%s of %s locks found no place for their name', unnamed, acquired)
            FROM cs_stat")"
    fi
    say "bulk: cs_lock takes $(median_ratio) of the built-in pair's time${preloaded:+, $*}"
}

bulk_preloaded() { bulk preloaded concurrency_safe.check_order=log; }

bulk_unchecked() {
    bulk preloaded concurrency_safe.check_{autocommit,snapshot,order}=off
}

# Milliseconds of a statement that takes one key a million times: the median of 9.
again_ms() {
    local i statement="SELECT count(cs_lock('hot')) FROM generate_series(1, 1000000)"
    {
        echo "$statement;"
        printf '%s\n' '\timing on'
        for ((i = 0; i < 9; i++)); do echo "$statement;"; done
    } | run_psql -d bench -At | sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | median
}

# Microseconds of a transaction that takes the key, one client.
transaction_us() {
    local script=$TMP_ROOT/hot.sql
    echo "SELECT cs_lock('hot'), 1;" >"$script"
    "${AS_USER[@]}" "$PG_BIN/pgbench" -h "$SOCKET_DIR" -U postgres -n -M prepared -c 1 \
        -T "${BENCH_SECONDS:-5}" -f "$script" bench |
        sed -nE 's/^tps = ([0-9.]+) .*/\1/p' | awk '{printf "%.2f\n", 1000000 / $1}'
}

hot() {
    local i what plain preloaded measured=()
    say "hot: one key; not preloaded, preloaded"
    for ((i = 0; i < runs; i++)); do
        fresh_server
        plain=$(again_ms) plain+=" $(transaction_us)"
        fresh_server preloaded
        preloaded=$(again_ms) preloaded+=" $(transaction_us)"
        measured+=("$plain $preloaded")
    done
    for what in "ms for a million times in a statement" "us for a transaction"; do
        say " $what"
        ratios=()
        while read -r plain preloaded; do
            note_pair "$plain" "$preloaded"
        done < <(printf '%s\n' "${measured[@]}" |
            if [[ $what == ms* ]]; then cut -d ' ' -f 1,3; else cut -d ' ' -f 2,4; fi)
        say "hot: preloaded takes $(median_ratio) of the time, $what"
    done
}

order() {
    local a b i check added=()
    say "order: milliseconds for a million locks while another class is held; check off, on"
    fresh_server preloaded
    ratios=()
    while read -r a b; do
        note_pair "$a" "$b"
        added+=("$(awk -v a="$a" -v b="$b" 'BEGIN {print b - a}')")
    done < <({
        echo "BEGIN; SELECT cs_lock('order:1'), cs_lock('stock:1');"
        for ((i = 0; i < runs; i++)); do
            for check in off log; do
                printf '%s\n' "SET LOCAL concurrency_safe.check_order = $check;" '\timing on' \
                    "SELECT count(cs_lock('stock:1')) FROM generate_series(1, 1000000);" \
                    '\timing off'
            done
        done
    } | run_psql -d bench -At | sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | paste - -)
    say "order: the check of a known order adds $(printf '%s\n' "${added[@]}" | median) ns to a lock"
}

views() {
    local a b i count
    say "views: milliseconds with 10,000 keys held; pg_locks, cs_locks"
    fresh_server preloaded
    ratios=()
    while read -r a b; do
        note_pair "$a" "$b"
    done < <({
        echo "BEGIN; SET concurrency_safe.max_keys_per_session = -1;"
        echo "SET concurrency_safe.check_order = off;"
        echo "SELECT count(cs_lock('order:' || i)) FROM generate_series(1, 10000) AS i;"
        for ((i = 0; i < runs; i++)); do
            for view in pg_locks cs_locks; do
                printf '%s\n' "SELECT count(*) FROM $view;" '\timing on' \
                    "SELECT count(*) FROM $view;" '\timing off'
            done
        done
    } | run_psql -d bench -At | sed -nE 's/^Time: ([0-9.]+) ms.*/\1/p' | paste - -)
    count=$(run_psql -d bench -At -c "SET concurrency_safe.check_order = off" -c BEGIN \
        -c "SELECT count(cs_lock('order:' || i)) FROM generate_series(1, 10000) AS i" \
        -c "SELECT count(*) FROM cs_locks WHERE key ~ '^order:[0-9]+\$'" | tail -n 1)
    [[ $count == 10000 ]] || die "cs_locks shows $count keys"
    say "views: cs_locks takes $(median_ratio) of the time of pg_locks, and shows all names"
}

# The report of pgbench for a script, 16 clients.
pgbench_report() {
    "${AS_USER[@]}" "$PG_BIN/pgbench" -h "$SOCKET_DIR" -U postgres -n -M prepared -c 16 -j 2 \
        -T "${BENCH_SECONDS:-5}" -f "$SOURCE_DIR/bench/$1.sql" bench
}

# Transactions per second of a script.
transfer_tps() { pgbench_report "$1" | sed -nE 's/^tps = ([0-9.]+) .*/\1/p'; }

# Of a script that withdraws 1: how many per second. Counts them in $withdrawn.
withdrawals_tps() {
    local report processed
    report=$(pgbench_report "$1")
    processed=$(sed -nE 's/^number of transactions actually processed: ([0-9]+).*/\1/p' <<<"$report")
    withdrawn=$((withdrawn + processed))
    tps=$(sed -nE 's/^tps = ([0-9.]+) .*/\1/p' <<<"$report")
    run_psql -d bench -c "VACUUM account"
}

transfer() {
    local sum i a b
    fresh_server
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

run() {
    local i a tps withdrawn=0 balance
    fresh_server
    say "run: withdrawals per second, 16 clients, one key; cs_lock from the client, cs_run"
    run_psql -d bench -c "
        CREATE TABLE account (id integer PRIMARY KEY, balance numeric NOT NULL);
        INSERT INTO account VALUES (1, 1000000000)"
    run_psql -d bench -c "VACUUM (ANALYZE) account"
    ratios=()
    for ((i = 0; i < runs; i++)); do
        withdrawals_tps client_key_lock
        a=$tps
        withdrawals_tps run_command
        note_pair "$a" "$tps"
    done
    balance=$(run_psql -d bench -At -c "SELECT balance FROM account")
    ((balance == 1000000000 - withdrawn)) ||
        die "the balance is $balance after $withdrawn withdrawals of 1"
    say "run: cs_run does $(median_ratio) times as many, and the balance is exact"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}"
make_private_copy
build_extension with_llvm=no
"$PG_BIN/postgres" --version
for each in "${cases[@]}"; do
    "${each//-/_}"
done
