#!/usr/bin/env bash
#
# Runs every test suite against private, temporary servers.  See --help.
#
# Each suite counts single tests: checks of the unit test, files of pg_regress
# and of the isolation tester, assertions of pgTAP and of the TAP tests.

set -euo pipefail

ALL_SUITES=(unit regress regress-preloaded isolation isolation-preloaded pgtap tap)

usage() {
    cat <<'HELP'
usage: bash scripts/test.sh [SUITE...]

Installs what is missing (apt), builds the extension with warnings as errors
in a temporary folder, and runs the suites there, or only those named:

  unit                 the parts that need no server (test/unit)
  regress              SQL, one session (test/sql)
  regress-preloaded    the same with the library preloaded and all checks at error
  isolation            SQL, several sessions (test/specs)
  isolation-preloaded  the same with the library preloaded and all checks at error
  pgtap                the promises to users, as pgTAP (test/pgtap), preloaded
  tap                  crashes, restarts, standbys, timeouts, races (test/t)

Existing servers and databases are not touched, and nothing is left behind.
The last line is "N passed, N failed".

environment:
  PG_CONFIG      the pg_config of the PostgreSQL to use
  CS_RUN_USER    for root: the user who builds and runs the servers (nobody)
  CS_RACE_CALLS  calls in the test of the race between grant and timeout (100000)
  CS_KILLS       kills of a backend in the test of names after crashes (10)
  CS_LEASE_CRASHES, CS_LEASE_PROMOTIONS, CS_LEASE_PAUSES
                 crashes, promotions and pauses in the tests of leases (4, 3, 50)
  PROVE_TESTS    the files to run in the tap suite (test/t/*.pl)
  CS_REGRESS, CS_ISOLATION
                 the names of the tests to run in those suites (all)
  CS_BUILD_FLAGS flags for compiling and linking, instead of -flto, and instead of
                 the sanitizers of the unit suite; for scripts/trust
  CS_KEEP        if not empty: leave the temporary folder to the caller

exit status: 0 if every test passed and every suite ran at least one, else 1;
2 for a wrong argument.
HELP
}

suites=()
for argument in "$@"; do
    case $argument in
        --help | -h)
            usage
            exit 0
            ;;
        *)
            if [[ " ${ALL_SUITES[*]} " == *" $argument "* ]]; then
                suites+=("$argument")
                continue
            fi
            printf 'test.sh: unknown argument "%s"\n\n' "$argument" >&2
            usage >&2
            exit 2
            ;;
    esac
done
((${#suites[@]} > 0)) || suites=("${ALL_SUITES[@]}")

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

passed=0 failed=0 report=()

# Reports nothing that is no mistake: with all checks at error, no test fails but those that
# make one, and they say so. Many TAP tests lock alone, on purpose: check_autocommit warns them.
CHECKS=(concurrency_safe.check_snapshot=error concurrency_safe.check_order=error)
ALL_CHECKS=("${CHECKS[@]}" concurrency_safe.check_autocommit=error)

# --- what may outlive an interrupted suite -------------------------------------

# A suite is a tree of processes in a session of its own, and its servers are
# sessions of their own again: each is known by its data folder.
stop_suite() {
    local status=$? file
    set +e
    trap '' INT TERM HUP
    if [[ -n $CHILD_PID ]] && kill -TERM -- "-$CHILD_PID" 2>/dev/null; then
        wait "$CHILD_PID" 2>/dev/null
    fi
    if [[ -n $TMP_ROOT ]]; then
        stop_server
        while IFS= read -r file; do
            DATA_DIR=${file%/*} SERVER_PID=''
            stop_server
        done < <(find "$TMP_ROOT" -name postmaster.pid)
    fi
    return "$status"
}
trap 'stop_suite; cleanup' EXIT

# run_suite_command COMMAND...: unprivileged, its output in $log.
run_suite_command() {
    run_child setsid "${AS_USER[@]}" env LC_ALL=C.UTF-8 TMPDIR="$TMP_ROOT/tmp" \
        PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-90}" "$@" \
        >"$log" 2>&1 </dev/null
}

# --- suites --------------------------------------------------------------------
#
# Each writes $log and returns the status of its command.

# Each test/unit/*_test.cpp is a program of its own, linked with the sources that
# know nothing of PostgreSQL; all of them run even if one fails.
run_unit() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    run_suite_command bash -ec '
        sources=(key key_template key_statistics directory_set directory deadlock_text writer_set order_graph)
        compiler=(${CXX:-g++} -std=c++20 -g -O1 -Wall -Wextra -Wshadow -Wconversion -Werror
            ${CS_BUILD_FLAGS:--fsanitize=address,undefined -fno-sanitize-recover=all} -pthread)
        mkdir "$1/unit"
        cd "$1/unit"
        files=("${sources[@]/#/../src/}")
        printf "%s\0" "${files[@]/%/.cpp}" ../test/unit/*_test.cpp |
            xargs -0 -n 1 -P "$(nproc)" "${compiler[@]}" -I../src -c
        failed=()
        for object in *_test.o; do
            test=${object%.o}
            "${compiler[@]}" -o "$test" "$object" "${sources[@]/%/.o}"
            ASAN_OPTIONS=detect_leaks=0 "./$test" >"$test.log" 2>&1 || failed+=("$test.log")
            cat "$test.log"
        done
        ((${#failed[@]} == 0)) || {
            echo "# all but what passed, once more:"
            grep -v "^ok " "${failed[@]}" /dev/null
            exit 1
        }' bash "$SOURCE_DIR"
}

# installcheck SUITE_VARIABLE... : one of the suites of "make installcheck".
installcheck() {
    run_suite_command make -C "$SOURCE_DIR" installcheck "PG_CONFIG=$PG_CONFIG" \
        with_llvm=no ENCODING=UTF8 NO_LOCALE=1 "$@"
}

# on_temp_instance CONFIG
on_temp_instance() {
    printf 'EXTRA_REGRESS_OPTS=--temp-instance=%s --temp-config=%s' \
        "$TMP_ROOT/instance" "$TMP_ROOT/$1.conf"
}

# regress CONFIG, isolation CONFIG
regress() {
    installcheck ISOLATION= TAP_TESTS= ${CS_REGRESS:+"REGRESS=$CS_REGRESS"} "$(on_temp_instance "$1")"
}
isolation() {
    installcheck REGRESS= TAP_TESTS= ${CS_ISOLATION:+"ISOLATION=$CS_ISOLATION"} "$(on_temp_instance "$1")"
}

run_regress() { regress extension; }
run_regress_preloaded() { regress preloaded; }
run_isolation() { isolation extension; }
run_isolation_preloaded() { isolation preloaded; }

run_tap() {
    TEMP_CONFIG=$TMP_ROOT/checked.conf \
        installcheck REGRESS= ISOLATION= PROVE_FLAGS='--verbose --timer' \
        "PROVE_TESTS=${PROVE_TESTS:-test/t/*.pl}"
}

run_pgtap() {
    local status=0 files=("$SOURCE_DIR"/test/pgtap/*.sql)
    start_server fsync=off max_prepared_transactions=10 \
        shared_preload_libraries=concurrency_safe "${ALL_CHECKS[@]}"
    run_psql -d postgres -c "CREATE DATABASE pgtap" \
        -c '\c pgtap' -c 'CREATE EXTENSION pgtap' \
        -c 'CREATE EXTENSION concurrency_safe'
    run_suite_command env PGHOST="$SOCKET_DIR" PGUSER=postgres PGDATABASE=pgtap \
        PATH="$PG_BIN:$PATH" pg_prove --verbose --timer "${files[@]}" || status=$?
    stop_server
    return "$status"
}

# --- counting ------------------------------------------------------------------

count_lines() { grep -cE "$1" "$log" || true; }

# pg_regress speaks TAP since PostgreSQL 16; before, "test name ... ok  12 ms".
PASSED_LINE='^ok [0-9]+( |$)| \.\.\. ok +[0-9]+ ms'
FAILED_LINE='^not ok [0-9]+( |$)| \.\.\. FAILED'
SKIPPED_LINE='^ok [0-9]+ .*# (skip|SKIP)'

show_failure() {
    local file
    case $1 in
        pgtap | tap)
            { grep -E -A 5 '^# +Failed test|^Bail|psql:.*ERROR' "$log" || true; } |
                head -n 120 || true
            sed -n '/^Test Summary Report/,$p' "$log"
            while IFS= read -r file; do
                say "--- the end of ${file##*/}"
                tail -n 30 "$file"
            done < <(failed_logs)
            ;;
        *)
            # pg_regress's own words, then what differs.
            tail -n 60 "$log"
            for file in "$SOURCE_DIR"/regression.diffs \
                "$SOURCE_DIR"/output_iso/regression.diffs; do
                if [[ -s $file ]]; then
                    say "--- ${file#"$SOURCE_DIR"/}"
                    head -n 400 "$file"
                fi
            done
            ;;
    esac
}

# The logs of the TAP tests that failed.
failed_logs() {
    local name
    sed -n '/^Test Summary Report/,$s/^\(test\/t\/[^ ]*\)\.pl .*/\1/p' "$log" |
        while IFS= read -r name; do
            name=$SOURCE_DIR/tmp_check/log/regress_log_${name##*/}
            [[ ! -f $name ]] || printf '%s\n' "$name"
        done
}

run_suite() {
    local suite=$1 status=0 good bad skipped start=$SECONDS line note=''
    log=$TMP_ROOT/$suite.log
    say "running $suite"
    rm -rf "$SOURCE_DIR/regression.diffs" "$SOURCE_DIR/output_iso"
    "run_${suite//-/_}" || status=$?
    # The next suite would write over it.
    [[ ! -d $SOURCE_DIR/log ]] || mv "$SOURCE_DIR/log" "$TMP_ROOT/$suite.server"
    good=$(count_lines "$PASSED_LINE")
    bad=$(count_lines "$FAILED_LINE")
    skipped=$(count_lines "$SKIPPED_LINE")
    good=$((good - skipped))
    if ((status != 0 && bad == 0)); then
        bad=1 note=", the suite ended with status $status"
    elif ((good == 0 && bad == 0)); then
        bad=1 note=', no test ran'
    fi
    ((skipped == 0)) || note+=", $skipped skipped"
    line=$(printf '%-20s %5d passed, %d failed%s (%d s)' \
        "$suite" "$good" "$bad" "$note" $((SECONDS - start)))
    ((bad == 0)) || show_failure "$suite"
    say "$line"
    report+=("$line")
    passed=$((passed + good)) failed=$((failed + bad))
}

# --- all of it -----------------------------------------------------------------

choose_postgres
packages=("${BUILD_PACKAGES[@]}" perl libipc-run-perl)
if [[ " ${suites[*]} " == *' pgtap '* ]]; then
    packages+=(libtap-parser-sourcehandler-pgtap-perl "postgresql-$PG_MAJOR-pgtap")
fi
install_packages "${packages[@]}"
make_private_copy
[[ -z ${CS_KEEP:-} ]] || keep_server
"${AS_USER[@]}" mkdir "$TMP_ROOT/tmp"
say "building with PostgreSQL $PG_MAJOR"
build_extension CXX="${CXX:-g++} -Werror" with_llvm=no ${CS_BUILD_FLAGS:+"LTO=$CS_BUILD_FLAGS"}
extension_settings >"$TMP_ROOT/extension.conf"
{
    extension_settings
    printf '%s\n' "${CHECKS[@]}"
} >"$TMP_ROOT/checked.conf"
{
    extension_settings
    printf '%s\n' "${ALL_CHECKS[@]}"
    echo "shared_preload_libraries = 'concurrency_safe'"
} >"$TMP_ROOT/preloaded.conf"

for suite in "${suites[@]}"; do
    run_suite "$suite"
done

say ''
((${#report[@]} < 2)) || printf '%s\n' "${report[@]}"
say "$passed passed, $failed failed"
((failed == 0))
