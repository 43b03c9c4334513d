#!/usr/bin/env bash
#
# Runs the long proofs, one after the other, and writes what they found.  See --help.

set -euo pipefail

PARTS=(histories interleavings mutants sanitizers valgrind asserts oom fuzz coverage packages
    matrix clean_machine)

usage() {
    cat <<HELP
usage: bash scripts/trust.sh [--quick] [--hours H] [PART...]

Proves what scripts/test.sh has no time for, in about two hours on two cores; every part installs
what it needs (apt) and works in temporary folders, on private servers:

  histories      recorded histories under cancels, kills, stops and promotions, checked
  interleavings  isolation tests generated from a model of the contract
  mutants        planted bugs that the tests have to find
  sanitizers     all suites under AddressSanitizer and UndefinedBehaviorSanitizer
  valgrind       a core of the suites under memcheck
  asserts        all suites on a PostgreSQL with assertions, built from its source package
  oom            every allocation of every SQL function fails once
  fuzz           the parts that parse, under libFuzzer
  coverage       lines and branches that the suites run
  packages       the PGXN archive, the Debian package and its own test
  matrix         other versions of PostgreSQL, in chroots; pg_upgrade   (root)
  clean_machine  the README's two commands on a machine with nothing else   (root)

Without PART all of them run, and test/faults/REPORT.md is written from their figures.

  --quick    the slice of each that CI runs; no report
  --hours H  then histories again and again, with other seeds, until H hours are over

exit status: 0 if all parts passed, else 1.
HELP
}

quick='' hours=0 parts=()
while (($# > 0)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --quick) quick=yes ;;
        --hours)
            hours=${2-}
            [[ $hours =~ ^[0-9]+$ ]] || {
                echo "trust.sh: H is a number" >&2
                exit 2
            }
            shift
            ;;
        *)
            if [[ " ${PARTS[*]} " != *" $1 "* ]]; then
                printf 'trust.sh: unknown argument "%s"\n\n' "$1" >&2
                usage >&2
                exit 2
            fi
            parts+=("$1")
            ;;
    esac
    shift
done
partial=${parts[*]-}${quick}
((${#parts[@]} > 0)) || parts=("${PARTS[@]}")

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
REPORT=$SCRIPTS/../test/faults/REPORT.md
work=$(mktemp -d)
failures=()
trap 'rm -rf "$work"' EXIT

say() { printf '%s\n' "$*"; }

script_of() {
    case $1 in
        matrix | clean_machine) echo "$SCRIPTS/$1.sh" ;;
        *) echo "$SCRIPTS/trust/$1.sh" ;;
    esac
}

# run_part NAME [OPTION...]: its lines "figure: NAME = VALUE" become rows of the report.
run_part() {
    local part=$1 status=0 start=$SECONDS result=passed
    shift
    say "== $part"
    bash "$(script_of "$part")" "$@" </dev/null 2>&1 | tee "$work/log" || status=$?
    if ((status != 0)); then
        result='**failed**'
        failures+=("$part")
    fi
    # shellcheck disable=SC2016 # backquotes of Markdown
    {
        printf '\n## %s\n\n`bash %s`: %s, %d s.\n\n| | |\n|---|---|\n' "$part" \
            "$(script_of "$part" | sed 's|.*/scripts/|scripts/|')${*:+ $*}" "$result" \
            $((SECONDS - start))
        sed -nE 's/^figure: (.*) = (.*)$/| \1 | \2 |/p' "$work/log"
    } >>"$work/report"
    say "-- $part: $result, $((SECONDS - start)) s"
}

write_report() {
    # shellcheck disable=SC2016
    {
        printf '# What was proven\n\nWritten by `bash scripts/trust.sh` on %s, in %d minutes, at ' \
            "$(date -u +%F)" $((SECONDS / 60))
        printf '%s.\n\n- %s cores, %s\n- %s, Linux %s\n' \
            "$(git -C "$SCRIPTS" rev-parse --short=12 HEAD 2>/dev/null || echo 'a copy without git')" \
            "$(nproc)" "$(sed -n 's/^model name\t: //p' /proc/cpuinfo | head -n 1)" \
            "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)" "$(uname -r)"
        cat "$work/report"
    } >"$REPORT"
    say "$REPORT"
}

end=$((SECONDS + hours * 3600))
for part in "${parts[@]}"; do
    run_part "$part" ${quick:+--quick}
done
while ((SECONDS < end)); do
    run_part histories ${quick:+--quick} --seed "$RANDOM"
done

[[ -n $partial ]] || write_report
if ((${#failures[@]} > 0)); then
    say "failed: ${failures[*]}"
    exit 1
fi
