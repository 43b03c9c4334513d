"""Forged histories: those that break a rule have to be refused, with the right words, and those
that keep to the rules accepted. `python3 history_test.py` prints what failed."""

from __future__ import annotations

import itertools
import pathlib
import sys
import tempfile
from typing import Iterable

import history
from checker import Checker, check
from history import MODES, SESSION, Kind, Record

IS, IX, S, SIX, X = (MODES.index(name) for name in ("IS", "IX", "S", "SIX", "X"))
KEY, OTHER = 11, 12
MILLISECOND = 1000
LONG_MS = 1000

Forged = list[Record]


def session(number: int, server: int = 1) -> Record:
    return Record(Kind.SESSION, session=number, extra=server, a=1000 + number)


def grant(who: int, mode: int, key: int = KEY, scope: int = 0, level: int = 1) -> Record:
    return Record(Kind.GRANT, mode, scope, level, who, key)


def end(who: int) -> Record:
    return Record(Kind.END, session=who)


def unlock(who: int, mode: int, done: bool, key: int = KEY) -> Forged:
    return [Record(Kind.RELEASE, mode, session=who, key=key),
            Record(Kind.RELEASED, session=who, a=int(done))]


def unlock_all(who: int, count: int) -> Forged:
    return [Record(Kind.RELEASE_ALL, session=who), Record(Kind.RELEASED_ALL, session=who, a=count)]


def held(who: int, mode: int, key: int = KEY) -> Record:
    return Record(Kind.HELD_MODE, mode, session=who, key=key)


def permit(who: int, limit: int = 2, level: int = 1) -> Record:
    return Record(Kind.PERMIT, level=level, session=who, key=KEY, extra=limit)


def asked(who: int) -> Record:
    return Record(Kind.LEASE_ASKED, session=who, key=KEY)


def lease(who: int, token: int, at_ms: int = 0, ttl_ms: int = LONG_MS) -> Record:
    return Record(Kind.LEASE, session=who, key=KEY, extra=ttl_ms, a=token,
                  b=(at_ms + ttl_ms) * MILLISECOND)


def released(who: int, token: int) -> Record:
    return Record(Kind.LEASE_END, session=who, key=KEY, a=token)


def renewed(who: int, token: int, until_ms: int) -> Record:
    return Record(Kind.RENEWED, session=who, key=KEY, a=token, b=until_ms * MILLISECOND)


def checked(who: int, token: int) -> Record:
    return Record(Kind.CHECKED, level=1, session=who, key=KEY, a=token)


def prepare(who: int, name: int) -> Record:
    return Record(Kind.PREPARE, session=who, a=name)


def finish_prepared(who: int, name: int) -> Record:
    return Record(Kind.FINISH_PREPARED, session=who, a=name)


START = Record(Kind.SERVER_START, extra=1)
FINISH = Record(Kind.FINISH, session=99)
COMMIT_2 = Record(Kind.COMMIT_SUB, level=2, session=1)
ABORT_2 = Record(Kind.ABORT_SUB, level=2, session=1)
SESSION_END = Record(Kind.SESSION_END, session=1)
PROMOTED = [session(50, server=2), Record(Kind.PROMOTED, session=50, extra=2)]

# Which pairs of modes two sessions may hold: IS IX S SIX X, row by row.
MAY = {
    IS: (True, True, True, True, False),
    IX: (True, True, False, False, False),
    S: (True, False, True, False, False),
    SIX: (True, False, False, False, False),
    X: (False, False, False, False, False),
}

REFUSED: dict[str, tuple[str, Forged]] = {
    "a conflict in session scope":
        ("was granted", [grant(1, S, scope=SESSION), end(1), grant(2, IX)]),
    "a conflict with one of several":
        ("was granted", [grant(1, IS), grant(2, S), end(1), grant(1, IX)]),
    "a conflict with a stronger mode of the same session":
        ("was granted", [grant(1, IS), grant(2, IS), grant(1, SIX), grant(2, IX)]),
    "released by a commit of a savepoint":
        ("was granted", [grant(1, X, level=2), COMMIT_2, grant(2, X)]),
    "released by a rollback to a later savepoint":
        ("was granted", [grant(1, X), grant(1, X, OTHER, level=2), ABORT_2, grant(2, X)]),
    "a session lock released by the end of the transaction":
        ("was granted", [grant(1, X, scope=SESSION), end(1), grant(2, X)]),
    "a lock taken twice and released once":
        ("was granted", [grant(1, X, scope=SESSION)] * 2 + unlock(1, X, True) + [grant(2, X)]),
    "a prepared transaction that lost its lock":
        ("prepared", [grant(1, X), prepare(1, 7), SESSION_END, grant(2, X)]),
    "and over a crash": ("prepared", [grant(1, X), prepare(1, 7), START, grant(2, X)]),
    "and over a promotion":
        ("prepared", [grant(1, X), prepare(1, 7), *PROMOTED,
                      Record(Kind.SURVIVOR, session=50, a=7), grant(50, S)]),
    "a release by another":
        ("did not hold", [grant(1, X, scope=SESSION), *unlock(2, X, True)]),
    "a release of a transaction's lock": ("did not hold", [grant(1, X), *unlock(1, X, True)]),
    "a release in another mode":
        ("did not hold", [grant(1, X, scope=SESSION), *unlock(1, S, True)]),
    "a hold that cannot be released":
        ("could not release", [grant(1, X, scope=SESSION), *unlock(1, X, False)]),
    "more released than held": ("released 2", [grant(1, X, scope=SESSION), *unlock_all(1, 2)]),
    "fewer released than held": ("released 0", [grant(1, X, scope=SESSION), *unlock_all(1, 0)]),
    "a mode that is not held": ("library says X", [grant(1, S), held(1, X)]),
    "a hold that the library forgot": ("library says none", [grant(1, S), held(1, 0)]),
    "a hold that should be gone":
        ("library says X", [grant(1, X, level=2), ABORT_2, held(1, X)]),
    "one permit too many": ("one of 3 permits", [permit(1), permit(2), permit(3)]),
    "a permit beside one in a savepoint that was released":
        ("one of 2 permits", [permit(1, 1, level=2), COMMIT_2, permit(2, 1)]),
    "a falling token":
        ("token 4 after 5", [lease(1, 5), released(1, 5), asked(2), lease(2, 4)]),
    "a token twice": ("twice", [asked(2), lease(1, 5), released(1, 5), lease(2, 5)]),
    "a falling token after a promotion":
        ("token 5 after 5", [lease(1, 5), *PROMOTED, asked(50), lease(50, 5, LONG_MS)]),
    "two leases at once": ("before the end", [lease(1, 5), asked(2), lease(2, 6, LONG_MS - 1)]),
    "two leases at once, the first one renewed":
        ("before the end", [lease(1, 5), renewed(1, 5, 2 * LONG_MS), lease(2, 6, LONG_MS)]),
    "a lease after a release that came later":
        ("before the end", [lease(1, 5), lease(2, 6), released(1, 5)]),
    "a lease during a check":
        ("had checked 5", [lease(1, 5), checked(1, 5), lease(2, 6, LONG_MS)]),
    "a hold at the end": ("at the end", [grant(1, IS)]),
    "a session's hold at the end": ("at the end", [grant(1, IS, scope=SESSION), end(1)]),
    "a prepared transaction at the end": ("at the end", [grant(1, IS), prepare(1, 7), SESSION_END]),
    "a permit at the end": ("in use at the end", [permit(1)]),
    "a crash of another server": ("was granted", [
        session(5, server=3), grant(5, X), START, session(6), grant(6, X)]),
}

ACCEPTED: dict[str, Forged] = {
    "nothing": [],
    "one after the other": [grant(1, X), end(1), grant(2, X), end(2)],
    "another key": [grant(1, X), grant(2, X, OTHER), end(1), end(2)],
    "all modes by one session":
        [*(grant(1, mode) for mode in (IS, IX, S, SIX, X)), held(1, X), end(1)],
    "taken twice": [grant(1, X), grant(1, X, level=2), ABORT_2, held(1, X), end(1), held(1, 0)],
    "a rollback to a savepoint":
        [grant(1, S), grant(1, X, level=2), ABORT_2, held(1, S), grant(2, S), end(1), end(2)],
    "a savepoint in a savepoint": [
        grant(1, X, level=3), Record(Kind.COMMIT_SUB, level=3, session=1), ABORT_2,
        grant(2, X), end(2)],
    "session scope": [grant(1, X, scope=SESSION)] * 2 + unlock(1, X, True) + [held(1, X)]
        + unlock(1, X, True) + unlock(1, X, False) + [grant(2, X), end(2)],
    "both scopes":
        [grant(1, X), grant(1, X, scope=SESSION), *unlock(1, X, True), held(1, X), end(1)],
    "all of a session's":
        [grant(1, X, scope=SESSION)] * 3 + unlock_all(1, 3) + [grant(2, X), end(2)],
    "a failed release keeps the hold": [
        grant(1, X, scope=SESSION), *unlock(1, S, False), held(1, X), *unlock(1, X, True)],
    "an interrupted release": [
        grant(1, X, scope=SESSION), Record(Kind.RELEASE, X, session=1, key=KEY), held(1, X),
        *unlock(1, X, True)],
    "the end of a session":
        [grant(1, X), grant(1, S, OTHER, SESSION), SESSION_END, end(1), grant(2, X), end(2)],
    "a crash": [
        grant(1, X), grant(2, S, OTHER, SESSION), START, grant(3, X), grant(3, X, OTHER), end(3)],
    "an unfilled record": [grant(1, X), Record(Kind.UNFILLED), end(1)],
    "a prepared transaction, committed": [
        grant(1, X), prepare(1, 7), START, finish_prepared(2, 7), grant(2, X), end(2)],
    "one that a promotion lost": [grant(1, X), prepare(1, 7), *PROMOTED, grant(50, X), end(50)],
    "permits": [permit(1), permit(2), permit(2, level=2), end(1), permit(3), end(2), end(3)],
    "leases": [asked(1), lease(1, 5), asked(2), released(1, 5), lease(2, 6), checked(2, 6), end(2)],
    "a lease after one that expired": [lease(1, 5), asked(2), lease(2, 6, LONG_MS)],
    "a lease that a promotion lost": [lease(1, 5), *PROMOTED, asked(50), lease(50, 6, 1)],
    "leases written down late": [asked(1), asked(2), lease(2, 6, LONG_MS), lease(1, 5)],
}


def pairs() -> Iterable[tuple[str, str, Forged]]:
    """All pairs of modes, in two sessions."""
    for one, column in itertools.product(MAY, range(5)):
        other = list(MAY)[column]
        allowed = MAY[one][column]
        yield (f"{MODES[one]} beside {MODES[other]}", "" if allowed else "was granted",
               [grant(1, one), grant(2, other), end(1), end(2)])


def cases() -> Iterable[tuple[str, str, Forged]]:
    yield from pairs()
    yield from ((name, words, forged) for name, (words, forged) in REFUSED.items())
    yield from ((name, "", forged) for name, forged in ACCEPTED.items())


def complete(forged: Forged) -> Forged:
    return [START, *(session(number) for number in range(1, 5)), *forged, session(99), FINISH]


def problem_of(violations: list[str], words: str) -> str:
    """What is wrong with the checker's answer."""
    if words and not any(words in violation for violation in violations):
        return f"not refused for \"{words}\": {violations}"
    return "" if words or not violations else f"not accepted: {violations}"


def from_file(forged: Forged, capacity: int) -> list[str]:
    """The same by way of a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "history"
        history.create(path, capacity)
        with open(path, "r+b") as file:
            file.seek(history.NEXT_AT)
            file.write(len(forged).to_bytes(8, "little"))
            file.seek(history.RECORDS_AT)
            file.write(b"".join(history.LAYOUT.pack(*record) for record in forged[:capacity]))
        return check(path).violations


def file_problems() -> Iterable[str]:
    refused = complete([grant(1, X), grant(2, X), end(1), end(2)])
    yield problem_of(from_file(refused, 100), "was granted")
    yield problem_of(from_file(complete([]), 100), "")
    yield problem_of(from_file([START], 100), "no end")
    try:
        from_file(refused, len(refused) - 1)
        yield "a history that did not fit into its file was accepted"
    except ValueError:
        pass


def main() -> int:
    count, problems = 0, [problem for problem in file_problems() if problem]
    for name, words, forged in cases():
        count += 1
        problem = problem_of(Checker().read(complete(forged)).violations, words)
        if problem:
            problems.append(f"{name}: {problem}")
    for problem in problems:
        print(problem)
    print(f"{count} forged histories, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
