# shellcheck shell=bash
#
# What demo.sh, test.sh and bench.sh share: install what is missing, build the
# extension in a private copy of the checkout, run it in a throw-away server,
# and leave nothing behind.  Source it after `set -euo pipefail`; it sets traps.
#
#   choose_postgres               sets PG_CONFIG PG_MAJOR PG_BIN BUILD_PACKAGES
#   install_packages PACKAGE...   only what is missing (needs choose_postgres)
#   make_private_copy             sets TMP_ROOT SOURCE_DIR, and goes to TMP_ROOT
#   build_extension [MAKE_ARG...] sets INSTALL_DIR
#   extension_settings            prints the lines a postgresql.conf needs
#   start_server [NAME=VALUE...]  sets DATA_DIR SOCKET_DIR SERVER_PID
#   stop_server
#   run_psql [PSQL_ARG...]        in the running server, as its superuser
#   run_child COMMAND...          a long command that must not outlive us
#   keep_server                   leave server and folder when the script ends
#
# "${AS_USER[@]}" COMMAND... runs COMMAND unprivileged: as the caller, or for
# root as CS_RUN_USER (default nobody), because PostgreSQL refuses to run as
# root and a build has no need to.

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PYTHON=${CS_PYTHON:-/usr/bin/python3} # Debian's psycopg2 belongs to this one
TMP_ROOT='' SOURCE_DIR='' INSTALL_DIR='' DATA_DIR='' SOCKET_DIR='' SERVER_PID=''
CHILD_PID='' KEEP='' AS_USER=()

# The caller's PGHOST and the like must not lead us to another server.
for variable in "${!PG@}"; do
    [[ $variable == PG_CONFIG ]] || unset "$variable"
done
unset variable MAKEFLAGS MAKELEVEL MAKEOVERRIDES
umask 022

say() { printf '%s\n' "$*"; }
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# shellcheck source=scripts/packages.sh
source "$CHECKOUT/scripts/packages.sh"

# --- who runs what -----------------------------------------------------------

if ((EUID == 0)); then
    RUN_USER=${CS_RUN_USER:-nobody}
    RUN_UID=$(id -u "$RUN_USER") || die "there is no user \"$RUN_USER\""
    ((RUN_UID != 0)) || die "CS_RUN_USER must not be root"
    AS_USER=(setpriv "--reuid=$RUN_UID" "--regid=$(id -g "$RUN_USER")"
        --clear-groups env "USER=$RUN_USER" "LOGNAME=$RUN_USER" HOME=/)
fi

# A shell handles a signal only after the foreground command, but at once while
# it waits for a background one: so cleanup can stop the child.
run_child() {
    local status=0
    "$@" &
    CHILD_PID=$!
    wait "$CHILD_PID" || status=$?
    CHILD_PID=''
    return "$status"
}

# --- build -------------------------------------------------------------------

# The checkout may be unreadable for the unprivileged user, and must not be
# littered: everything happens in a copy that this user owns.
make_private_copy() {
    local parent
    parent=$(cd "${TMPDIR:-/tmp}" && pwd -P)
    # A socket's path is limited to 107 bytes; root's TMPDIR may be root's only.
    if ((${#parent} > 60)) || ! "${AS_USER[@]}" test -w "$parent"; then
        parent=$(cd /tmp && pwd -P)
    fi
    cd "$parent" || return # the user may not be allowed to stay where we are
    TMP_ROOT=$("${AS_USER[@]}" mktemp -d "$parent/concurrency_safe.XXXXXX")
    cd "$TMP_ROOT" || return
    SOURCE_DIR=$TMP_ROOT/source
    "${AS_USER[@]}" mkdir "$SOURCE_DIR"
    list_checkout | tar -C "$CHECKOUT" --null --no-recursion -T - -cf - |
        "${AS_USER[@]}" tar -C "$SOURCE_DIR" -xf -
}

# Prints the files to copy, NUL-terminated: what git tracks or would add, and
# without git all but build products.
list_checkout() {
    local file list=$TMP_ROOT/files
    if git_checkout ls-files -z --cached --others --exclude-standard \
        >"$list" 2>/dev/null && [[ -s $list ]]; then
        while IFS= read -r -d '' file; do # deleted files are listed, too
            [[ ! -e $CHECKOUT/$file && ! -L $CHECKOUT/$file ]] ||
                printf '%s\0' "$file"
        done <"$list"
    else
        (cd "$CHECKOUT" && find . -name .git -prune -o -type f \
            ! -name '*.o' ! -name '*.so' ! -name '*.bc' -print0)
    fi
}

# git refuses a checkout that another user owns, and all its versions read the
# exception from a file in HOME.
git_checkout() {
    printf '[safe]\n\tdirectory = "%s"\n' "$CHECKOUT" >"$TMP_ROOT/.gitconfig"
    HOME=$TMP_ROOT XDG_CONFIG_HOME=$TMP_ROOT git -C "$CHECKOUT" "$@"
}

build_extension() {
    local log=$TMP_ROOT/build.log
    INSTALL_DIR=$TMP_ROOT/install
    {
        run_child "${AS_USER[@]}" make -C "$SOURCE_DIR" -j "$(nproc)" \
            "PG_CONFIG=$PG_CONFIG" "$@" &&
            run_child "${AS_USER[@]}" make -C "$SOURCE_DIR" install \
                "PG_CONFIG=$PG_CONFIG" "DESTDIR=$INSTALL_DIR" "$@"
    } >"$log" 2>&1 || {
        cat "$log" >&2
        die "the build failed"
    }
}

# --- the throw-away server ---------------------------------------------------

# How a server finds what was installed below INSTALL_DIR only.
extension_settings() {
    local known
    known=$("$PG_BIN/postgres" --describe-config | cut -f 1)
    if grep -qx extension_control_path <<<"$known"; then # PostgreSQL 18
        printf "extension_control_path = '%s:\$system'\n" \
            "$INSTALL_DIR$("$PG_CONFIG" --sharedir)"
    elif grep -qx extension_destdir <<<"$known"; then # Debian's 13 to 17
        printf "extension_destdir = '%s'\n" "$INSTALL_DIR"
    else
        die "$PG_BIN/postgres has neither extension_control_path nor" \
            "extension_destdir to try an extension without installing it"
    fi
    printf "dynamic_library_path = '%s:\$libdir'\n" \
        "$INSTALL_DIR$("$PG_CONFIG" --pkglibdir)"
}

# A new, empty server; one at a time.  It has no TCP port: only who may enter
# TMP_ROOT can connect.
start_server() {
    local setting config
    local log=$TMP_ROOT/initdb.log # ours; the server's must be the user's
    config=$(extension_settings) || exit 1
    stop_server
    DATA_DIR=$TMP_ROOT/data SOCKET_DIR=$TMP_ROOT/socket
    rm -rf "$DATA_DIR" "$SOCKET_DIR"
    "${AS_USER[@]}" mkdir -m 700 "$SOCKET_DIR"
    "${AS_USER[@]}" "$PG_BIN/initdb" --no-sync --no-locale -E UTF8 -A trust \
        -U postgres -D "$DATA_DIR" >"$log" 2>&1 || {
        cat "$log" >&2
        die "initdb failed"
    }
    log=$TMP_ROOT/server.log
    {
        printf '%s\n' "$config" "listen_addresses = ''" \
            "unix_socket_directories = '$SOCKET_DIR'"
        for setting in "$@"; do
            printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
        done
    } | "${AS_USER[@]}" tee -a "$DATA_DIR/postgresql.conf" >/dev/null
    # Not run_child: pg_ctl itself ends the server when it is interrupted.
    "${AS_USER[@]}" "$PG_BIN/pg_ctl" -s -w -t 60 -D "$DATA_DIR" \
        -l "$log" start || {
        cat "$log" >&2
        die "the server did not start"
    }
    SERVER_PID=$(head -n 1 "$DATA_DIR/postmaster.pid")
}

# Signals nobody but our postmaster.
stop_server() {
    local signal tries
    if [[ -z $SERVER_PID && -e $DATA_DIR/postmaster.pid ]]; then
        SERVER_PID=$(head -n 1 "$DATA_DIR/postmaster.pid") # interrupted start
    fi
    for signal in INT QUIT KILL; do
        server_runs || break
        kill -s "$signal" "$SERVER_PID"
        for ((tries = 0; tries < 100; tries++)); do
            server_runs || break
            sleep 0.1
        done
    done
    SERVER_PID=''
}

# Does SERVER_PID still mean our postmaster?  A postmaster lives in its data
# directory.  A container's root may not ask, but the same user may.
server_runs() {
    [[ -n $SERVER_PID && $("${AS_USER[@]}" readlink "/proc/$SERVER_PID/cwd") == \
        "$DATA_DIR" ]]
}

run_psql() {
    "${AS_USER[@]}" "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 \
        -h "$SOCKET_DIR" -U postgres "$@"
}

# --- the end -----------------------------------------------------------------

keep_server() { KEEP=yes; }

cleanup() {
    local status=$?
    set +e
    trap '' INT TERM HUP
    if [[ -n $CHILD_PID ]]; then
        kill "$CHILD_PID" 2>/dev/null
        wait "$CHILD_PID" 2>/dev/null
    fi
    allow_main_cluster
    rm -f "$APT_LOG"
    if [[ -z $KEEP ]]; then
        stop_server
        cd / || exit
        [[ -z $TMP_ROOT ]] || rm -rf "$TMP_ROOT"
    fi
    exit "$status"
}

trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
