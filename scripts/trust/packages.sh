#!/usr/bin/env bash
#
# Are the packages complete?  The distribution for PGXN is made, checked, and built
# and installed from nothing but its zip; the Debian package is built, checked by
# lintian and tested by its own tests in a throw-away Debian.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/trust/packages.sh [--quick]

  --quick     the distribution for PGXN only

Needs apt; the Debian package needs root or sudo, too, for a chroot of about
1.6 GB in a temporary folder.  Nothing is installed in it from this system, and
nothing of it is left.

environment:
  PG_CONFIG   the pg_config of the PostgreSQL to try the distribution with
  CS_SUITE    the release of Debian or Ubuntu to build the package in (this one's)

The last lines are "figure: NAME = VALUE".  exit status: 0 if all is well, else 1.
HELP
}

quick=''
for argument in "$@"; do
    case $argument in
        --quick) quick=yes ;;
        --help | -h)
            usage
            exit 0
            ;;
        *)
            usage >&2
            exit 2
            ;;
    esac
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

CHROOT='' figures=()

figure() { figures+=("figure: $1 = $2"); }

# What is mounted in the chroot is gone with the processes in it.
remove_chroot() {
    local status=$?
    set +e
    [[ -z $CHILD_PID ]] || { kill "$CHILD_PID" && wait "$CHILD_PID"; } 2>/dev/null
    [[ -z $CHROOT ]] || "${SUDO[@]}" rm -rf --one-file-system "$CHROOT"
    return "$status"
}
trap 'remove_chroot; cleanup' EXIT

# step NAME COMMAND...: its output goes to $log, and is shown if it fails.
step() {
    local name=$1
    shift
    log=$TMP_ROOT/step.log
    say "$name"
    run_child "$@" >"$log" 2>&1 </dev/null || {
        tail -n 200 "$log"
        die "$name: failed"
    }
}

# --- the distribution for PGXN -------------------------------------------------

# A repository of its own, of the private copy: so "make dist" needs no history,
# and takes what is not committed yet.
make_repository() {
    local git=("${AS_USER[@]}" git -C "$SOURCE_DIR")
    "${git[@]}" init --quiet
    "${git[@]}" add --all
    "${git[@]}" -c user.name=packages -c user.email=packages@localhost \
        -c commit.gpgsign=false commit --quiet --message 'What is packaged'
}

check_distribution() {
    local zip name
    # Without PG_CONFIG: to pack the files takes no server.
    step "making the distribution" "${AS_USER[@]}" make -C "$SOURCE_DIR" PG_CONFIG=true dist
    zip=$(echo "$SOURCE_DIR"/concurrency_safe-*.zip)
    step "checking META.json and the files" "${AS_USER[@]}" "$PYTHON" -B \
        "$SOURCE_DIR/.ci/check_dist.py" "$zip"
    figure "files in ${zip##*/}" "$(tail -n 1 "$log")"
    figure "bytes of ${zip##*/}" "$(stat -c %s "$zip")"

    name=$(basename "$zip" .zip)
    "${AS_USER[@]}" mkdir "$TMP_ROOT/unpacked"
    step "unpacking" "${AS_USER[@]}" unzip -q "$zip" -d "$TMP_ROOT/unpacked"
    REPOSITORY=$SOURCE_DIR SOURCE_DIR=$TMP_ROOT/unpacked/$name
    say "building and installing it with PostgreSQL $PG_MAJOR"
    build_extension CXX="${CXX:-g++} -Werror"
    start_server fsync=off shared_preload_libraries=concurrency_safe
    run_psql -d postgres -At \
        -c 'CREATE EXTENSION concurrency_safe' \
        -c "BEGIN; SELECT cs_lock('withdraw:user:42'); SELECT key FROM cs_locks; COMMIT" \
        -c "SELECT extversion FROM pg_extension WHERE extname = 'concurrency_safe'" >"$TMP_ROOT/answers"
    stop_server
    grep -qx 'withdraw:user:42' "$TMP_ROOT/answers" || die "the distribution does not lock"
    figure "extension version installed from the distribution" "$(tail -n 1 "$TMP_ROOT/answers")"
}

# --- the Debian package --------------------------------------------------------

# Runs in the chroot, as root, in /build. Build dependencies and those of the tests come
# from debian/: what is forgotten there is not there.
debian_script() {
    cat <<'SCRIPT'
set -e
cd /build
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
as_builder() { setpriv --reuid=builder --regid=builder --init-groups env HOME=/home/builder "$@"; }
case $1 in
    prepare)
        useradd --create-home builder
        chown -R builder: /build
        apt-get update -q
        apt-get build-dep -q -y --no-install-recommends ./concurrency-safe-*/
        ;;
    build) cd concurrency-safe-*/ && as_builder dpkg-buildpackage -us -uc ;;
    lint) as_builder lintian --fail-on error --display-info ./*.changes ;;
    test) autopkgtest --user=builder ./*.deb ./*.dsc -- null ;;
esac
SCRIPT
}

# in_chroot STEP: a step of debian_script, with processes and mounts of its own.
in_chroot() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    "${SUDO[@]}" unshare --mount --pid --fork --kill-child bash -ec '
        mount -t proc proc "$1/proc"
        mkdir -p "$1/dev/shm"
        mount -t tmpfs tmpfs "$1/dev/shm"
        exec chroot "$1" bash /build/run.sh "$2"' bash "$CHROOT" "$1"
}

make_chroot() {
    CHROOT=$("${SUDO[@]}" mktemp -d "${TMPDIR:-/tmp}/concurrency_safe_debian.XXXXXX")
    # shellcheck disable=SC2016 # expanded by mmdebstrap's shell
    step "making a throw-away $SUITE" "${SUDO[@]}" mmdebstrap --mode=root --variant=minbase \
        --include=ca-certificates,build-essential,fakeroot,lintian,autopkgtest \
        --setup-hook='mkdir -p "$1/etc/postgresql-common/createcluster.d"' \
        --setup-hook='echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.d/none.conf"' \
        --customize-hook='cp /etc/resolv.conf "$1/etc/resolv.conf"' \
        "$SUITE" "$CHROOT"
    "${SUDO[@]}" chmod 755 "$CHROOT"
}

# As upstream's tarball and Debian's folder, so that the source package is whole.
put_sources() {
    local version=$1 name=concurrency-safe-$1
    "${SUDO[@]}" mkdir "$CHROOT/build"
    debian_script | "${SUDO[@]}" tee "$CHROOT/build/run.sh" >/dev/null
    "${AS_USER[@]}" git -C "$REPOSITORY" archive --format=tar.gz "--prefix=$name/" HEAD |
        "${SUDO[@]}" tee "$CHROOT/build/concurrency-safe_$version.orig.tar.gz" >/dev/null
    "${SUDO[@]}" tar -C "$CHROOT/build" -xf "$CHROOT/build/concurrency-safe_$version.orig.tar.gz"
    tar -C "$REPOSITORY" -cf - debian | "${SUDO[@]}" tar -C "$CHROOT/build/$name" --no-same-owner -xf -
}

check_debian() {
    local version deb
    version=$(sed -n '1s/.*(\(.*\)-[^-]*).*/\1/p' "$REPOSITORY/debian/changelog")
    make_chroot
    put_sources "$version"
    step "installing what the package is built with" in_chroot prepare
    step "building the Debian package, with its tests" in_chroot build
    figure "tests passed while the package was built" "$(grep -cE "$PASSED_LINE" "$log")"
    for deb in "$CHROOT"/build/postgresql-*-concurrency-safe_*.deb; do
        figure "Debian package" "${deb##*/}, $(stat -c %s "$deb") bytes"
    done
    step "looking at it with lintian" in_chroot lint
    figure "lintian errors" "$(grep -c '^E:' "$log" || true)"
    figure "lintian warnings" "$(grep -c '^W:' "$log" || true)"
    step "installing and testing it with autopkgtest" in_chroot test
    sed -n '/@ summary/,$s/^\([a-z]*\) *PASS$/\1/p' "$log" >"$TMP_ROOT/passed"
    [[ -s $TMP_ROOT/passed ]] || die "autopkgtest ran no test"
    figure "autopkgtest passed" "$(paste -s -d, "$TMP_ROOT/passed")"
    figure "tests passed with the installed package" "$(grep -cE "$PASSED_LINE" "$log")"
}

# As in scripts/test.sh; the TAP tests are counted by file.
PASSED_LINE='^ok [0-9]+( |$)| \.\.\. ok +[0-9]+ ms|^test/t/.* \.+ ok'

# --- all of it -----------------------------------------------------------------

choose_postgres
packages=("${BUILD_PACKAGES[@]}" git python3 unzip)
if [[ -z $quick ]]; then
    # shellcheck source=/dev/null
    SUITE=${CS_SUITE:-$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")}
    [[ -n $SUITE ]] || die "set CS_SUITE: this system has no VERSION_CODENAME"
    packages+=(mmdebstrap)
fi
install_packages "${packages[@]}"
make_private_copy
make_repository
check_distribution
if [[ -z $quick ]]; then
    step "testing the unpacked distribution" bash "$SOURCE_DIR/scripts/test.sh" unit regress
    figure "tests of the distribution" "$(tail -n 1 "$log")"
    check_debian
fi
figure "seconds" "$SECONDS"
printf '%s\n' "${figures[@]}"
