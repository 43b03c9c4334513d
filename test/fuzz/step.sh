#!/usr/bin/env bash
#
# One step of scripts/trust/fuzz.sh, unprivileged, in the folder that holds the
# programs and logs:
#
#   step.sh build TARGET              both programs of a target
#   step.sh run KIND TARGET SEED N    the program of a kind, "checked" or "fast"
#   step.sh find TARGET FILE CHANGE…  plants a bug by sed, which has to be found

set -euo pipefail

HERE=$(dirname "${BASH_SOURCE[0]}")
ORIGINAL=$HERE/../../src

SOURCES=(key key_template deadlock_text order_graph)
COMPILER=(clang++ -std=c++20 -g1 -Wall -Wextra)
CHECKED=(-O1 "-fsanitize=address,undefined" -fno-sanitize-recover=all)
FAST=(-O2)

# compile TARGET PROGRAM SOURCE_FOLDER FLAG...: only what is under test guides the search.
compile() {
    local target=$1 program=$2 folder=$3 source objects=()
    shift 3
    for source in "${SOURCES[@]}"; do
        objects+=("$program.$source.o")
        "${COMPILER[@]}" "$@" -fsanitize=fuzzer-no-link -c -o "${objects[-1]}" "$folder/$source.cpp"
    done
    "${COMPILER[@]}" "$@" -I"$folder" -c -o "$program.o" "$HERE/${target}_fuzz.cpp"
    "${COMPILER[@]}" "$@" -fsanitize=fuzzer -o "$program" "$program.o" "${objects[@]}"
}

build() {
    compile "$1" "$1.checked" "$ORIGINAL" -Werror "${CHECKED[@]}"
    compile "$1" "$1.fast" "$ORIGINAL" -Werror "${FAST[@]}"
}

# fuzz TARGET PROGRAM SEED RUNS: what is found for one target serves its next process.
fuzz() {
    local target=$1 program=$2 seed=$3 runs=$4 dictionary=()
    [[ ! -e $HERE/$target.dict ]] || dictionary=("-dict=$HERE/$target.dict")
    mkdir -p "found.$target"
    "./$program" -seed="$seed" -runs="$runs" -max_len=64 -timeout=20 -detect_leaks=0 -reload=0 \
        -reduce_inputs=0 -print_final_stats=1 -artifact_prefix="$program.$seed." \
        "${dictionary[@]}" "found.$target" "$HERE/corpus/$target"
}

# Says what was done, here and in the file "runs", and of a failure the end of the log.
run() {
    local kind=$1 target=$2 seed=$3 start=$EPOCHREALTIME status=0
    local log=$target.$kind.$seed.log
    fuzz "$target" "$target.$kind" "$seed" "$4" >"$log" 2>&1 || status=$?
    awk -v kind="$kind" -v target="$target" -v seed="$seed" -v from="$start" -v to="$EPOCHREALTIME" '
        /^stat::number_of_executed_units/ { done = $2 }
        END {
            printf "%s %s, seed %d: %d executions, %.1f seconds\n",
                target, kind, seed, done, to - from
        }' "$log" | tee -a runs
    ((status == 0)) || {
        tail -n 40 "$log"
        return 1
    }
}

find_planted() {
    local target=$1 file=$2 change=${*:3} folder
    folder=$(mktemp -d planted.XXXXXX)
    cp -r "$ORIGINAL" "$folder/src"
    sed -i "$change" "$folder/src/$file"
    if cmp -s "$ORIGINAL/$file" "$folder/src/$file"; then
        echo "NOT PLANTED in $file: $change"
        return 1
    fi
    # The compiler may warn of it.
    compile "$target" "$folder/fuzz" "$folder/src" -w "${CHECKED[@]}"
    if fuzz "$target" "$folder/fuzz" 1 2000000 >"$folder/log" 2>&1; then
        echo "NOT FOUND by $target, planted in $file: $change"
        return 1
    fi
    echo "found by $target in $file: $change" \
        "($(grep -a -m 1 -oE 'not so: .*|AddressSanitizer: [a-z-]+|runtime error: .*' "$folder/log"))" |
        tee -a found
}

case $1 in
    build) build "$2" ;;
    run) run "${@:2}" ;;
    find) find_planted "${@:2}" ;;
esac
