"""Shared memory, the memory of a session over many locks, and the bytes of a held key."""

from __future__ import annotations

import pathlib
import re
from dataclasses import dataclass
from typing import Any, Callable

import psycopg2

from measure import PROGRESS, Target
from report import Section, Table
from servers import PRELOADED, Server

HELD = 50_000
# Keys one by one, in any order, are what check_order reports once.
CHECKED = {**PRELOADED, "concurrency_safe.check_order": "log"}
# One has room for fewer locks than the other: the difference tells what the room for one takes.
# Both have room for those held here.
ROOM = {"checked": 300, "plain": 600}
CONNECTIONS = 250
# A session is called flat if it grows by less than this, however much it does. A few pages of a
# process, such as its stack, are used for the first time late.
FLAT_CONTEXTS, FLAT_ANONYMOUS = 1024, 64 * 1024


@dataclass
class Memory:
    """Of a session."""

    contexts: int  # what PostgreSQL's allocator has
    anonymous: int  # what the kernel gave to the process alone

    def __sub__(self, other: Memory) -> Memory:
        return Memory(self.contexts - other.contexts, self.anonymous - other.anonymous)


class Session:
    """A session that knows how much memory it has."""

    def __init__(self, server: Server) -> None:
        self.cursor = server.connect().cursor()
        self.run("LOAD 'concurrency_safe'")
        self.run("SET concurrency_safe.max_keys_per_session = -1")
        # Beside it, status has the same, but only to within some hundred pages.
        self.rollup = pathlib.Path(f"/proc/{self.value('SELECT pg_backend_pid()')}/smaps_rollup")

    def run(self, statement: str, *arguments: Any) -> None:
        self.cursor.execute(statement, arguments or None)

    def value(self, statement: str, *arguments: Any) -> Any:
        self.cursor.execute(statement, arguments or None)
        return self.cursor.fetchone()[0]

    def memory(self) -> Memory:
        contexts = self.value("SELECT sum(total_bytes) FROM pg_backend_memory_contexts")
        anonymous = re.search(r"^Anonymous:\s*(\d+) kB", self.rollup.read_text("utf-8"), re.M)
        if anonymous is None:
            raise RuntimeError(f"{self.rollup} has no line Anonymous")
        return Memory(int(contexts), int(anonymous.group(1)) * 1024)

    def close(self) -> None:
        self.cursor.connection.close()


# Each does one batch: the session, the number of its first operation, and how many they are.
Batch = Callable[[Session, int, int], None]


def expect(right: bool, text: str) -> None:
    if not right:
        raise RuntimeError(text)


def locks(lock: str) -> Batch:
    """Keys that nobody had before, in one transaction."""
    def batch(session: Session, first: int, count: int) -> None:
        session.run("BEGIN")
        session.run(f"SELECT count({lock}) FROM (SELECT 'stock:' || i AS key"
                    f" FROM generate_series({first}, {first + count - 1}) AS i) AS k")
        if first == 1:
            held = session.value("SELECT count(*) FROM pg_locks"
                                 " WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
            expect(held == count, f"{held} of {count} locks")
        session.run("COMMIT")
    return batch


def transactions(session: Session, first: int, count: int) -> None:
    for number in range(first, first + count):
        session.run("BEGIN")
        session.run("SELECT cs_lock('stock:' || %s)", number)
        session.run("COMMIT")


def tries(session: Session, _first: int, count: int) -> None:
    session.run("BEGIN")
    got = session.value(f"SELECT count(*) FILTER (WHERE cs_try_lock('busy'))"
                        f" FROM generate_series(1, {count})")
    expect(got == 0, "a key that another session has was locked")
    session.run("COMMIT")


def timeouts(session: Session, _first: int, count: int) -> None:
    for _ in range(count):
        session.run("BEGIN")
        try:
            session.run("SELECT cs_lock('busy', 0)")
            raise RuntimeError("a key that another session has was locked")
        except psycopg2.errors.LockNotAvailable:
            session.run("ROLLBACK")


def permits(session: Session, first: int, count: int) -> None:
    for number in range(first, first + count):
        session.run("BEGIN")
        session.run("SELECT cs_permit('smtp:' || %s, 4)", number % 100)
        session.run("COMMIT")


def renewals(session: Session, _first: int, count: int) -> None:
    token = session.value("SELECT coalesce(max(token), 0) FROM cs_leases")
    if token == 0:
        token = session.value("SELECT cs_lease('report', 3600000)")
    for _ in range(count):
        expect(session.value("SELECT cs_renew_lease('report', %s, 3600000)", token),
               "the lease was lost")


def commands(session: Session, first: int, count: int) -> None:
    for number in range(first, first + count):
        session.run("CALL cs_run('withdraw:' || %s, 'UPDATE account SET balance = balance"
                    " - $1::integer', '{1}')", number)


@dataclass
class Work:
    """What a session does again and again, and how often."""

    name: str
    server: Server
    batch: Batch
    size: int  # of a batch
    times: int


def growth(work: Work) -> tuple[Memory, Memory, Memory]:
    """After the first hundredth (everything that a session keeps is there), a tenth, and all."""
    session = Session(work.server)
    done = 0
    memories = []
    for share in (work.times // 100, work.times // 10, work.times):
        while done < share:
            count = min(work.size, share - done)
            work.batch(session, done + 1, count)
            done += count
        session.memory()  # looking takes memory as well, the first time
        memories.append(session.memory())
    session.close()
    PROGRESS.say(f"memory: {work.name}", lasting=True)
    return memories[0], memories[1], memories[2]


def flatness(checked: Server, plain: Server, quick: bool, section: Section) -> None:
    for server in (checked, plain):
        server.run("CREATE TABLE account AS SELECT 1000000 AS balance")
    busy = Session(checked)
    busy.run("BEGIN")
    busy.run("SELECT cs_lock('busy')")
    some, many = (1_000, 100_000) if quick else (10_000, 1_000_000)
    built_in = "pg_advisory_xact_lock(hashtextextended(key, 0))"
    works = [
        Work("cs_lock, preloaded, all checks", checked, locks("cs_lock(key)"), 1000, 1_000_000),
        Work("cs_lock, not preloaded", plain, locks("cs_lock(key)"), 1000, many),
        Work("built-in", plain, locks(built_in), 1000, many),
        Work("cs_lock, a transaction each", checked, transactions, some, 10 * some),
        Work("cs_try_lock that fails", checked, tries, 100, some),
        Work("cs_lock that fails with 55P03", checked, timeouts, some, some),
        Work("cs_permit, a transaction each", checked, permits, some, some),
        Work("cs_renew_lease, a transaction each", checked, renewals, some, some),
        Work("cs_run", checked, commands, some, some),
    ]
    table = Table("A session's memory in bytes: contexts of PostgreSQL, and (anonymous memory of "
                  "the process)", ("work", "times", "after 1 %", "after 10 %", "after all",
                                   "growth from 10 % to all"))
    for work in works:
        first, second, last = growth(work)
        grown = last - second
        table.rows.append((work.name, work.times, *(
            f"{memory.contexts:,} ({memory.anonymous:,})"
            for memory in (first, second, last, grown))))
        if work.name != "built-in":
            section.targets.append(Target(
                f"{work.name}: memory is flat over {work.times:,} times, measured "
                f"{grown.contexts:+,} bytes of contexts, {grown.anonymous:+,} of the process",
                grown.contexts < FLAT_CONTEXTS and grown.anonymous < FLAT_ANONYMOUS))
    balance = checked.run("SELECT balance FROM account")
    expect(balance == 1_000_000 - some, f"{1_000_000 - balance} commands of {some}")
    busy.close()
    section.tables.append(table)


def held_key(checked: Server, plain: Server, section: Section) -> None:
    table = Table(f"Bytes of a session for each of {HELD:,} keys that it holds",
                  ("way", "contexts of PostgreSQL", "anonymous memory of the process",
                   "contexts that stay after the commit"))
    ways = {
        "cs_lock, preloaded, all checks": (checked, "cs_lock(key)"),
        "cs_lock, not preloaded": (plain, "cs_lock(key)"),
        "built-in": (plain, "pg_advisory_xact_lock(hashtextextended(key, 0))"),
    }
    for name, (server, lock) in ways.items():
        session = Session(server)
        locks(lock)(session, 1, 10)
        session.memory()
        before = session.memory()
        session.run("BEGIN")
        session.run(f"SELECT count({lock}) FROM (SELECT 'stock:' || i AS key"
                    f" FROM generate_series(1, {HELD}) AS i) AS k")
        held = session.memory() - before
        session.run("COMMIT")
        after = session.memory() - before
        session.close()
        table.rows.append((name, *(number / HELD for number in
                                   (held.contexts, held.anonymous, after.contexts))))
    section.tables.append(table)


def shared_memory(checked: Server, plain: Server, section: Section) -> None:
    everything = "SELECT sum(allocated_size)::bigint FROM pg_shmem_allocations"
    ours = f"{everything} WHERE name ~ '^concurrency_safe'"
    asked = checked.run(ours)
    directory, places = (checked.run(f"SELECT {column} FROM cs_stat")
                         for column in ("directory_bytes", "directory_size"))
    more = plain.run(everything) - (plain.run(ours) or 0) - (checked.run(everything) - asked)
    entry = more / ((ROOM["plain"] - ROOM["checked"]) * CONNECTIONS)
    table = Table("Shared memory, preloaded, with default sizes", ("what", "bytes"))
    table.rows += [
        ("all that the extension asks for", asked),
        ("its directory of names and counts", directory),
        (f"the same for each of {places:,} places", directory / places),
        ("PostgreSQL's lock table for each lock that it has room for: every held key takes one, "
         "ours or built-in", entry),
    ]
    section.tables.append(table)


def run(plan: Any) -> Section:
    section = Section(
        "Memory",
        "Contexts are the sum of pg_backend_memory_contexts; anonymous memory is that of the "
        "session's process in /proc/PID/smaps_rollup: all but shared memory and files. Flat: while "
        "nine times as much is done as before, contexts grow by less than "
        f"{FLAT_CONTEXTS:,} bytes, and anonymous memory by less than {FLAT_ANONYMOUS:,}. "
        "The keys of cs_lock are different ones all the time.")
    plain, checked = (
        Server(name, **settings, max_connections=str(CONNECTIONS),
               max_locks_per_transaction=str(ROOM[name])).start()
        for name, settings in {"plain": {}, "checked": CHECKED}.items())
    shared_memory(checked, plain, section)
    held_key(checked, plain, section)
    flatness(checked, plain, plan.quick, section)
    return section
