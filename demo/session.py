"""What the races share: a database session and the think time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from enum import Enum
from typing import Any, Iterator

import psycopg2


class Outcome(Enum):
    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # by the rules of the business, not by an error


SUCCEEDED = Outcome.SUCCEEDED
REFUSED = Outcome.REFUSED

THINK_SECONDS = 0.003


def think() -> None:
    """What an application does between reading and writing: a price
    calculation, a fraud check, a template.  The same in every way of a race.
    """
    time.sleep(THINK_SECONDS)


class Session:
    """One connection, with BEGIN and COMMIT where the reader sees them.

    The environment (PGHOST, PGDATABASE, ...) says where to connect.  Tables
    are found in `schema`, the extension's functions in public.  `parameters`
    of the connection (user=...) go before the environment.
    """

    def __init__(self, schema: str, **parameters: str) -> None:
        self.connection = psycopg2.connect(
            "", options=f"-c search_path={schema},public", **parameters
        )
        self.connection.autocommit = True  # no BEGIN behind our back
        self.cursor = self.connection.cursor()
        self.retries = 0

    def run(self, sql: str, *args: Any) -> None:
        self.cursor.execute(sql, args or None)

    def value(self, sql: str, *args: Any) -> Any:
        """The single value that a query returns."""
        self.run(sql, *args)
        return self.cursor.fetchone()[0]

    @contextmanager
    def transaction(self, isolation: str = "READ COMMITTED") -> Iterator[None]:
        self.run(f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            yield
        except BaseException:
            if not self.connection.closed:
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    def close(self) -> None:
        self.connection.close()
