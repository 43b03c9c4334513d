"""Which permutations there are: those of few steps, all of them, and walks by chance."""

from __future__ import annotations

import itertools
import random
from typing import Iterator, Optional, Sequence

from builder import Permutation
from model import BRIEF, CONFLICTS, LONG, MODES, NO_WAIT, SESSION, TRANSACTION
from steps import (KEYS, PATHS, Cancel, Caught, Command, Lock, LockAny, Mine, Show, Step, Unlock)

LIMITS = (LONG, BRIEF, NO_WAIT)
# Ways in which a hold ends, by its scope. The first session is in a block, behind a savepoint.
ENDS: dict[str, tuple[tuple[tuple[str, int], ...], ...]] = {
    TRANSACTION: ((("commit", 0),), (("rollback", 0),), (("back", 1),),
                  (("release", 1), ("commit", 0)), (("fail", 0), ("back", 1))),
    SESSION: ((("cs_unlock", 0),), (("cs_unlock_all", 0),), (("pg_advisory_unlock_all", 0),),
              (("back", 1), ("rollback", 0), ("cs_unlock", 0))),
}


def end_of(verb: str, savepoint: int, mode: str) -> Step:
    if verb == "cs_unlock":
        return Unlock("s1", verb, "a", mode)
    if verb.endswith("_all"):
        return Unlock("s1", verb)
    return Command("s1", verb, savepoint)


def pairs() -> Iterator[tuple[int, list[Step]]]:
    """Two sessions and a key: modes, scopes, how the first hold ends, how long the second waits."""
    for count, (first, second, scope, other) in enumerate(itertools.product(
            MODES, MODES, (TRANSACTION, SESSION), (TRANSACTION, SESSION))):
        for number, (ends, limit) in enumerate(itertools.product(ENDS[scope], LIMITS)):
            function = ("cs_lock", "cs_try_lock")[(count + number) % 2]
            lock = Lock("s2", function, ("a",), second, limit, other)
            refused = limit != LONG and second in CONFLICTS[first]
            steps: list[Step] = [Command("s1", "begin"), Command("s1", "savepoint", 1),
                                 Lock("s1", "cs_lock", ("a",), first, scope=scope)]
            steps += [Command("s2", "begin")] if other == TRANSACTION else []
            steps.append(lock)
            if refused:
                steps.append(Command("s2", "rollback") if function == "cs_lock" and
                             other == TRANSACTION else Mine("s2"))
            steps.append(Show())
            steps += [end_of(verb, savepoint, first) for verb, savepoint in ends]
            steps += [lock] if refused and limit == NO_WAIT else [Show()]
            yield 2, steps


def queues() -> Iterator[tuple[int, list[Step]]]:
    """One holds the key, one queues, and a third comes: who may pass whom."""
    for first, second, third, limit in itertools.product(MODES, MODES, MODES, LIMITS):
        steps: list[Step] = [Command(name, "begin") for name in ("s1", "s2", "s3")]
        steps += [Lock("s1", "cs_lock", ("a",), first), Lock("s2", "cs_try_lock", ("a",), second),
                  Lock("s3", "cs_try_lock", ("a",), third, limit)]
        steps += [Mine("s3")] if limit != LONG else []
        yield 3, steps + [Show(), Command("s1", "commit"), Show()]


def upgrades() -> Iterator[tuple[int, list[Step]]]:
    """Both hold the key and want more of it: one lets the other pass, or they deadlock."""
    for first, second, more, also in itertools.product(MODES, MODES, MODES, MODES):
        if second in CONFLICTS[first]:
            continue
        steps: list[Step] = [Command("s1", "begin"), Command("s2", "begin")]
        steps += [Lock("s1", "cs_lock", ("a",), first), Lock("s2", "cs_lock", ("a",), second),
                  Lock("s1", "cs_lock", ("a",), more), Lock("s2", "cs_lock", ("a",), also), Show()]
        yield 2, steps


def savepoints() -> Iterator[tuple[int, list[Step]]]:
    """A hold from before a savepoint, one from after it, and somebody who waits for both."""
    scopes = (TRANSACTION, SESSION)
    for before, after, wanted, scope in itertools.product(MODES, MODES, MODES, scopes):
        yield 2, [Command("s1", "begin"), Lock("s1", "cs_lock", ("a",), before, scope=scope),
                  Command("s1", "savepoint", 1), Lock("s1", "cs_lock", ("a",), after),
                  Lock("s2", "cs_lock", ("a",), wanted, scope=SESSION), Command("s1", "back", 1),
                  Mine("s1"), Show()]


def deadlocks() -> Iterator[tuple[int, list[Step]]]:
    """Two keys in both orders."""
    for first, second, wanted, also in itertools.product(MODES, MODES, MODES, MODES):
        if wanted not in CONFLICTS[second] or also not in CONFLICTS[first]:
            continue
        yield 2, [Command("s1", "begin"), Command("s2", "begin"),
                  Lock("s1", "cs_lock", ("a",), first), Lock("s2", "cs_lock", ("b",), second),
                  Lock("s1", "cs_lock", ("b",), wanted), Lock("s2", "cs_try_lock", ("a",), also),
                  Command("s2", "rollback"), Show()]


def paths() -> Iterator[tuple[int, list[Step]]]:
    """A path and one that is the same, above, below or beside it."""
    for one, other, first, second, limit in itertools.product(
            ("p", "p:1"), PATHS, MODES, MODES, LIMITS):
        steps: list[Step] = [Command("s1", "begin"), Command("s2", "begin"),
                             Lock("s1", "cs_lock_path", (one,), first),
                             Lock("s2", "cs_try_lock_path", (other,), second, limit)]
        steps += [Mine("s2")] if limit != LONG else []
        yield 2, steps + [Show(), Command("s1", "commit"), Show()]


ALL = {"pairs": pairs, "queues": queues, "upgrades": upgrades, "savepoints": savepoints,
       "deadlocks": deadlocks, "paths": paths}


# --- by chance ------------------------------------------------------------------


class Walk:
    """Up to four sessions that do anything that makes sense."""

    def __init__(self, chance: random.Random, overtakes: bool) -> None:
        self.chance = chance
        self.keys = KEYS[:chance.choice((1, 1, 2, 3))]
        self.paths = PATHS if chance.random() < 0.3 else ()
        several = len(self.keys) > 1 and chance.random() < 0.5
        self.functions = ["cs_lock"] * 3 + ["cs_try_lock"] * 3
        self.functions += ["cs_lock_all", "cs_try_lock_all"] * 2 if several else []
        self.functions += ["cs_lock_path", "cs_try_lock_path"] * 3 if self.paths else []
        # Most walks have a few modes only, so that the sessions meet.
        self.modes = chance.choice((MODES, ("S", "X"), ("X",), ("IS", "IX", "S", "SIX")))
        self.permutation = Permutation(chance.choice((2, 3, 3, 4)), overtakes, several)

    def go(self) -> Optional[Permutation]:
        for _ in range(self.chance.randint(8, 18)):
            step = self._step(self.chance.choice(self.permutation.free()))
            if isinstance(step, Lock):
                self.permutation.add_lock(step)
            else:
                self.permutation.add(step)
        return self.permutation if self.permutation.finish() else None

    def _step(self, name: str) -> Step:
        session = self.permutation.model.sessions[name]
        if session.aborted:
            return self._of_block(name, session.savepoints)
        choices = {self._lock: 10, self._any: 1, self._caught: 1,
                   self._unlock: 4 if session.holds else 0.3, self._look: 1, self._cancel: 1}
        kind = self.chance.choices([None, *choices], [6, *choices.values()])[0]
        if kind is not None:
            return kind(name)
        if session.in_block:
            return self._of_block(name, session.savepoints, "commit", "savepoint", "fail")
        return Command(name, "begin")

    def _of_block(self, name: str, savepoints: int, *verbs: str) -> Step:
        choices = ["rollback", *verbs] + ["back"] * 3 * (savepoints > 0)
        choices += ["release"] * (savepoints > 0 and bool(verbs))
        verb = self.chance.choice(choices)
        if verb == "savepoint":
            return Command(name, verb, savepoints + 1)
        if verb in ("back", "release"):
            return Command(name, verb, self.chance.randint(1, savepoints))
        return Command(name, verb)

    def _lock(self, name: str) -> Step:
        function = self.chance.choice(self.functions)
        keys: Sequence[str] = (self.chance.choice(self.keys + self.paths),)
        if function.endswith("_all"):
            keys = self.chance.sample(self.keys, self.chance.randint(2, len(self.keys)))
        elif function.endswith("_path"):
            keys = (self.chance.choice(self.paths),)
        in_block = self.permutation.model.sessions[name].in_block
        scope = SESSION if self.chance.random() < (0.2 if in_block else 0.8) else TRANSACTION
        limit = self.chance.choice((LONG, LONG, LONG, NO_WAIT, NO_WAIT, BRIEF))
        return Lock(name, function, tuple(keys), self.chance.choice(self.modes), limit, scope)

    def _any(self, name: str) -> Step:
        return LockAny(name, tuple(self.chance.sample(self.keys, len(self.keys))),
                       self.chance.randint(1, len(self.keys)), self.chance.choice(self.modes),
                       self.chance.choice((TRANSACTION, SESSION)))

    def _caught(self, name: str) -> Step:
        return Caught(name, self.chance.choice(("cs_lock", "cs_try_lock")),
                      self.chance.choice(self.keys), self.chance.choice(self.modes),
                      self.chance.choice((NO_WAIT, BRIEF)),
                      self.chance.choice((TRANSACTION, SESSION)))

    def _unlock(self, name: str) -> Step:
        if self.chance.random() < 0.3:
            return Unlock(name, self.chance.choice(("cs_unlock_all", "pg_advisory_unlock_all")))
        held = list(self.permutation.model.sessions[name].holds)
        if not held or self.chance.random() < 0.1:
            return Unlock(name, "cs_unlock", self.chance.choice(self.keys),
                          self.chance.choice(self.modes))
        key, mode = self.chance.choice(held)
        function = "cs_unlock_path" if key in PATHS else "cs_unlock"
        return Unlock(name, function, key, mode)

    def _look(self, name: str) -> Step:
        return self.chance.choice((Mine(name), Show()))

    def _cancel(self, name: str) -> Step:
        return Cancel(name, self.chance.choice(self.permutation.names))
