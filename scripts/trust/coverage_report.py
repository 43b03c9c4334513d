"""What gcovr counted, as figures and a list of what did not run.

A line counts if the compiler made code for it. A branch counts unless it belongs to the server and
not to us: the macros for errors, assertions and interrupts have conditions of their own, of which
most are decided by the compiler (is the level above ERROR?) or by the state of the server (is an
interrupt pending?). So no branch counts on a line that is part of a call of one of SERVER_MACROS.

test/coverage_exceptions.txt lists what no test can reach: file | text | reason. A gap is a run
of lines with code that did not run; it is excepted if one of its lines contains the text.
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

SERVER_MACROS = re.compile(
    r"\b(ereport|elog|Assert|CHECK_FOR_INTERRUPTS|PG_TRY|PG_CATCH|PG_FINALLY|PG_END_TRY"
    r"|VARDATA_ANY|VARSIZE_ANY_EXHDR)\("
)
EXCEPTIONS = Path("test/coverage_exceptions.txt")


@dataclass
class Line:
    """One line of the source that has code."""

    number: int
    text: str
    ran: bool
    branches: list[bool]  # which of them were taken


@dataclass
class Exception_:
    """One line of EXCEPTIONS; the file may be a pattern."""

    file: str
    text: str
    reason: str
    used: bool = False

    def covers(self, file: str, gap: list[Line]) -> bool:
        return fnmatch(file, self.file) and any(self.text in line.text for line in gap)


def lines_of_macros(source: list[str]) -> set[int]:
    """The numbers of the lines from the name of a macro to its closing parenthesis."""
    text = "\n".join(source)
    found: set[int] = set()
    for match in SERVER_MACROS.finditer(text):
        end, depth = match.end(), 1
        while depth > 0 and end < len(text):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        first, last = (text.count("\n", 0, place) + 1 for place in (match.start(), end))
        found.update(range(first, last + 1))
    return found


def read_file(root: Path, counted: dict) -> list[Line]:
    """The lines of one file, in order, with the branches that count."""
    source = (root / counted["file"]).read_text(encoding="utf-8").split("\n")
    macros = lines_of_macros(source)
    lines = []
    for line in counted["lines"]:
        if line.get("gcovr/noncode"):
            continue
        number = line["line_number"]
        branches = [] if number in macros else line["branches"]
        taken = [branch["count"] > 0 for branch in branches]
        lines.append(Line(number, source[number - 1].strip(), line["count"] > 0, taken))
    return sorted(lines, key=lambda line: line.number)


def gaps_of(lines: list[Line]) -> list[list[Line]]:
    """The runs of lines with code that did not run."""
    gaps: list[list[Line]] = [[]]
    for line in lines:
        if not line.ran:
            gaps[-1].append(line)
        elif gaps[-1]:
            gaps.append([])
    return [gap for gap in gaps if gap]


def read_exceptions(path: Path) -> list[Exception_]:
    """Each needs all three parts."""
    exceptions = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            file, text, reason = (part.strip() for part in line.split(" | "))
            exceptions.append(Exception_(file, text, reason))
    return exceptions


def show_gaps(files: dict[str, list[Line]], exceptions: list[Exception_]) -> int:
    """Prints what did not run; returns how many lines of it have no exception."""
    missing = 0
    for file, lines in files.items():
        for gap in gaps_of(lines):
            reasons = [exception for exception in exceptions if exception.covers(file, gap)]
            for exception in reasons:
                exception.used = True
            missing += 0 if reasons else len(gap)
            print(f"{file}: did not run", f"({reasons[0].reason})" if reasons else "(NOT LISTED)")
            for line in gap:
                print(f"    {line.number:4} {line.text}")
    for exception in exceptions:
        if not exception.used:
            print(f"{EXCEPTIONS}: ran this time: {exception.file}: {exception.text}")
    return missing


def show_branches(files: dict[str, list[Line]]) -> None:
    """Prints the lines that ran and have a branch that was never taken."""
    for file, lines in files.items():
        for line in lines:
            if line.ran and not all(line.branches):
                taken = "".join("+" if branch else "-" for branch in line.branches)
                print(f"{file}:{line.number}: branches {taken}: {line.text}")


def percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=float, help="the least percentage of lines")
    parser.add_argument("--branches", type=float, help="the least percentage of branches")
    parser.add_argument("--show-branches", action="store_true", help="list those never taken")
    parser.add_argument("root", type=Path, help="the folder that has src/ and test/")
    parser.add_argument("counts", type=Path, help="written by gcovr --json")
    options = parser.parse_args()

    counted = json.loads(options.counts.read_text(encoding="utf-8"))
    files = {file["file"]: read_file(options.root, file) for file in counted["files"]}
    lines = [line for each in files.values() for line in each]
    branches = [branch for line in lines for branch in line.branches]
    missing = show_gaps(files, read_exceptions(options.root / EXCEPTIONS))
    if options.show_branches:
        show_branches(files)

    ran = sum(line.ran for line in lines)
    print(f"figure: files = {len(files)}")
    print(f"figure: lines = {ran} of {len(lines)} ({percent(ran, len(lines)):.2f} %)")
    print(
        f"figure: branches = {sum(branches)} of {len(branches)}"
        f" ({percent(sum(branches), len(branches)):.2f} %)"
    )
    print(f"figure: lines that did not run and are not listed = {missing}")
    if options.lines is None:
        return 0
    enough = (
        percent(ran, len(lines)) >= options.lines
        and percent(sum(branches), len(branches)) >= options.branches
    )
    return 0 if enough and missing == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
