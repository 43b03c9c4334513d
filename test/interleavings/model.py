"""The lock functions as a model without a database: who holds what, who waits, who is next.

It follows what README.md promises and PostgreSQL's documentation of its lock queue: first come
first served; a request is granted if it conflicts neither with what others hold nor with what
those ahead of it wait for; a session does not conflict with itself. Nothing here was learned
from what the extension answers.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Iterator, NamedTuple, Optional

MODES = ("IS", "IX", "S", "SIX", "X")  # the weakest first
CONFLICTS = {
    "IS": frozenset({"X"}),
    "IX": frozenset({"S", "SIX", "X"}),
    "S": frozenset({"IX", "SIX", "X"}),
    "SIX": frozenset({"IX", "S", "SIX", "X"}),
    "X": frozenset(MODES),
}
BELOW = {"IS": "IS", "IX": "IX", "S": "IS", "SIX": "IX", "X": "IX"}  # of a path's ancestors

TRANSACTION, SESSION = "transaction", "session"

# Limits of waits, in milliseconds: none at all, one that always ends the wait, one that never does.
NO_WAIT, BRIEF, LONG = 0, 10, 100_000

DEADLOCK = "deadlock detected"
CANCEL = "canceling statement due to user request"


class Undecided(Exception):
    """Chance would decide what comes next, or the tester could not show it."""


class Request(NamedTuple):
    key: str
    mode: str

    def conflicts(self, mode: str) -> bool:
        return mode in CONFLICTS[self.mode]


@dataclass
class Hold:
    """Of one key, in one mode, by one session."""

    count: int = 0  # in session scope
    level: Optional[int] = None  # in transaction scope: how many savepoints were set before it


@dataclass
class Session:
    name: str
    holds: dict[Request, Hold] = field(default_factory=dict)
    in_block: bool = False
    savepoints: int = 0
    aborted: bool = False
    call: Optional[Call] = None  # that waits

    def modes(self, key: str) -> list[str]:
        return [request.mode for request in self.holds if request.key == key]


@dataclass
class Call:
    """A call of a lock function, until it returns."""

    session: Session
    requests: list[Request]
    scope: str
    limit: int
    raises: bool  # an error after a timeout, not false
    looks: bool = False  # for deadlocks, soon after it began to wait; others do much later
    # With the level at which it was held before, in transaction scope.
    taken: list[tuple[Request, Optional[int]]] = field(default_factory=list)
    waited: bool = False
    answer: Optional[bool] = None
    error: str = ""

    @property
    def complete(self) -> bool:
        return len(self.taken) == len(self.requests)

    @property
    def request(self) -> Request:
        """The next one, of an incomplete call."""
        return self.requests[len(self.taken)]

    @property
    def returned(self) -> bool:
        return self.answer is not None or bool(self.error)


class Model:
    """The sessions and the queues. settle() completes each step."""

    def __init__(self, names: list[str], tag_order: str, overtakes: bool) -> None:
        self.sessions = {name: Session(name) for name in names}
        self.queues: dict[str, list[Call]] = {}
        self.tag_order = tag_order  # of single keys, in every cluster another one
        # May a request that does not wait pass those who wait for its own session?
        # PostgreSQL says yes since version 17; one that waits always may.
        self.overtakes = overtakes
        self.woken: list[Call] = []
        self.counts: dict[str, int] = {}

    # --- what happens in a step -----------------------------------------------

    def start(self, call: Call) -> None:
        """Ends with the call returned, or waiting."""
        self._go_on(call)
        if not call.session.in_block and call.session.call is None:
            self._release_since(call.session, 0, "end of the statement")

    @contextmanager
    def statement(self, session: Session) -> Iterator[None]:
        """One that does more than one call, and waits for nobody."""
        alone, session.in_block = not session.in_block, True
        yield
        if alone:
            self.end_block(session, "end of the statement")

    def release_held(self, session: Session, request: Request, how: str) -> None:
        """One hold in session scope."""
        hold = session.holds[request]
        hold.count -= 1
        self._count(f"released by {how}")
        self._drop_unheld(session, request)

    def end_block(self, session: Session, how: str) -> None:
        self._release_since(session, 0, how)
        session.in_block = session.aborted = False
        session.savepoints = 0

    def roll_back_to(self, session: Session, savepoint: int) -> None:
        self._release_since(session, savepoint, "rollback to a savepoint")
        session.savepoints = savepoint
        session.aborted = False

    def release_savepoint(self, session: Session, savepoint: int) -> None:
        session.savepoints = savepoint - 1
        for hold in session.holds.values():
            if hold.level is not None:
                hold.level = min(hold.level, session.savepoints)

    def abort(self, session: Session) -> None:
        """After an error: the innermost (sub)transaction has failed."""
        if session.in_block:
            session.aborted = True
            self._release_since(session, session.savepoints, "error")

    def cancel(self, session: Session) -> None:
        """Ends the wait of a session that waits."""
        assert session.call is not None
        call, key = session.call, session.call.request.key
        self._count("cancelled")
        self._leave(call)
        self._fail(call, CANCEL)
        self._wake(key)

    def settle(self) -> None:
        """Calls that were granted a lock return, or ask for their next one."""
        woken, self.woken = self.woken, []
        going_on = [call for call in woken if not call.complete]
        if len(going_on) > 1:
            raise Undecided("two calls go on at the same time")
        for call in going_on:
            self._go_on(call)
            if call.error:
                raise Undecided("an error at a time of its own")
        for call in woken:
            if call.complete:
                self._return(call)
        if self.woken:
            raise Undecided("one thing leads to another")

    # --- the queue ------------------------------------------------------------

    def _go_on(self, call: Call) -> None:
        while not call.complete:
            request = call.request
            place = self._place(call, request)
            if place is None:
                self._grant(call, request)
                continue
            if call.limit == NO_WAIT:
                self._count("refused at once")
                self._time_out(call, request)
                return
            if place < 0:
                self._count("deadlocks seen at once")
                self._fail(call, DEADLOCK)
                return
            self._wait(call, request, place)
            return
        self._return(call)

    def _place(self, call: Call, request: Request) -> Optional[int]:
        """Where in the queue it has to wait: None if it has not, negative if that is a deadlock."""
        session = call.session
        queue = self.queues.get(request.key, [])
        held = session.modes(request.key)
        if request.mode in held:
            return None
        free = self._free(session, request)
        if free and not any(request.conflicts(other.request.mode) for other in queue):
            return None
        if call.limit == NO_WAIT and not self.overtakes:
            return len(queue)
        # Who waits for this session has to let it pass.
        for place, other in enumerate(queue):
            if not any(other.request.conflicts(mode) for mode in held):
                continue
            if any(request.conflicts(mode) for mode in other.session.modes(request.key)):
                return -1
            ahead = queue[:place]
            if free and not any(request.conflicts(one.request.mode) for one in ahead):
                self._count("passed the queue")
                return None
            return place
        return len(queue)

    def _free(self, session: Session, request: Request) -> bool:
        """Does nobody else hold the key in a mode that conflicts?"""
        return not any(request.conflicts(mode) for other in self.sessions.values()
                       if other is not session for mode in other.modes(request.key))

    def _wait(self, call: Call, request: Request, place: int) -> None:
        queue = self.queues.setdefault(request.key, [])
        queue.insert(place, call)
        call.session.call = call
        call.waited = True
        if call.limit == BRIEF:
            self._leave(call)
            self._time_out(call, request)
            self._wake(request.key)
        elif not call.session.in_block and call.scope == TRANSACTION:
            raise Undecided("the lock would be gone as soon as it is granted")
        elif self._deadlocked(call.session):
            if not call.looks:
                raise Undecided("the deadlock would last")
            self._leave(call)
            self._count("deadlocks")
            self._fail(call, DEADLOCK)
            self._wake(request.key)

    def _wake(self, key: str) -> None:
        ahead: list[str] = []
        for call in list(self.queues.get(key, [])):
            request = call.request
            if self._free(call.session, request) and not any(map(request.conflicts, ahead)):
                self._leave(call)
                self._count("waited and granted")
                self._grant(call, request)
                self.woken.append(call)
            else:
                ahead.append(request.mode)

    def _leave(self, call: Call) -> None:
        self.queues[call.request.key].remove(call)
        call.session.call = None

    def _deadlocked(self, start: Session) -> bool:
        """Do sessions wait for each other in a ring? Decided only if holders alone make it up."""
        seen: set[str] = set()
        to_see, ring, behind = [start], False, False
        while to_see:
            for other, holds in self._waits_for(to_see.pop()):
                behind = behind or not holds
                ring = ring or other is start
                if other.name not in seen:
                    seen.add(other.name)
                    to_see.append(other)
        if ring and behind:
            raise Undecided("the server may turn a queue round")
        return ring

    def _waits_for(self, session: Session) -> Iterator[tuple[Session, bool]]:
        """For whom, and whether that one holds the lock or only waits ahead."""
        if session.call is None:
            return
        request = session.call.request
        for other in self.sessions.values():
            if other is not session and any(map(request.conflicts, other.modes(request.key))):
                yield other, True
        for call in self.queues[request.key]:
            if call is session.call:
                return
            if request.conflicts(call.request.mode):
                yield call.session, False

    # --- holds ----------------------------------------------------------------

    def _grant(self, call: Call, request: Request) -> None:
        session = call.session
        if not call.waited:
            self._count("granted at once")
        hold = session.holds.setdefault(request, Hold())
        call.taken.append((request, hold.level))
        if call.scope == SESSION:
            hold.count += 1
        elif hold.level is None:
            hold.level = session.savepoints

    def _return(self, call: Call) -> None:
        call.session.call = None
        call.answer = True

    def _time_out(self, call: Call, request: Request) -> None:
        if call.waited:
            self._count("timed out")
        if call.raises:
            self._fail(call, f'could not lock key "{request.key}" within {call.limit} ms')
            return
        call.answer = False
        self._give_back(call)

    def _fail(self, call: Call, error: str) -> None:
        call.error = error
        if call.scope == SESSION:
            self._give_back(call)
        self.abort(call.session)

    def _give_back(self, call: Call) -> None:
        """What the call took so far."""
        for request, level in reversed(call.taken):
            hold = call.session.holds[request]
            if call.scope == SESSION:
                hold.count -= 1
            else:
                hold.level = level
            self._drop_unheld(call.session, request)

    def _release_since(self, session: Session, level: int, how: str) -> None:
        """What was taken in transaction scope when there were so many savepoints, or more."""
        for request, hold in list(session.holds.items()):
            if hold.level is not None and hold.level >= level:
                hold.level = None
                self._count(f"released by {how}")
                self._drop_unheld(session, request)

    def _drop_unheld(self, session: Session, request: Request) -> None:
        hold = session.holds[request]
        if hold.count == 0 and hold.level is None:
            del session.holds[request]
            self._wake(request.key)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
