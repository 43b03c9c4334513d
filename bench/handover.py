"""How long a key takes from one session to the next in its queue."""

from __future__ import annotations

import statistics
import time
from typing import Any, Callable

import psycopg2
from psycopg2.extras import wait_select

from measure import Figure, percentile
from servers import Server

MICROSECONDS = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text"

# One message to the server and one answer after the commit: nothing waits for this process.
TAKE_AND_PASS_ON = f"""
    BEGIN;
    SELECT {{lock}}, set_config('bench.granted', {MICROSECONDS}, false);
    SELECT set_config('bench.released', {MICROSECONDS}, false);
    COMMIT;
    SELECT current_setting('bench.granted')::bigint, current_setting('bench.released')::bigint"""
PASS_ON = f"""
    SELECT set_config('bench.released', {MICROSECONDS}, false);
    COMMIT;
    SELECT current_setting('bench.released')::bigint"""


class Queue:
    """Sessions of a server that wait for a key, all at once."""

    def __init__(self, server: Server, sessions: int) -> None:
        self.holder = server.connect().cursor()
        self.observer = server.connect().cursor()
        self.waiters = [self._waiter(server) for _ in range(sessions)]

    @staticmethod
    def _waiter(server: Server) -> Any:
        """A session that sends a statement and does not wait for its answer."""
        connection = psycopg2.connect(
            host=str(server.socket), user="postgres", dbname="bench", async_=True
        )
        wait_select(connection)
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '60s'")
        wait_select(connection)
        return cursor

    def _wait_until_queued(self, waiters: int) -> None:
        for _ in range(60_000):
            self.observer.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            if self.observer.fetchone()[0] == waiters:
                return
            time.sleep(0.001)
        raise RuntimeError("the sessions do not queue up")

    def pass_on(self, lock: str, waiters: int) -> list[int]:
        """Microseconds from each commit to the next grant, through so many waiters."""
        self.holder.execute("BEGIN")
        self.holder.execute(f"SELECT {lock}")
        for cursor in self.waiters[:waiters]:
            cursor.execute(TAKE_AND_PASS_ON.format(lock=lock))
        self._wait_until_queued(waiters)
        self.holder.execute(PASS_ON)
        released = self.holder.fetchone()[0]
        holds = []
        for cursor in self.waiters[:waiters]:
            wait_select(cursor.connection)
            holds.append(cursor.fetchone())
        times = []
        for granted, passed_on in sorted(holds):
            times.append(granted - released)
            released = passed_on
        return times

    def close(self) -> None:
        for cursor in (self.holder, self.observer, *self.waiters):
            cursor.connection.close()


def hand_overs(queue: Queue, lock: str, waiters: int, least: int) -> Callable[[], Figure]:
    """The median in microseconds of at least so many hand-overs, and their 99th percentile."""
    queue.pass_on(lock, len(queue.waiters))  # not measured: loads what a first call loads

    def measure() -> Figure:
        times: list[int] = []
        while len(times) < least:
            times += queue.pass_on(lock, waiters)
        wrong = "two held the key at once" if min(times) < 0 else ""
        return Figure(statistics.median(times), wrong, {"99 %": percentile(times, 0.99)})

    return measure
