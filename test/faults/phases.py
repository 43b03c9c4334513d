"""The phases of the part: each makes a history of its own, and says what it found."""

from __future__ import annotations

import pathlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import checker
from history import History, Kind, Record
from server import Server, new_history
from workers import Crew, LockWorker, Plan, Report, crew_of

CANARIES = 4
# What each phase with a history of locks has to have met, or it proved little.
MET = ("grants beside other holders", "refusals", "permits", "lease grants",
       "prepared transactions", "modes compared", "releases", "caught 55P03")
GROWTH_LIMIT = 256 * 1024  # bytes by which a session may grow after its tenth call
REPLAYED_CALLS = 100
PAUSE = 0.01  # between two looks at a counter


@dataclass
class Sizes:
    """How much to do."""

    operations: int = 5_000_000
    canary: int = 5_000_000
    control: int = 100_000
    disturbances: int = 50_000
    kills: int = 500
    stops: int = 50
    promotions: int = 20


@dataclass
class Findings:
    """Figures, which add up over the phases, and what was wrong."""

    figures: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def problem(self, phase: str, text: str) -> None:
        self.problems.append(f"{phase}: {text}")
        print(f"{phase}: PROBLEM: {text}", flush=True)


class Phase:
    """A server with a history, and the questions at the end."""

    def __init__(self, name: str, seed: int, sizes: Sizes, findings: Findings,
                 capacity: int = 20_000_000) -> None:
        self.name = name
        self.seed = f"{seed}:{name}"
        self.random = random.Random(self.seed)
        self.sizes = sizes
        self.findings = findings
        self.started = time.monotonic()
        self.path = new_history(name, capacity)
        self.history = History(self.path)
        self.server = Server(1, self.path).create()
        self.prepare_canary(self.server, 1, CANARIES)

    def say(self, text: str) -> None:
        print(f"{self.name}: {text} ({time.monotonic() - self.started:.0f} s)", flush=True)

    def problem(self, text: str) -> None:
        self.findings.problem(self.name, text)

    def count(self, name: str, number: int) -> None:
        self.findings.figures[name] += number

    @staticmethod
    def prepare_canary(server: Server, first: int, workers: int, ids: int = 64) -> None:
        server.rows("INSERT INTO canary SELECT id, 0 FROM generate_series(0, %s) AS id "
                    "ON CONFLICT DO NOTHING", ids - 1)
        server.rows("INSERT INTO committed SELECT worker, id, 0 FROM generate_series(0, %s) AS id, "
                    "generate_series(%s, %s) AS worker", ids - 1, first, first + workers - 1)

    def finish(self, crew: Crew) -> Report:
        """Ends the work of the sessions and counts what they met."""
        report = crew.finish()
        for failure in report.failures[:5]:
            self.problem(failure)
        for code, number in report.errors.items():
            self.count(f"calls ended by {code}", number)
        self.count("connections lost or refused", report.lost)
        return report

    def close(self, met: tuple[str, ...] = MET) -> checker.Checker:
        """Nothing is left, the canary lives, and the history is right."""
        before = Counter(self.findings.figures)
        found = self._close()
        for what in met:
            if self.findings.figures[what] == before[what]:
                self.problem(f"no {what}: the workload is not what it should be")
        return found

    def _close(self) -> checker.Checker:
        self.wait_until_alone()
        finish_prepared(self.server)
        self.look_for_leftovers()
        self.look_at_canary()
        self.server.value("SELECT history_finish()")
        for line in self.server.bad_lines()[:5]:
            self.problem(line)
        self.server.remove()
        return self.check_history()

    def wait_until_alone(self) -> None:
        while self.server.value("SELECT count(*) FROM pg_stat_activity WHERE "
                                "backend_type = 'client backend' AND pid <> pg_backend_pid()"):
            time.sleep(PAUSE)

    def look_for_leftovers(self) -> None:
        locks, waiters = self.server.rows(
            "SELECT count(*), count(*) FILTER (WHERE NOT granted) FROM pg_locks "
            "WHERE locktype IN ('advisory', 'userlock')")[0]
        names = self.server.value("SELECT count(*) FROM cs_locks")
        for what, number in (("locks", locks), ("waiters", waiters), ("names in cs_locks", names)):
            self.count(f"{what} left", number)
            if number:
                self.problem(f"{number} {what} left at the end")

    def look_at_canary(self) -> None:
        self.count("canary transactions", self.server.value("SELECT sum(n)::bigint FROM committed"))
        for row in self.server.rows("SELECT * FROM canary_differences"):
            self.count("updates lost", abs(int(row[2] - row[1])))
            self.problem(f"row {row[0]} counts {row[1]}, and {row[2]} were committed")

    def check_history(self) -> checker.Checker:
        """The file goes, if nothing was wrong with it."""
        self.say(f"checking {self.history.written()} records")
        found = checker.check(self.path)
        for text in found.violations[:checker.SHOWN]:
            self.problem(text)
        if found.violations:
            self.say(f"the history is kept in {self.path}")
        else:
            self.path.unlink()
        self.history.close()
        counts = found.counts
        self.count("violations", len(found.violations))
        self.count("lock operations", counts[Kind.GRANT] + counts[Kind.PERMIT])
        self.count("grants beside other holders", found.shared)
        self.count("refusals", counts[Kind.REFUSAL])
        self.count("permits", counts[Kind.PERMIT])
        self.count("lease grants", found.leases.count)
        self.count("prepared transactions", counts[Kind.PREPARE])
        self.count("modes compared", counts[Kind.HELD_MODE])
        self.count("releases", counts[Kind.RELEASED] + counts[Kind.RELEASED_ALL])
        self.count("releases interrupted", found.interrupted)
        self.count("records unfilled", counts[Kind.UNFILLED])
        for code, number in found.errors.items():
            self.count(f"caught {code}", number)
        self.say(f"{counts[Kind.GRANT] + counts[Kind.PERMIT]} grants, "
                 f"{len(found.violations)} violations")
        return found


def finish_prepared(server: Server, below: int = 1 << 62) -> None:
    """Ends the prepared transactions of workers that are no more."""
    connection = server.connect("driver")
    cursor = connection.cursor()
    cursor.execute("SELECT gid::bigint FROM pg_prepared_xacts WHERE gid::bigint < %s", (below,))
    for (name,) in cursor.fetchall():
        cursor.execute("SELECT history_finish_prepared(%s)", (name,))
        cursor.execute(f"ROLLBACK PREPARED '{name}'")
    connection.close()


def replay(*arguments: Any) -> None:
    """A session that is alone does the same twice: the seed decides."""
    first, second = (alone(*arguments) for _ in range(2))
    if first != second:
        findings: Findings = arguments[2]
        differing = next((pair for pair in zip(first, second) if pair[0] != pair[1]),
                         "one goes on")
        findings.problem("replay", f"the same seed made another history: {differing}")


def alone(*arguments: Any) -> list[tuple[int, ...]]:
    """What a single worker records, but for its process and its end."""
    phase = Phase("replay", *arguments)
    worker = LockWorker(1, phase.server, Plan(phase.seed, keys=8, longest_wait=2, reconnects=False),
                        before=1)
    for _ in range(REPLAYED_CALLS):
        worker.step()
    worker.disconnect()
    for failure in worker.report.failures[:5]:
        phase.problem(failure)
    records = [Record._make(record) for record in phase.history.records()]
    phase.count("records replayed", len(records))
    phase.close(met=("prepared transactions", "modes compared", "releases"))
    # When the server gets to the end of a session does not depend on the session.
    return [record._replace(a=0) if record.kind == Kind.SESSION else record for record in records
            if record.kind != Kind.SESSION_END]


def volume(*arguments: Any) -> None:
    """As many operations as possible, and nothing that goes wrong."""
    sizes: Sizes = arguments[1]
    phase = Phase("volume", *arguments, capacity=3 * sizes.operations + 1_000_000)
    crew = crew_of(phase.server, Plan(phase.seed, keys=32, longest_wait=2, reconnects=False),
                   locks=6, leases=1)
    while phase.history.grants() < phase.sizes.operations:
        time.sleep(PAUSE)
    report = phase.finish(crew)
    if report.grown is None or report.grown > GROWTH_LIMIT:
        phase.problem(f"a session grew by {report.grown} bytes")
    phase.count("bytes that a session grew by", report.grown or 0)
    phase.say(f"a session grew by at most {report.grown} bytes")
    if phase.close().counts[Kind.UNFILLED]:
        phase.problem("unfilled records, and nobody was killed")


def canary(*arguments: Any) -> None:
    """Many read-modify-writes under cancels and terminates; and the control without a key."""
    phase = Phase("canary", *arguments)
    crew = crew_of(phase.server, Plan(phase.seed, transactions=200), canaries=CANARIES)
    while int(phase.server.value("SELECT sum(n) FROM committed")) < phase.sizes.canary:
        disturb(phase, ("canary",), 1)
        time.sleep(10 * PAUSE)
    phase.finish(crew)
    phase.close(met=("canary transactions",))
    control(*arguments)


def control(*arguments: Any) -> None:
    phase = Phase("control", *arguments)
    crew = crew_of(phase.server, Plan(phase.seed, canary_ids=4, locked=False), canaries=CANARIES)
    while int(phase.server.value("SELECT sum(n) FROM committed")) < phase.sizes.control:
        time.sleep(PAUSE)
    phase.finish(crew)
    counted, committed = phase.server.rows(
        "SELECT (SELECT sum(n)::bigint FROM canary), (SELECT sum(n)::bigint FROM committed)")[0]
    phase.count("control transactions", committed)
    phase.count("control updates lost", committed - counted)
    phase.say(f"without the key {committed - counted} of {committed} updates are lost")
    if counted >= committed:
        phase.problem("the control without a key lost no update: the canary proves nothing")
    phase.server.remove()


def disturb(phase: Phase, whom: tuple[str, ...], most: int) -> int:
    """Cancels or, one of twenty, terminates a few sessions; says how many signals were sent."""
    connection = phase.server.connect("driver")
    cursor = connection.cursor()
    cursor.execute("SELECT pid FROM pg_stat_activity WHERE application_name = ANY(%s) ORDER BY 1",
                   (list(whom),))
    pids = [row[0] for row in cursor.fetchall()]
    sent = 0
    for _ in range(most):
        how = "terminate" if phase.random.random() < 0.05 else "cancel"
        if pids:
            cursor.execute(f"SELECT pg_{how}_backend(%s)", (phase.random.choice(pids),))
            sent += 1
    connection.close()
    return sent


def storm(*arguments: Any) -> None:
    """Cancels, terminates and timeouts."""
    phase = Phase("storm", *arguments)
    crew = crew_of(phase.server, Plan(phase.seed, keys=8, longest_wait=8),
                   locks=8, leases=2, canaries=CANARIES)
    sent = 0
    while phase.history.errors() < phase.sizes.disturbances or sent < phase.sizes.disturbances // 4:
        sent += disturb(phase, ("locks", "leases", "canary"), 50)
    phase.finish(crew)
    phase.count("cancels and terminates sent", sent)
    phase.close()
    met = disturbances(phase.findings.figures)
    if met < phase.sizes.disturbances:
        phase.problem(f"only {met} cancels, terminates and timeouts")


def disturbances(figures: Counter[str]) -> int:
    """Cancels, terminates, and timeouts after a wait, as the sessions met them."""
    return sum(figures[name] for name in (
        "caught 55P03", "caught 57014", "calls ended by 57014", "calls ended by 57P01"))
