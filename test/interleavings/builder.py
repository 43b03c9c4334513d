"""Puts a permutation together, in every world that the contract allows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Iterable, Optional, Sequence

from model import LONG, Model, Undecided
from steps import KEYS, Command, Lock, Mine, Show, Step, Unlock
from tester import Tester


class Permutation:
    """Its steps so far. A step counts only if all worlds see the same of it.

    A world is an order of the keys' lock tags, in which calls for several keys take them: it
    comes from a hash with a seed of the cluster, so tests must not depend on it.
    """

    def __init__(self, sessions: int, overtakes: bool, several_keys: bool = False) -> None:
        self.names = [f"s{number}" for number in range(1, sessions + 1)]
        self._overtakes = overtakes
        self._orders = ["".join(order) for order in itertools.permutations(KEYS)]
        if not several_keys:
            self._orders = self._orders[:1]
        self._worlds = self._new_worlds()

    def _new_worlds(self) -> list[Tester]:
        return [Tester(Model(self.names, order, self._overtakes)) for order in self._orders]

    @property
    def tester(self) -> Tester:
        return self._worlds[0]

    @property
    def model(self) -> Model:
        return self.tester.model

    def add(self, step: Step) -> bool:
        """False, and nothing has changed, if nobody can say what it would print."""
        former = list(self.tester.steps)
        try:
            self._send(step)
            return True
        except Undecided:
            self._worlds = self._new_worlds()
            for sent in former:
                self._send(sent)
            return False

    def _send(self, step: Step) -> None:
        for world in self._worlds:
            world.send(step)
        if any(world.text != self.tester.text or world.markers != self.tester.markers
               for world in self._worlds):
            raise Undecided("it depends on the order of the tags")

    def add_lock(self, step: Lock) -> bool:
        """The same, but if it closes a ring of waiting sessions, its session looks for that."""
        if self.add(step):
            return True
        in_block = self.model.sessions[step.session].in_block
        return step.limit == LONG and in_block and self.add(replace(step, looks=True))

    def free(self) -> list[str]:
        """The sessions that can get a step now."""
        if self.tester.next_session:
            return [self.tester.next_session]
        return [name for name, session in self.model.sessions.items() if session.call is None]

    def finish(self) -> bool:
        """Ends all transactions, shows what is left, gives it back, and shows that it is gone."""
        while (step := self._closing_step()) is not None:
            if not self.add(step):
                return False
        if any(session.holds for session in self.model.sessions.values()):
            self.add(Show())
        for name, session in self.model.sessions.items():
            if session.holds:
                self.add(Unlock(name, "cs_unlock_all"))
        return self.add(Show())

    def _closing_step(self) -> Optional[Step]:
        sessions = {name: self.model.sessions[name] for name in self.free()}
        for name, session in sessions.items():
            if session.in_block:
                return Command(name, "rollback" if session.aborted else "commit")
        if self.tester.next_session:
            return Mine(self.tester.next_session)
        if len(sessions) == len(self.model.sessions):
            return None
        return next(Unlock(name, "cs_unlock_all") for name, session in sessions.items()
                    if session.holds)


def build(steps: Iterable[Step], sessions: int, overtakes: bool) -> Optional[Permutation]:
    """A permutation of these steps, or None if nobody can say what it would print."""
    permutation = Permutation(sessions, overtakes)
    for step in steps:
        if not (permutation.add_lock(step) if isinstance(step, Lock) else permutation.add(step)):
            return None
    return permutation if permutation.finish() else None


def specification(permutations: Sequence[Permutation]) -> str:
    """The file that isolationtester reads."""
    steps: dict[str, dict[str, str]] = {}
    for permutation in permutations:
        for step in permutation.tester.steps:
            steps.setdefault(step.session, {})[step.name] = step.sql
    text = ""
    for session in sorted(steps):
        text += f"session {session}\n"
        for name, sql in sorted(steps[session].items()):
            text += f"step {name} {{ {sql}; }}\n"
        # A failure must not be the cause of others.
        text += "teardown { DO $$ BEGIN PERFORM cs_unlock_all(); END $$ }\n\n"
    return text + "".join(permutation.tester.permutation() + "\n" for permutation in permutations)


def expected(permutations: Sequence[Permutation]) -> str:
    """What isolationtester has to print."""
    sessions = {step.session for permutation in permutations for step in permutation.tester.steps}
    return f"Parsed test spec with {len(sessions)} sessions\n" + "".join(
        permutation.tester.printed() for permutation in permutations)
