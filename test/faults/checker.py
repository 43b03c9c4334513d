"""Checks a history: every hold against every other one, in the order of the records.

The records of a hold lie within the real hold (recorder.cpp says why), so what overlaps here
did overlap. The rules:

- no two sessions hold a key in modes that conflict;
- a release succeeds exactly if the session has such a hold in session scope;
- the library and the history agree on the mode in which a session holds a key;
- at most as many sessions have a permit as there are permits;
- leases: see leases.py; while a transaction has checked a token, no later one is granted;
- nobody is left at the end.

All holders of a key in one mode are one number, so a record costs the same however many there
are, and the whole takes time linear in the number of records and holds.
"""

from __future__ import annotations

import pathlib
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Callable, Iterable

from history import MODES, SESSION, History, Kind, Record
from leases import Leases

# The textbook's matrix, written down once more and not taken from the library.
COMPATIBLE = {("IS", "IS"), ("IS", "IX"), ("IS", "S"), ("IS", "SIX"), ("IX", "IX"), ("S", "S")}
CONFLICTS = [
    [
        other
        for other in range(1, len(MODES))
        if mode and not {(MODES[mode], MODES[other]), (MODES[other], MODES[mode])} & COMPATIBLE
    ]
    for mode in range(len(MODES))
]
STRONGEST_FIRST = [MODES.index(name) for name in ("X", "SIX", "S", "IX", "IS")]

# What a transaction holds, beside locks in the modes 1 to 5.
PERMIT, CHECK = 6, 7

SHOWN = 20  # violations


@dataclass
class Owner:
    """A session or a prepared transaction: what it holds."""

    name: str
    server: int = 0
    locks: Counter[tuple[int, int]] = field(default_factory=Counter)  # by key and mode
    stack: list[tuple[int, int, int, int]] = field(default_factory=list)  # level, key, mode, token
    session_locks: Counter[tuple[int, int]] = field(default_factory=Counter)
    # A release that was asked for and not answered yet: what was held of it, and what not.
    releasing: list[tuple[int, int]] = field(default_factory=list)
    missing: list[tuple[int, int]] = field(default_factory=list)
    releasing_all: int = -1
    # Keys of which a release was asked for and interrupted: nobody knows the outcome.
    unsure: set[int] = field(default_factory=set)


class Checker:
    """Reads records one by one; `violations` says what was wrong with them."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.counts: Counter[int] = Counter()  # of records, by kind
        self.errors: Counter[str] = Counter()  # by SQLSTATE
        self.interrupted = 0  # releases
        self.shared = 0  # grants beside another holder
        self.most_permits: Counter[int] = Counter()  # in use at once, by limit
        self.owners: dict[int, Owner] = {}
        self.prepared: dict[int, Owner] = {}
        self.doubtful: set[int] = set()  # prepared transactions of which a promotion knows nothing
        self.holders: dict[int, list[int]] = defaultdict(lambda: [0] * len(MODES))
        self.permits: dict[int, Counter[str]] = defaultdict(Counter)
        self.checks: dict[int, list[int]] = defaultdict(list)  # tokens
        self.leases = Leases(self.report)
        self.place = 0
        self.actions = {kind: getattr(self, f"on_{kind.name.lower()}") for kind in Kind}

    def read(self, records: Iterable[tuple[int, ...]]) -> Checker:
        actions, counts, owners = self.actions, self.counts, self.owners
        for it in map(Record._make, records):
            self.place += 1
            counts[it.kind] += 1
            if self.doubtful and it.kind != Kind.SURVIVOR:
                self._forget_doubtful()
            owner = owners.get(it.session)
            if owner is None:
                owner = owners[it.session] = Owner(f"session {it.session}")
            actions[it.kind](owner, it)
        return self

    def report(self, place: int, text: str) -> None:
        self.violations.append(f"record {place}: {text}")

    # --- holds ---------------------------------------------------------------

    def _add(self, owner: Owner, key: int, mode: int) -> None:
        owner.locks[key, mode] += 1
        if owner.locks[key, mode] == 1:
            self.holders[key][mode] += 1

    def _remove(self, owner: Owner, key: int, mode: int) -> None:
        owner.locks[key, mode] -= 1
        if owner.locks[key, mode] == 0:
            del owner.locks[key, mode]
            self.holders[key][mode] -= 1

    def _conflicting(self, owner: Owner, key: int, mode: int) -> list[int]:
        """The modes that conflict in which others hold the key."""
        holders = self.holders[key]
        return [other for other in CONFLICTS[mode]
                if holders[other] > (1 if (key, other) in owner.locks else 0)]

    def _is_shared(self, owner: Owner, key: int) -> bool:
        """Others hold the key."""
        return any(count > (1 if (key, mode) in owner.locks else 0)
                   for mode, count in enumerate(self.holders[key]))

    def _pop(self, owner: Owner) -> None:
        """Ends the last hold of the transaction."""
        _, key, mode, token = owner.stack.pop()
        if mode == PERMIT:
            self.permits[key][owner.name] -= 1
            if self.permits[key][owner.name] == 0:
                del self.permits[key][owner.name]
        elif mode == CHECK:
            self.checks[key].remove(token)
        else:
            self._remove(owner, key, mode)

    def _end_transaction(self, owner: Owner) -> None:
        while owner.stack:
            self._pop(owner)

    def _end_session_locks(self, owner: Owner) -> int:
        count = 0
        for (key, mode), holds in owner.session_locks.items():
            count += holds
            for _ in range(holds):
                self._remove(owner, key, mode)
        owner.session_locks.clear()
        return count

    def _end_owner(self, owner: Owner) -> None:
        self._settle_release(owner)
        self._end_transaction(owner)
        self._end_session_locks(owner)

    def _end_sessions(self, is_dead: Callable[[Owner], bool]) -> None:
        for number, owner in list(self.owners.items()):
            if is_dead(owner):
                self._end_owner(owner)
                del self.owners[number]

    def _settle_release(self, owner: Owner) -> None:
        """A release was interrupted before its answer."""
        if owner.releasing or owner.missing or owner.releasing_all >= 0:
            self.interrupted += 1
            owner.unsure.update(key for key, _ in owner.releasing + owner.missing)
            owner.releasing, owner.missing, owner.releasing_all = [], [], -1

    def _forget_doubtful(self) -> None:
        for name in self.doubtful:
            self._end_transaction(self.prepared.pop(name))
        self.doubtful.clear()

    # --- one function for each kind of record ----------------------------------

    # pylint: disable=unused-argument,missing-function-docstring

    def on_unfilled(self, owner: Owner, it: Record) -> None:
        """Its process was killed between two instructions."""

    def on_server_start(self, owner: Owner, it: Record) -> None:
        self._end_sessions(lambda other: other.server == it.extra)

    def on_session(self, owner: Owner, it: Record) -> None:
        owner.server = it.extra
        owner.name = f"session {it.session} (process {it.a})"

    def on_grant(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)
        if (it.key, it.mode) not in owner.locks:
            for other in self._conflicting(owner, it.key, it.mode):
                self.report(self.place, f"{owner.name} was granted key {it.key:#x} in mode "
                            f"{MODES[it.mode]}; {self._who_holds(owner, it.key, other)} holds it "
                            f"in mode {MODES[other]}")
            if self._is_shared(owner, it.key):
                self.shared += 1
        self._add(owner, it.key, it.mode)
        if it.scope == SESSION:
            owner.session_locks[it.key, it.mode] += 1
        else:
            owner.stack.append((it.level, it.key, it.mode, 0))

    def _who_holds(self, but: Owner, key: int, mode: int) -> str:
        return " and ".join(owner.name
                            for owner in [*self.owners.values(), *self.prepared.values()]
                            if owner is not but and (key, mode) in owner.locks)

    def on_refusal(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)

    def on_release(self, owner: Owner, it: Record) -> None:
        if it.extra == 0:
            self._settle_release(owner)
        if owner.session_locks[it.key, it.mode] > 0:
            owner.session_locks[it.key, it.mode] -= 1
            self._remove(owner, it.key, it.mode)
            owner.releasing.append((it.key, it.mode))
        else:
            owner.missing.append((it.key, it.mode))

    def on_released(self, owner: Owner, it: Record) -> None:
        keys = {key for key, _ in owner.releasing + owner.missing}
        sure = not keys & owner.unsure
        if it.a and owner.missing and sure:
            self.report(self.place, f"{owner.name} released what it did not hold: "
                        f"key {owner.missing[0][0]:#x} in mode {MODES[owner.missing[0][1]]}")
        if not it.a and not owner.missing and sure:
            self.report(self.place, f"{owner.name} held {len(keys)} keys and could not release "
                        f"them: {', '.join(f'{key:#x}' for key in keys)}")
        if not it.a:
            for hold in owner.releasing:
                owner.session_locks[hold] += 1
                self._add(owner, *hold)
        owner.releasing, owner.missing = [], []

    def on_release_all(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)
        owner.releasing = [hold for hold, holds in owner.session_locks.items() if holds]
        owner.releasing_all = self._end_session_locks(owner)

    def on_released_all(self, owner: Owner, it: Record) -> None:
        if it.a not in (-1, owner.releasing_all) and not owner.unsure:
            self.report(self.place, f"{owner.name} released {it.a} holds of "
                        f"{owner.releasing_all}")
        owner.releasing, owner.releasing_all = [], -1
        owner.unsure.clear()

    def on_held_mode(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)
        expected = next((mode for mode in STRONGEST_FIRST if (it.key, mode) in owner.locks), 0)
        if it.mode != expected and it.key not in owner.unsure:
            self.report(self.place, f"{owner.name} holds key {it.key:#x} in mode "
                        f"{MODES[expected]}, the library says {MODES[it.mode]}")

    def on_commit_sub(self, owner: Owner, it: Record) -> None:
        stack = owner.stack
        for i in range(len(stack) - 1, -1, -1):
            if stack[i][0] < it.level:
                break
            stack[i] = (it.level - 1, *stack[i][1:])

    def on_abort_sub(self, owner: Owner, it: Record) -> None:
        while owner.stack and owner.stack[-1][0] >= it.level:
            self._pop(owner)

    def on_end(self, owner: Owner, it: Record) -> None:
        self._end_transaction(owner)

    def on_prepare(self, owner: Owner, it: Record) -> None:
        heir = self.prepared[it.a] = Owner(f"prepared transaction {it.a}")
        for hold in owner.stack:
            self._remove(owner, hold[1], hold[2])
            self._add(heir, hold[1], hold[2])
        heir.stack, owner.stack = owner.stack, []

    def on_finish_prepared(self, owner: Owner, it: Record) -> None:
        heir = self.prepared.pop(it.a, None)
        if heir is not None:
            self._end_transaction(heir)

    def on_session_end(self, owner: Owner, it: Record) -> None:
        self._end_owner(owner)

    def on_permit(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)
        owner.stack.append((it.level, it.key, PERMIT, 0))
        self.permits[it.key][owner.name] += 1
        in_use = len(self.permits[it.key])
        self.most_permits[it.extra] = max(self.most_permits[it.extra], in_use)
        if in_use > it.extra:
            self.report(self.place, f"{owner.name} has one of {in_use} permits of key "
                        f"{it.key:#x}, and there are {it.extra}")

    def on_lease_asked(self, owner: Owner, it: Record) -> None:
        self.leases.ask(it.session, it.key)

    def on_lease(self, owner: Owner, it: Record) -> None:
        self.leases.grant(self.place, it.session, it.key, it.a, it.extra, it.b)
        for checked in self.checks[it.key]:
            if checked < it.a:
                self.report(self.place, f"token {it.a} was given out while a transaction had "
                            f"checked {checked}")

    def on_renewed(self, owner: Owner, it: Record) -> None:
        self.leases.renew(it.key, it.a, it.b)

    def on_lease_end(self, owner: Owner, it: Record) -> None:
        self.leases.end(self.place, it.key, it.a)

    def on_checked(self, owner: Owner, it: Record) -> None:
        owner.stack.append((it.level, it.key, CHECK, it.a))
        self.checks[it.key].append(it.a)

    def on_error(self, owner: Owner, it: Record) -> None:
        self._settle_release(owner)
        self.errors[it.a.to_bytes(8, "little")[:5].decode()] += 1

    def on_promoted(self, owner: Owner, it: Record) -> None:
        self._end_sessions(lambda other: other.server != it.extra)
        self.doubtful = set(self.prepared)
        self.leases.settle()

    def on_survivor(self, owner: Owner, it: Record) -> None:
        self.doubtful.discard(it.a)

    def on_finish(self, owner: Owner, it: Record) -> None:
        self.leases.settle()
        for left in [*self.owners.values(), *self.prepared.values()]:
            for key, mode in left.locks:
                self.report(self.place, f"{left.name} holds key {key:#x} in mode {MODES[mode]} "
                            "at the end")
        for permit, users in self.permits.items():
            if users:
                self.report(self.place, f"permits of key {permit:#x} are in use at the end")


def check(path: pathlib.Path) -> Checker:
    history = History(path)
    try:
        checker = Checker().read(history.records())
    finally:
        history.close()
    if checker.counts[Kind.FINISH] != 1:
        checker.report(checker.place, "the history has no end")
    return checker


def main() -> int:
    """python3 checker.py HISTORY"""
    checker = check(pathlib.Path(sys.argv[1]))
    for text in checker.violations[:SHOWN]:
        print(text)
    print(f"{checker.place} records, {len(checker.violations)} violations")
    return 1 if checker.violations else 0


if __name__ == "__main__":
    sys.exit(main())
