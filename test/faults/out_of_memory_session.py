"""The session under test, those that help it, and the file that lets allocations fail."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import threading
import time
from typing import Any, Iterator, Optional

import psycopg2

MOST_RECORDED = 1 << 20  # as in out_of_memory.cpp, and so are the fields
HANG_SECONDS = 60


class _Fields(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_int32),
        ("lasting", ctypes.c_int32),
        ("record", ctypes.c_int32),
        ("holdoff", ctypes.c_uint32),
        ("trace", ctypes.c_int32),
        ("fail_at", ctypes.c_int64),
        ("seen", ctypes.c_int64),
        ("failed", ctypes.c_int64),
        ("in_library", ctypes.c_int32),
        ("in_function", ctypes.c_int32),
        ("ours", ctypes.c_uint8 * MOST_RECORDED),
    ]


class Control:
    """Says which allocation fails, and hears what happened."""

    def __init__(self, path: str, trace: bool) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), ctypes.sizeof(_Fields))
        self._fields = _Fields.from_buffer(self._memory)
        self._next = (0, False, False)
        self._fields.trace = trace  # the stack of each failure goes to the log of the server
        self.failed = 0  # allocations that failed in the statement watched last
        self.in_library = 0  # 1 if the first had code of the extension on the stack
        self.in_function = 0  # 1 if the first was in one of its SQL functions
        self.ours: list[int] = []  # the numbers of those that the extension is the reason for

    def arm(self, fail_at: int, lasting: bool) -> None:
        """For the next statement that is watched."""
        self._next = (fail_at, lasting, False)

    def record(self) -> None:
        """The next statement has no failure, but notes which allocations are ours."""
        self._next = (0, False, True)

    @contextlib.contextmanager
    def watching(self, pid: int) -> Iterator[None]:
        """Counts the allocations of that session, and lets fail what was ordered."""
        fields = self._fields
        fields.fail_at, fields.lasting, fields.record = self._next
        fields.seen = fields.failed = fields.in_library = fields.in_function = 0
        fields.pid = pid
        try:
            yield
        finally:
            fields.pid = 0
            self.failed = fields.failed
            self.in_library, self.in_function = fields.in_library, fields.in_function
            if fields.record:
                self.ours = [i + 1 for i, ours in enumerate(bytes(fields.ours)[:fields.seen])
                             if ours]
            self._next = (0, False, False)

    def holds_off(self, session: Session, query: str) -> tuple[Outcome, bool]:
        """What the query says, and whether the session held interrupts off all the time."""
        fields = self._fields
        fields.fail_at, fields.record, fields.holdoff = 0, 0, MOST_RECORDED
        fields.pid = session.pid
        outcome = session.run(query)
        fields.pid = 0
        return outcome, fields.holdoff > 0


class Outcome:
    """What came out of a statement."""

    def __init__(self, rows: Any, error: Optional[psycopg2.Error], lost: bool) -> None:
        self.rows, self.error, self.lost = rows, error, lost
        self.sqlstate: Optional[str] = None if error is None else error.pgcode or "lost"

    def __str__(self) -> str:
        if self.error is None:
            return f"success, {self.rows}"
        return f"{self.sqlstate} {str(self.error).strip()}"


class Session:
    """A session of the server that the environment names."""

    def __init__(self) -> None:
        self.connection = psycopg2.connect(
            "dbname=oom options='-c statement_timeout=20s -c deadlock_timeout=1ms'")
        self.connection.autocommit = True
        self.cursor = self.connection.cursor()
        self.pid: int = self.connection.info.backend_pid

    def run(self, statement: str) -> Outcome:
        """Never raises an error of the server."""
        signal.alarm(HANG_SECONDS)
        try:
            self.cursor.execute(statement)
            rows = self.cursor.fetchall() if self.cursor.description else None
            return Outcome(rows, None, False)
        except psycopg2.Error as error:
            return Outcome(None, error, self.connection.closed != 0)
        finally:
            signal.alarm(0)

    def close(self) -> None:
        """Ends it."""
        self.connection.close()


class Helpers:
    """A session that is in the way, and one that looks on."""

    def __init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Anew after a failure, which may have been a crash."""
        for _ in range(100):
            try:
                self.other, self.observer, self.watcher = Session(), Session(), Session()
                self.other.run("SET deadlock_timeout = '100s'")
                return
            except psycopg2.OperationalError:
                time.sleep(0.1)
        raise RuntimeError("the server does not answer")

    def prepare(self, script: str) -> None:
        """Makes what the statements need, and asks whether the library is preloaded."""
        self.observer.cursor.execute(script)
        libraries = self.ask("SHOW shared_preload_libraries")[0][0]
        self.preloaded = libraries.endswith(" concurrency_safe")

    def ask(self, query: str) -> Any:
        """The rows of a query."""
        self.observer.cursor.execute(query)
        return self.observer.cursor.fetchall()

    def locks_of(self, pid: int) -> list[Any]:
        """The advisory locks that a session holds or waits for."""
        return self.ask("SELECT mode, granted, classid, objid, objsubid FROM pg_locks "
                        f"WHERE pid = {pid} AND locktype = 'advisory'")

    def start(self, steps: tuple[str, ...]) -> None:
        """What the other session does before all attempts."""
        self.steps = steps
        for step in steps:
            outcome = self.other.run(step)
            if outcome.sqlstate is not None:
                raise RuntimeError(f"{step}: {outcome}")

    def stop(self) -> None:
        """Undoes it."""
        for step in ("ROLLBACK", "DELETE FROM cs_lease_table"):
            self.other.run(step)

    @contextlib.contextmanager
    def meeting(self, how: str, pid: int) -> Iterator[None]:
        """While the session under test runs its statement, the other one does its part."""
        if not how:
            yield
            return
        done = threading.Event()
        if how == "deadlock":
            part = threading.Thread(target=self.other.run, args=("SELECT cs_lock('oom:a', -1)",))
        else:
            part = threading.Thread(target=self._release, args=(pid, done))
        part.start()
        if how == "deadlock":
            self._await_wait(self.other.pid, done)
        try:
            yield
        finally:
            done.set()
            part.join()
        for step in ("ROLLBACK", *self.steps):
            self.other.run(step)

    def _release(self, pid: int, done: threading.Event) -> None:
        if self._await_wait(pid, done):
            self.other.cursor.execute("ROLLBACK")

    def _await_wait(self, pid: int, done: threading.Event) -> bool:
        while not done.is_set():
            query = f"SELECT 1 FROM pg_locks WHERE pid = {pid} AND NOT granted"
            if self.watcher.run(query).rows:
                return True
        return False
