#!/usr/bin/env bash
#
# The extension with every PostgreSQL that Debian has: the one that is here, and
# others in chroots of newer releases; pg_upgrade from the oldest; and SQL
# scripts of former days with the library of today.  See --help.

set -euo pipefail

ALL_VERSIONS=(15 17 18)

usage() {
    cat <<'HELP'
usage: bash scripts/matrix.sh [--quick] [--suites "SUITE..."] [VERSION...]

For each major version of PostgreSQL (15, 17 and 18):

  - builds the extension as users do, with g++ and with clang, with warnings as
    errors, and runs all suites of scripts/test.sh
  - upgrades a cluster of PostgreSQL 15 with pg_upgrade, leases, guards and all,
    and looks whether everything goes on working

and once, with the PostgreSQL that is here, tests the library with the first
install script that there was.

Versions that are not here run in a chroot of the Debian release that has
them (1.5 GB each, gone afterwards).  Needs root.

  --quick    for CI: 17 and 18, g++ alone, the suites regress and isolation,
             and the old script; no pg_upgrade
  --suites   only these suites
  --help     this text

environment:
  CS_CACHE   a folder that keeps the chroots for the next run
  CS_MIRROR  the Debian mirror (the one that this system uses, or deb.debian.org)
  CS_RACE_CALLS, CS_KILLS, PROVE_TESTS and the like: see scripts/test.sh

exit status: 0 if all went well, 1 if not, 2 for a wrong argument.
HELP
}

wrong_argument() {
    printf 'matrix.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

quick='' suites=() versions=()
while (($# > 0)); do
    case $1 in
        --quick) quick=yes ;;
        --suites)
            read -ra suites <<<"${2-}"
            ((${#suites[@]} > 0)) || wrong_argument '--suites needs names of suites'
            shift
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        15 | 17 | 18) versions+=("$1") ;;
        *) wrong_argument "unknown argument \"$1\"" ;;
    esac
    shift
done
if [[ -n $quick ]]; then
    ((${#versions[@]} > 0)) || versions=(17 18)
    ((${#suites[@]} > 0)) || suites=(regress isolation)
fi
((${#versions[@]} > 0)) || versions=("${ALL_VERSIONS[@]}")

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/chroot.sh
source "$CHECKOUT/scripts/chroot.sh"

# step NAME COMMAND...: result is the last line that it prints, or "failed".  A
# failure does not keep us from the rest.
step() {
    local name=$1 start=$SECONDS
    shift
    say "== $name"
    if logged "$@"; then
        result=$(tail -n 1 "$LOG")
        say "ok      $name ($((SECONDS - start)) s)"
    else
        result=failed
        fail "$name"
    fi
}

# --- the systems ---------------------------------------------------------------

declare -A RELEASE=([15]=bookworm [17]=trixie [18]=forky)
# It is upgraded to each of the others. Not each to the next: of trixie's 17.12, every table comes
# with a parameter "pg_attver", which forky's 18.6 refuses, with or without the extension.
OLDEST=15

# The system of one version: $here if it is this one, else CHROOT.
enter_version() {
    local version=$1
    here=''
    if [[ $version == "$PG_MAJOR" ]]; then
        here=yes
        install_packages "${BUILD_PACKAGES[@]}"
    else
        make_version_chroot "$version"
    fi
}

make_version_chroot() {
    local version=$1 packages
    # shellcheck disable=SC2016 # for mmdebstrap's shell
    local arguments=(--setup-hook='dir=$1/etc/postgresql-common/createcluster.d &&
        mkdir -p "$dir" && echo "create_main_cluster = false" >"$dir/none.conf"')
    packages=make,g++,libxxhash-dev,perl,libipc-run-perl,postgresql-$version
    if [[ -n $quick ]]; then
        arguments+=("$(only_headers "$version")")
    else
        packages+=,postgresql-server-dev-$version,postgresql-$version-pgtap
        packages+=,libtap-parser-sourcehandler-pgtap-perl
        if [[ $version != "$OLDEST" ]]; then # its packages can be installed beside
            packages+=,postgresql-$OLDEST
            arguments+=("$(only_headers "$OLDEST")" --setup-hook="echo '$(debian_source \
                "${RELEASE[$OLDEST]}")' >>\"\$1/etc/apt/sources.list\"")
        fi
    fi
    make_chroot "${RELEASE[$version]}" "${arguments[@]}" --include="$packages"
}

# The package with the server's headers depends on a compiler of the gigabyte kind.
only_headers() {
    # shellcheck disable=SC2016 # for mmdebstrap's shell
    printf '%s' '--customize-hook=chroot "$1" sh -ec "' \
        "cd /var/tmp; apt-get -q download postgresql-server-dev-$1; " \
        "dpkg -x postgresql-server-dev-$1_*.deb /; rm postgresql-server-dev-$1_*.deb\""
}

# in_version VERSION COMMAND...: with the sources in $SOURCES.
in_version() {
    local config=PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config
    shift
    if [[ -n $here ]]; then
        PG_CONFIG=$PG_CONFIG SOURCES=$SOURCE_DIR run_child "$@"
    else
        CHROOT_ENV=("$config" SOURCES=/mnt "${test_variables[@]}")
        in_chroot "$@"
    fi
}

# What scripts/test.sh may be told.
test_variables=()
for name in CS_RACE_CALLS CS_KILLS CS_LEASE_CRASHES CS_LEASE_PROMOTIONS CS_LEASE_PAUSES \
    PROVE_TESTS PG_TEST_TIMEOUT_DEFAULT; do
    [[ -z ${!name-} ]] || test_variables+=("$name=${!name}")
done

# --- what is tested ------------------------------------------------------------

# As users build it, bitcode for JIT included where the server has it.
# shellcheck disable=SC2016 # expanded in there
BUILD='source "$SOURCES/scripts/common.sh"
    choose_postgres
    make_private_copy
    build_extension CXX="$1 -Werror $2"
    "$1" --version | head -n 1'

build_with() {
    local version=$1 compiler=$2 options=''
    [[ $compiler != clang* ]] || options=-Wno-unknown-warning-option # the server's are GCC's
    step "PostgreSQL $version: build with $compiler" in_version "$version" \
        bash -euo pipefail -c "$BUILD" bash "$compiler" "$options"
    figure "pg${version}_$(sed -E 's/\+\+.*//; s/^g$/gcc/' <<<"$compiler")" "$result"
}

# Prints the clang there is: Debian's may have a version in its name.
clang_in_version() {
    in_version "$1" bash -c 'compgen -c clang++ | sort -V | head -n 1'
}

test_version() {
    local version=$1 start=$SECONDS clang
    enter_version "$version"
    # shellcheck disable=SC2016 # expanded in there
    figure "pg${version}_version" "$(in_version "$version" bash -c '"$PG_CONFIG" --version')"
    if [[ -z $quick ]]; then
        build_with "$version" g++
        clang=$(clang_in_version "$version")
        [[ -z $clang ]] || build_with "$version" "$clang"
    fi
    # shellcheck disable=SC2016 # expanded in there
    step "PostgreSQL $version: tests" in_version "$version" \
        bash -c 'exec bash "$SOURCES/scripts/test.sh" "$@"' bash "${suites[@]}"
    figure "pg${version}_tests" "$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$LOG" ||
        echo failed)"
    if [[ -z $quick && -z $here && $version != "$OLDEST" ]]; then
        upgrade "$OLDEST" "$version"
    fi
    figure "pg${version}_seconds" $((SECONDS - start))
}

upgrade() {
    # shellcheck disable=SC2016 # expanded in there
    step "pg_upgrade from PostgreSQL $1 to $2" in_version "$2" \
        bash -c 'exec bash "$SOURCES/scripts/matrix/upgrade.sh" "$@"' bash "$1" "$2"
    figure "upgrade_$1_$2" "$result"
}

old_script() {
    here=yes
    step "the first install script with the library of today" \
        run_child bash "$CHECKOUT/scripts/matrix/old_script.sh"
    figure old_script "$result"
}

# --- all of it -----------------------------------------------------------------

choose_postgres
need_chroots
make_private_copy
# shellcheck disable=SC2034 # for in_chroot
CHROOT_SOURCE=$SOURCE_DIR
for version in "${versions[@]}"; do
    test_version "$version"
done
old_script

figure matrix_seconds "$SECONDS"
report
