"""A counterexample run again: the page that a person reads."""

from __future__ import annotations

from paramaudit.records import OutputValues, Replay
from paramaudit.report.page import Page, Table


def replay_page(replay: Replay) -> Page:
    """The outputs of both models side by side."""
    answer = "still differ" if replay.differs else "differ no more"
    lines = (
        f"{replay.targets[0]} and {replay.targets[1]} {answer} on the inputs of {replay.file}",
        replay.reason,
    )
    columns = ("output", "at", "original in float64", "original", "refactored", "difference", "allowed")
    rows = tuple(_row(value) for value in replay.values)
    table = Table("Outputs where they are furthest apart", columns, rows, frozenset(range(2, 7)))
    return Page("Counterexample, run again", tuple(line for line in lines if line), (table,))


def _row(value: OutputValues) -> tuple[str, ...]:
    at = f"[{', '.join(map(str, value.index))}]" + (f" ({value.part})" if value.part else "")
    three = (value.original_float64, value.original, value.refactored)
    return (
        value.output, at, *(f"{v:.9g}" for v in three), f"{value.difference:.2g}", f"{value.allowed:.2g}"
    )  # fmt: skip
