"""Sessions that wait for each other; prints who waits for whom as a graph.

    PGHOST=... PGDATABASE=... python3 demo/wait_graph.py | dot -Tsvg

A report reads the whole shop in Berlin.  An order and a delivery wait for it,
two transfers wait for the order, one behind the other, and a job that uses no
keys waits for a row.  Needs a database with the extension in its public schema,
and a superuser; creates the role shop_app and the schema shop.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Optional

import psycopg2

from session import Session

TABLES = """
    CREATE TABLE account (id integer PRIMARY KEY, balance numeric NOT NULL);
    INSERT INTO account SELECT id, 100 FROM generate_series(1, 4) AS id;
    GRANT USAGE ON SCHEMA shop TO shop_app;
    GRANT SELECT, UPDATE ON account TO shop_app
"""

# Who does what in a transaction.  The last command of each but the first waits.
REPORT = ("report-1", ["SELECT cs_lock_path('shop:berlin', -1, 'shared')"])
WAITERS = [
    (
        "web-1",
        [
            "CALL cs_transfer('account', '1', '2', 10, -1)",
            "SELECT cs_lock_path('shop:berlin:order:1001', -1)",
        ],
    ),
    ("web-2", ["CALL cs_transfer('account', '2', '3', 20, -1)"]),
    ("web-3", ["CALL cs_transfer('account', '4', '2', 30, -1)"]),
    ("worker-1", ["SELECT cs_lock_path('shop:berlin:stock:ABC', -1)"]),
    ("worker-2", ["UPDATE account SET balance = balance * 2 WHERE id = 1"]),
]


class Actor(threading.Thread):
    """A session of the application, and what it does in one transaction."""

    def __init__(self, name: str, commands: list[str]) -> None:
        super().__init__(name=name, daemon=True)
        self.db = Session("shop", user="shop_app", application_name=name)
        self.commands = commands
        self.error: Optional[BaseException] = None

    def run(self) -> None:
        try:
            with self.db.transaction():
                for command in self.commands:
                    self.db.run(command)
        except BaseException as error:
            self.error = error

    def start_and_wait(self, observer: Session) -> None:
        """Comes back when the session waits for a lock."""
        pid = self.db.connection.info.backend_pid
        self.start()
        while not observer.value(
            "SELECT count(*) FROM pg_locks"
            " WHERE pid = %s AND waitstart IS NOT NULL",
            pid,
        ):
            if not self.is_alive():
                raise self.error or RuntimeError(f"{self.name} did not wait")
            time.sleep(0.01)

    def finish(self) -> None:
        self.join()
        self.db.close()
        if self.error:
            raise self.error


def prepare(observer: Session) -> None:
    observer.run("DROP SCHEMA IF EXISTS shop CASCADE")
    observer.run("CREATE SCHEMA shop")
    if not observer.value(
        "SELECT count(*) FROM pg_roles WHERE rolname = 'shop_app'"
    ):
        observer.run("CREATE ROLE shop_app LOGIN")
    observer.run(TABLES)


def take_picture(observer: Session) -> str:
    report = Actor(*REPORT)
    waiters = [Actor(*each) for each in WAITERS]
    with report.db.transaction():
        for command in report.commands:
            report.db.run(command)
        for waiter in waiters:
            waiter.start_and_wait(observer)
        graph = observer.value("SELECT cs_wait_graph_dot()")
    for waiter in waiters:
        waiter.finish()
    return graph


def main() -> int:
    try:
        observer = Session("shop")
        prepare(observer)
        print(take_picture(observer))
    except (psycopg2.Error, RuntimeError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
