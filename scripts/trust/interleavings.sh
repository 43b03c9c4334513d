#!/usr/bin/env bash
#
# Generated interleavings against a model of the contract.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/interleavings.sh [--quick] [--count N] [--seed S] [--only NAME]...

Installs what is missing (apt), builds the extension in a temporary folder, generates isolation
tests from the model in test/interleavings, which also says what they have to print, and runs them
with PostgreSQL's isolationtester against private servers: one without, one with the library
preloaded, which gets a fifth of them.

  --quick      400 permutations instead of 6000
  --count N    as many permutations
  --seed S     another choice of them (1)
  --only NAME  of the files with them these alone, such as batch007 or preloaded002

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

# Its own server is a session of its own: not stopped with what was started here.
trap 'DATA_DIR=$TMP_ROOT/instance/data; stop_server; cleanup' EXIT

# generate NAME COUNT SEED: fills $TMP_ROOT/NAME.
generate() {
    run_child "${AS_USER[@]}" "$PYTHON" -B "$SOURCE_DIR/test/interleavings/generate.py" \
        --output "$TMP_ROOT/$1" --name "$1" --count "$2" --seed "$3" --major "$PG_MAJOR" \
        >"$TMP_ROOT/$1.figures"
}

# run_tests NAME [NAME=VALUE...]: on a server with these settings; all of its tests, or --only.
run_tests() {
    local name=$1 tests=() status=0 start=$SECONDS
    local folder=$TMP_ROOT/$1
    shift
    mapfile -t tests < <(chosen_tests "$folder/tests")
    ((${#tests[@]} > 0)) || return 0
    {
        extension_settings
        # Only who has to find a deadlock looks for it; calls without a limit wait for ever.
        printf "%s\n" "deadlock_timeout = '1000s'" 'concurrency_safe.default_timeout = -1' \
            'concurrency_safe.check_autocommit = off' 'fsync = off' "$@"
    } >"$TMP_ROOT/$name.conf"
    say "running ${#tests[@]} files with permutations: $name"
    run_child "${AS_USER[@]}" env PGISOLATIONTIMEOUT=60 LC_ALL=C.UTF-8 "$TESTER" \
        "--inputdir=$folder" "--outputdir=$folder" "--bindir=$PG_BIN" --no-locale --encoding=UTF8 \
        "--temp-instance=$TMP_ROOT/instance" "--temp-config=$TMP_ROOT/$name.conf" \
        --load-extension=concurrency_safe helpers "${tests[@]}" || status=$?
    seconds=$((seconds + SECONDS - start))
    ((status == 0)) || show_differences "$folder"
    return "$status"
}

# The tests of a list, or those of --only that are in it; without the helpers, which come first.
chosen_tests() {
    if ((${#only[@]} > 0)); then
        printf '%s\n' "${only[@]}" | grep -Fx -f "$1" || true
    else
        grep -vx helpers "$1"
    fi
}

show_differences() {
    local file
    head -n 150 "$1/regression.diffs" || true
    say "The model expects the lines with \"-\". To run a file of these once more:"
    for file in "$1"/results/*.out; do
        file=${file##*/}
        [[ $file == helpers.out ]] || cmp -s "$1/expected/$file" "$1/results/$file" ||
            say "    bash scripts/trust/interleavings.sh ${arguments[*]} --only ${file%.out}"
    done
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" python3
TESTER=$(dirname "$("$PG_CONFIG" --pgxs)")/../test/isolation/pg_isolation_regress
[[ -x $TESTER ]] || die "$PG_CONFIG has no pg_isolation_regress"
make_private_copy
say "building with PostgreSQL $PG_MAJOR"
build_extension with_llvm=no

failed='' seconds=0
generate batch $((count * 4 / 5)) "$seed"
generate preloaded $((count - count * 4 / 5)) "$seed"1
run_tests batch || failed=yes
run_tests preloaded "shared_preload_libraries = 'concurrency_safe'" || failed=yes

# The figures of both are added up.
sort -t = -k 1,1 "$TMP_ROOT/batch.figures" "$TMP_ROOT/preloaded.figures" |
    awk -F ' = ' '{ sum[$1] += $2 } END { for (name in sum) print name " = " sum[name] }' | sort
say "figure: seed = $seed"
say "figure: seconds of the tests = $seconds"
[[ -z $failed ]]
