"""Money transfers between two accounts, in both directions at once.

Nothing enters or leaves the bank: the sum of the balances must stay the same.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Optional

from session import REFUSED, SUCCEEDED, Outcome, Session, think


class Transfer:
    name = "money transfer"
    sessions = 8
    rounds = 25
    group = None

    tables = """
        CREATE TABLE account (id integer PRIMARY KEY,
                              balance numeric(12, 2) NOT NULL);
        INSERT INTO account VALUES (1, 1000), (2, 1000)
    """

    def naive(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            return self.transfer(db, worker, turn)

    def row_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            db.run(
                "SELECT FROM account WHERE id IN (1, 2) ORDER BY id FOR UPDATE"
            )
            return self.transfer(db, worker, turn)

    def key_lock(self, db: Session, worker: int, turn: int) -> Outcome:
        with db.transaction():
            db.run("SELECT cs_lock_all(ARRAY['account:1', 'account:2'], 5000)")
            return self.transfer(db, worker, turn)

    ways = {"naive": naive, "row lock": row_lock, "key lock": key_lock}

    def transfer(self, db: Session, worker: int, turn: int) -> Outcome:
        sender, receiver = (1, 2) if worker % 2 == 0 else (2, 1)
        amount = Decimal(Random(f"{worker}/{turn}").randint(100, 10000)) / 100

        sender_has = self.balance(db, sender)
        if sender_has < amount:
            return REFUSED
        think()
        receiver_has = self.balance(db, receiver)

        after = {sender: sender_has - amount, receiver: receiver_has + amount}
        for account in sorted(after):  # one order, or the rows deadlock
            db.run(
                "UPDATE account SET balance = %s WHERE id = %s",
                after[account],
                account,
            )
        return SUCCEEDED

    def balance(self, db: Session, account: int) -> Decimal:
        return db.value("SELECT balance FROM account WHERE id = %s", account)

    def damage(self, db: Session) -> Optional[str]:
        gained = db.value("SELECT sum(balance) - 2000 FROM account")
        if gained == 0:
            return None
        return f"made {gained}" if gained > 0 else f"lost {-gained}"
