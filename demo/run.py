"""Runs every race in every way with real concurrent sessions; prints a table.

    PGHOST=... PGDATABASE=... python3 demo/run.py

Needs a database with the extension in its public schema, and creates a schema
for each race and way (transfer_naive, ...) whose tables stay for inspection.
Exit status 0: every safe way kept its invariant, every naive way broke it.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional

import psycopg2

from booking import Booking
from orders import Orders
from paused import Paused
from proposals import Proposals
from session import SUCCEEDED, Session
from stock import Stock
from transfer import Transfer

RACES = [Transfer(), Stock(), Proposals(), Booking(), Orders(), Paused()]


@dataclass
class Result:
    race: str
    way: str
    attempts: int = 0
    succeeded: int = 0
    retries: int = 0
    damage: Optional[str] = None
    seconds: float = 0.0

    @property
    def as_expected(self) -> bool:
        if self.way == "naive":
            return self.damage is not None
        # A lock that lets nobody through keeps every invariant.
        return self.damage is None and self.succeeded > 0


class Progress:
    """One line that is rewritten on a terminal, or a line per way in a log."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.step = 0
        self.label = ""
        self.live = sys.stdout.isatty()

    def begin(self, label: str) -> None:
        self.step += 1
        self.label = f"[{self.step:2}/{self.steps}] {label}"
        if not self.live:
            print(self.label, flush=True)

    def show(self, done: int, total: int) -> None:
        if self.live:
            line = f"{self.label}: {done} of {total}"
            print(f"\r\033[K{line}", end="", flush=True)

    def end(self) -> None:
        if self.live:
            print("\r\033[K", end="", flush=True)


def run_way(race: Any, way: str, progress: Progress) -> Result:
    """One race in one way: all sessions at once, then a look at the damage."""
    schema = f"{type(race).__name__}_{way}".lower().replace(" ", "_")
    observer = Session(schema)
    observer.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    observer.run(f"CREATE SCHEMA {schema}")
    observer.run(race.tables)

    attempt: Callable[..., Any] = race.ways[way]
    sessions = [Session(schema) for _ in range(race.sessions)]
    group_size = race.group or race.sessions
    barriers = [
        threading.Barrier(group_size)
        for _ in range(race.sessions // group_size)
    ]
    outcomes: list[list[Any]] = [[] for _ in sessions]
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        barrier = barriers[worker // group_size]
        try:
            for turn in range(race.rounds):
                if turn == 0 or race.group:
                    barrier.wait()
                outcomes[worker].append(
                    attempt(race, sessions[worker], worker, turn)
                )
        except threading.BrokenBarrierError:
            pass  # another session failed and has told why
        except BaseException as error:
            errors.append(error)
            for each in barriers:
                each.abort()

    threads = [
        threading.Thread(target=work, args=(worker,), daemon=True)
        for worker in range(race.sessions)
    ]
    result = Result(race.name, way, attempts=race.sessions * race.rounds)
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            progress.show(sum(map(len, outcomes)), result.attempts)
            thread.join(0.1)
    result.seconds = time.monotonic() - started
    if errors:
        raise errors[0]

    result.succeeded = sum(each.count(SUCCEEDED) for each in outcomes)
    result.retries = sum(session.retries for session in sessions)
    result.damage = race.damage(observer)
    for session in [observer, *sessions]:
        session.close()
    return result


def print_table(results: list[Result]) -> None:
    line = "{:<15} {:<13} {:>8} {:>9} {:>8} {:>8}   {:<18} {:>7}"
    print(
        line.format(
            "race", "way", "attempts", "succeeded", "refused", "retries",
            "invariant broken", "time",
        )
    )
    previous = None
    for result in results:
        if result.race != previous:
            print("-" * 94)
        print(
            line.format(
                "" if result.race == previous else result.race,
                result.way,
                result.attempts,
                result.succeeded,
                result.attempts - result.succeeded,
                result.retries,
                result.damage or "0",
                f"{result.seconds:.2f} s",
            )
        )
        previous = result.race
    print()


def verdict(results: list[Result]) -> int:
    wrong = [result for result in results if not result.as_expected]
    for result in wrong:
        if result.way == "naive":
            reason = "kept its invariant, so this run proves nothing"
        elif result.damage is None:
            reason = "let nobody through"
        else:
            reason = f"broke its invariant: {result.damage}"
        print(f"FAILED: {result.race}, {result.way}: {reason}")
    if wrong:
        return 1
    print(
        "Every naive way broke its invariant.  Every other way kept it."
    )
    return 0


def main() -> int:
    progress = Progress(sum(len(race.ways) for race in RACES))
    results = []
    for race in RACES:
        for way in race.ways:
            label = f"{race.name}, {way}"
            progress.begin(label)
            try:
                results.append(run_way(race, way, progress))
            except psycopg2.Error as error:
                progress.end()
                print(f"FAILED: {label}: {error}", file=sys.stderr)
                return 1
    progress.end()
    print()
    print_table(results)
    return verdict(results)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
