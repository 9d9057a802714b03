"""The table of modules, whose rows sum to its total."""

from __future__ import annotations

from collections.abc import Collection

from paramaudit.records import Audit, ModuleRow
from paramaudit.report.page import ROOT, Table, number

DEPTH = 2


def modules(audit: Audit) -> Table:
    """The modules down to :data:`DEPTH`; the column "own" sums to the total.

    What deeper modules hold themselves is counted in the row above them. Rows that hold nothing are
    left out.
    """
    rows = {row.path: row for row in audit.modules}
    own = dict.fromkeys(rows, 0)
    for row in audit.modules:
        own[_row_of(row.path, rows)] += row.own_parameters
    shown = [
        row
        for row in audit.modules
        if _depth(row.path) <= DEPTH
        and (not row.path or row.parameters or row.parameters_after or own[row.path])
    ]
    cells = tuple(_module(row, own[row.path]) for row in shown)
    total = sum(own[row.path] for row in shown)
    footer = ("total", "", number(total), number(audit.totals.parameters_after), "", "")
    columns = ("module", "parameters", "own", "after", "verdict", "reason")
    return Table("Modules", columns, cells, frozenset({1, 2, 3}), frozenset({1, 2, 3, 4}), footer)


def _row_of(path: str, rows: Collection[str]) -> str:
    """The shown path that counts what a module holds itself."""
    while path and (_depth(path) > DEPTH or path not in rows):
        path = path.rpartition(".")[0]
    return path if path in rows else next(iter(rows))


def _depth(path: str) -> int:
    return path.count(".") + 1 if path else 0


def _module(row: ModuleRow, own: int) -> tuple[str, ...]:
    counts = number(row.parameters), number(own), number(row.parameters_after)
    rule = f" [rule {row.rule.id}]" if row.rule else ""
    return (row.path or ROOT, *counts, str(row.verdict), row.reason + rule)
