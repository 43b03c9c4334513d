"""Where the instructions of one lock go: counted by callgrind, in a server of one process."""

from __future__ import annotations

import re
import shutil
from typing import Any, Callable

from measure import PROGRESS
from report import Section, Table
from servers import FOLDER, PRELOADED, Server, text_of

KEY = "withdraw:user:"
LOCKS = 200  # of the longer run; what half of them cost is taken away

BUILT_IN = "pg_advisory_xact_lock(hashtextextended({key}, 0))"
OURS = "cs_lock({key})"
OURS_FUNCTION = "cs_lock"
BUILT_IN_FUNCTIONS = ("pg_advisory_xact_lock_int8", "hashtextextended")

COLUMNS = ("parse, analyze", "plan", "execute", "the function", "lock manager",
           "transaction and rest", "all", "our library")

HOW = """Instructions of one lock with its release, counted by valgrind's callgrind: the difference
between {many} locks and {few} in a server of one process, so that what a session does once does not
count. "The function" is
`cs_lock`, or `pg_advisory_xact_lock` and `hashtextextended`, with all that they call but the lock
manager; "lock manager" is asking for the lock and the release at the end of the transaction; "our
library" is all that is executed in it, hooks and callbacks included, and is part of the other
columns. Instructions are not time: with 100,000 locks held, most of the time goes into memory that
the lock manager's hash tables have to wait for; and under a hot key, into putting sessions to sleep
and waking them up, which is the lock manager's as well (see the hand-over of a key).

What was done about our part: the library is compiled as one (link-time optimization) and calls the
server without a linkage table; the defaults of mode and scope are recognized before any table is
searched; nothing is asked of the clock, no timer set and no subtransaction begun unless there is
somebody to wait for; locks of a transaction are noted in an array; and the memory of a key's name
and counts, and of its last writer, is asked for before the lock manager is, so that it comes
meanwhile."""


def simple(lock: str) -> tuple[list[str], Callable[[int], list[str]]]:
    """A statement for each lock, after those that prepare."""
    return [], lambda count: [
        f"SELECT {lock.format(key=repr(KEY + str(i)))}, 1" for i in range(count)]


def prepared(lock: str) -> tuple[list[str], Callable[[int], list[str]]]:
    return ([f"PREPARE take(text) AS SELECT {lock.format(key='$1')}, 1"],
            lambda count: [f"EXECUTE take('{KEY}{i}')" for i in range(count)])


def bulk(lock: str) -> tuple[list[str], Callable[[int], list[str]]]:
    """All in one statement."""
    key = f"'{KEY}' || i"
    return [], lambda count: [
        f"SELECT count({lock.format(key=key)}) FROM generate_series(1, {count}) AS i"]


FORMS = {
    "`SELECT lock('…'), 1`": simple,
    "`EXECUTE` of the same, prepared": prepared,
    "one of many in a statement": bulk,
}
WAYS: dict[str, tuple[str, dict[str, str]]] = {
    "built-in": (BUILT_IN, {}),
    "cs_lock, not preloaded": (OURS, {}),
    "cs_lock, preloaded, all checks": (OURS, {**PRELOADED, "concurrency_safe.check_order": "log"}),
}


def counted(server: Server, statements: list[str]) -> tuple[dict[str, int], int, int]:
    """Instructions by function, with what it calls; in all; and of our library alone."""
    profile = FOLDER / "callgrind.out"
    said = server.single(statements, "valgrind", "--quiet", "--tool=callgrind",
                         f"--callgrind-out-file={profile}")
    if "ERROR" in said:
        raise RuntimeError(said)
    total = 0
    inclusive: dict[str, int] = {}
    for line in annotated(profile, "--inclusive=yes"):
        match = re.match(r" *([0-9,]+) +(?:[^ ]*:)?(\w+)(?: TOTALS| \[|$)", line)
        if match:
            number = int(match.group(1).replace(",", ""))
            if match.group(2) == "PROGRAM":
                total = number
            else:
                inclusive[match.group(2)] = max(number, inclusive.get(match.group(2), 0))
    ours = sum(int(line.split()[0].replace(",", "")) for line in annotated(profile)
               if "concurrency_safe.so]" in line)
    return inclusive, total, ours


def annotated(profile: Any, *options: str) -> list[str]:
    return text_of(["callgrind_annotate", "--threshold=100", "--show-percs=no", "--auto=no",
                    *options, profile]).splitlines()


def a_lock(server: Server, lock: str, form: Any) -> list[int]:
    """The instructions of one, in the order of the columns."""
    before, statements = form(lock)
    # The same keys in both: those of the first run are in the memory of the second one, too.
    warm = before + statements(LOCKS)
    many, all_many, ours_many = counted(server, warm + statements(LOCKS))
    few, all_few, ours_few = counted(server, warm + statements(LOCKS // 2))

    def of(*functions: str) -> int:
        return sum(many.get(name, 0) - few.get(name, 0) for name in functions)

    analyze = of("pg_parse_query") + of(*(
        name for name in many if name.startswith("pg_analyze_and_rewrite")))
    plan = of("pg_plan_queries")
    acquire = of("LockAcquireExtended")
    manager = acquire + of("LockReleaseAll")
    function = of(OURS_FUNCTION, *BUILT_IN_FUNCTIONS)
    execute = of("PortalRun") - function
    total = all_many - all_few
    parts = [analyze, plan, execute, function - acquire, manager,
             total - analyze - plan - execute - function - (manager - acquire),
             total, ours_many - ours_few]
    return [round(part / (LOCKS - LOCKS // 2)) for part in parts]


def run(plan: Any) -> Section:
    title = "Where the instructions of a lock go"
    how = HOW.format(many=LOCKS, few=LOCKS // 2)
    if shutil.which("valgrind") is None:
        return Section(title, how + "\n\nNot measured: valgrind is not installed.")
    table = Table("Instructions of one lock", ("statement", "way", *COLUMNS))
    forms = dict(list(FORMS.items())[1:2]) if plan.quick else FORMS
    for way, (lock, settings) in WAYS.items():
        server = Server("profile", **settings).create()
        server.single(["CREATE EXTENSION concurrency_safe"])
        for name, form in forms.items():
            PROGRESS.say(f"instructions of a lock: {name}, {way}")
            table.rows.append((name, way, *a_lock(server, lock, form)))
    PROGRESS.say("instructions of a lock", lasting=True)
    table.rows.sort(key=lambda row: list(forms).index(str(row[0])))
    return Section(title, how, [table])
