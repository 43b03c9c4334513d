"""Tables and plots: what a case found, written as Markdown with SVG beside it."""

from __future__ import annotations

import datetime
import os
import pathlib
import platform
import re
from dataclasses import dataclass, field
from typing import Sequence, Union

from measure import Target

Cell = Union[str, int, float]


@dataclass
class Table:
    """Rows of cells below a caption; numbers are printed with three digits that count."""

    caption: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"{self.caption}:", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|" + "---|" * len(self.columns))
        lines += ["| " + " | ".join(text_of(cell) for cell in row) + " |" for row in self.rows]
        return "\n".join(lines)


@dataclass
class Plot:
    """Lines over x, or bars where x are names."""

    name: str  # of the file
    title: str
    x_label: str
    y_label: str
    series: dict[str, list[tuple[Cell, float]]]
    log_x: bool = False
    log_y: bool = False


@dataclass
class Section:
    """All that one case has to say."""

    title: str
    how: str  # it was measured
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)


def text_of(cell: Cell) -> str:
    """A cell as text: 1,234,567 or 0.00123."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int) or abs(cell) >= 1000:
        return f"{cell:,.0f}"
    return f"{cell:.3g}"


def value_in(path: str, pattern: str) -> str:
    """What the pattern finds in a file of the system."""
    match = re.search(pattern, pathlib.Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    return match.group(1) if match else ""


def machine() -> list[str]:
    """What it was measured on."""
    cpu = value_in("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine()
    memory = int(value_in("/proc/meminfo", r"^MemTotal:\s*(\d+)") or 0) / 1048576
    system = value_in("/etc/os-release", r'^PRETTY_NAME="?(.*?)"?$')
    return [
        f"{os.cpu_count()} cores, {cpu}",
        f"{memory:.0f} GiB of memory",
        f"{system}, Linux {platform.release()}",
    ]


def draw(plot: Plot, folder: pathlib.Path) -> None:
    """Writes the plot as SVG."""
    import matplotlib  # pylint: disable=import-outside-toplevel

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = plot.name  # the same plot is the same file
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

    many = len(plot.series) > 6
    figure, axes = pyplot.subplots(figsize=(11 if many else 8, 4.5))
    named = any(isinstance(x, str) for points in plot.series.values() for x, _ in points)
    for number, (name, points) in enumerate(plot.series.items()):
        xs, ys = [x for x, _ in points], [y for _, y in points]
        if named:
            axes.barh(xs, ys, label=name)
        else:
            axes.plot(xs, ys, marker="os"[number // 10 % 2], label=name)  # there are 10 colours
    if named:
        axes.invert_yaxis()
        axes.set_xlabel(plot.y_label)
        if plot.log_y:
            axes.set_xscale("log")
    else:
        axes.set_xlabel(plot.x_label)
        axes.set_ylabel(plot.y_label)
        if plot.log_x:
            measured = sorted({x for points in plot.series.values() for x, _ in points})
            axes.set_xscale("log")
            axes.set_xticks(measured, [text_of(x) for x in measured])
            axes.set_xticks([], minor=True)
        if plot.log_y:
            axes.set_yscale("log")
        axes.set_ylim(bottom=None if plot.log_y else 0)
    if len(plot.series) > 1:
        # Many names would hide what is drawn.
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "fontsize": "small"}
        axes.legend(**(beside if many else {}))
    axes.set_title(plot.title)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(folder / f"{plot.name}.svg", metadata={"Date": None})
    pyplot.close(figure)


def write(sections: list[Section], versions: list[str], folder: pathlib.Path) -> None:
    """Writes REPORT.md and its plots."""
    folder.mkdir(parents=True, exist_ok=True)
    today = datetime.date.today().isoformat()
    lines = ["# Benchmark report", "", f"Written by `bash scripts/bench.sh` on {today}.", ""]
    lines += [f"- {line}" for line in machine() + versions if line] + [""]
    targets = [(section.title, target) for section in sections for target in section.targets]
    if targets:
        words = {True: "reached", False: "**not reached**", None: "not measured"}

        def said(target: Target) -> str:
            explained = f": {target.why}" if target.why and target.reached is False else ""
            return words[target.reached] + explained

        table = Table("What was to be reached", ("case", "target", ""),
                      [(title, target.text, said(target)) for title, target in targets])
        lines += [table.markdown(), ""]
    for section in sections:
        lines += [f"## {section.title}", "", section.how, ""]
        for table in section.tables:
            lines += [table.markdown(), ""]
        for plot in section.plots:
            draw(plot, folder)
            lines += [f"![{plot.title}]({plot.name}.svg)", ""]
    (folder / "REPORT.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
