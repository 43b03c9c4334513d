"""Bookings of a room: at most three parties in one time slot.

Before the first booking there is no row that anybody could lock.  What is left
is SERIALIZABLE, with a retry whenever PostgreSQL finds that two transactions
did not fit one after the other, or a key, which needs no row.
"""

from __future__ import annotations

from typing import Optional

from psycopg2.errors import SerializationFailure

from session import REFUSED, SUCCEEDED, Outcome, Session, think


class Booking:
    name = "room booking"
    sessions = 8
    rounds = 40
    group = 8  # everybody wants the same slot at the same moment

    tables = """
        CREATE TABLE booking (room text, slot integer, party integer,
                              PRIMARY KEY (room, slot, party))
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            return self.book(db, worker, slot=turn)

    def serializable(self, db: Session, worker: int, turn: int) -> Outcome:
        while True:
            try:
                with db.transaction("SERIALIZABLE"):
                    return self.book(db, worker, slot=turn)
            except SerializationFailure:
                db.retries += 1

    def key_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            db.run("SELECT cs_lock(%s, 5000)", f"room:blue:{turn}")
            return self.book(db, worker, slot=turn)

    ways = {"naive": naive, "serializable": serializable, "key lock": key_lock}

    def book(self, db: Session, party: int, slot: int) -> Outcome:
        booked = db.value(
            "SELECT count(*) FROM booking WHERE room = 'blue' AND slot = %s",
            slot,
        )
        if booked >= 3:
            return REFUSED
        think()
        db.run("INSERT INTO booking VALUES ('blue', %s, %s)", slot, party)
        return SUCCEEDED

    def damage(self, db: Session) -> Optional[str]:
        too_many = db.value(
            "SELECT coalesce(sum(parties - 3), 0)"
            " FROM (SELECT count(*) AS parties FROM booking"
            " GROUP BY room, slot HAVING count(*) > 3) AS overbooked"
        )
        return f"overbooked {too_many}" if too_many else None
