#!/usr/bin/env bash
#
# Feeds the parts that read text with input invented by libFuzzer.  See --help.

set -euo pipefail

TARGETS=(key path template deadlock)

usage() {
    cat <<'HELP'
usage: bash scripts/trust/fuzz.sh [--quick] [--executions N] [--planted]

Builds the targets of test/fuzz with the sources that know nothing of PostgreSQL,
by clang, and runs each: first with the sanitizers for addresses and undefined
behaviour, then without them, for the number of executions, on all processors.
Each execution compares what the code makes of the input with what a second,
slower reading finds.  At the end, bugs that are planted in a copy of the
sources have to be found.

  --executions N  in all targets together, 1000000000 if it is not given
  --quick         8000000 executions, no planted bugs: half a minute
  --planted       nothing but the planted bugs
HELP
}

executions=1000000000 plant=yes only_plant=''
while (($# > 0)); do
    case $1 in
        --quick) executions=8000000 plant='' ;;
        --planted) only_plant=yes ;;
        --executions)
            executions=${2?}
            shift
            ;;
        --help | -h) usage && exit 0 ;;
        *) usage >&2 && exit 2 ;;
    esac
    shift
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

# A process for each of so many executions of a target.
CHUNK=25000000
# With the sanitizers it is one of so many.
CHECKED_SHARE=50

# Runs the steps that are listed, a line each, unprivileged; fails if one does.
run_steps() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    run_child setsid "${AS_USER[@]}" env -C "$SOURCE_DIR/fuzz" ASAN_OPTIONS=detect_leaks=0 \
        xargs -a "$TMP_ROOT/steps" -d '\n' -P "$(nproc)" -I {} bash -c 'read -r -a words <<<"$2"
            exec bash "$1" "${words[@]}"' bash "$SOURCE_DIR/test/fuzz/step.sh" {}
}

# Lists the runs: first those with sanitizers, then the others; the targets take turns.
list_runs() {
    local seed target left size
    for target in "${TARGETS[@]}"; do
        echo "run checked $target 1 $((executions / CHECKED_SHARE / ${#TARGETS[@]}))"
    done
    left=$((executions / ${#TARGETS[@]}))
    for ((seed = 1; left > 0; seed++, left -= size)); do
        size=$((left < CHUNK ? left : CHUNK))
        for target in "${TARGETS[@]}"; do
            echo "run fast $target $seed $size"
        done
    done
}

fuzz() {
    say "building the targets"
    printf 'build %s\n' "${TARGETS[@]}" >"$TMP_ROOT/steps"
    run_steps || die "a target could not be built"
    list_runs >"$TMP_ROOT/steps"
    say "running $(wc -l <"$TMP_ROOT/steps") processes, $(nproc) at once"
    run_steps || failed=yes
}

find_planted() {
    sed 's/^/find /' "$SOURCE_DIR/test/fuzz/planted.txt" >"$TMP_ROOT/steps"
    say "planting $(wc -l <"$TMP_ROOT/steps") bugs"
    run_steps || failed=yes
    say "figure: fuzzing, planted bugs found = $(wc -l <"$SOURCE_DIR/fuzz/found") of" \
        "$(wc -l <"$TMP_ROOT/steps")"
}

print_figures() {
    awk -F '[ ,:]+' '
        / executions, / {
            name = $2 == "fast" ? $1 : $1 " with sanitizers"
            runs[name] += $5
            seconds[name] += $7
            total += $5
        }
        END {
            for (name in runs)
                printf "figure: fuzzing, %s = %d executions, %d a second in each process\n",
                    name, runs[name], runs[name] / seconds[name] | "sort"
            close("sort")
            printf "figure: fuzzing, executions = %d\n", total
        }' "$SOURCE_DIR/fuzz/runs"
    say "figure: fuzzing, seconds = $SECONDS"
    say "figure: fuzzing, compiler = $(clang++ --version | head -n 1)"
}

# The steps are a tree of processes in a session of its own.
stop_steps() {
    local status=$?
    [[ -z $CHILD_PID ]] || kill -TERM -- "-$CHILD_PID" 2>/dev/null
    return "$status"
}
trap 'stop_steps; cleanup' EXIT

failed=''
choose_postgres
install_packages g++ libxxhash-dev clang libclang-rt-14-dev
make_private_copy
"${AS_USER[@]}" mkdir "$SOURCE_DIR/fuzz"
if [[ -z $only_plant ]]; then
    fuzz
    print_figures
fi
[[ -z $plant ]] || find_planted
[[ -z $failed ]]
