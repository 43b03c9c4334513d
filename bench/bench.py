"""Runs the cases and writes the report; scripts/bench.sh prepares what this needs.

    python3 bench/bench.py [--quick] [CASE...]

BENCH_PG_BIN: PostgreSQL's programs, BENCH_FOLDER: where servers may live,
BENCH_EXTENSION_SETTINGS: lines with which a server finds the extension, BENCH_REPORT: where
the report goes.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import signal
import sys

from measure import PROGRESS
from report import write
from servers import PG_BIN, RUNNING, Redis, text_of

# In the order of the report; each is a module with a function run(plan) -> Section.
CASES = {
    "statement": "one statement over 100,000 keys",
    "calls": "single calls over 100,000 keys",
    "hot": "one hot key",
    "transfers": "transfers among accounts",
    "growth": "growth with keys held, waiters and names",
    "memory": "memory",
    "profile": "where the instructions of a lock go",
}


class Plan:
    """How much to measure."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.turns = 3 if quick else 7
        self.seconds = 1.0 if quick else 4.0  # of one measurement


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which stops the servers
    parser = argparse.ArgumentParser(prog="bench.sh")
    parser.add_argument("--quick", action="store_true", help="less of everything: under 3 minutes")
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help=", ".join(f"{name}: {text}" for name, text in CASES.items()))
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}")

    missing = Redis.missing()
    if missing:
        print(f"Without Redis: {missing}.", file=sys.stderr)
    versions = [text_of([PG_BIN / "postgres", "--version"]).strip()]
    if not missing:
        versions.append(text_of(["redis-server", "--version"]).split(" sha=")[0])

    sections = []
    for case in options.cases or CASES:
        PROGRESS.say(f"== {CASES[case]}", lasting=True)
        sections.append(importlib.import_module(f"case_{case}").run(Plan(options.quick)))
        RUNNING.close()  # the next case must not share the machine with its servers
    write(sections, versions, pathlib.Path(os.environ["BENCH_REPORT"]))
    wrong = [target for section in sections for target in section.targets
             if target.reached is False]
    for target in wrong:
        print(f"not reached: {target.text}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
