"""One statement that locks 100,000 keys, and the commit that releases them."""

from __future__ import annotations

import time
from typing import Any, Callable

from measure import Figure, Target, alternate, ratio
from report import Section, Table
from servers import PRELOADED, Server

KEYS = 100_000
UNCHECKED = {
    "concurrency_safe.check_autocommit": "off",
    "concurrency_safe.check_snapshot": "off",
    "concurrency_safe.check_order": "off",
}
# All checks on, at the levels that let the statement pass: keys one by one, in any order, are
# what check_order reports once.
CHECKED = {"concurrency_safe.check_order": "log"}

FLOOR = "SELECT count(length(key)) FROM keys"
BUILT_IN = "SELECT count(pg_advisory_xact_lock(hashtextextended(key, 0))) FROM keys"
OURS = "SELECT count(cs_lock(key)) FROM keys"
ALL = "SELECT cs_lock_all(keys) FROM key_array"
# The key that all others come after is locked elsewhere, so this does everything but lock.
REFUSED = "SELECT cs_try_lock_all(keys) FROM key_array"
FIRST_KEY = """
    SELECT cs_lock(key, scope => 'session') FROM
        (SELECT key FROM keys, cs_key_tag(key) AS tag
         ORDER BY tag.classid, tag.objid, tag.objsubid LIMIT 1) AS first"""

WHY_ALL = ("sorting the keys by their tags costs about what is saved beside the lock manager, "
           "where nearly all of the time goes; see below")
WHY_NAMES = "names and counts need memory of their own, which has to be waited for"

HOW = """One session, one statement, its own transaction: the release counts, too.

`cs_try_lock_all` that is refused at its first key does all that `cs_lock_all` does before it locks:
unpack the array, hash the keys, put them in the order of their lock tags. The rest of `cs_lock_all`
is PostgreSQL's lock manager. The built-in lock spends as much there: so no more can be saved than
what it spends elsewhere, and the sorting has to be paid from that."""


def prepare(server: Server) -> Any:
    """A session of the server in which the statements can run."""
    server.run(f"""
        CREATE TABLE keys AS
            SELECT 'withdraw:user:' || i AS key FROM generate_series(1, {KEYS}) AS i;
        CREATE TABLE key_array (keys text[]);
        ALTER TABLE key_array ALTER keys SET STORAGE EXTERNAL; -- unpacking it is not locking
        INSERT INTO key_array SELECT array_agg(key) FROM keys""")
    server.run("VACUUM (FREEZE, ANALYZE) keys")
    server.run("VACUUM (FREEZE, ANALYZE) key_array")
    connection = server.connect()
    cursor = connection.cursor()
    cursor.execute("LOAD 'concurrency_safe'")
    cursor.execute("SET concurrency_safe.max_keys_per_session = -1")
    return cursor


def locks_held(cursor: Any, statement: str) -> int:
    cursor.execute("BEGIN")
    cursor.execute(statement)
    cursor.execute("SELECT count(*) FROM pg_locks "
                   "WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
    held = cursor.fetchone()[0]
    cursor.execute("COMMIT")
    return held


def timed(cursor: Any, statement: str, locks: int) -> Callable[[], Figure]:
    """Milliseconds. A not measured execution comes before each: the order in which the lock
    table reuses its memory is then its own and not its rival's."""
    held = locks_held(cursor, statement)
    wrong = "" if held == locks else f"{held} locks"

    def measure() -> Figure:
        cursor.execute(statement)
        start = time.perf_counter()
        cursor.execute(statement)
        return Figure((time.perf_counter() - start) * 1000, wrong)

    return measure


def run(plan: Any) -> Section:
    plain = prepare(Server("plain").start())
    busy = Server("busy").start()
    refused = prepare(busy)
    holder = busy.connect().cursor()
    holder.execute(FIRST_KEY)
    unchecked = prepare(Server("unchecked", **PRELOADED, **UNCHECKED).start())
    checked = prepare(Server("checked", **PRELOADED, **CHECKED).start())
    built_in = "built-in pg_advisory_xact_lock(hashtextextended(key, 0))"
    ways = {
        "no lock: length(key)": timed(plain, FLOOR, 0),
        built_in: timed(plain, BUILT_IN, KEYS),
        "cs_lock(key), not preloaded": timed(plain, OURS, KEYS),
        "cs_lock(key), preloaded, checks off": timed(unchecked, OURS, KEYS),
        "cs_lock(key), preloaded, all checks": timed(checked, OURS, KEYS),
        "cs_lock_all(array), not preloaded": timed(plain, ALL, KEYS),
        "cs_try_lock_all(array), refused": timed(refused, REFUSED, 0),
    }
    series = alternate("one statement", ways, 2 * plan.turns)
    table = Table("Milliseconds for 100,000 keys, and their ratio to built-in in the same turn",
                  ("way", "ms", "ratio (lowest to highest)"))
    limits = dict(zip(list(ways)[2:], (
        (1.00, ""), (1.05, WHY_NAMES), (1.12, WHY_NAMES), (0.90, WHY_ALL))))
    targets = []
    for name, one in series.items():
        against = ratio(one, series[built_in])
        table.rows.append((name, one.wrong or one.median, str(against)))
        if name in limits:
            limit, why = limits[name]
            targets.append(Target(
                f"{name}: at most {limit:.2f} × built-in, measured {against.median:.2f}",
                not one.wrong and against.median <= limit, why))
    return Section("One statement over 100,000 keys", HOW, [table], [], targets)
