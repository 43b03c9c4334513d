# shellcheck shell=bash
#
# Part of sanitizers.sh, valgrind.sh, asserts.sh and coverage.sh: the suites of
# scripts/test.sh, in a server that a tool watches or that was built in a special way.
# Source it after `set -euo pipefail`; it sources common.sh.
#
#   wrap_server CODE          sets PG_CONFIG to a server that CODE, in a script of its own,
#                             starts in its way: as "$0.unwrapped" "$@"
#   run_suites [SUITE...]     runs them; sets SUITES_DIR, the folder they leave to us
#   count_in_logs PATTERN     the lines in the logs of the suites and their servers; shows and
#                             counts them as figure "reports", and fails if there are any
#   fail MESSAGE...           the part goes on, and ends with status 1
#   end_part                  the last figures, and the status

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

FAILED='' SUITES_DIR=''

fail() {
    say "FAILED: $*"
    FAILED=yes
}

figure() { say "figure: $1 = $2"; }

# PostgreSQL's programs find all else from where they lie, so a copy of their folder, with links
# to the others, is a whole server. Only what starts a server and is not initdb's is wrapped: the
# rest would take the tool's time and never loads us.
wrap_server() {
    local root=$TMP_ROOT/wrapped name folder
    "${AS_USER[@]}" mkdir -p "$root$PG_BIN"
    "${AS_USER[@]}" cp "$PG_BIN"/* "$root$PG_BIN"
    for name in sharedir pkglibdir includedir includedir-server; do
        folder=$("$PG_CONFIG" "--$name")
        [[ ! -e $root$folder ]] || continue
        "${AS_USER[@]}" mkdir -p "${root}${folder%/*}"
        "${AS_USER[@]}" ln -s "$folder" "$root$folder"
    done
    PG_BIN=$root$PG_BIN
    PG_CONFIG=$PG_BIN/pg_config
    "${AS_USER[@]}" mv "$PG_BIN/postgres" "$PG_BIN/postgres.unwrapped"
    "${AS_USER[@]}" tee "$PG_BIN/postgres" >/dev/null <<CODE
#!/bin/bash
[[ \$1 == -D ]] || exec -a "\$0" "\$0.unwrapped" "\$@"
$1
CODE
    "${AS_USER[@]}" chmod 755 "$PG_BIN/postgres"
}

run_suites() {
    local log=$TMP_ROOT/suites.log status=0 output copy start=$SECONDS
    exec {output}> >(tee "$log")
    copy=$!
    run_child env TMPDIR="$TMP_ROOT" CS_KEEP=yes PG_CONFIG="$PG_CONFIG" \
        bash "$CHECKOUT/scripts/test.sh" "$@" </dev/null >&"$output" 2>&1 || status=$?
    exec {output}>&-
    wait "$copy"
    ((status == 0)) || fail "scripts/test.sh ended with status $status"
    SUITES_DIR=$(echo "$TMP_ROOT"/concurrency_safe.*)
    figure suites "$(grep -cE '^running [a-z-]+$' "$log")"
    figure tests "$(tail -n 1 "$log")"
    figure "seconds of the suites" $((SECONDS - start))
}

count_in_logs() {
    local reports
    reports=$(grep -rEh --include='*.log' -A 12 "$1" "$SUITES_DIR") || true
    [[ -z $reports ]] || {
        say "$reports" | head -n 200
        fail "the logs have reports"
    }
    figure reports "$(grep -cE "$1" <<<"$reports" || true)"
}

end_part() {
    figure PostgreSQL "$("$PG_CONFIG" --version | sed 's/^PostgreSQL //')"
    figure seconds "$SECONDS"
    [[ -z $FAILED ]]
}
