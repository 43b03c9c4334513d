# shellcheck shell=bash
#
# What matrix.sh and clean_machine.sh share: small Debian systems, each in a
# folder, and commands that run in them.  Source it after common.sh.
#
#   need_chroots                   dies unless chroots can be had here
#   make_chroot RELEASE [MMDEBSTRAP_ARG...]  sets CHROOT
#   copy_chroot                    CHROOT becomes a copy of it, to be changed at will
#   figure NAME VALUE              a fact for the report
#   fail NAME                      so report will fail
#   report                         prints figures and failures
#   logged COMMAND...              what it prints goes to LOG, too
#   in_chroot COMMAND...           runs it in CHROOT, as root and with no environment
#                                  but CHROOT_ENV; fails if it leaves anything running
#
# What must not touch the chroot itself: if CHROOT_SOURCE is set, it is /mnt in
# there, for reading only, and /tmp is a folder that ends with us.
#
# environment:
#   CS_CACHE   a folder that keeps the chroots of make_chroot for the next run
#   CS_MIRROR  the Debian mirror (the one that this system uses, or deb.debian.org)

CHROOT='' CHROOT_SOURCE='' CHROOT_DIR='' CHROOT_ENV=() LOG=''
FIGURES=() FAILURES=()
CACHE=${CS_CACHE:-}

need_chroots() {
    ((EUID == 0)) ||
        die "other systems are made and run in chroots: this needs root"
    unshare --mount --pid --ipc --fork true 2>/dev/null ||
        die "other systems run in name spaces of their own, and may not here:" \
            "a container needs the capability CAP_SYS_ADMIN for this"
    install_packages mmdebstrap debian-archive-keyring
    [[ -z $CACHE ]] || CACHE=$(mkdir -p "$CACHE" && cd "$CACHE" && pwd -P)
    # Not /tmp: it may be small, and forbid sudo.
    CHROOT_DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/concurrency_safe.XXXXXX")
    install -d -m 1777 "$CHROOT_DIR/tmp"
    LOG=$CHROOT_DIR/log
    trap 'remove_chroots; cleanup' EXIT
}

# Mounts are made in name spaces that end with their command, so nothing but
# our own files is below.
remove_chroots() {
    local status=$?
    set +e
    trap '' INT TERM HUP
    if [[ -n $CHILD_PID ]]; then
        kill "$CHILD_PID" 2>/dev/null
        wait "$CHILD_PID" 2>/dev/null
    fi
    [[ -z $CHROOT_DIR ]] || rm -rf --one-file-system "$CHROOT_DIR"
    return "$status"
}

# A chroot is known by all that it is made from.
make_chroot() {
    local release=$1 name log=$CHROOT_DIR/mmdebstrap.log new=$CHROOT_DIR/new
    local arguments=(--quiet --mode=root --variant=minbase) option
    shift
    # Proxies and the like; and a mirror may be older than its lists are valid.
    while IFS= read -r option; do
        arguments+=("--aptopt=${option%;}")
    done < <(apt-config dump | grep -E '^Acquire::(Check-|https?::|Retries)')
    [[ $(debian_mirror) != https:* ]] || arguments+=(--include=ca-certificates)
    arguments+=("$@" "$release")
    name=$release.$(sha256sum <<<"${arguments[*]}" | head -c 12)
    CHROOT=${CACHE:-$CHROOT_DIR}/$name
    if [[ ! -d $CHROOT ]]; then
        say "making a chroot of Debian's $release"
        run_child unshare --mount --pid --mount-proc --fork --kill-child \
            mmdebstrap "${arguments[@]}" "$new" "$(debian_source "$release")" \
            >"$log" 2>&1 </dev/null || {
            cat "$log" >&2
            die "mmdebstrap failed"
        }
        mv "$new" "$CHROOT"
    fi
    # The name servers of today, also in a chroot from the cache.
    cp -L /etc/hosts /etc/resolv.conf "$CHROOT/etc"
}

debian_source() { printf 'deb %s %s main\n' "$(debian_mirror)" "$1"; }

debian_mirror() {
    local mirror=${CS_MIRROR:-}
    # shellcheck disable=SC2016 # apt's own variable
    [[ -n $mirror ]] || mirror=$(apt-get indextargets --format '$(REPO_URI)' |
        grep -E '/debian/?$' | sort -u | head -n 1) || true
    printf '%s\n' "${mirror:-http://deb.debian.org/debian}"
}

copy_chroot() {
    local copy
    copy=$(mktemp -d "$CHROOT_DIR/copy.XXXXXX")
    cp -a "$CHROOT/." "$copy"
    CHROOT=$copy
}

# All processes and mounts end with this, whatever happens.
in_chroot() {
    run_child unshare --mount --pid --ipc --fork --kill-child bash -euc \
        "$(declare -f say enter_chroot nothing_runs); enter_chroot \"\$@\"" bash \
        "$CHROOT" "${CHROOT_SOURCE:--}" "$CHROOT_DIR/tmp" \
        "${CHROOT_ENV[@]}" "$@" </dev/null
}

# enter_chroot ROOT SOURCE TMP [NAME=VALUE]... COMMAND...: the first process of
# the name spaces.
enter_chroot() {
    local root=$1 source=$2 tmp=$3 status=0
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    if [[ $source != - ]]; then
        mount --bind "$source" "$root/mnt"
        mount -o remount,bind,ro "$root/mnt"
        mount --bind "$tmp" "$root/tmp"
    fi
    cd /
    chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" || status=$?
    nothing_runs "$root" || ((status != 0)) || status=1
    exit "$status"
}

# Processes, and the shared memory of a server: they get a moment to end.
nothing_runs() {
    local root=$1 tries found
    for ((tries = 0; tries < 30; tries++)); do
        # shellcheck disable=SC2016 # expanded in there
        found=$(chroot "$root" /bin/bash -c '
            for process in /proc/[0-9]*; do
                pid=${process#/proc/}
                ((pid == 1 || pid == $$ || pid == PPID)) ||
                    echo "process $pid: $(tr "\0" " " 2>/dev/null <"$process/cmdline")"
            done
            ls -A /dev/shm
            tail -n +2 /proc/sysvipc/shm')
        [[ -n $found ]] || return 0
        sleep 0.1
    done
    say "still there after the command:" "$found" >&2
    return 1
}

# logged COMMAND...: what it prints goes to LOG, too.
logged() {
    local output tee_pid status=0
    exec {output}> >(exec tee "$LOG")
    tee_pid=$!
    "$@" >&"$output" 2>&1 || status=$?
    exec {output}>&-
    wait "$tee_pid"
    return "$status"
}

figure() { FIGURES+=("figure: $1 = $2"); }

fail() {
    say "FAILED  $1"
    FAILURES+=("$1")
}

report() {
    say ''
    ((${#FAILURES[@]} == 0)) || printf 'failed: %s\n' "${FAILURES[@]}"
    printf '%s\n' "${FIGURES[@]}"
    ((${#FAILURES[@]} == 0))
}
