#!/usr/bin/env bash
#
# usage: bash scripts/matrix/upgrade.sh FROM TO
#
# Upgrades a cluster from one major version to another with pg_upgrade, both of
# which are here, as Debian installs them.  The old cluster has leases of every
# kind, and is on its second timeline: its tokens are higher than any that a new
# cluster would give out by itself.  Nothing of what users have may be lost.
# The last line is "N passed, N failed, N s of pg_upgrade".

set -euo pipefail

(($# == 2)) || {
    printf 'usage: bash scripts/matrix/upgrade.sh FROM TO\n' >&2
    exit 2
}
FROM=$1 TO=$2

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

passed=0 failed=0
SETTINGS=(shared_preload_libraries=concurrency_safe fsync=off)

# is NAME EXPECTED ACTUAL
is() {
    if [[ $2 == "$3" ]]; then
        passed=$((passed + 1))
        say "ok      $1"
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\nexpected:\n%s\nfound:\n%s\n' "$@"
    fi
}

sql() { run_psql -d shop -At "$@"; }
query() { sql -c "$1"; }

# The SQLSTATE of a command that fails.
sqlstate() {
    sql -v VERBOSITY=sqlstate -c "$1" 2>&1 | sed -nE 's/^ERROR: +([0-9A-Z]{5})$/\1/p'
}

# --- two servers, one after the other --------------------------------------------

# Builds for a version, and makes an empty cluster of it.
use_version() {
    PG_CONFIG=/usr/lib/postgresql/$1/bin/pg_config
    choose_postgres
    install_packages "${BUILD_PACKAGES[@]}"
    say "building with PostgreSQL $1"
    "${AS_USER[@]}" make -s -C "$SOURCE_DIR" clean "PG_CONFIG=$PG_CONFIG" with_llvm=no
    build_extension with_llvm=no
    start_server "${SETTINGS[@]}"
}

start_again() {
    "${AS_USER[@]}" "$PG_BIN/pg_ctl" -s -w -t 60 -D "$DATA_DIR" -l "$TMP_ROOT/server.log" start
    SERVER_PID=$(head -n 1 "$DATA_DIR/postmaster.pid")
}

# pg_upgrade says LOAD '$libdir/concurrency_safe', for which PostgreSQL 18 looks
# into its own folder alone, whatever dynamic_library_path says.
link_library() {
    local name=concurrency_safe.so dir
    dir=$("$PG_CONFIG" --pkglibdir)
    [[ ! -e $dir/$name ]] || die "the extension is installed here: $dir/$name"
    LINK=$dir/$name
    ln -s "$INSTALL_DIR$dir/$name" "$LINK"
}

remove_link() {
    local status=$?
    set +e
    [[ -z $LINK ]] || rm -f "$LINK"
    return "$status"
}
LINK=''
trap 'remove_link; cleanup' EXIT

# A standby of nobody, promoted: the cluster goes on on the next timeline.
next_timeline() {
    stop_server
    "${AS_USER[@]}" touch "$DATA_DIR/standby.signal"
    start_again
    "${AS_USER[@]}" "$PG_BIN/pg_ctl" -s -w -t 60 -D "$DATA_DIR" promote
}

# --- what users have ---------------------------------------------------------------

fill() {
    run_psql -d postgres -c 'CREATE DATABASE shop' -c 'CREATE ROLE worker'
    sql <<'SQL' >/dev/null
CREATE EXTENSION concurrency_safe;
REVOKE EXECUTE ON FUNCTION cs_permit(text, integer, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cs_lease_cleanup(interval) TO worker;

CREATE TABLE stock (sku text PRIMARY KEY, amount integer);
INSERT INTO stock VALUES ('ABC', 10);
CREATE TRIGGER guard AFTER INSERT OR UPDATE OR DELETE ON stock
    FOR EACH ROW EXECUTE FUNCTION cs_guard('stock:{sku}');
CREATE TABLE booking (room integer, guest text);
CREATE TRIGGER guard BEFORE INSERT ON booking
    FOR EACH ROW EXECUTE FUNCTION cs_guard('room:{room}', 'acquire');
CREATE TABLE account (id integer PRIMARY KEY, balance numeric(12, 2));
INSERT INTO account VALUES (1, 100), (2, 0);

CREATE TABLE token (key text PRIMARY KEY, token bigint); -- the last one of each key

-- Objects of users on top of ours.
CREATE VIEW held AS SELECT key, mode, granted FROM cs_locks;
CREATE FUNCTION lock_stock(sku text) RETURNS boolean LANGUAGE sql
    BEGIN ATOMIC SELECT cs_try_lock('stock:' || sku); END;
SQL
}

# take KEYS: the lease of each key, given back at once; each token is remembered.
take() {
    sql -v keys="{$1}" <<'SQL' >/dev/null
INSERT INTO token SELECT key, cs_lease(key, 3600000) FROM unnest(:'keys'::text[]) AS key
    ON CONFLICT (key) DO UPDATE SET token = excluded.token;
SELECT cs_release_lease(key, token) FROM token WHERE key = ANY (:'keys');
SQL
}

# Each kind of row that the table of leases can have.
take_leases() {
    take early,cleaned
    next_timeline
    take released,cleaned
    query "SELECT cs_lease_cleanup('0')" >/dev/null
    take released
    sql <<'SQL' >/dev/null
INSERT INTO token VALUES ('expired', cs_lease('expired', 1, 'worker-1'));
INSERT INTO token VALUES ('held', cs_lease('held', 3600000, 'worker-7', payload => '{"host": "web-3"}'));
SQL
}

# --- what must stay, and what must work ----------------------------------------------

# Everything that can be compared.
state() {
    sql <<'SQL'
SET TimeZone = 'UTC';
SELECT * FROM cs_lease_table ORDER BY key;
SELECT key, token, owner, role, granted_at, expires_at, expired, payload FROM cs_leases WHERE key = 'held';
SELECT p.oid::regprocedure, p.proacl, p.probin, p.prosrc FROM pg_proc p
    JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'concurrency_safe'
    ORDER BY p.oid::regprocedure::text;
SELECT extversion, extrelocatable, extconfig::regclass[]::text, extcondition FROM pg_extension
    WHERE extname = 'concurrency_safe';
SELECT tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1;
SELECT cs_key('stock:{sku}', s) FROM stock s;
SQL
}

check_leases() {
    local held
    held=$(query "SELECT token FROM token WHERE key = 'held'")
    is 'nobody else gets a lease that is held' '' "$(query "SELECT cs_lease('held', 1000)")"
    is 'its token is good' '' "$(query "SELECT cs_check_token('held', $held)" 2>&1)"
    is 'it can be renewed' t "$(query "SELECT cs_renew_lease('held', $held, 3600000)")"
    is 'a token before it is not' 55000 "$(sqlstate "SELECT cs_check_token('held', $held - 1)")"
    is 'a lease that had expired is lost' 55000 "$(sqlstate \
        "SELECT cs_check_token('expired', token) FROM token WHERE key = 'expired'")"
    check_tokens 'after the upgrade'
    next_timeline
    check_tokens 'after a promotion of the upgraded cluster'
    is 'the lease that was held all the time is given back' t \
        "$(query "SELECT cs_release_lease('held', $held)")"
    is 'and its next token is higher' t "$(query "SELECT cs_lease('held', 1000) > $held")"
}

# Of all keys but the one that is held: those taken before, cleaned up, expired, new.
check_tokens() {
    query 'CREATE TABLE old_token AS SELECT * FROM token'
    take early,released,cleaned,expired
    is "tokens grow $1" 'cleaned early expired released' "$(query "
        SELECT string_agg(key, ' ' ORDER BY key) FROM token JOIN old_token USING (key)
        WHERE token.token > old_token.token")"
    is "the token of a new key is above all that were cleaned up $1" t "$(query "
        SELECT cs_lease('new ' || '$1', 1) > max(token) FROM old_token WHERE key = 'cleaned'")"
    query 'DROP TABLE old_token'
}

check_locks() {
    is 'a lock is the one that cs_key_tag names' 'withdraw:user:42|exclusive|1' "$(sql <<'SQL'
BEGIN;
SELECT FROM cs_lock('withdraw:user:42') \g /dev/null
SELECT key, mode, (SELECT count(*) FROM pg_locks JOIN cs_key_tag('withdraw:user:42') AS t
                   USING (classid, objid) WHERE pg_locks.objsubid = t.objsubid)
FROM held WHERE granted;
COMMIT;
SQL
    )"
    is 'LOCK on a key' 'cs_key|exclusive' "$(sql <<'SQL'
BEGIN;
LOCK cs_key."cs_key";
SELECT key, mode FROM held;
COMMIT;
SQL
    )"
    is 'cs_transfer' '60.00|40.00' \
        "$(query "CALL cs_transfer('account', '1', '2', 40)")"
    is 'cs_run' 'done|1' \
        "$(query "CALL cs_run('job', 'UPDATE account SET balance = balance + 0')")"
    is 'rights that were taken away stay away' 42501 \
        "$(sqlstate "SET ROLE worker; SELECT cs_permit('p', 1)")"
    is 'and those that were given are there' 0 \
        "$(query "SET ROLE worker; SELECT cs_lease_cleanup('1 day')")"
}

check_guards() {
    is 'a guard refuses a write without the key' 55000 \
        "$(sqlstate "UPDATE stock SET amount = 0")"
    is 'and lets pass one with it' 't|9' "$(sql <<'SQL' | paste -sd '|'
BEGIN;
SELECT lock_stock('ABC');
UPDATE stock SET amount = amount - 1 RETURNING amount;
COMMIT;
SQL
    )"
    is 'a guard takes the key' exclusive "$(sql <<'SQL'
BEGIN;
INSERT INTO booking VALUES (7, 'Ada');
SELECT cs_held_mode('room:7');
COMMIT;
SQL
    )"
}

# --- all of it -----------------------------------------------------------------------

PG_CONFIG=/usr/lib/postgresql/$FROM/bin/pg_config
choose_postgres
make_private_copy
use_version "$FROM"
fill
take_leases
before=$(state)
stop_server
OLD_BIN=$PG_BIN OLD_DATA=$TMP_ROOT/old
mv "$DATA_DIR" "$OLD_DATA"
# Both have to agree, and the newer ones begin with checksums.
if ((TO >= 18)); then
    "${AS_USER[@]}" "$OLD_BIN/pg_checksums" --enable -D "$OLD_DATA" >/dev/null
fi

use_version "$TO"
stop_server
((TO < 18)) || link_library
say "pg_upgrade from $FROM to $TO"
log=$TMP_ROOT/pg_upgrade.log start=$EPOCHREALTIME
run_child "${AS_USER[@]}" "$PG_BIN/pg_upgrade" -U postgres -b "$OLD_BIN" -B "$PG_BIN" \
    -d "$OLD_DATA" -D "$DATA_DIR" --socketdir "$SOCKET_DIR" >"$log" 2>&1 || {
    cat "$log" >&2
    find "$DATA_DIR/pg_upgrade_output.d" -name '*.txt' -exec cat {} + >&2
    find "$DATA_DIR/pg_upgrade_output.d" -name '*.log' -exec grep -h -A 5 'error:' {} \; >&2
    die "pg_upgrade failed"
}
seconds=$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $start }")
start_again

is 'the server is the new one' "$TO" "$(query 'SHOW server_version' | grep -oE '^[0-9]+')"
is 'leases, functions, rights and guards are as they were' "$before" "$(state)"
check_leases
check_locks
check_guards
query 'DROP EXTENSION concurrency_safe CASCADE' 2>/dev/null
query 'CREATE EXTENSION concurrency_safe'
is 'the extension can be dropped and created' t "$(query "SELECT cs_try_lock('k')" 2>/dev/null)"
stop_server

say "$passed passed, $failed failed, $seconds s of pg_upgrade"
((failed == 0))
