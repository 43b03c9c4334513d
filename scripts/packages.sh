# shellcheck shell=bash
#
# Part of common.sh: which PostgreSQL to use, and installing what is missing
# with apt, through sudo for an ordinary user.

SUDO=() BUILD_PACKAGES=()
APT_DROP_IN='' APT_DROP_IN_DIR='' APT_LOG='' APT_UPDATED=''
((EUID == 0)) || SUDO=(sudo)

# Decides on a PostgreSQL without installing it: PG_CONFIG if given, else the
# newest that can already build and run us, else the distribution's own.
choose_postgres() {
    local dir
    if [[ -n ${PG_CONFIG:-} ]]; then
        PG_CONFIG=$(command -v "$PG_CONFIG") || die "PG_CONFIG is not a program"
    else
        while read -r dir; do
            if [[ -x $dir/bin/postgres ]] && has_server_headers "$dir/bin/pg_config"; then
                PG_CONFIG=$dir/bin/pg_config
                break
            fi
        done < <(printf '%s\n' /usr/lib/postgresql/* | sort -Vr)
    fi
    if [[ -n ${PG_CONFIG:-} ]]; then
        PG_MAJOR=$("$PG_CONFIG" --version | sed -E 's/^[^0-9]*([0-9]+).*/\1/')
        PG_BIN=$("$PG_CONFIG" --bindir)
    elif is_apt_system; then
        refresh_apt postgresql postgresql-server-dev-all
        PG_MAJOR=$(LC_ALL=C apt-cache depends postgresql |
            sed -nE 's/^ *Depends: postgresql-([0-9]+)$/\1/p' | tail -n 1) || true
        [[ -n $PG_MAJOR ]] || die 'apt knows no package "postgresql"'
        PG_BIN=/usr/lib/postgresql/$PG_MAJOR/bin
        PG_CONFIG=$PG_BIN/pg_config
    else
        die "found no PostgreSQL: set PG_CONFIG to the pg_config of one"
    fi
    # shellcheck disable=SC2034 # for the scripts
    BUILD_PACKAGES=(make g++ libxxhash-dev "postgresql-$PG_MAJOR"
        "postgresql-server-dev-$PG_MAJOR")
}

install_packages() {
    local package missing=()
    for package in "$@"; do
        have_package "$package" || missing+=("$package")
    done
    ((${#missing[@]} > 0)) || return 0
    is_apt_system || die "please install the equivalent of: ${missing[*]}"
    refresh_apt "${missing[@]}"
    say "installing ${missing[*]}"
    if [[ " ${missing[*]} " == *" postgresql-$PG_MAJOR "* ]]; then
        forbid_main_cluster
    fi
    run_apt install -y --no-install-recommends "${missing[@]}" ||
        die "apt-get install failed"
    allow_main_cluster
    for package in "${missing[@]}"; do
        have_package "$package" ||
            die "$package was installed, but $PG_CONFIG or $PYTHON cannot use it"
    done
}

# Looks for the thing itself first, so that software that did not come as a
# package counts too.
have_package() {
    case $1 in
        make | g++) command -v "$1" ;;
        python3) command -v "$PYTHON" ;;
        python3-psycopg2) "$PYTHON" -I -c 'import psycopg2' ;;
        libxxhash-dev)
            [[ -e /usr/include/xxhash.h ]] ||
                g++ -E -x c++ - <<<'#include <xxhash.h>'
            ;;
        "postgresql-$PG_MAJOR") [[ -x $PG_BIN/postgres ]] ;;
        "postgresql-server-dev-$PG_MAJOR") has_server_headers "$PG_CONFIG" ;;
        *) [[ $(dpkg-query -W -f '${db:Status-Status}' "$1") == installed ]] ;;
    esac
} >/dev/null 2>&1

# The makefiles of PGXS prove nothing: Debian ships them with the server, the headers apart.
has_server_headers() { [[ -x $1 && -f $("$1" --includedir-server)/postgres.h ]]; }

is_apt_system() { command -v apt-get && command -v dpkg-query; } >/dev/null

# Once per run is enough.  Its arguments say what for.
refresh_apt() {
    [[ -z $APT_UPDATED ]] || return 0
    if ((EUID != 0)) && { ! command -v sudo >/dev/null || ! sudo true; }; then
        die "cannot become root to install what is missing: run this once as" \
            "root, or there: apt-get install $*"
    fi
    say "asking apt for its package lists"
    # A broken third-party source need not stop us.
    run_apt update || say "apt-get update failed, trying with the old lists"
    APT_UPDATED=yes
}

# Shows apt's words only if it fails.
run_apt() {
    local status=0
    APT_LOG=$(mktemp)
    "${SUDO[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
        -o DPkg::Lock::Timeout=120 "$@" </dev/null >"$APT_LOG" 2>&1 || status=$?
    ((status == 0)) || cat "$APT_LOG" >&2
    rm -f "$APT_LOG"
    return "$status"
}

# Debian's server package creates a cluster and starts it on port 5432 unless
# told not to; nobody who runs a demo asked for that.
forbid_main_cluster() {
    local dir=/etc/postgresql-common/createcluster.d
    if [[ ! -d $dir ]]; then
        "${SUDO[@]}" mkdir -p "$dir"
        APT_DROP_IN_DIR=$dir
    fi
    APT_DROP_IN=$("${SUDO[@]}" mktemp "$dir/zz-XXXXXX.conf")
    echo 'create_main_cluster = false' |
        "${SUDO[@]}" tee "$APT_DROP_IN" >/dev/null
}

# Undoes it; also part of the cleanup of an interrupted run.
allow_main_cluster() {
    if [[ -n $APT_DROP_IN ]]; then
        "${SUDO[@]}" rm -f "$APT_DROP_IN"
    fi
    if [[ -n $APT_DROP_IN_DIR ]]; then
        "${SUDO[@]}" rmdir -p --ignore-fail-on-non-empty "$APT_DROP_IN_DIR"
    fi
    APT_DROP_IN='' APT_DROP_IN_DIR=''
}
