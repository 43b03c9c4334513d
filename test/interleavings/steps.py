"""The steps of the sessions: as SQL, and what each does to the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from model import (BELOW, BRIEF, LONG, MODES, NO_WAIT, SESSION, TRANSACTION, Call, Model, Request,
                   Session, Undecided)

LONG_NAMES = {"IS": "intent shared", "IX": "intent exclusive", "S": "shared",
              "SIX": "shared intent exclusive", "X": "exclusive"}
SERVER_NAMES = {"IS": "RowShareLock", "IX": "RowExclusiveLock", "S": "ShareLock",
                "SIX": "ShareRowExclusiveLock", "X": "ExclusiveLock"}
KEYS = ("a", "b", "c")
PATHS = ("p", "p:1", "p:2")
OBSERVER = "o"

# The first "test" of a run makes what the others look at: the lock table by itself, and what the
# extension says of the session that asks.
HELPERS = """\
CREATE VIEW held AS
SELECT split_part(application_name, '/', 3) COLLATE "C" AS session, key COLLATE "C" AS key,
       mode COLLATE "C" AS mode, granted
FROM unnest(string_to_array('a b c p p:1 p:2', ' ')) AS key CROSS JOIN cs_key_tag(key)
     JOIN pg_locks USING (classid, objid, objsubid) JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory';
CREATE VIEW mine AS
SELECT h.key COLLATE "C" AS key, h.mode COLLATE "C" AS mode, h.scope, cs_held_mode(k) AS held_mode
FROM unnest(string_to_array('a b c p p:1 p:2', ' ')) AS k, cs_holders(k) AS h
WHERE pid = pg_backend_pid();"""


@dataclass
class Outcome:
    """What the tester gets to see of a step."""

    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    error: str = ""
    warning: str = ""
    call: Optional[Call] = None  # to be asked when it has returned
    by_itself: bool = False  # it ends after a wait that no other session ends
    cancelled: str = ""  # the session whose step it ended


@dataclass(frozen=True)
class Step:
    session: str

    @property
    def sql(self) -> str:
        raise NotImplementedError

    @property
    def name(self) -> str:
        """Of letters and digits, the same only for the same step."""
        raise NotImplementedError

    def run(self, model: Model) -> Outcome:
        raise NotImplementedError


@dataclass(frozen=True)
class Command(Step):
    """What begins and ends transactions."""

    verb: str
    savepoint: int = 0

    @property
    def sql(self) -> str:
        return {"begin": "BEGIN", "commit": "COMMIT", "rollback": "ROLLBACK",
                "savepoint": f"SAVEPOINT p{self.savepoint}",
                "back": f"ROLLBACK TO p{self.savepoint}",
                "release": f"RELEASE p{self.savepoint}", "fail": "SELECT 1/0"}[self.verb]

    @property
    def name(self) -> str:
        return f"{self.session}{self.verb}{self.savepoint or ''}"

    def run(self, model: Model) -> Outcome:
        session = model.sessions[self.session]
        if self.verb == "begin":
            session.in_block = True
        elif self.verb == "commit":
            model.end_block(session, "commit")
        elif self.verb == "rollback":
            model.end_block(session, "rollback")
        elif self.verb == "savepoint":
            session.savepoints = self.savepoint
        elif self.verb == "back":
            model.roll_back_to(session, self.savepoint)
        elif self.verb == "release":
            model.release_savepoint(session, self.savepoint)
        else:
            model.abort(session)
            return Outcome(error="division by zero")
        return Outcome()


@dataclass(frozen=True)
class Lock(Step):
    """cs_lock, cs_try_lock and their forms for several keys and for paths."""

    function: str
    keys: tuple[str, ...]
    mode: str = "X"
    limit: int = LONG
    scope: str = TRANSACTION
    looks: bool = False

    @property
    def tries(self) -> bool:
        return self.function.startswith("cs_try")

    @property
    def sql(self) -> str:
        several = self.function.endswith("_all")
        keys = array(self.keys) if several else f"'{self.keys[0]}'"
        # Both spellings of a mode, and all ways to say how long.
        mode = LONG_NAMES[self.mode] if self.tries else self.mode
        limit = {NO_WAIT: "0", BRIEF: "10", LONG: "100000" if self.tries else "NULL"}[self.limit]
        scope = ", 'session'" if self.scope == SESSION else ""
        soon = "SET LOCAL deadlock_timeout = '10ms'; " if self.looks else ""
        return f"{soon}SELECT {self.function}({keys}, {limit}, '{mode}'{scope})"

    @property
    def name(self) -> str:
        keys = "".join(self.keys).replace(":", "")
        limit = {NO_WAIT: "now", BRIEF: "brief", LONG: "long"}[self.limit]
        looks = "looks" if self.looks else ""
        return (f"{self.session}{self.function[3:].replace('_', '')}_{keys}_{self.mode}"
                f"_{limit}{looks}_{self.scope[0]}")

    def requests(self, model: Model) -> list[Request]:
        if self.function.endswith("_all"):
            keys = sorted(set(self.keys), key=model.tag_order.index)
            return [Request(key, self.mode) for key in keys]
        if self.function.endswith("_path"):
            return path_requests(self.keys[0], self.mode)
        return [Request(self.keys[0], self.mode)]

    def run(self, model: Model) -> Outcome:
        call = Call(model.sessions[self.session], self.requests(model), self.scope, self.limit,
                    raises=not self.tries, looks=self.looks)
        model.start(call)
        return Outcome((self.function,), call=call, by_itself=call.waited and call.returned)

    def row(self, call: Call) -> tuple[str, ...]:
        return ("f" if not call.answer else "t" if self.tries else "",)


def array(keys: tuple[str, ...]) -> str:
    """Without braces: the first one that closes would be the end of the step."""
    return "ARRAY[" + ", ".join(f"'{key}'" for key in keys) + "]"


def path_requests(path: str, mode: str) -> list[Request]:
    """From the top down, intent locks above."""
    segments = path.split(":")
    ancestors = [":".join(segments[:count]) for count in range(1, len(segments))]
    return [Request(key, BELOW[mode]) for key in ancestors] + [Request(path, mode)]


@dataclass(frozen=True)
class LockAny(Step):
    keys: tuple[str, ...]
    most: int
    mode: str
    scope: str

    @property
    def sql(self) -> str:
        return (f"SELECT cs_try_lock_any({array(self.keys)}, {self.most}, "
                f"'{self.mode}', '{self.scope}')")

    @property
    def name(self) -> str:
        return f"{self.session}any{self.most}_{''.join(self.keys)}_{self.mode}_{self.scope[0]}"

    def run(self, model: Model) -> Outcome:
        got: list[str] = []
        session = model.sessions[self.session]
        with model.statement(session):
            for key in self.keys:
                request = Request(key, self.mode)
                call = Call(session, [request], self.scope, NO_WAIT, raises=False)
                if len(got) < self.most:
                    model.start(call)
                if call.answer:
                    got.append(key)
        return Outcome(("cs_try_lock_any",), [(f"{{{','.join(got)}}}",)])


@dataclass(frozen=True)
class Caught(Step):
    """A lock in a block with an exception handler, which undoes it, got or not."""

    function: str
    key: str
    mode: str
    limit: int  # not a long one
    scope: str

    @property
    def sql(self) -> str:
        return (f"DO $$ BEGIN PERFORM {self.function}('{self.key}', {self.limit}, '{self.mode}', "
                f"'{self.scope}'); RAISE division_by_zero; EXCEPTION WHEN lock_not_available "
                "OR deadlock_detected OR division_by_zero THEN NULL; END $$")

    @property
    def name(self) -> str:
        limit = "now" if self.limit == NO_WAIT else "brief"
        return (f"{self.session}caught{self.function[3:].replace('_', '')}_{self.key}_{self.mode}"
                f"_{limit}_{self.scope[0]}")

    def run(self, model: Model) -> Outcome:
        session = model.sessions[self.session]
        call = Call(session, [Request(self.key, self.mode)], self.scope, self.limit,
                    raises=self.function == "cs_lock")
        with model.statement(session):
            level = session.savepoints
            session.savepoints += 1
            model.start(call)
            model.roll_back_to(session, session.savepoints)
            session.savepoints = level
        return Outcome(by_itself=call.waited)


@dataclass(frozen=True)
class Unlock(Step):
    """One hold, that of a path, all of ours, or all that are PostgreSQL's, too."""

    function: str
    key: str = ""
    mode: str = "X"

    @property
    def sql(self) -> str:
        arguments = f"'{self.key}', '{LONG_NAMES[self.mode]}'" if self.key else ""
        return f"SELECT {self.function}({arguments})"

    @property
    def name(self) -> str:
        what = f"_{self.key.replace(':', '')}_{self.mode}" if self.key else ""
        return f"{self.session}{self.function[3:].replace('_', '')}{what}"

    def run(self, model: Model) -> Outcome:
        session = model.sessions[self.session]
        columns = (self.function,)
        if not self.key:
            held = release_all(model, session, self.function)
            return Outcome(columns, [(str(held) if self.function == "cs_unlock_all" else "",)])
        requests = (path_requests(self.key, self.mode) if self.function == "cs_unlock_path"
                    else [Request(self.key, self.mode)])
        for key, mode in requests:
            hold = session.holds.get(Request(key, mode))
            if hold is None or hold.count == 0:
                return Outcome(columns, [("f",)], warning=(
                    f'key "{key}" is not locked by this session in session scope in '
                    f"{LONG_NAMES[mode]} mode\n"
                    "DETAIL:  Locks in transaction scope end with their transaction."))
        for request in reversed(requests):
            model.release_held(session, request, self.function)
        return Outcome(columns, [("t",)])


def release_all(model: Model, session: Session, how: str) -> int:
    released = 0
    for request, hold in list(session.holds.items()):
        for _ in range(hold.count):
            model.release_held(session, request, how)
            released += 1
    return released


@dataclass(frozen=True)
class Cancel(Step):
    victim: str

    @property
    def sql(self) -> str:
        return ("SELECT pg_cancel_backend(pid) AS cancelled FROM pg_stat_activity "
                f"WHERE application_name LIKE 'isolation/%/{self.victim}'")

    @property
    def name(self) -> str:
        return f"{self.session}cancel{self.victim}"

    def run(self, model: Model) -> Outcome:
        victim = model.sessions[self.victim]
        if victim.call is None:
            raise Undecided("nothing to cancel")
        model.cancel(victim)
        return Outcome(("cancelled",), [("t",)], cancelled=self.victim)


@dataclass(frozen=True)
class Show(Step):
    """Who holds what, and who waits, by the server's lock table."""

    session: str = OBSERVER

    @property
    def sql(self) -> str:
        return "SELECT * FROM held ORDER BY session, key, mode, granted"

    @property
    def name(self) -> str:
        return f"{self.session}show"

    def run(self, model: Model) -> Outcome:
        rows = []
        for name, session in model.sessions.items():
            rows += [(name, key, SERVER_NAMES[mode], "t") for key, mode in session.holds]
            if session.call is not None:
                key, mode = session.call.request
                rows.append((name, key, SERVER_NAMES[mode], "f"))
        return Outcome(("session", "key", "mode", "granted"), sorted(rows))


@dataclass(frozen=True)
class Mine(Step):
    """What a session is told of its own holds: scope and strongest mode."""

    @property
    def sql(self) -> str:
        return "SELECT * FROM mine ORDER BY key, mode"

    @property
    def name(self) -> str:
        return f"{self.session}mine"

    def run(self, model: Model) -> Outcome:
        session = model.sessions[self.session]
        rows = [(key, LONG_NAMES[mode], SESSION if hold.count else TRANSACTION,
                 LONG_NAMES[max(session.modes(key), key=MODES.index)])
                for (key, mode), hold in session.holds.items()]
        return Outcome(("key", "mode", "scope", "held_mode"), sorted(rows))
