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

Without PART all of them run. test/faults/REPORT.md is written from their figures, each part's
section as soon as it is over; with PART, only with --report.

  --quick    the slice of each that CI runs; no report
  --report   the sections of these parts in the report are written anew, the others stay
  --hours H  then histories again and again, with other seeds, until H hours are over

exit status: 0 if all parts passed, else 1.
HELP
}

wrong_argument() {
    printf 'trust.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

quick='' report='' hours=0 parts=()
while (($# > 0)); do
    case $1 in
        --help | -h)
            usage
            exit 0
            ;;
        --quick) quick=yes ;;
        --report) report=yes ;;
        --hours)
            hours=${2-}
            [[ $hours =~ ^[0-9]+$ ]] || wrong_argument "H is a number"
            shift
            ;;
        *)
            [[ " ${PARTS[*]} " == *" $1 "* ]] || wrong_argument "unknown argument \"$1\""
            parts+=("$1")
            ;;
    esac
    shift
done
[[ -z $quick || -z $report ]] || wrong_argument "what --quick finds is not for the report"
if ((${#parts[@]} == 0)); then
    parts=("${PARTS[@]}")
    [[ -n $quick ]] || report=yes
fi

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

# The state of the sources that all parts prove: what is not committed has no name.
commit=$(git -C "$SCRIPTS" rev-parse --short=12 HEAD 2>/dev/null) || commit='a copy without git'
[[ -z $(git -C "$SCRIPTS/.." status --porcelain -- . ':!test/faults/REPORT.md' 2>/dev/null) ]] ||
    commit+=', changed since'

# Where a part ran: those of one report may have run on several machines.
machine() {
    printf '%s cores of %s, %s, Linux %s' "$(nproc)" \
        "$(sed -n 's/^model name\t: //p' /proc/cpuinfo | head -n 1)" \
        "$(sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)" "$(uname -r)"
}

# run_part NAME [OPTION...]: its lines "figure: NAME = VALUE" become rows of its section.
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
        printf '\n`bash %s`: %s in %d s, on %s, at %s; %s.\n\n| | |\n|---|---|\n' \
            "$(script_of "$part" | sed 's|.*/scripts/|scripts/|')${*:+ $*}" "$result" \
            $((SECONDS - start)) "$(date -u +%F)" "$commit" "$(machine)"
        sed -nE 's/^figure: (.*) = (.*)$/| \1 | \2 |/p' "$work/log"
    } >>"$work/$part.section"
    [[ -z $report ]] || write_report
    say "-- $part: $result, $((SECONDS - start)) s"
}

# section PART: of this run, or else what the report there says of it.
section() {
    if [[ -f $work/$1.section ]]; then
        cat "$work/$1.section"
    elif [[ -f $REPORT ]]; then
        awk -v heading="## $1" '/^## / { mine = $0 == heading; next } mine' "$REPORT"
    fi
}

write_report() {
    local part
    {
        # shellcheck disable=SC2016 # backquotes of Markdown
        printf '# What was proven\n\nWritten by `bash scripts/trust.sh`, part by part: %s\n' \
            'what ran, when, on which commit and machine, and what it counted.'
        for part in "${PARTS[@]}"; do
            printf '\n## %s\n%s\n' "$part" "$(section "$part")"
        done
    } >"$work/report"
    cp "$work/report" "$REPORT"
}

end=$((SECONDS + hours * 3600))
for part in "${parts[@]}"; do
    run_part "$part" ${quick:+--quick}
done
while ((SECONDS < end)); do
    run_part histories ${quick:+--quick} --seed "$RANDOM"
done

if ((${#failures[@]} > 0)); then
    say "failed: ${failures[*]}"
    exit 1
fi
