"""What PostgreSQL's isolationtester prints while the model runs a permutation.

It sends the steps one by one. One that blocks is said to be waiting, and looked at again after
each further step; those that are done by then are reported in the order in which they were sent.
A step that ends by itself, after 10 ms, gets the marker (*), "say that it waits, in any case", and
is followed by a step of its own session, which the tester sends only when the first one is done.
What its end sets free is marked with it, "not reported before that one": no race is left.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Sequence

from model import Model, Undecided
from steps import Lock, Outcome, Step


class Sent(NamedTuple):
    """A step that was said to be waiting."""

    position: int  # in the permutation
    step: Step
    outcome: Outcome


class Tester:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.steps: list[Step] = []
        self.markers: list[list[str]] = []  # of each step
        self.text = ""
        self._waiting: list[Sent] = []
        self._ending: Optional[Sent] = None  # ends by itself, or was cancelled

    @property
    def next_session(self) -> Optional[str]:
        """Whose turn it is, if that is not open."""
        return self._ending.step.session if self._ending else None

    def send(self, step: Step) -> None:
        if self._ending is not None:
            if self._ending.step.session != step.session:
                raise Undecided("another session's step, while one may be about to end")
            self._report_end()
        session = self.model.sessions.get(step.session)
        if session is not None and session.call is not None:
            raise Undecided("the session is waiting")

        outcome = step.run(self.model)
        self.model.settle()
        sent = Sent(len(self.steps), step, outcome)
        self.steps.append(step)
        self.markers.append([])
        if outcome.warning:
            self.text += f"{step.session}: WARNING:  {outcome.warning}\n"
        self.text += f"step {step.name}: {step.sql};"
        if outcome.by_itself:
            self.text += " <waiting ...>\n"
            self.markers[-1].append("*")
            self._ending = sent
        elif outcome.call is not None and not outcome.call.returned:
            self.text += " <waiting ...>\n"
            self._waiting.append(sent)
        else:
            self.text += "\n" + result(step, outcome)
            if outcome.cancelled:
                self._ending = self._take_waiting(outcome.cancelled)
        if self._ending is None:
            self._report_returned()

    def _take_waiting(self, session: str) -> Sent:
        sent = next(sent for sent in self._waiting if sent.step.session == session)
        self._waiting.remove(sent)
        return sent

    def _report_end(self) -> None:
        assert self._ending is not None
        for sent in self._waiting:
            if sent.outcome.call is not None and sent.outcome.call.returned:
                self.markers[sent.position].append(self._ending.step.name)
        self._report(self._ending)
        self._ending = None
        self._report_returned()

    def _report_returned(self) -> None:
        for sent in list(self._waiting):
            if sent.outcome.call is not None and sent.outcome.call.returned:
                self._waiting.remove(sent)
                self._report(sent)

    def _report(self, sent: Sent) -> None:
        self.text += f"step {sent.step.name}: <... completed>\n" + result(sent.step, sent.outcome)

    def printed(self) -> str:
        """The whole permutation, when nothing is left to be done."""
        if self._ending is not None or self._waiting:
            raise Undecided("not all steps have ended")
        names = " ".join(step.name for step in self.steps)
        return f"\nstarting permutation: {names}\n{self.text}"

    def permutation(self) -> str:
        """Its line in the specification."""
        return "permutation " + " ".join(
            step.name + (f"({', '.join(markers)})" if markers else "")
            for step, markers in zip(self.steps, self.markers))


def result(step: Step, outcome: Outcome) -> str:
    error, rows = outcome.error, outcome.rows
    if outcome.call is not None and isinstance(step, Lock):
        error, rows = outcome.call.error, [step.row(outcome.call)]
    if error:
        return f"ERROR:  {error}\n"
    return table(outcome.columns, rows) if outcome.columns else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """As libpq's PQprint aligns it: columns of numbers to the right."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows)]
    numbers = [bool(rows) and all(row[i].isdigit() for row in rows) for i in range(len(columns))]
    lines = ["|".join(cell.rjust(width) if number else cell.ljust(width)
                      for cell, width, number in zip(cells, widths, numbers))
             for cells in [columns, *rows]]
    lines.insert(1, "+".join("-" * width for width in widths))
    return "\n".join(lines) + f"\n({len(rows)} row{'' if len(rows) == 1 else 's'})\n\n"
