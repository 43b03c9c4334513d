#!/usr/bin/env bash
#
# Generated interleavings against a model of the contract.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/interleavings.sh [--quick] [--count N] [--seed S] [--only NAME]...

Installs what is missing (apt), builds the extension in a temporary folder, generates isolation
tests from the model in test/interleavings, which also says what they have to print, and runs them
with PostgreSQL's isolationtester against private servers: every fifth file of them on one with
the library preloaded, the others on one without.

  --quick      400 permutations instead of 6000
  --count N    as many permutations
  --seed S     another choice of them (1)
  --only NAME  of the files these alone, such as batch007

Existing servers and databases are not touched, and nothing is left behind.
HELP
}

count=6000 seed=1 only=()
while (($# > 0)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --quick) count=400 ;;
        --count | --seed | --only)
            if (($# < 2)); then
                usage >&2
                exit 2
            fi
            case $1 in
                --count) count=$2 ;;
                --seed) seed=$2 ;;
                --only) only+=("$2") ;;
            esac
            shift
            ;;
        *)
            printf 'interleavings.sh: unknown argument "%s"\n\n' "$1" >&2
            usage >&2
            exit 2
            ;;
    esac
    shift
done
[[ $count =~ ^[1-9][0-9]{1,5}$ && $seed =~ ^[0-9]{1,9}$ ]] || {
    echo "interleavings.sh: N is a number from 10 on, S one from 0 on" >&2
    exit 2
}
arguments=(--seed "$seed" --count "$count")

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# run_tests NAME [NAME=VALUE...]: the tests in $tests, on a server with these settings.
run_tests() {
    local name=$1 status=0 start=$SECONDS options
    shift
    ((${#tests[@]} > 0)) || return 0
    {
        extension_settings
        # Only who has to find a deadlock looks for it; calls without a limit wait for ever.
        printf "%s\n" "deadlock_timeout = '1000s'" 'concurrency_safe.default_timeout = -1' \
            'concurrency_safe.check_autocommit = off' 'fsync = off' "$@"
    } >"$TMP_ROOT/extension.conf"
    options=("--inputdir=$FOLDER" "--outputdir=$FOLDER" "--bindir=$PG_BIN"
        "--temp-instance=$TMP_ROOT/instance" "--temp-config=$TMP_ROOT/extension.conf"
        --no-locale --encoding=UTF8 --load-extension=concurrency_safe)
    say "running ${#tests[@]} files, $name"
    DATA_DIR=$TMP_ROOT/instance/data SERVER_PID='' # an interrupted run leaves its server to us
    run_child "${AS_USER[@]}" env "TMPDIR=$TMP_ROOT/tmp" PGISOLATIONTIMEOUT=60 LC_ALL=C.UTF-8 \
        "$TESTER" "${options[@]}" helpers "${tests[@]}" || status=$?
    seconds=$((seconds + SECONDS - start)) files=$((files + ${#tests[@]}))
    ((status == 0)) || show_differences
    return "$status"
}

show_differences() {
    local test
    head -n 150 "$FOLDER/regression.diffs" || true
    say "The model expects the lines with \"-\". To run a file of these once more:"
    for test in "${tests[@]}"; do
        cmp -s "$FOLDER/expected/$test.out" "$FOLDER/results/$test.out" ||
            say "    bash scripts/trust/interleavings.sh ${arguments[*]} --only $test"
    done
}

# choose_tests REMAINDER...: those whose number has one of these remainders, and that are wanted.
choose_tests() {
    local test
    tests=()
    while IFS= read -r test; do
        [[ $test == batch* && " $* " == *" $((10#${test#batch} % 5)) "* ]] || continue
        if ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $test "* ]]; then
            tests+=("$test")
        fi
    done <"$FOLDER/tests"
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3
TESTER=$(dirname "$("$PG_CONFIG" --pgxs)")/../test/isolation/pg_isolation_regress
[[ -x $TESTER ]] || die "$PG_CONFIG has no pg_isolation_regress"
make_private_copy
"${AS_USER[@]}" mkdir "$TMP_ROOT/tmp"
say "building with PostgreSQL $PG_MAJOR"
build_extension with_llvm=no

FOLDER=$TMP_ROOT/generated
size=$((count < 1000 ? (count + 4) / 5 : 200))
run_child "${AS_USER[@]}" "$PYTHON" -B "$SOURCE_DIR/test/interleavings/generate.py" \
    --output "$FOLDER" --count "$count" --seed "$seed" --batch "$size" --major "$PG_MAJOR" \
    >"$TMP_ROOT/figures"

failed='' seconds=0 files=0 tests=()
choose_tests 1 2 3 4
run_tests "library not preloaded" || failed=yes
choose_tests 0
run_tests "library preloaded" "shared_preload_libraries = 'concurrency_safe'" || failed=yes
((files > 0)) || die "there is no such file: ${only[*]}"

if ((${#only[@]} == 0)); then
    cat "$TMP_ROOT/figures"
    say "figure: PostgreSQL = $("$PG_CONFIG" --version | cut -d ' ' -f 2)"
    say "figure: seed = $seed"
    say "figure: seconds of the tests = $seconds"
fi
[[ -z $failed ]]
