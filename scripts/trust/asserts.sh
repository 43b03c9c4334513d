#!/usr/bin/env bash
#
# Builds the distribution's PostgreSQL once more, with assertions, runs the suites of
# scripts/test.sh in it, and fails if a server says that an assertion failed, that something was
# written beyond the end of its memory, or that something leaked.
#
#   bash scripts/trust/asserts.sh [--quick]
#
# --quick: regress and isolation with a server that an earlier run left in CS_CACHE; without one
# it only says so, because the build takes minutes.
#
# environment:
#   CS_CACHE    a folder that keeps the server for the next run (none)
#
# It has the patches of the distribution, so it differs from the stock server in the assertions, in
# what needs libraries and is not used (ICU, LLVM, readline, zlib), and perhaps in the minor version.

set -euo pipefail

case ${1-} in
    '') suites=(regress regress-preloaded isolation isolation-preloaded pgtap tap) ;;
    --quick) suites=(regress isolation) ;;
    *)
        echo "usage: bash scripts/trust/asserts.sh [--quick]" >&2
        exit 2
        ;;
esac

# shellcheck source=scripts/trust/suites.sh
source "$(dirname "${BASH_SOURCE[0]}")/suites.sh"

# Only the sources of the packages that the system already has, without changing its settings:
# its list of places, turned into one of places of sources, in folders of ours.
fetch_source() {
    local folder=$TMP_ROOT/apt file options version
    options=(-q -o "Dir::Etc::SourceList=$folder/none" -o "Dir::Etc::SourceParts=$folder/parts"
        -o "Dir::State::Lists=$folder/lists" -o "Dir::Cache=$folder/cache")
    "${AS_USER[@]}" mkdir -p "$folder/parts" "$folder/lists/partial" "$folder/cache"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources}; do
        [[ -f $file ]] || continue
        sed -E 's/^deb(-src)?([[:space:]])/deb-src\2/; s/^Types:.*/Types: deb-src/' "$file" |
            "${AS_USER[@]}" tee "$folder/parts/${file##*/}" >/dev/null
    done
    # A broken third-party source need not stop us.
    run_child "${AS_USER[@]}" apt-get "${options[@]}" update || say "trying without some sources"
    cd "$TMP_ROOT/build" || return
    # A mirror may lack the newest source of all, such as that of a security update.
    for version in $("${AS_USER[@]}" apt-cache "${options[@]}" showsrc "postgresql-$PG_MAJOR" |
        sed -n 's/^Version: //p' | sort -Vru); do
        run_child "${AS_USER[@]}" apt-get "${options[@]}" source \
            "postgresql-$PG_MAJOR=$version" && return
    done
    return 1
}

# One assertion of the server is wrong: a PL/pgSQL block that handles an error in a deferred trigger,
# so during COMMIT or PREPARE TRANSACTION, fails it without any extension. Our tests do that.
correct_assertion() {
    local state='s->blockState == TBLOCK'
    "${AS_USER[@]}" sed -i "/^RollbackAndReleaseCurrentSubTransaction(/,/^}/s/${state}_STARTED);/\
${state}_END || ${state}_PREPARE || &/" src/backend/access/transam/xact.c
}

# build_server FOLDER: its clients use the system's libpq, which is of the same major version.
build_server() {
    cd "$TMP_ROOT/build/postgresql-$PG_MAJOR"-*/ &&
        correct_assertion &&
        run_child "${AS_USER[@]}" ./configure "--prefix=$1" --enable-cassert --enable-debug \
            --enable-tap-tests --disable-rpath --without-icu --without-readline --without-zlib \
            CFLAGS=-O1 &&
        run_child "${AS_USER[@]}" make -s -j "$(nproc)" &&
        run_child "${AS_USER[@]}" make -s install &&
        "${AS_USER[@]}" cp "/usr/share/postgresql/$PG_MAJOR/extension"/pgtap* "$1/share/extension"
}

# build_or_reuse_server FOLDER
build_or_reuse_server() {
    local kept=${CS_CACHE:+$CS_CACHE/postgresql-$VERSION-asserts.tar}
    local start=$SECONDS log=$TMP_ROOT/server-build.log
    "${AS_USER[@]}" mkdir "$1" "$TMP_ROOT/build"
    if [[ -n $kept && -f $kept ]]; then
        "${AS_USER[@]}" tar -C "$1" -xf - <"$kept"
        say "the server with assertions is the one in $CS_CACHE"
        return
    fi
    say "building PostgreSQL $PG_MAJOR with assertions"
    install_packages bison flex dpkg-dev perl libipc-run-perl "postgresql-$PG_MAJOR-pgtap"
    { fetch_source && build_server "$1"; } >"$log" 2>&1 || {
        tail -n 100 "$log" >&2
        die "the build of PostgreSQL failed"
    }
    cd "$TMP_ROOT"
    rm -rf "$TMP_ROOT/build"
    figure "seconds of the server's build" $((SECONDS - start))
    [[ -z $kept ]] || {
        mkdir -p "$CS_CACHE"
        "${AS_USER[@]}" tar -C "$1" -cf - . >"$kept.$$"
        mv "$kept.$$" "$kept"
    }
}

choose_postgres
install_packages "${BUILD_PACKAGES[@]}"
VERSION=$(dpkg-query -W -f '${Version}' "postgresql-$PG_MAJOR") ||
    die "PostgreSQL $PG_MAJOR is no package of the distribution, whose source this needs"
if [[ ${1-} == --quick && ! -f ${CS_CACHE:-}/postgresql-$VERSION-asserts.tar ]]; then
    say "left out: no server with assertions in CS_CACHE, and its build is too long for --quick"
    figure suites 0
    exit 0
fi
make_private_copy
build_or_reuse_server "$TMP_ROOT/postgres"
PG_CONFIG=$TMP_ROOT/postgres/bin/pg_config
CS_BUILD_FLAGS='-O1 -Wno-error' run_suites "${suites[@]}"
grep -q 'define USE_ASSERT_CHECKING 1' "$("$PG_CONFIG" --includedir-server)/pg_config.h" ||
    fail "the server has no assertions"
count_in_logs 'TRAP: |WARNING:  (problem in |[a-z ]*leak)'
figure compiler "$(gcc --version | head -n 1)"
end_part
