"""Client processes of a history. What each one asks for, and in which order, is decided by the seed
and its number; how far it gets, and what it meets, by the machine."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import psycopg2

from server import Server

# Errors that the workload may meet. Each is counted; any other one is a failure.
LEGITIMATE = {"55P03", "40P01", "57014", "57P01", "40001", "53400"}
TERMINATED = "terminating connection due to administrator command"
# A server that crashes or stops says so, or nothing at all.
DISCONNECTED = {None, "57P01", "57P02", "57P03", "08006"}

ISOLATION = ("read committed",) * 6 + ("repeatable read", "serializable")


@dataclass
class Plan:
    """How the sessions of a phase work."""

    seed: str
    keys: int = 12
    longest_wait: int = 20  # milliseconds
    transactions: int = 40  # of one call
    ttl: int = 60  # milliseconds that the longest lease lasts
    canary_ids: int = 64
    locked: bool = True  # False: the canary's control
    reconnects: bool = True


@dataclass
class Report:
    """What a worker met."""

    calls: int = 0
    errors: Counter[str] = field(default_factory=Counter)  # by SQLSTATE
    lost: int = 0  # connections
    failures: list[str] = field(default_factory=list)
    grown: Optional[int] = None  # bytes of the session's memory since its tenth call


class Worker:
    """One client: connects, works, and connects again until it is told to stop."""

    name = "worker"

    def __init__(self, number: int, server: Server, plan: Plan) -> None:
        self.number = number
        self.server = server
        self.plan = plan
        # How often it has to connect again must not change what it asks for.
        self.random = random.Random(f"{plan.seed}:{self.name}:{number}")
        self.isolation = random.Random(f"{plan.seed}:{self.name}:{number}:isolation")
        self.report = Report()
        self.connection: Any = None
        self.cursor: Any = None

    def seed(self) -> int:
        return self.random.getrandbits(62)

    def connect(self) -> None:
        isolation = self.isolation.choice(ISOLATION)
        self.connection = self.server.connect(
            self.name, f"-c default_transaction_isolation={isolation.replace(' ', chr(92) + ' ')}")
        self.cursor = self.connection.cursor()

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None

    def run(self, sql: str, *args: Any) -> None:
        self.cursor.execute(sql, args or None)

    def work(self) -> None:
        """One call or a few."""
        raise NotImplementedError

    def step(self) -> None:
        """Works once; survives what may happen."""
        try:
            if self.connection is None:
                self.connect()
            self.work()
            self.report.calls += 1
        except psycopg2.Error as error:
            self._note(error)

    def _note(self, error: psycopg2.Error) -> None:
        code = error.pgcode
        if code is None and TERMINATED in str(error):
            code = "57P01"  # which the client library forgets with its connection
        if code in LEGITIMATE:
            self.report.errors[code] += 1
        elif code not in DISCONNECTED:
            self.report.failures.append(f"{self.name} {self.number}: {code} {error}")
        if self.connection is None or code in DISCONNECTED or self.connection.closed:
            self.report.lost += 1
            self.disconnect()
            time.sleep(0.01)
        else:
            self.recover()

    def recover(self) -> None:
        """After an error in a session that goes on."""
        try:
            self.run("ROLLBACK")
        except psycopg2.Error as error:
            self._note(error)

    def memory(self) -> Optional[int]:
        """Bytes of the session's contexts."""
        try:
            self.run("SELECT sum(total_bytes) FROM pg_backend_memory_contexts")
            return int(self.cursor.fetchone()[0])
        except psycopg2.Error as error:
            self._note(error)
            return None


class LockWorker(Worker):
    """Takes and releases keys in every way there is."""

    name = "locks"

    def __init__(self, number: int, server: Server, plan: Plan, before: int) -> None:
        super().__init__(number, server, plan)
        self.before = before  # the worker whose prepared transactions this one finishes
        self.prepared = 0

    def work(self) -> None:
        action, seed = self.random.random(), self.seed()
        if action < 0.90:
            self.run("CALL history_work(%s, %s, %s, %s)", seed, self.plan.transactions,
                     self.plan.keys, self.plan.longest_wait)
        elif action < 0.98:
            self.finish_prepared(seed)
            self.prepare(seed)
        elif action < 0.99 or not self.plan.reconnects:
            self.run("SELECT history_release_all()")
            self.run("DISCARD ALL")
            self.run("SELECT history_released_all(true, -1)")
        else:
            self.disconnect()

    def _prepared_by(self, worker: int) -> list[int]:
        self.run("SELECT gid::bigint FROM pg_prepared_xacts WHERE gid::bigint / 1000000 = %s",
                 worker)
        return [row[0] for row in self.cursor.fetchall()]

    def finish_prepared(self, seed: int) -> None:
        """What the worker before this one left: nobody else finishes it."""
        for name in self._prepared_by(self.before):
            self.run("SELECT history_finish_prepared(%s)", name)
            while not self._finished(name, "COMMIT" if seed % 2 else "ROLLBACK"):
                pass

    def _finished(self, name: int, command: str) -> bool:
        """False if the worker before, though one sees its transaction, is still preparing it."""
        try:
            self.run(f"{command} PREPARED '{name}'")
            return True
        except psycopg2.errors.ObjectNotInPrerequisiteState as error:
            if "is busy" not in str(error):
                raise
            return False

    def prepare(self, seed: int) -> None:
        """Leaves a transaction to the next worker, if that one has finished the last."""
        if self._prepared_by(self.number):
            return
        self.prepared += 1
        name = self.number * 1000000 + self.prepared
        self.run("SELECT history_released_all(history_release_all(), cs_unlock_all())")
        self.run("BEGIN")
        self.run("SELECT history_work_to_prepare(%s, %s)", seed, self.plan.keys)
        self.run("SELECT history_prepare(%s)", name)
        self.run(f"PREPARE TRANSACTION '{name}'")


class LeaseWorker(Worker):
    """Takes leases."""

    name = "leases"

    def work(self) -> None:
        self.run("CALL history_leases(%s, %s, %s)", self.seed(), self.plan.transactions,
                 self.plan.ttl)


class CanaryWorker(Worker):
    """Counts in rows under keys."""

    name = "canary"

    def work(self) -> None:
        self.run("CALL canary_work(%s, %s, %s, %s, %s)", self.seed(), self.number,
                 10 * self.plan.transactions, self.plan.canary_ids, self.plan.locked)

    def recover(self) -> None:
        """It may have a key in session scope: the end of the session gives it back."""
        self.disconnect()


class Bystander(Worker):
    """Connected, and has nothing to do with keys."""

    name = "bystander"

    def work(self) -> None:
        self.seed()
        self.run("SELECT pg_sleep(0.05)")


def _serve(worker: Worker, stop: Any, pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    before = None
    while not stop.is_set():
        worker.step()
        if worker.report.calls == 10 and worker.connection is not None and before is None:
            before = (worker.connection, worker.memory())
    if before is not None and worker.connection is before[0]:
        after = worker.memory()
        if after is not None and before[1] is not None:
            worker.report.grown = after - before[1]
    worker.disconnect()
    pipe.send(worker.report)


class Crew:
    """Workers that work at the same time, each in a process of its own."""

    def __init__(self, workers: list[Worker]) -> None:
        context = multiprocessing.get_context("fork")
        self.stop = context.Event()
        self.pipes: list[Any] = []
        self.processes: list[Any] = []
        for worker in workers:
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_serve, args=(worker, self.stop, sender), daemon=True)
            process.start()
            sender.close()
            self.pipes.append(receiver)
            self.processes.append(process)

    def finish(self) -> Report:
        """Lets all come to an end, and sums up."""
        self.stop.set()
        total = Report()
        grown = []
        for pipe, process in zip(self.pipes, self.processes):
            report: Report = pipe.recv()
            process.join()
            total.calls += report.calls
            total.errors += report.errors
            total.lost += report.lost
            total.failures += report.failures
            if report.grown is not None:
                grown.append(report.grown)
        total.grown = max(grown, default=None)
        return total


def crew_of(server: Server, plan: Plan, locks: int = 0, leases: int = 0, canaries: int = 0,
            bystanders: int = 0, first: int = 1) -> Crew:
    """Numbers begin with `first`, so that no two sets of workers share one."""
    last = first + locks - 1
    workers: list[Worker] = [
        LockWorker(number, server, plan, number - 1 if number > first else last)
        for number in range(first, last + 1)
    ]
    makers: list[tuple[int, Callable[[int, Server, Plan], Worker]]] = [
        (leases, LeaseWorker), (canaries, CanaryWorker), (bystanders, Bystander)]
    for count, make in makers:
        workers += [make(first + i, server, plan) for i in range(count)]
    return Crew(workers)
