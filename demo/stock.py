"""Many buyers, few items: no more may be sold than there were."""

from __future__ import annotations

from typing import Optional

from session import REFUSED, SUCCEEDED, Outcome, Session, think


class Stock:
    name = "stock"
    sessions = 16
    rounds = 25
    group = None

    tables = """
        CREATE TABLE item (sku text PRIMARY KEY, quantity integer NOT NULL);
        CREATE TABLE sale (sku text NOT NULL, buyer integer NOT NULL);
        INSERT INTO item VALUES ('ABC', 100)
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            return self.buy(db, worker)

    def row_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            db.run("SELECT FROM item WHERE sku = 'ABC' FOR UPDATE")
            return self.buy(db, worker)

    def key_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            db.run("SELECT cs_lock('stock:ABC', 5000)")
            return self.buy(db, worker)

    ways = {"naive": naive, "row lock": row_lock, "key lock": key_lock}

    def buy(self, db: Session, buyer: int) -> Outcome:
        left = db.value("SELECT quantity FROM item WHERE sku = 'ABC'")
        if left == 0:
            return REFUSED
        think()
        db.run("UPDATE item SET quantity = %s WHERE sku = 'ABC'", left - 1)
        db.run("INSERT INTO sale VALUES ('ABC', %s)", buyer)
        return SUCCEEDED

    def damage(self, db: Session) -> Optional[str]:
        oversold = db.value("SELECT count(*) - 100 FROM sale")
        return f"oversold {oversold}" if oversold > 0 else None
