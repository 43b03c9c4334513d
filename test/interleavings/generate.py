"""Writes isolation tests and what they have to print, by the model alone.

    python3 generate.py --output DIR [--count N] [--seed S] [--batch N] [--major N]

DIR gets specs/*.spec and expected/*.out, and a line for each in DIR/tests. The same numbers give
the same tests.
"""

from __future__ import annotations

import argparse
import collections
import pathlib
import random

from builder import Permutation, build, expected, specification
from families import ALL, Walk
from steps import HELPERS, Lock


def choose(count: int, seed: int, overtakes: bool) -> list[tuple[str, Permutation]]:
    """Half of them systematic, as far as there are so many; no two alike."""
    chance = random.Random(seed)
    chosen: dict[str, tuple[str, Permutation]] = {}
    systematic = [(family, *case) for family, cases in ALL.items() for case in cases()]
    chance.shuffle(systematic)
    for family, sessions, steps in systematic:
        if len(chosen) >= count // 2:
            break
        permutation = build(steps, sessions, overtakes)
        if permutation:
            chosen.setdefault(permutation.tester.permutation(), (family, permutation))
    while len(chosen) < count:
        permutation = Walk(chance, overtakes).go()
        if permutation:
            chosen.setdefault(permutation.tester.permutation(), ("walks", permutation))
    result = list(chosen.values())
    chance.shuffle(result)
    return result


def write(output: pathlib.Path, name: str, spec: str, out: str) -> None:
    for folder, suffix, text in (("specs", "spec", spec), ("expected", "out", out)):
        (output / folder).mkdir(parents=True, exist_ok=True)
        (output / folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    with (output / "tests").open("a", encoding="utf-8") as tests:
        tests.write(f"{name}\n")


def write_helpers(output: pathlib.Path) -> None:
    write(output, "helpers", f"session s1\nstep s1make {{ {HELPERS} }}\npermutation s1make\n",
          "Parsed test spec with 1 sessions\n\n"
          f"starting permutation: s1make\nstep s1make: {HELPERS}\n")


def print_figures(chosen: list[tuple[str, Permutation]]) -> None:
    families = collections.Counter(family for family, _ in chosen)
    happened: collections.Counter[str] = collections.Counter()
    for _, permutation in chosen:
        happened.update(permutation.model.counts)
    steps = [step for _, permutation in chosen for step in permutation.tester.steps]
    calls = {step.sql.replace(" NULL", " 100000") for step in steps if isinstance(step, Lock)}
    print(f"figure: permutations = {len(chosen)}")
    for family, number in sorted(families.items()):
        print(f"figure: permutations, {family} = {number}")
    print(f"figure: steps = {len(steps)}")
    print(f"figure: distinct steps = {len({step.name for step in steps})}")
    print(f"figure: distinct calls that lock = {len(calls)}")
    for what, number in sorted(happened.items()):
        print(f"figure: {what} = {number}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=5000, help="of permutations")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=200, help="permutations in a file")
    parser.add_argument("--major", type=int, default=15, help="version of PostgreSQL")
    options = parser.parse_args()

    chosen = choose(options.count, options.seed, overtakes=options.major >= 17)
    write_helpers(options.output)
    for number, start in enumerate(range(0, len(chosen), options.batch), 1):
        batch = [permutation for _, permutation in chosen[start:start + options.batch]]
        write(options.output, f"batch{number:03}", specification(batch), expected(batch))
    print_figures(chosen)


if __name__ == "__main__":
    main()
