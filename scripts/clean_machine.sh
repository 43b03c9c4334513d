#!/usr/bin/env bash
#
# The two commands of the README on machines that have nothing yet: fresh minimal
# Debian systems in chroots.  See --help.

set -euo pipefail

usage() {
    cat <<'HELP'
usage: bash scripts/clean_machine.sh [--quick] [--suites "SUITE..."] [--release RELEASE]

Runs the commands that the README begins with, as it words them, on machines that
have what debootstrap gives (no compiler, no PostgreSQL, no Python, no git):

  root     as root
  user     as an ordinary user; the machine has sudo, too, and asks no password
  server   as root, on a machine with Debian's PostgreSQL and a cluster, but
           without the headers to build an extension: the demo alone
  nobody   as an ordinary user without sudo: has to say what to do, and nothing else

After each, no process may be left, and the checkout, home, /tmp, the clusters and
their configuration have to be what they were.  Needs root.

  --quick    for CI: root alone, and of the tests the suite regress
  --suites   only these suites of scripts/test.sh
  --release  the release of Debian (bookworm)
  --help     this text

environment:
  CS_CACHE   a folder that keeps the chroots for the next run
  CS_MIRROR  the Debian mirror (the one that this system uses, or deb.debian.org)

exit status: 0 if all went well, 1 if not, 2 for a wrong argument.
HELP
}

wrong_argument() {
    printf 'clean_machine.sh: %s\n\n' "$1" >&2
    usage >&2
    exit 2
}

suites='' release=bookworm machines=(root user server nobody)
while (($# > 0)); do
    case $1 in
        --quick) machines=(root) suites=${suites:-regress} ;;
        --suites)
            suites=${2-}
            [[ -n $suites ]] || wrong_argument '--suites needs names of suites'
            shift
            ;;
        --release)
            release=${2-}
            [[ -n $release ]] || wrong_argument '--release needs the name of a release'
            shift
            ;;
        --help | -h)
            usage
            exit 0
            ;;
        *) wrong_argument "unknown argument \"$1\"" ;;
    esac
    shift
done

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=scripts/chroot.sh
source "$CHECKOUT/scripts/chroot.sh"

# --- a machine -------------------------------------------------------------------

# new_machine NAME [PACKAGE...]: a copy of the bare system, with packages, and the
# sources as an archive has them in the home of the machine's user.
new_machine() {
    machine=$1 person=root home=/root
    shift
    say "== $machine: a machine with ${*:-nothing}"
    CHROOT=$BARE
    copy_chroot
    if (($# > 0)); then
        # No server may start here while packages are installed.
        install -m 755 <(printf '#!/bin/sh\nexit 101\n') "$CHROOT/usr/sbin/policy-rc.d"
        prepare "apt-get -q update && DEBIAN_FRONTEND=noninteractive \
            apt-get -q install -y --no-install-recommends $*"
        rm "$CHROOT/usr/sbin/policy-rc.d"
    fi
    if [[ $machine == user || $machine == nobody ]]; then
        person=dev home=/home/dev
        prepare 'useradd -m -s /bin/bash dev'
    fi
    if [[ $machine == user ]]; then
        echo 'dev ALL=(ALL) NOPASSWD: ALL' >"$CHROOT/etc/sudoers.d/dev"
    fi
    cp -a "$SOURCE_DIR" "$CHROOT$home/concurrency_safe"
    prepare "chown -R $person: $home/concurrency_safe"
}

prepare() {
    in_chroot bash -c "$1" >"$LOG" 2>&1 || {
        cat "$LOG"
        die "the machine could not be prepared"
    }
}

remove_machine() { rm -rf --one-file-system "$CHROOT"; }

# in_checkout COMMAND: what the machine's user types after logging in.
in_checkout() { logged in_chroot su - "$person" -c "cd concurrency_safe && $1"; }

# What must stay as it is, a line for each.  Debian's packages bring along some
# folders, empty.
snapshot() {
    local place
    for place in home root tmp var/tmp srv opt var/lib/postgresql etc/postgresql \
        etc/postgresql-common/createcluster.d; do
        [[ -d $CHROOT/$place ]] || continue
        find "$CHROOT/$place" -mindepth 1 ! -type f -printf '%p %y %m %U %l\n' \
            -o -type f -printf '%p %m %U %T@ ' -exec sha256sum {} \;
    done | grep -vE '/postgresql/[0-9]+ d ' | LC_ALL=C sort || true
}

# --- the commands ------------------------------------------------------------------

# The README's own words.
readme_commands() { sed -nE 's/^    (bash scripts\/[a-z]+\.sh)$/\1/p' "$SOURCE_DIR/README.md"; }

# unchanged NAME BEFORE
unchanged() {
    local after
    after=$(snapshot)
    [[ $2 != "$after" ]] || return 0
    diff <(cat <<<"$2") <(cat <<<"$after") || true
    fail "$1 left something behind, or changed something"
    return 1
}

try_command() {
    local before start=$SECONDS name="$machine: $1"
    say "== $name"
    before=$(snapshot)
    if ! in_checkout "$1"; then
        fail "$name"
    elif unchanged "$name" "$before"; then
        say "ok      $name ($((SECONDS - start)) s)"
    fi
}

try_readme() {
    local start=$SECONDS
    try_command "$demo_command"
    try_command "$test_command${suites:+ $suites}"
    figure "clean_machine_${machine}_tests" "$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$LOG" ||
        echo failed)"
    figure "clean_machine_${machine}_seconds" $((SECONDS - start))
    remove_machine
}

try_root() {
    new_machine root
    try_readme
}

try_user() {
    new_machine user sudo
    try_readme
}

try_server() {
    new_machine server postgresql
    try_command "$demo_command"
    remove_machine
}

# Nothing can be installed: so nothing may happen but the advice.
try_nobody() {
    local before
    new_machine nobody
    say "== nobody: $demo_command"
    before=$(snapshot)
    if in_checkout "$demo_command"; then
        fail "nobody: went without PostgreSQL"
    elif ! grep -q 'cannot become root to install what is missing' "$LOG"; then
        fail "nobody: was not told what to do"
    elif unchanged nobody "$before"; then
        say "ok      nobody: was told what to do"
    fi
    remove_machine
}

# --- all of it -----------------------------------------------------------------

choose_postgres
need_chroots
make_private_copy
readarray -t commands < <(readme_commands)
[[ ${commands[*]} == 'bash scripts/demo.sh bash scripts/test.sh' ]] ||
    die "README.md does not say to run demo.sh and test.sh, but: ${commands[*]}"
demo_command=${commands[0]} test_command=${commands[1]}
make_chroot "$release"
BARE=$CHROOT
for name in "${machines[@]}"; do
    "try_$name"
done

figure clean_machine_release "$release"
figure clean_machine_machines "${machines[*]}"
figure clean_machine_seconds "$SECONDS"
report
