#!/usr/bin/env bash
#
# Runs the suites of scripts/test.sh with a library that counts, and says how much of src/ ran.
# Fails below 98 % of the lines or 90 % of the branches, and for each line that did not run and
# is not in test/coverage_exceptions.txt. See coverage_report.py for what counts as a branch.
#
#   bash scripts/trust/coverage.sh [--quick]
#
# --quick: without the TAP tests. They reach what only crashes, standbys and full tables reach, so
# it cannot fail: it says what did not run.
#
# A session adds its counts to the files beside the objects when it ends; one that was killed has
# none. The programs of the unit suite count, too.

set -euo pipefail

case ${1-} in
    '') suites=() bounds=(--lines 98 --branches 90) ;;
    --quick) suites=(unit regress regress-preloaded isolation isolation-preloaded pgtap) bounds=() ;;
    *)
        echo "usage: bash scripts/trust/coverage.sh [--quick]" >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/trust/suites.sh
source "$(dirname "${BASH_SOURCE[0]}")/suites.sh"

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" gcovr python3
make_private_copy
# Sessions count at the same time, so the counters are atomic.
CS_BUILD_FLAGS='--coverage -fprofile-update=atomic -O0 -Wno-error' run_suites "${suites[@]}"
say "reading the counts"
source=$SUITES_DIR/source
counts=$TMP_ROOT/coverage.json
(cd "$source" && run_child "${AS_USER[@]}" gcovr --root . --filter src/ \
    --exclude-throw-branches --exclude-unreachable-branches --json "$counts" .)
"${AS_USER[@]}" "$PYTHON" -B "$source/scripts/trust/coverage_report.py" "${bounds[@]}" \
    "$source" "$counts" || fail "not enough ran"
figure compiler "$(g++ --version | head -n 1)"
figure gcovr "$(gcovr --version | sed -n '1s/gcovr //p')"
end_part
