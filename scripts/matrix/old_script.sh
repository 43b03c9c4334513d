#!/usr/bin/env bash
#
# usage: bash scripts/matrix/old_script.sh
#
# A library is newer than the database in which CREATE EXTENSION was said: the
# server loads the file of today whatever script made the functions.  So
#
#   - every C function that an install or update script names must be exported
#   - a database made by the first install script that the history has must pass
#     the tests of today, as far as they use what there was
#
# Needs a git clone with its history.  The last line is "N passed, N failed".

set -euo pipefail

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

SCRIPT=sql/concurrency_safe--1.0.sql

choose_postgres
install_packages "${BUILD_PACKAGES[@]}" binutils git
make_private_copy
say "building with PostgreSQL $PG_MAJOR"
build_extension CXX="${CXX:-g++} -Werror" with_llvm=no

# --- exported --------------------------------------------------------------------

c_functions() { sed -nE "s/.*'MODULE_PATHNAME', *'([a-z_0-9]+)'.*/\1/p" "$@" | sort -u; }

# Each function has a second symbol, by which the server knows how to call it.
missing=()
exported=$(nm -D --defined-only "$INSTALL_DIR$("$PG_CONFIG" --pkglibdir)/concurrency_safe.so" |
    sed 's/.* //')
functions=$(c_functions "$SOURCE_DIR"/sql/*.sql)
while IFS= read -r name; do
    if ! grep -qx "$name" <<<"$exported" || ! grep -qx "pg_finfo_$name" <<<"$exported"; then
        missing+=("$name")
    fi
done <<<"$functions"
say "$(wc -l <<<"$functions") C functions in $(cd "$SOURCE_DIR" && echo sql/*.sql)"
if ((${#missing[@]} > 0)); then
    die "the library does not export ${missing[*]}"
fi

# --- the first script ------------------------------------------------------------

first=$(git_checkout log --reverse --format=%H -- "$SCRIPT" 2>/dev/null | head -n 1) || true
[[ -n $first && $(git_checkout rev-parse --is-shallow-repository) == false ]] ||
    die "the first install script is in the history: run this in a full git clone"
old_script=$INSTALL_DIR$("$PG_CONFIG" --sharedir)/extension/${SCRIPT#sql/}
git_checkout show "$first:$SCRIPT" | "${AS_USER[@]}" tee "$old_script" >/dev/null
say "the first script is of $(git_checkout show -s --format=%cs "$first")," \
    "with $(c_functions "$old_script" | wc -l) C functions"

# The tests that name nothing newer.
objects_of() { grep -ohE '\bcs_[a-z_]+' "$1" | sort -u; }
known=$(objects_of "$old_script")
tests=()
for file in "$SOURCE_DIR"/test/sql/*.sql; do
    if [[ -z $(comm -23 <(objects_of "$file") - <<<"$known") ]]; then
        file=${file##*/}
        tests+=("${file%.sql}")
    fi
done

extension_settings >"$TMP_ROOT/extension.conf"
log=$TMP_ROOT/regress.log
run_child "${AS_USER[@]}" make -C "$SOURCE_DIR" installcheck "PG_CONFIG=$PG_CONFIG" \
    with_llvm=no ENCODING=UTF8 NO_LOCALE=1 ISOLATION= TAP_TESTS= "REGRESS=${tests[*]}" \
    EXTRA_REGRESS_OPTS="--temp-instance=$TMP_ROOT/instance --temp-config=$TMP_ROOT/extension.conf" \
    >"$log" 2>&1 || true
passed=$(grep -cE '^ok [0-9]+ | \.\.\. ok +[0-9]+ ms' "$log") || true
failed=$((${#tests[@]} - passed))
if ((failed > 0)); then
    tail -n 60 "$log"
    head -n 400 "$SOURCE_DIR/regression.diffs" || true
fi
say "$passed passed, $failed failed"
((failed == 0))
