#!/usr/bin/env bash
#
# Histories of locks under faults, checked, and a canary.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/histories.sh [--quick] [OPTION...]

Many sessions take and release keys, permits and leases in every way there is, while others
cancel, terminate and kill -9 them, stop the server at once, and promote standbys. A recorder
(test/faults/recorder.cpp) writes down every grant and release in one order; a checker
(test/faults/checker.py) proves that no two conflicting holds overlap, that only owners release,
that tokens grow, that permits are never too many and that nothing is left. Beside them a canary
counts in rows under keys: no update may be lost; without keys, some have to be.

Needs about half an hour; with --quick about a minute and a half.

options:
  --quick             less of everything, for CI
  --seed N            repeats what each session asks for, and in which order
  --phases NAME,...   of replay, which makes a history twice from one seed, volume, canary,
                      storm, kills, stops and promotions; all of them unless told
  --operations N      grants of keys and permits without faults         (5000000)
  --canary N          transactions of the canary under cancels          (5000000)
  --control N         transactions of its control, without a key         (100000)
  --disturbances N    cancels and timeouts that sessions met in the storm (50000)
  --kills N           kill -9 of holders, waiters and bystanders in turn    (500)
  --stops N           immediate stops of the server                          (50)
  --promotions N      promotions of a standby                                (20)

Existing servers and databases are not touched. Exit status 1 if anything was wrong; the
history in question is kept then, and its place is said.
HELP
}

for argument in "$@"; do
    case $argument in
        --help | -h)
            usage
            exit 0
            ;;
    esac
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3 python3-psycopg2
make_private_copy
say "building with PostgreSQL $PG_MAJOR"
build_extension with_llvm=no
faults=$SOURCE_DIR/test/faults
run_child "${AS_USER[@]}" make -s -C "$faults" with_llvm=no "PG_CONFIG=$PG_CONFIG" \
    CXX="${CXX:-g++} -Werror" >"$TMP_ROOT/recorder.log" 2>&1 || {
    cat "$TMP_ROOT/recorder.log" >&2
    die "the recorder did not build"
}
say "checking forged histories"
for test in history server; do
    run_child "${AS_USER[@]}" "$PYTHON" -B "$faults/${test}_test.py"
done
status=0
run_child "${AS_USER[@]}" env HISTORY_PG_BIN="$PG_BIN" HISTORY_FOLDER="$TMP_ROOT" \
    HISTORY_EXTENSION_SETTINGS="$(extension_settings)" \
    HISTORY_RECORDER="$faults/history_recorder.so" \
    "$PYTHON" -B "$faults/run.py" "$@" || status=$?
if ((status != 0)) && compgen -G "$TMP_ROOT/*.history" >/dev/null; then
    kept=$(mktemp -d)
    cp --sparse=always "$TMP_ROOT"/*.history "$TMP_ROOT"/*.log "$kept"
    say "histories and logs are in $kept"
fi
exit "$status"
