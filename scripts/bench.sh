#!/usr/bin/env bash
#
# Measures this extension beside its alternatives.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/bench.sh [--quick] [CASE...]

Installs what is missing (apt), builds the extension in a temporary folder, starts private
servers, and measures in alternating turns, in one run: this extension, PostgreSQL's own
advisory locks, row locks, SERIALIZABLE, polling, and Redis. Every case checks that the work
was done right; where it was not, the report says so instead of a speed.

Writes bench/report/REPORT.md and its plots. Takes under 30 minutes, with --quick under 3; with
--quick, or with cases named, the report goes to a temporary folder that is named at the end.

cases:
  statement   one statement over 100,000 keys
  calls       single calls over 100,000 keys, 1 to 32 clients
  hot         one hot key, 1 to 64 clients
  transfers   transfers among 10 to 100,000 accounts
  growth      cost with up to 50,000 keys held, wake-ups, views, the directory
  memory      shared memory, a session's memory, bytes of a held key
  profile     where the instructions of a lock go

Existing servers and databases are not touched.
HELP
}

arguments=() partial=''
for argument in "$@"; do
    case $argument in
        --help | -h)
            usage
            exit 0
            ;;
        *)
            arguments+=("$argument")
            partial=yes
            ;;
    esac
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3 python3-psycopg2 python3-matplotlib valgrind
# Its rows are left out where it is not to be had.
(install_packages redis-server python3-redis) || say "going on without Redis"
make_private_copy
build_extension with_llvm=no

report=$TMP_ROOT/report
run_child "${AS_USER[@]}" env BENCH_PG_BIN="$PG_BIN" BENCH_FOLDER="$TMP_ROOT" BENCH_REPORT="$report" \
    BENCH_EXTENSION_SETTINGS="$(extension_settings)" MPLCONFIGDIR="$TMP_ROOT/matplotlib" \
    "$PYTHON" -B "$SOURCE_DIR/bench/bench.py" "${arguments[@]}"
if [[ -n $partial ]]; then
    target=$(mktemp -d)/report
else
    target=$CHECKOUT/bench/report
    rm -rf "$target"
fi
cp -r "$report" "$target"
say "$target/REPORT.md"
