"""Plants one bug after the other, and reports which ones the tests find.

Called by scripts/trust/mutants.sh, which prepares the workplaces.
"""

from __future__ import annotations

import argparse
import pathlib
import queue
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import Callable, Optional, Sequence, TypeVar

from mutant_list import SUITES, ListError, Mutant, Test, read_lists
from workplace import Result, Workplace

QUICK = 6  # so many with --quick
LEAST_SHARE = 95.0  # percent
KINDS = ("killed", "explained", "SURVIVED", "ERROR")

Item = TypeVar("Item")


@dataclass
class Verdict:
    """What became of a mutant."""

    mutant: Mutant
    kind: str  # one of KINDS
    how: str
    by: Optional[Test] = None  # what killed it
    seconds: float = 0.0
    hung: bool = False
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind:<9} {self.mutant.name:<34} {self.how} ({self.seconds:.1f} s)"


class Runner:
    """Shares the mutants among the workplaces, each in a thread of its own."""

    def __init__(self, options: argparse.Namespace, mutants: list[Mutant]) -> None:
        self.options = options
        self.places = [Workplace(folder) for folder in options.workplace]
        # After a change of a header much is built anew: one after the other, and last.
        self.mutants = sorted(mutants, key=lambda mutant: mutant.file.endswith(".hpp"))
        self.verdicts: list[Verdict] = []
        self.unsound: list[str] = []  # tests that fail without any bug
        self.patience: dict[Test, int] = {}  # seconds until a test counts as one that hangs
        self.printing = threading.Lock()

    def run(self) -> None:
        """First the tests without a bug in the code, then the mutants."""
        tests = list(dict.fromkeys(mutant.test for mutant in self.mutants if not mutant.survives))
        print(f"{len(tests)} tests without a bug", flush=True)
        self.share(tests, self.check_test)
        if not self.unsound:
            self.share(self.mutants, self.judge)

    def share(self, work: Sequence[Item], do_one: Callable[[Workplace, Item], None]) -> None:
        """Calls do_one(workplace, item) for each of them."""
        items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        for item in work:
            items.put(item)

        def loop(place: Workplace) -> None:
            while True:
                try:
                    item = items.get_nowait()
                except queue.Empty:
                    return
                do_one(place, item)

        threads = [threading.Thread(target=loop, args=(p,), daemon=True) for p in self.places]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Nothing that runs in the workplaces outlives this process."""
        for place in self.places:
            place.close()

    def check_test(self, place: Workplace, test: Test) -> None:
        """A test that fails anyhow proves nothing about a bug."""
        result = place.run(test)
        self.patience[test] = 30 + int(5 * result.seconds)
        if not result.passed:
            self.unsound.append(str(test))
            self.say(f"FAILS     {test}, without any bug\n{place.why(result)}")

    def judge(self, place: Workplace, mutant: Mutant) -> None:
        """Plants the bug, looks who finds it, and takes it out again."""
        started = time.monotonic()
        original = (place.source / mutant.file).read_text(encoding="utf-8")
        place.write(mutant.file, mutant.apply(original))
        try:
            if place.build():
                verdict = self.hunt(place, mutant)
            else:
                verdict = Verdict(mutant, "ERROR", "does not compile", why=place.log.read_text())
        finally:
            place.write(mutant.file, original)
        if verdict.by is not None and verdict.by != mutant.test:
            self.confirm(place, verdict, verdict.by)
        verdict.seconds = time.monotonic() - started
        self.verdicts.append(verdict)
        shown = self.options.why or verdict.kind == "ERROR"
        self.say(f"{verdict}\n{verdict.why}" if shown and verdict.why else str(verdict))

    def hunt(self, place: Workplace, mutant: Mutant) -> Verdict:
        """The test that is expected to find it, then all others."""
        if not mutant.survives:
            result = place.run(mutant.test, self.patience[mutant.test])
            if not result.passed:
                return killed(place, mutant, mutant.test, result)
        if self.options.quick or self.options.hints:
            if mutant.survives:
                return Verdict(mutant, "explained", mutant.survives)
            return Verdict(mutant, "SURVIVED", f"{mutant.test}, and no other was asked")
        for suite in SUITES:
            for test in place.tests_of(suite):
                result = place.run(test)
                if not result.passed:
                    return killed(place, mutant, test, result)
        if mutant.survives:
            return Verdict(mutant, "explained", mutant.survives)
        return Verdict(mutant, "SURVIVED", mutant.bug)

    def confirm(self, place: Workplace, verdict: Verdict, test: Test) -> None:
        """The test that found it was not the expected one: does it pass without the bug?"""
        if not place.build() or not place.run(test).passed:
            verdict.kind, verdict.how = "ERROR", f"{verdict.how}, which fails without it, too"

    def say(self, text: str) -> None:
        """Whole lines, also from two threads."""
        with self.printing:
            print(text, flush=True)


def killed(place: Workplace, mutant: Mutant, test: Test, result: Result) -> Verdict:
    """The verdict about a mutant that a test has found."""
    found = Test(test.suite, test.name or result.failed)
    hung = ", which did not end" if result.hung else ""
    why = place.why(result)
    return Verdict(mutant, "killed", f"by {found}{hung}", found, hung=result.hung, why=why)


def choose(options: argparse.Namespace, mutants: list[Mutant]) -> list[Mutant]:
    """All, those that are named, or a handful by the seed."""
    if options.name:
        unknown = set(options.name) - {mutant.name for mutant in mutants}
        if unknown:
            raise ListError(f"no such mutant: {', '.join(sorted(unknown))}")
        return [mutant for mutant in mutants if mutant.name in options.name]
    if options.quick:
        cheap = [m for m in mutants if not m.survives and m.file.endswith((".cpp", ".sql"))]
        return random.Random(options.seed).sample(cheap, min(QUICK, len(cheap)))
    return mutants


def check_that_all_apply(source: pathlib.Path, mutants: list[Mutant]) -> None:
    """Raises with all that the code has left behind."""
    problems = []
    for mutant in mutants:
        try:
            mutant.apply((source / mutant.file).read_text(encoding="utf-8"))
        except (ListError, OSError) as error:
            problems.append(str(error))
    if problems:
        raise ListError("\n".join(problems))


def report(verdicts: list[Verdict], listed: int, options: argparse.Namespace) -> bool:
    """The figures; true if all is well."""
    by_kind = {kind: [v for v in verdicts if v.kind == kind] for kind in KINDS}
    count = {kind: len(found) for kind, found in by_kind.items()}
    share = 100.0 * count["killed"] / max(1, len(verdicts))
    hung = [verdict.mutant.name for verdict in by_kind["killed"] if verdict.hung]
    print(f"\n{len(verdicts)} mutants: " + ", ".join(f"{count[kind]} {kind}" for kind in KINDS))
    print(f"figure: mutants listed = {listed}")
    print(f"figure: mutants tried = {len(verdicts)}")
    print(f"figure: mutants source files with one = {len({v.mutant.file for v in verdicts})}")
    if options.quick:
        print(f"figure: mutants seed = {options.seed}")
    print(f"figure: mutants killed = {count['killed']}")
    expected = sum(v.by == v.mutant.test for v in verdicts)
    print(f"figure: mutants killed by the expected test = {expected}")
    print(f"figure: mutants killed by a test that did not end = {len(hung)}")
    print(f"figure: mutants share killed = {share:.1f} %")
    for verdict in by_kind["explained"] + by_kind["SURVIVED"]:
        kind = "explained survivor" if verdict.kind == "explained" else "SURVIVOR"
        print(f"figure: mutants {kind} = {verdict.mutant.name}: {verdict.how}")
    stale = [v.mutant.name for v in by_kind["killed"] if v.mutant.survives]
    if stale:
        print(f"the list says that these survive: {', '.join(stale)}")
    fine = not (count["SURVIVED"] or count["ERROR"] or stale)
    return fine and (share >= LEAST_SHARE or bool(options.name))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workplace", type=pathlib.Path, action="append", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--hints", action="store_true")
    parser.add_argument("--why", action="store_true")
    parser.add_argument("--seed", type=int, default=int(time.strftime("%Y%m%d", time.gmtime())))
    parser.add_argument("name", nargs="*")
    return parser.parse_args()


def main() -> int:
    """0 if enough bugs are found and all that are not are explained."""
    options = read_options()
    source = options.workplace[0] / "source"
    runner: Optional[Runner] = None
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        mutants = read_lists(source / "test/mutants")
        check_that_all_apply(source, mutants)
        chosen = choose(options, mutants)
        runner = Runner(options, chosen)
        runner.run()
    except ListError as error:
        print(error)
        return 1
    finally:
        if runner is not None:
            runner.close()
    if runner.unsound:
        print(f"tests that fail without any bug: {', '.join(runner.unsound)}")
        return 1
    fine = report(runner.verdicts, len(mutants), options)
    print(f"figure: mutants seconds = {time.monotonic() - started:.0f}")
    return 0 if fine and len(runner.verdicts) == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
