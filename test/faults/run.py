"""Makes histories and checks them; scripts/trust/histories.sh prepares what this needs.

The last lines are `figure: NAME = VALUE`. Status 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import signal
import sys
import time

import crashes
import phases
from phases import Findings, Sizes
from server import PG_BIN, run

PHASES = {
    "replay": phases.replay,
    "volume": phases.volume,
    "canary": phases.canary,
    "storm": phases.storm,
    "kills": crashes.kills,
    "stops": crashes.stops,
    "promotions": crashes.promotions,
}
QUICK = Sizes(operations=300_000, canary=300_000, control=10_000, disturbances=5_000,
              kills=30, stops=8, promotions=4)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="histories.sh")
    parser.add_argument("--quick", action="store_true", help="less of everything: for CI")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 1 << 31),
                        help="repeats what each session asks for")
    parser.add_argument("--phases", default=",".join(PHASES), metavar="NAME,...",
                        help="of " + ", ".join(PHASES))
    for size in dataclasses.fields(Sizes):
        parser.add_argument(f"--{size.name}", type=int, metavar="N",
                            help=f"{size.default}, with --quick {getattr(QUICK, size.name)}")
    given = parser.parse_args()
    unknown = set(given.phases.split(",")) - set(PHASES)
    if unknown:
        parser.error(f"unknown phase: {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which stops the servers
    given = arguments()
    sizes = dataclasses.replace(QUICK if given.quick else Sizes(), **{
        field.name: getattr(given, field.name) for field in dataclasses.fields(Sizes)
        if getattr(given, field.name) is not None})
    findings = Findings()
    started = time.monotonic()
    print(f"seed {given.seed}: repeat with --seed {given.seed}", flush=True)
    for name in given.phases.split(","):
        PHASES[name](given.seed, sizes, findings)

    print(f"{len(findings.problems)} problems")
    print(f"figure: seed = {given.seed}")
    print(f"figure: server = {run(PG_BIN / 'postgres', '--version').strip()}")
    for figure, value in findings.figures.items():
        print(f"figure: {figure} = {value}")
    print(f"figure: cancels, terminates and timeouts = {phases.disturbances(findings.figures)}")
    print(f"figure: problems = {len(findings.problems)}")
    print(f"figure: seconds = {time.monotonic() - started:.0f}")
    return 1 if findings.problems else 0


if __name__ == "__main__":
    sys.exit(main())
