"""Lets each allocation of each statement fail once, and looks at what is left behind.

An allocation that fails has to end in error 53200, or to be one that the statement can do without.
In either case the session lives on, holds nothing, and can do the same statement again.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
from dataclasses import dataclass, field

import psycopg2

from out_of_memory_cases import CASES, SETUP, Case
from out_of_memory_session import Control, Helpers, Outcome, Session

OUT_OF_MEMORY = "53200"
KEYS = ("oom:a", "oom:b", "oom:c", "oom:busy", "oom:permit", "oom:run", "oom:a:b", "oom:row:1")
ALL_KEYS = "ARRAY['" + "', '".join(KEYS) + "']"
HELD_KEYS = f"SELECT key FROM unnest({ALL_KEYS}) AS key WHERE cs_held_mode(key) IS NOT NULL"


class Failure(Exception):
    """What must not be."""


@dataclass(frozen=True)
class State:
    """In which state of a session a statement is run, and which allocations fail."""

    name: str
    first: bool = False  # nothing was done in the session before
    savepoint: bool = False  # in a subtransaction, which alone is rolled back
    lasting: bool = False  # after the first failure nothing is left for the extension
    every: bool = False  # also allocations that the extension is not the reason for


STATES = [State("one failure"), State("lasting failure", lasting=True),
          State("in a subtransaction", savepoint=True), State("first statement", first=True),
          State("all of the server's", every=True)]


class Trial:
    """One statement in one state, again and again."""

    def __init__(self, case: Case, state: State, control: Control, helpers: Helpers) -> None:
        self.case, self.state, self.control, self.helpers = case, state, control, helpers
        self.attempts = 0
        self.session = Session()
        self.ended = False  # the server has ended a session
        self.points = self.in_library = 0

    def run(self, single: int) -> None:
        """All points, or a single one."""
        self.helpers.start(self.case.other)
        self.before = self.helpers.ask(self.case.invariant)
        try:
            if not self.state.first:
                self.attempt()
            self.control.record()
            self.expected = self.attempt()
            if self.expected.sqlstate != self.case.fails:
                raise Failure(f"with enough memory: {self.expected}")
            numbers = range(1, 10**6) if self.state.every else self.control.ours
            for number in [single] if single else numbers:
                if not self.let_fail(number):
                    break
        finally:
            self.session.close()
            self.helpers.stop()
        taken = self.helpers.ask(f"SELECT cs_try_lock_any({ALL_KEYS}, 100)")
        if len(taken[0][0]) != len(KEYS):
            raise Failure(f"nobody holds a lock, and only these can be locked: {taken}")

    def let_fail(self, number: int) -> bool:
        """False if there was no allocation of that number."""
        if self.state.first:
            self.session.close()
            self.session = Session()
        self.control.arm(number, self.state.lasting)
        try:
            outcome = self.attempt()
        except Failure as failure:
            raise Failure(f"allocation {number} failed: {failure}") from failure
        if not self.control.failed:
            return False
        self.points += 1
        self.in_library += self.control.in_library
        try:
            if not outcome.lost:
                self.judge(outcome)
            self.judge(self.attempt(), healthy=True)
        except Failure as failure:
            raise Failure(f"allocation {number} failed, {outcome}: {failure}") from failure
        return True

    def judge(self, outcome: Outcome, healthy: bool = False) -> None:
        """Is that what may come out?"""
        if outcome.sqlstate in (OUT_OF_MEMORY, self.case.also or OUT_OF_MEMORY) and not healthy:
            return
        same = outcome.sqlstate == self.expected.sqlstate and (
            self.case.varies or outcome.rows == self.expected.rows)
        if not same:
            raise Failure(f"expected {self.expected}, " + ("then: " if healthy else "") +
                          f"{outcome}")

    def attempt(self) -> Outcome:
        """The statement once, with what comes before and after."""
        self.attempts += 1
        case, control = self.case, self.control
        steps = [*(["BEGIN"] if case.block else []), *case.before,
                 *(["SAVEPOINT outer_level"] if self.state.savepoint else [])]
        for step in steps:
            self.perform(step.replace("#", str(self.attempts)))
        statement = case.statement.replace("#", str(self.attempts))
        with self.helpers.meeting(case.meets, self.session.pid):
            with control.watching(self.session.pid):
                outcome = self.session.run(statement)
            if outcome.lost:
                self.explain_loss(outcome)
                return outcome
            try:
                self.roll_back()
                self.clean_up(outcome)
            except Failure as failure:
                raise Failure(f"{outcome}\n  {failure}") from failure
        return outcome

    def roll_back(self) -> None:
        """Ends the transaction of the attempt, or first of all its subtransaction."""
        if self.state.savepoint:
            self.perform("ROLLBACK TO outer_level")
            if not self.case.before and not self.case.session_locks:
                self.look("in the transaction")
        if self.case.block:
            self.session.run("ROLLBACK")

    def explain_loss(self, outcome: Outcome) -> None:
        """When a library defines a setting that is a string, PostgreSQL ends the session, FATAL, if
        there is no memory for its first value. Ours has one. A crash would end all sessions."""
        loads = self.state.first and not self.helpers.preloaded
        if self.ended or not loads or self.helpers.other.run("SELECT 1").lost:
            raise Failure(f"the session is gone: {outcome}")
        self.ended = True
        self.session = Session()

    def perform(self, step: str) -> None:
        """A step that has to succeed."""
        session = self.helpers.other if step.startswith("@") else self.session
        outcome = session.run(step.lstrip("@"))
        if outcome.sqlstate is not None:
            raise Failure(f"{step}: {outcome}")

    def clean_up(self, outcome: Outcome) -> None:
        """Ends what the attempt began, and looks whether anything is left."""
        case = self.case
        kept = [step for step in case.before if "session" in step]
        failed = outcome.sqlstate is not None
        returned = self.control.failed and not self.control.in_function  # before the error
        if failed and not kept and not (case.session_locks and returned):
            self.look("after the error")
        if case.session_locks:
            self.perform("SELECT cs_unlock_all()")
        if failed and not returned:  # after that it may be the answer alone that failed
            self.look_at_data()
        for step in case.after:
            self.session.run(step)
        self.look("at the end")
        self.look_at_data()

    def look(self, when: str) -> None:
        """Nothing is held: neither in the lock manager nor in our notes, nor a lock of the server
        itself."""
        locks = self.helpers.locks_of(self.session.pid)
        if locks:
            raise Failure(f"{when} there are locks: {locks}")
        outcome, holds_off = self.control.holds_off(self.session, HELD_KEYS)
        if outcome.sqlstate is not None or outcome.rows:
            raise Failure(f"{when} keys are held: {outcome}")
        if holds_off:
            raise Failure(f"{when} interrupts are held off, as a lightweight lock does")

    def look_at_data(self) -> None:
        """What must not change has not changed."""
        now = self.helpers.ask(self.case.invariant)
        if now != self.before:
            raise Failure(f"{self.case.invariant} was {self.before} and is {now}")


def belongs(case: Case, state: State, preloaded: bool, quick: bool) -> bool:
    """Is the statement run in that state?"""
    if case.preloaded and not preloaded or quick and case.long:
        return False
    if state.savepoint:
        return case.block and not case.ends_block and not (quick and not preloaded)
    if state.first:
        cold = all("cs_" not in step or step.startswith("@") for step in case.before)
        return cold and not case.meets and (case.quick and not preloaded or not quick)
    if state.every:  # the graphs are large queries, and otherwise nothing but cs_locks
        return not case.of.startswith("cs_wait_graph") and (case.ends_block or not quick)
    return not (state.lasting and quick and not preloaded)


def check_complete(helpers: Helpers) -> None:
    """Every function that SQL can call has a statement."""
    functions = helpers.ask(
        "SELECT p.proname::text FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid "
        "AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e' JOIN pg_extension AS e "
        "ON e.oid = d.refobjid WHERE e.extname = 'concurrency_safe'")
    missing = {name for (name,) in functions} - {case.of for case in CASES}
    if missing:
        raise Failure(f"no statement for {', '.join(sorted(missing))}")


@dataclass
class Totals:
    """What was done."""

    points: collections.Counter[str] = field(default_factory=collections.Counter)
    ours: int = 0
    statements: int = 0
    failures: int = 0


def run_state(state: State, cases: list[Case], control: Control, helpers: Helpers,
              single: int, totals: Totals) -> None:
    """All statements in one state; reports the failures."""
    start, points, failures = time.monotonic(), sum(totals.points.values()), totals.failures
    for case in cases:
        trial = Trial(case, state, control, helpers)
        try:
            trial.run(single)
        except (Failure, psycopg2.OperationalError) as failure:  # the latter after a crash
            totals.failures += 1
            print(f"FAILED {state.name}: {case.statement}\n  {failure}", flush=True)
            helpers.connect()
        totals.points[case.of] += trial.points
        totals.ours += trial.in_library
        totals.statements += 1
    print(f"{state.name}: {len(cases)} statements, {sum(totals.points.values()) - points} points, "
          f"{totals.failures - failures} failures, {time.monotonic() - start:.1f} s", flush=True)


def main() -> int:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--control", required=True, help="the file that the server has mapped")
    parser.add_argument("--totals", required=True, help="the file to write the counts to")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="statements that have this in their text")
    parser.add_argument("--state", default="", help="states that have this in their name")
    parser.add_argument("--number", type=int, default=0, help="only the allocation of this number; "
                        "the log of the server shows its stack")
    options = parser.parse_args()
    control, helpers, totals = Control(options.control, options.number != 0), Helpers(), Totals()
    helpers.prepare(SETUP)
    check_complete(helpers)
    for state in STATES:
        cases = [case for case in CASES
                 if belongs(case, state, helpers.preloaded, options.quick)
                 and options.only in case.statement and options.state in state.name]
        if cases:
            run_state(state, cases, control, helpers, options.number, totals)
    with open(options.totals, "a", encoding="utf-8") as file:
        for name, count in totals.points.items():
            print(count, f"points, {name}", file=file)
        print(totals.ours, "points with code of the extension on the stack", file=file)
        print(totals.statements, "statements", file=file)
        print(totals.failures, "failures", file=file)
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
