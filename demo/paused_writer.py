"""Read, think, write under a lock with a time to live: the lock that many
applications build from a row, and a lease with its token.

As a program: the worker that is stopped between reading and writing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import psycopg2

from session import Session, think

WRITERS = __file__
TTL_MS = 40
PR_SET_PDEATHSIG = 1


class Writer:
    def __init__(self, way: str, db: Session, name: str, owner: str) -> None:
        self.naive = way == "naive"
        self.db, self.name, self.owner = db, name, owner
        self.token = None

    def take(self) -> None:
        while self.naive and not self.take_row():
            think()
        if not self.naive:
            self.token = self.db.value(
                "SELECT cs_lease(%s, %s, %s, 5000)",
                self.name, TTL_MS, self.owner,
            )

    def take_row(self) -> bool:
        self.db.run(
            "INSERT INTO ttl_lock VALUES"
            " (%s, %s, clock_timestamp() + %s * interval '1 ms')"
            " ON CONFLICT (name) DO UPDATE"
            " SET owner = excluded.owner, expires_at = excluded.expires_at"
            " WHERE ttl_lock.expires_at < clock_timestamp()",
            self.name, self.owner, TTL_MS,
        )
        return self.db.cursor.rowcount == 1

    def read(self) -> int:
        return self.db.value(
            "SELECT value FROM counter WHERE name = %s", self.name
        )

    def write(self, value: int) -> None:
        with self.db.transaction():
            if not self.naive:
                self.db.run("SELECT cs_check_token(%s, %s)", self.name, self.token)
            self.db.run(
                "UPDATE counter SET value = %s WHERE name = %s", value, self.name
            )
            self.db.run("INSERT INTO written VALUES (%s)", self.name)

    def take_and_write(self) -> None:
        """Begins anew if the lease is lost, as on a machine that stalls."""
        while True:
            self.take()
            try:
                self.write(self.read() + 1)
                return
            except psycopg2.errors.ObjectNotInPrerequisiteState:
                pass

    def give_back(self) -> None:
        if self.naive:
            self.db.run(
                "DELETE FROM ttl_lock WHERE name = %s AND owner = %s",
                self.name, self.owner,
            )
        else:
            self.db.run("SELECT cs_release_lease(%s, %s)", self.name, self.token)


def main(way: str, name: str, schema: str) -> None:
    # A stopped process must not outlive the demo.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    writer = Writer(way, Session(schema), name, "paused")
    writer.take()
    value = writer.read() + 1
    os.kill(os.getpid(), signal.SIGSTOP)
    retries = 0
    try:
        writer.write(value)
    except psycopg2.errors.ObjectNotInPrerequisiteState:
        retries = 1  # the lease is lost: begin anew
        writer.take_and_write()
    writer.give_back()
    print(retries)


if __name__ == "__main__":
    main(*sys.argv[1:])
