"""Orders book two items each, in whatever order they list them: deadlocks.

Nothing is written twice or lost by this; but PostgreSQL ends a deadlock by
failing somebody, and who does not try again has lost an order.
"""

from __future__ import annotations

from typing import Optional

import psycopg2

from session import REFUSED, SUCCEEDED, THINK_SECONDS, Outcome, Session, think

BOOK = "UPDATE item SET booked = booked + 1 WHERE id = "


class Orders:
    name = "two items each"
    sessions = 8
    rounds = 25
    group = 4  # four orders and four items in every turn

    tables = """
        CREATE TABLE item (id integer PRIMARY KEY, booked integer NOT NULL);
        INSERT INTO item SELECT generate_series(0, 7), 0
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        try:
            return self.book(db, *self.items(worker, turn))
        except psycopg2.errors.DeadlockDetected:
            return REFUSED  # nobody told the customer how to go on

    def client_loop(self, db: Session, worker: int, turn: int) -> Outcome:
        while True:
            try:
                return self.book(db, *self.items(worker, turn))
            except psycopg2.errors.DeadlockDetected:
                db.retries += 1

    def cs_run(self, db: Session, worker: int, turn: int) -> Outcome:
        db.run(
            "CALL cs_run(%s, %s, %s, max_attempts => 50)",
            f"order:{worker}-{turn}",
            f"{BOOK} $1::integer;"
            f"SELECT pg_sleep({THINK_SECONDS});"
            f"{BOOK} $2::integer",
            [str(item) for item in self.items(worker, turn)],
        )
        outcome, attempts = db.cursor.fetchone()
        db.retries += attempts - 1
        return SUCCEEDED if outcome == "done" else REFUSED

    ways = {"naive": naive, "client loop": client_loop, "cs_run": cs_run}

    def items(self, worker: int, turn: int) -> tuple[int, int]:
        """Each order ends with the item that the next one begins with."""
        group, place = divmod(worker, 4)
        return group * 4 + place, group * 4 + (place + 1 + turn % 3) % 4

    def book(self, db: Session, first: int, second: int) -> Outcome:
        with db.transaction():
            db.run(f"{BOOK} %s", first)
            think()
            db.run(f"{BOOK} %s", second)
        return SUCCEEDED

    def damage(self, db: Session) -> Optional[str]:
        lost = db.value("SELECT 200 - sum(booked) / 2 FROM item")
        return f"lost {lost} orders" if lost else None
