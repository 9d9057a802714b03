"""The page of a diff: the rows that say where a model changed, and the waste that is new."""

from __future__ import annotations

from collections.abc import Iterable

from paramaudit.records import Diff, ModuleChange, WasteChange
from paramaudit.report.page import ROOT, Page, Table, change, number

WORSE = ("new", "grown")


def diff_page(diff: Diff) -> Page:
    """What a reviewer reads: totals, the modules that changed, waste that is new, waste that is gone."""
    before, after = diff.original.parameters, diff.refactored.parameters
    lines = [
        f"{before:,} -> {after:,} parameters ({change(before, after)})",
        f"waste: {diff.waste_before:,} -> {diff.waste_after:,} parameters that the default plan removes",
        f"{diff.unchanged:,} modules are as they were; stored values are not compared (verify does that)",
    ]
    title = f"Changes from {diff.original.target} to {diff.refactored.target}"
    worse = [entry for entry in diff.waste if entry.change in WORSE]
    better = [entry for entry in diff.waste if entry.change not in WORSE]
    tables = (_modules(diff), _waste("Waste that is new", worse), _waste("Waste that is gone", better))
    return Page(title, tuple(lines), tables)


def telling(diff: Diff) -> tuple[tuple[ModuleChange, int, int], ...]:
    """The modules where something changed, with parameters before and after; differences sum to the whole.

    A module that came or went counts with all below it, any other with what it holds itself. What is only
    larger because a part of it is, and parts of what came or went, are left out.
    """
    kinds = {entry.path: entry.change for entry in diff.modules}
    rows = []
    for entry in diff.modules:
        if entry.change in ("added", "removed"):
            above = entry.path.rpartition(".")[0]
            whole = entry.parameters_before, entry.parameters_after
            if (not entry.path or kinds.get(above) != entry.change) and any(whole):
                rows.append((entry, *whole))
        elif entry.change == "type" or entry.own_before != entry.own_after:
            rows.append((entry, entry.own_before, entry.own_after))
    return tuple(rows)


def what(entry: ModuleChange) -> str:
    """The change in words."""
    if entry.change == "type":
        return f"{entry.type_before} -> {entry.type_after}"
    return "resized" if entry.change == "parameters" else entry.change


def _modules(diff: Diff) -> Table:
    rows = tuple(
        (
            entry.path or ROOT,
            what(entry),
            number(before),
            number(after),
            f"{after - before:+,}",
            entry.source or "",
        )
        for entry, before, after in telling(diff)
    )
    columns = ("module", "change", "before", "after", "difference", "source")
    total = f"{diff.refactored.parameters - diff.original.parameters:+,}"
    footer = ("total", "", "", "", total, "")
    return Table("Modules that changed", columns, rows, frozenset({2, 3, 4}), frozenset({1, 2, 3, 4}), footer)


def _waste(title: str, entries: Iterable[WasteChange]) -> Table:
    rows = tuple(
        (
            entry.path or ROOT,
            entry.operator,
            str(entry.tier),
            entry.change,
            number(entry.saved_before),
            number(entry.saved_after),
            entry.reason,
            entry.source or "",
        )
        for entry in entries
    )
    columns = ("module", "operator", "tier", "change", "could go before", "now", "evidence", "source")
    return Table(title, columns, rows, frozenset({4, 5}), frozenset({1, 2, 3, 4, 5}))
