#!/usr/bin/env bash
#
# Runs a core of the suites of scripts/test.sh in the stock server under Valgrind's memcheck,
# which is about fifty times as slow, and fails if a report names our code.
#
#   bash scripts/trust/valgrind.sh [--quick]     --quick: a few files of the regress suite alone
#
# Nothing is suppressed. Memcheck sees what sanitizers.sh cannot: the use of memory that was never
# written, also in the server's code, called by ours. Reports of the server alone are counted.

set -euo pipefail

regress=(function_shape guard_acquire guard_require key_arrays key_paths key_tag key_template key_text
    leases lock_any lock_statement_names mode_names own_holds permits run run_retries savepoints
    session_scope settings transaction_scope transfer transfer_refused)
isolation=(all_or_none cancel_holders deadlock_keys deadlock_row drop_while_held fair_queue
    lease_queue permit_waits session_holds transfers_meet wait_and_wake waiters_seen)
tap=(005_terminate 023_wait_graph 025_deadlock_history 044_permits)
suites=(regress regress-preloaded isolation isolation-preloaded tap)
case ${1-} in
    '') ;;
    --quick)
        regress=(key_template leases savepoints)
        suites=(regress-preloaded)
        ;;
    *)
        echo "usage: bash scripts/trust/valgrind.sh [--quick]" >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/trust/suites.sh
source "$(dirname "${BASH_SOURCE[0]}")/suites.sh"

# A report is a paragraph, headed by what is wrong and followed by frames. Ours have the name of a
# C++ file; the server is C.
check_reports() {
    local ours processes
    # shellcheck disable=SC2016 # for awk
    ours=$(sed -E 's/^==[0-9]+== ?//' "$REPORTS"/* |
        awk 'BEGIN { RS = "" } /\.[ch]pp:[0-9]+\)|concurrency_safe\.so/ { print $0 "\n" }')
    [[ -z $ours ]] || {
        say "$ours" | head -n 300
        fail "Valgrind reports that name our code"
    }
    processes=$(grep -l 'ERROR SUMMARY' "$REPORTS"/* | wc -l)
    ((processes > 0)) || fail "no process was watched"
    figure "reports that name our code" "$(grep -cE '^[[:space:]]+at 0x' <<<"$ours" || true)"
    figure "reports in all" \
        "$(sed -n 's/.*ERROR SUMMARY: .* from \([0-9]*\) contexts.*/\1/p' "$REPORTS"/* |
            awk '{ sum += $1 } END { print sum + 0 }')"
    figure "processes watched to their end" "$processes"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" valgrind
make_private_copy
REPORTS=$TMP_ROOT/reports
"${AS_USER[@]}" mkdir "$REPORTS"
# Not the restarts of "pg_ctl restart": the server's own note of its program is the one below
# Valgrind. The tests above have none.
wrap_server "
exec valgrind --log-file='$REPORTS/%p' --num-callers=40 --leak-check=no \
    \"\$0.unwrapped\" \"\$@\""
tap=("${tap[@]/#/test/t/}")
export CS_REGRESS="${regress[*]}" CS_ISOLATION="${isolation[*]}" PROVE_TESTS="${tap[*]/%/.pl}"
PGCTLTIMEOUT=900 PG_TEST_TIMEOUT_DEFAULT=1800 CS_BUILD_FLAGS='-O1 -Wno-error' \
    run_suites "${suites[@]}"
check_reports
figure valgrind "$(valgrind --version | sed 's/valgrind-//')"
figure compiler "$(g++ --version | head -n 1)"
end_part
