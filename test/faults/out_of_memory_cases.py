"""The statements whose allocations fail: every function of the extension, each in the states in
which it does something else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

Steps = tuple[str, ...]

SETUP = """
CREATE EXTENSION concurrency_safe;
CREATE TABLE account (id text PRIMARY KEY, balance numeric(12, 2) NOT NULL);
INSERT INTO account VALUES ('1', 1000000), ('2', 1000000);
CREATE TABLE guarded (id integer PRIMARY KEY, n integer NOT NULL);
INSERT INTO guarded VALUES (1, 0);
CREATE TRIGGER guard BEFORE UPDATE ON guarded
FOR EACH ROW EXECUTE FUNCTION cs_guard('oom:row:{id}');
CREATE TABLE written (n integer);
INSERT INTO written VALUES (0);
CREATE TABLE acquired (id integer, day date);
CREATE TRIGGER guard BEFORE INSERT ON acquired
FOR EACH ROW EXECUTE FUNCTION cs_guard('oom:day:{day}', 'acquire', '1');
"""

BUSY = ("BEGIN", "SELECT cs_lock('oom:busy')")
SESSION_LOCKS = ("SELECT cs_lock('oom:a', scope => 'session')",
                 "SELECT cs_lock('oom:b', scope => 'session')")
TOKEN = "(SELECT token FROM cs_leases WHERE key = 'oom:lease')"
LEASE = "SELECT cs_lease('oom:lease', 60000)"


@dataclass(frozen=True)
class Case:
    """One statement in one state; # in a text is another number for each attempt."""

    of: str  # the function, or the command
    statement: str
    before: Steps = ()  # in the same session; a step that begins with @ is another session's
    block: bool = True  # in a transaction block that is rolled back afterwards
    other: Steps = ()  # what another session does before all attempts, and leaves so
    fails: Optional[str] = None  # the error that the statement has to raise with enough memory
    also: Optional[str] = None  # an error of the server itself, in place of out of memory
    preloaded: bool = False  # only where the library is preloaded
    session_locks: bool = False  # is in place with locks in session scope, or takes one
    varies: bool = False  # the answer is another one each time
    invariant: str = "SELECT 1"  # its answer is the same before and after, whatever happens
    meets: str = ""  # the other session lets the statement go on: "release" or "deadlock"
    after: Steps = ()  # cleans up what does not end with the transaction
    quick: bool = False  # part of the short run as the first statement of a session, too
    long: bool = False  # not part of the short run

    @property
    def ends_block(self) -> bool:
        """Ends a transaction or a savepoint."""
        return self.of in ("COMMIT", "ROLLBACK", "ROLLBACK TO", "RELEASE", "PREPARE TRANSACTION")


def wait_for(function: str, arguments: str, **more: str) -> Case:
    """A wait that ends with the lock, because the other session gives it back."""
    return Case(function, f"SELECT {function}({arguments})", other=BUSY, meets="release", **more)


LOCKS = [
    Case("cs_lock", "SELECT cs_lock('oom:a')", quick=True),
    Case("cs_lock", "SELECT cs_lock('oom:new:#')"),
    Case("cs_lock", "SELECT cs_lock('oom:many:' || i) FROM generate_series(1, 100) AS i",
         long=True),
    Case("cs_lock", "SELECT cs_lock('oom:a')", block=False),
    Case("cs_lock", "SELECT cs_lock('oom:a', scope => 'session')", session_locks=True),
    Case("cs_lock", "SELECT cs_lock('oom:busy', 1)", other=BUSY, fails="55P03", quick=True),
    Case("cs_lock", "SELECT cs_lock('oom:busy', 1, scope => 'session')", other=BUSY,
         fails="55P03"),
    wait_for("cs_lock", "'oom:busy', 5000"),
    wait_for("cs_lock", "'oom:busy', 5000, scope => 'session'", session_locks=True),
    Case("cs_lock", "SELECT cs_lock('oom:busy')", before=("SELECT cs_lock('oom:a')",),
         other=BUSY, fails="40P01", meets="deadlock"),
    # A new order of locks, and one that closes a cycle.
    Case("cs_lock", "SELECT cs_lock('after#:1')", before=("SELECT cs_lock('before#:1')",),
         preloaded=True),
    Case("cs_lock", "SELECT cs_lock('x:1')", preloaded=True,
         before=("@SELECT cs_lock_order_reset()", "@BEGIN", "@SELECT cs_lock('x:1')",
                 "@SELECT cs_lock('y:1')", "@ROLLBACK", "SELECT cs_lock('y:1')",
                 "SET LOCAL concurrency_safe.check_order = warning")),
    # What the last holder wrote is not in the snapshot.
    Case("cs_lock", "SELECT cs_lock('oom:a')", preloaded=True, fails="40001",
         before=("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SELECT 1 FROM account",
                 "@BEGIN", "@SELECT cs_lock('oom:a')", "@UPDATE written SET n = n + 1", "@COMMIT")),
    Case("cs_try_lock", "SELECT cs_try_lock('oom:a')", quick=True),
    Case("cs_try_lock", "SELECT cs_try_lock('oom:a', scope => 'session')", session_locks=True),
    Case("cs_try_lock", "SELECT cs_try_lock('oom:busy')", other=BUSY),
    Case("cs_try_lock", "SELECT cs_try_lock('oom:busy', 1)", other=BUSY, quick=True),
    Case("cs_try_lock", "SELECT cs_try_lock('oom:busy', 1, scope => 'session')", other=BUSY),
    wait_for("cs_try_lock", "'oom:busy', 5000"),
    wait_for("cs_try_lock", "'oom:busy', 5000, scope => 'session'", session_locks=True),
    Case("cs_lock_all", "SELECT cs_lock_all(ARRAY['oom:a', 'oom:b', 'oom:c'])", quick=True),
    Case("cs_lock_all", "SELECT cs_lock_all(ARRAY['oom:a', 'oom:b', 'oom:c'], "
         "scope => 'session')", session_locks=True),
    Case("cs_lock_all", "SELECT cs_lock_all(ARRAY['oom:a', 'oom:b', 'oom:busy'], 1, "
         "scope => 'session')", other=BUSY, fails="55P03"),
    Case("cs_try_lock_all", "SELECT cs_try_lock_all(ARRAY['oom:a', 'oom:b', 'oom:c'])"),
    Case("cs_try_lock_all", "SELECT cs_try_lock_all(ARRAY['oom:a', 'oom:b', 'oom:busy'], 1, "
         "scope => 'session')", other=BUSY),
    Case("cs_try_lock_any", "SELECT cs_try_lock_any(ARRAY['oom:busy', 'oom:a', 'oom:b'], 2)",
         other=BUSY),
    Case("cs_try_lock_any", "SELECT cs_try_lock_any(ARRAY['oom:busy', 'oom:a', 'oom:b'], 2, "
         "scope => 'session')", other=BUSY, session_locks=True),
    Case("cs_lock_path", "SELECT cs_lock_path('oom:a:b')", quick=True),
    Case("cs_lock_path", "SELECT cs_lock_path('oom:a:b', scope => 'session')",
         session_locks=True),
    Case("cs_try_lock_path", "SELECT cs_try_lock_path('oom:a:b')"),
    Case("cs_try_lock_path", "SELECT cs_try_lock_path('oom:busy:b', 1, scope => 'session')",
         other=BUSY),
    Case("cs_permit", "SELECT cs_permit('oom:permit', 2)", quick=True),
    Case("cs_permit", "SELECT cs_permit('oom:permit', 1, 1)", fails="55P03",
         other=("BEGIN", "SELECT cs_permit('oom:permit', 1)")),
    Case("cs_permit", "SELECT cs_permit('oom:permit', 2)", fails="22023",
         other=("BEGIN", "SELECT cs_permit('oom:permit', 1)")),
    Case("cs_try_permit", "SELECT cs_try_permit('oom:permit', 2)"),
    Case("cs_try_permit", "SELECT cs_try_permit('oom:permit', 1, 1)",
         other=("BEGIN", "SELECT cs_permit('oom:permit', 1)")),
    Case("cs_unlock", "SELECT cs_unlock('oom:a')", before=SESSION_LOCKS, session_locks=True),
    Case("cs_unlock", "SELECT cs_unlock('oom:a')", quick=True),
    Case("cs_unlock_path", "SELECT cs_unlock_path('oom:a:b')", session_locks=True,
         before=("SELECT cs_lock_path('oom:a:b', scope => 'session')",)),
    Case("cs_unlock_all", "SELECT cs_unlock_all()", before=SESSION_LOCKS, session_locks=True),
    Case("cs_held_mode", "SELECT cs_held_mode('oom:a')", before=("SELECT cs_lock('oom:a')",)),
]

VIEWS = [
    Case("cs_key_tag", "SELECT * FROM cs_key_tag('oom:a')", quick=True),
    Case("cs_holders", "SELECT key, mode, pid FROM cs_holders('oom:busy')", other=BUSY,
         quick=True),
    Case("cs_locks", "SELECT * FROM cs_locks", other=BUSY, varies=True),
    Case("cs_stat_keys", "SELECT * FROM cs_stat_keys", preloaded=True, varies=True),
    Case("cs_stat", "SELECT * FROM cs_stat", preloaded=True, varies=True),
    Case("cs_stat_reset", "SELECT cs_stat_reset()", preloaded=True),
    Case("cs_deadlocks", "SELECT * FROM cs_deadlocks", preloaded=True, varies=True),
    Case("cs_lock_order", "SELECT * FROM cs_lock_order", preloaded=True, varies=True,
         before=("SELECT cs_lock('u:1')", "SELECT cs_lock('v:1')")),
    Case("cs_lock_order_reset", "SELECT cs_lock_order_reset()", preloaded=True),
    Case("cs_wait_graph", "SELECT * FROM cs_wait_graph()", other=BUSY, varies=True),
    Case("cs_wait_graph_dot", "SELECT cs_wait_graph_dot()", other=BUSY, varies=True),
    Case("cs_cancel_holders", "SELECT cs_cancel_holders('oom:busy')", other=BUSY),
]

SUM = "SELECT sum(balance) FROM account"
COUNT = "SELECT n >= 0 FROM guarded"
RUN = "UPDATE guarded SET n = n + $1::integer WHERE id = 1 AND cs_lock(''oom:row:1'') IS NOT NULL"
RETRIED = "SELECT cs_lock(''oom:busy'', 1)"

WORK = [
    Case("cs_transfer", "CALL cs_transfer('account', '1', '2', 0.01)", varies=True,
         block=False, invariant=SUM),
    Case("cs_transfer", "CALL cs_transfer('account', '1', '2', 0.01)", invariant=SUM,
         before=("ALTER TABLE account SET (fillfactor = 90)",), long=True),
    Case("cs_transfer", "CALL cs_transfer('account', '1', '2', 100000000)", fails="23514",
         invariant=SUM),
    Case("cs_key", "SELECT cs_key('oom:{{{id}}}:{n}', g) FROM guarded AS g",
         before=("UPDATE guarded SET n = 0 WHERE cs_lock('oom:row:1') IS NOT NULL",)),
    Case("cs_key", "SELECT cs_key('oom:{id}', '{\"id\": 7}'::jsonb)", quick=True),
    Case("cs_guard", "UPDATE guarded SET n = n + 1 RETURNING id",
         before=("SELECT cs_lock('oom:row:1')",)),
    Case("cs_guard", "UPDATE guarded SET n = n + 1 RETURNING id", fails="55000", quick=True),
    # Without memory, PostgreSQL finds a value of DateStyle invalid.
    Case("cs_guard", "INSERT INTO acquired VALUES (1, '2024-02-29')", also="22023"),
    Case("cs_run", f"CALL cs_run('oom:run', '{RUN}', '{{1}}')", block=False, invariant=COUNT),
    Case("cs_run", f"CALL cs_run('oom:run', '{RETRIED}', max_attempts => 2, "
         "backoff_ms => 1, max_backoff_ms => 1)", block=False, other=BUSY, fails="55P03"),
    Case("cs_run", "CALL cs_run('oom:busy', 'SELECT 1', timeout_ms => 1, "
         "on_conflict => 'skip')", block=False, other=BUSY),
    Case("cs_lease", LEASE, quick=True),
    Case("cs_lease", LEASE, block=False, after=("DELETE FROM cs_lease_table",), varies=True,
         invariant="SELECT count(*) FROM cs_lease_table"),
    Case("cs_lease", "SELECT cs_lease('oom:lease', 60000, 'me', 1)", other=(LEASE,)),
    Case("cs_renew_lease", f"SELECT cs_renew_lease('oom:lease', {TOKEN}, 60000)", other=(LEASE,)),
    Case("cs_release_lease", f"SELECT cs_release_lease('oom:lease', {TOKEN})", other=(LEASE,)),
    Case("cs_check_token", f"SELECT cs_check_token('oom:lease', {TOKEN})", other=(LEASE,)),
    Case("cs_lease_cleanup", "SELECT cs_lease_cleanup('0')", other=(
        LEASE, f"SELECT cs_release_lease('oom:lease', {TOKEN})")),
]

WRITTEN = ("SELECT cs_lock('oom:a')", "SELECT cs_lock('oom:b')",
           "UPDATE written SET n = n + 1")

COMMANDS = [
    Case("LOCK", 'LOCK cs_key."oom:a", cs_key."oom:b"', preloaded=True, quick=True),
    Case("LOCK", 'LOCK cs_key."oom:busy"', preloaded=True, other=BUSY, fails="55P03",
         before=("SET LOCAL concurrency_safe.default_timeout = 1",)),
    Case("COMMIT", "COMMIT", before=WRITTEN),
    Case("ROLLBACK", "ROLLBACK", before=WRITTEN),
    Case("SAVEPOINT", "SAVEPOINT s", before=WRITTEN),
    Case("ROLLBACK TO", "ROLLBACK TO s", before=("SAVEPOINT s", *WRITTEN)),
    Case("RELEASE", "RELEASE s", before=("SAVEPOINT s", *WRITTEN)),
    Case("PREPARE TRANSACTION", "PREPARE TRANSACTION 'oom'", before=WRITTEN,
         after=("ROLLBACK PREPARED 'oom'",)),
    Case("DISCARD ALL", "DISCARD ALL", before=SESSION_LOCKS, block=False, session_locks=True),
]

CASES = [*LOCKS, *VIEWS, *WORK, *COMMANDS]
