#!/usr/bin/env bash
#
# Plants bugs in the sources, and reports which ones the tests find.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/mutants.sh [--quick] [--seed N] [--hints] [--why] [NAME...]

Installs what is missing (apt), builds the extension in temporary folders, and applies the
bugs that test/mutants/*.mutants list, one at a time: builds, and runs the test that is
expected to find it, then, only if it does not, all others, from the cheapest on.
95 of 100 must be found, and each one that is not has to be explained in its list.

  --quick   a handful, chosen by the seed, and the expected tests alone; that all of the
            lists can be applied is checked as always
  --seed N  default: the date
  --hints   the expected tests alone
  --why     shows how each test failed
  NAME...   these alone

exit status: 0 if enough are found and the rest is explained, else 1.
HELP
}

for argument in "$@"; do
    if [[ $argument == --help || $argument == -h ]]; then
        usage
        exit 0
    fi
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# A copy of what is built, with an installation and servers' settings of its own.
make_workplace() {
    local folder=$TMP_ROOT/$1 INSTALL_DIR=$TMP_ROOT/$1/install
    "${AS_USER[@]}" mkdir "$folder" "$folder/tmp"
    "${AS_USER[@]}" cp -a "$SOURCE_DIR" "$folder/source"
    "${AS_USER[@]}" make -s -C "$folder/source" install "PG_CONFIG=$PG_CONFIG" \
        "DESTDIR=$INSTALL_DIR" with_llvm=no LTO=
    extension_settings >"$folder/extension.conf"
    {
        extension_settings
        printf 'concurrency_safe.check_%s = error\n' snapshot order
    } >"$folder/checked.conf"
    {
        cat "$folder/checked.conf"
        echo 'concurrency_safe.check_autocommit = error'
        echo "shared_preload_libraries = 'concurrency_safe'"
    } >"$folder/preloaded.conf"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" perl libipc-run-perl python3 \
    libtap-parser-sourcehandler-pgtap-perl "postgresql-$PG_MAJOR-pgtap"
make_private_copy
say "building with PostgreSQL $PG_MAJOR"
build_extension with_llvm=no LTO=
arguments=()
for ((i = 1; i <= $(nproc); i++)); do
    make_workplace "w$i"
    arguments+=(--workplace "$TMP_ROOT/w$i")
done
run_child "${AS_USER[@]}" env MUTANTS_PG_CONFIG="$PG_CONFIG" MUTANTS_PG_BIN="$PG_BIN" \
    "$PYTHON" -B "$SOURCE_DIR/test/mutants/run.py" "${arguments[@]}" "$@"
