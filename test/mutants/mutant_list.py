"""The lists of mutants: planted bugs, one change each, in the form of a patch.

    # what the next ones have in common
    mutant NAME
    bug WHAT IS WRONG
    file src/lock_wait.cpp
    test isolation lock_timeouts
     	a line that stays
    -	a line that goes
    +	a line that comes

An empty line ends a mutant. The lines that stay or go must be in the file exactly once, else
the list is out of date, which is an error. A line @@ begins a second change to the same file.
The test is the one that is expected to find the bug. A mutant that no test can find has a line
"survives REASON" as well.
"""

from __future__ import annotations

import pathlib
from dataclasses import dataclass, field
from typing import Iterable

SUITES = (
    "unit",
    "regress",
    "isolation",
    "regress-preloaded",
    "isolation-preloaded",
    "pgtap",
    "tap",
)


class ListError(Exception):
    """What is wrong with a list, and where."""


@dataclass(frozen=True)
class Test:
    """One test of a suite, or the whole suite."""

    suite: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.suite} {self.name}".rstrip()


@dataclass
class Mutant:
    """A bug that can be planted."""

    name: str
    place: str  # where in the lists
    bug: str = ""
    file: str = ""
    test: Test = Test("")
    survives: str = ""
    hunks: list[list[str]] = field(default_factory=lambda: [[]])

    def apply(self, text: str) -> str:
        """The text of the file with the bug in it."""
        for hunk in self.hunks:
            before = lines_of(hunk, " -")
            if not before or text.count("\n" + before) != 1:
                raise ListError(f"{self.place}: {self.name} is not in {self.file} exactly once")
            text = text.replace("\n" + before, "\n" + lines_of(hunk, " +"))
        return text

    def check(self) -> None:
        """Raises if something is missing."""
        for what in ("bug", "file"):
            if not getattr(self, what):
                raise ListError(f"{self.place}: {self.name} has no {what}")
        if self.test.suite not in SUITES or not self.test.name:
            raise ListError(f"{self.place}: {self.name} names no test")


def lines_of(hunk: Iterable[str], marks: str) -> str:
    """The lines of a change that have one of the marks."""
    return "".join(line[1:] + "\n" for line in hunk if line[0] in marks)


def add_line(mutant: Mutant, line: str) -> None:
    """Adds one line of a list to the mutant that it belongs to."""
    word, _, rest = line.partition(" ")
    if line[0] in " -+":
        mutant.hunks[-1].append(line)
    elif line == "@@":
        mutant.hunks.append([])
    elif word == "test":
        mutant.test = Test(*rest.split())
    elif word in ("bug", "file", "survives"):
        setattr(mutant, word, rest)
    else:
        raise ListError(f"{mutant.place}: {mutant.name} has a line that is none: {line}")


def read_list(path: pathlib.Path) -> list[Mutant]:
    """The mutants of one file."""
    found: list[Mutant] = []
    open_one = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("mutant "):
            found.append(Mutant(line.split()[1], f"{path.name}:{number}"))
            open_one = True
        elif line == "":
            open_one = False
        elif open_one:
            add_line(found[-1], line)
        elif not line.startswith("#"):
            raise ListError(f"{path.name}:{number}: belongs to no mutant")
    return found


def read_lists(folder: pathlib.Path) -> list[Mutant]:
    """All mutants of a folder; those that are not complete, or have one name, are an error."""
    mutants = [mutant for path in sorted(folder.glob("*.mutants")) for mutant in read_list(path)]
    names: set[str] = set()
    for mutant in mutants:
        mutant.check()
        if mutant.name in names:
            raise ListError(f"{mutant.place}: there are two mutants {mutant.name}")
        names.add(mutant.name)
    return mutants
