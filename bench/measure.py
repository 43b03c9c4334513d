"""Alternating measurements, and what is said of them.

Machines are noisy, and most of the noise lasts longer than one measurement: so all ways
of a case are measured in turns, and compared within a turn.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Callable, Optional, Sequence


@dataclass
class Figure:
    """One measurement: a number, and whether the work behind it was right."""

    value: float
    wrong: str = ""  # e.g. "12 updates lost": said instead of the number
    more: dict[str, float] = field(default_factory=dict)  # beside it, by name


@dataclass
class Series:
    """The measurements of one way, a figure for each turn."""

    figures: list[Figure] = field(default_factory=list)

    @property
    def wrong(self) -> str:
        return next((figure.wrong for figure in self.figures if figure.wrong), "")

    @property
    def median(self) -> float:
        return statistics.median(figure.value for figure in self.figures)

    def median_of(self, name: str) -> float:
        return statistics.median(figure.more[name] for figure in self.figures)

    def max_of(self, name: str) -> float:
        return max(figure.more[name] for figure in self.figures)


@dataclass
class Ratio:
    """Of two series, turn by turn."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(series: Series, reference: Series) -> Ratio:
    """How many times as much as the reference in the same turn: median, lowest, highest."""
    values = [
        one.value / other.value
        for one, other in zip(series.figures, reference.figures)
        if other.value
    ]
    return Ratio(statistics.median(values), min(values), max(values))


class Progress:
    """One line that is rewritten on a terminal, or a line a case in a log."""

    def __init__(self) -> None:
        self.live = sys.stderr.isatty()
        self.started = time.monotonic()

    def say(self, text: str, lasting: bool = False) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        line = f"{minutes:2}:{seconds:02} {text}"
        if self.live:
            print(f"\r\033[K{line}", end="\n" if lasting else "", file=sys.stderr, flush=True)
        elif lasting:
            print(line, file=sys.stderr, flush=True)


PROGRESS = Progress()


def alternate(title: str, ways: dict[str, Callable[[], Figure]], turns: int) -> dict[str, Series]:
    """Measures all ways in turns, every second one backwards: A B, B A, A B."""
    series = {name: Series() for name in ways}
    for turn in range(turns):
        names = list(ways)
        for name in names if turn % 2 == 0 else reversed(names):
            PROGRESS.say(f"{title}: {name}, {turn + 1} of {turns}")
            series[name].figures.append(ways[name]())
    PROGRESS.say(title, lasting=True)
    return series


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def jain(counts: Sequence[float]) -> float:
    """Jain's fairness index: 1 if all got the same, 1/n if one got all.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination, 1984.
    """
    squares = sum(count * count for count in counts)
    return sum(counts) ** 2 / (len(counts) * squares) if squares else 0.0


@dataclass
class Target:
    """What a figure has to reach, and whether it did."""

    text: str
    reached: Optional[bool]  # None: not measured
    why: str = ""  # it is known not to be reached, if it is not
