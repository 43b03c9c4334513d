"""A worker stops for longer than its lock lasts, wakes up, and writes.

Its process gets SIGSTOP between reading and writing, as a long garbage
collection or a sleeping laptop would do it.  The lock has a time to live, so
that a dead worker blocks nobody for ever: meanwhile another worker got it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Optional

from paused_writer import WRITERS, Writer
from session import SUCCEEDED, Outcome, Session


class Paused:
    name = "paused holder"
    sessions = 4
    rounds = 10
    group = None

    tables = """
        CREATE TABLE counter (name text PRIMARY KEY, value integer NOT NULL);
        CREATE TABLE written (name text NOT NULL);
        CREATE TABLE ttl_lock (name text PRIMARY KEY, owner text NOT NULL,
                               expires_at timestamptz NOT NULL);
        INSERT INTO counter SELECT 'job:' || i, 0
            FROM generate_series(0, 3) AS i
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        return self.race_paused(db, worker, "naive")

    def lease(self, db: Session, worker: int, turn: int) -> Outcome:
        return self.race_paused(db, worker, "lease")

    ways = {"naive": naive, "lease": lease}

    def race_paused(self, db: Session, worker: int, way: str) -> Outcome:
        """The paused one is another process, and writes after this one."""
        name = f"job:{worker}"
        paused = subprocess.Popen(
            [sys.executable, "-B", WRITERS, way, name, f"paused_{way}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            _, status = os.waitpid(paused.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                raise RuntimeError("the paused worker ended by itself")
            writer = Writer(way, db, name, "second")
            writer.take_and_write()
            writer.give_back()
            paused.send_signal(signal.SIGCONT)
            db.retries += int(paused.communicate()[0])
        finally:
            paused.kill()
        return SUCCEEDED

    def damage(self, db: Session) -> Optional[str]:
        lost = db.value(
            "SELECT (SELECT count(*) FROM written)"
            " - (SELECT sum(value) FROM counter)"
        )
        return f"lost {lost} writes" if lost else None
