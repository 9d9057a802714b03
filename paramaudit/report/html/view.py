"""Records to what a page shows: figures, the map of the model, bars, findings, tables, the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any

from paramaudit.records import Audit, Certificate, Comparison, Contract, Finding, Json
from paramaudit.records.report import Report
from paramaudit.report import content
from paramaudit.report.certificate import contract_lines
from paramaudit.report.html.bars import Pair, of_comparison, of_totals
from paramaudit.report.html.draw import Plot
from paramaudit.report.html.numbers import compact, sort_key
from paramaudit.report.html.plots import plots
from paramaudit.report.html.treemap import Node, treemap
from paramaudit.report.modules import modules
from paramaudit.report.page import ROOT, Page, Table, change, measured, number, size

MEASURES = frozenset({"gap", "witness"})
"""Columns of numbers that are no counts."""


@dataclass(frozen=True)
class Figure:
    """One number that matters, with what it is and what stands beside it."""

    name: str
    value: str
    note: str = ""
    good: bool | None = None


@dataclass(frozen=True)
class Cell:
    """A cell; ``key`` is what a column of numbers is sorted by."""

    text: str
    key: float | None = None


@dataclass(frozen=True)
class Grid:
    """A table to sort; ``numeric`` and ``right`` are column numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int]
    right: frozenset[int]
    footer: tuple[str, ...] | None = None
    left_out: int = 0


@dataclass(frozen=True)
class Card:
    """A finding that is drawn."""

    operator: str
    path: str
    tier: str
    facts: tuple[tuple[str, str], ...]
    arguments: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class View:
    """All of a page; what is empty is not shown."""

    title: str
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    tree: Node | None = None
    bars: tuple[Pair, ...] = ()
    cards: tuple[Card, ...] = ()
    grids: tuple[Grid, ...] = ()
    contract: Contract | None = None
    text: str = ""
    heading: str = ""
    """Of the lines; without one they stand on top."""

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """The sections that there are: anchor and name."""
        parts = (
            ("map", "where the parameters are", self.tree),
            ("bars", "before and after", self.bars),
            ("recognised", "what was recognised", self.cards),
            ("contract", "the contract", self.contract),
            ("lines", self.heading.lower(), self.lines and self.heading),
        )
        tables = ((f"table-{i}", grid.title.lower()) for i, grid in enumerate(self.grids, 1) if grid.title)
        return (*((anchor, name) for anchor, name, shown in parts if shown), *tables)


@singledispatch
def view(record: Any, findings: Sequence[Finding] = ()) -> View:
    """What to show of any record: its lines and tables, and more where there is more.

    Raises:
        TypeError: there is no page for this record.
    """
    return of_page(content.page(record, findings))


def of_page(page: Page) -> View:
    """The lines and tables of a page."""
    return View(page.title, lines=page.lines, grids=_grids(page.tables))


@view.register
def _audit(audit: Audit, findings: Sequence[Finding] = ()) -> View:  # noqa: ARG001
    totals, model = audit.totals, audit.model
    why = (
        (f"not exported, so its stored numbers alone were audited: {model.why_not or 'no graph'}",)
        if not model.exported
        else ()
    )
    skipped = tuple((skip.path or ROOT, skip.reason) for skip in audit.skipped)
    chosen = [finding for finding in audit.findings if content.is_applied(finding)]
    rest = [finding for finding in audit.findings if not content.is_applied(finding)]
    return View(
        f"Audit of {model.target}",
        notes=why,
        figures=(
            _saved("parameters", totals.parameters_before, totals.parameters_after, compact),
            _saved("bytes", totals.bytes_before, totals.bytes_after, size),
        ),
        tree=treemap(audit),
        bars=of_totals(totals),
        cards=tuple(card for finding in audit.findings if (card := _card(finding)).plots),
        grids=_grids(
            (
                _findings("Findings, applied by default", chosen),
                _findings("Refused or not applied", rest),
                Table("Skipped", ("module", "reason"), skipped),
                modules(audit),
            )
        ),
        contract=audit.contract,
    )


@view.register
def _certificate(certificate: Certificate, findings: Sequence[Finding] = ()) -> View:
    page = content.page(certificate, findings)
    gap = f", gap {measured(certificate.gap)}" if certificate.gap else ""
    answer = {True: "equivalent", False: "NOT equivalent", None: "not certified"}[certificate.equivalent]
    figure = Figure("certificate", answer, f"{certificate.tier}{gap}", certificate.equivalent)
    lines = tuple(line for line in page.lines if line not in contract_lines(certificate.contract))
    return replace(
        of_page(page),
        lines=lines,
        figures=(figure,),
        contract=certificate.contract,
        heading="The certificate",
    )


@view.register
def _comparison(comparison: Comparison, findings: Sequence[Finding] = ()) -> View:
    before, after = comparison.original, comparison.refactored
    figures = [
        _saved("parameters", before.parameters, after.parameters, compact),
        _saved("bytes", before.bytes, after.bytes, size),
    ]
    if before.flops.total is not None and after.flops.total is not None:
        figures.append(_saved("FLOPs", before.flops.total, after.flops.total, compact))
    for device, ratio in comparison.latency.items():
        if ratio > 0:
            figures.append(Figure(f"latency, {device}", f"{ratio:.2f}x", "original time / refactored time"))
    page = of_page(content.page(comparison, findings))
    return replace(page, figures=tuple(figures), bars=of_comparison(comparison))


@view.register
def _report(report: Report, findings: Sequence[Finding] = ()) -> View:  # noqa: ARG001
    known = [record for record in (report.audit, report.comparison, report.certificate) if record]
    views = [view(record) for record in known]
    target = report.audit.model.target if report.audit else ""
    figures = {figure.name: figure for one in views for figure in one.figures}
    contracts = [one.contract for one in views if one.contract is not None]
    return View(
        f"Report on {target}" if target else "Report",
        notes=(*report.notes, *(note for one in views for note in one.notes)),
        lines=tuple(line for one in views for line in one.lines),
        figures=tuple(figures.values()),
        tree=next((one.tree for one in views if one.tree), None),
        bars=next((one.bars for one in reversed(views) if one.bars), ()),
        cards=tuple(card for one in views for card in one.cards),
        grids=tuple(grid for one in views for grid in one.grids),
        contract=contracts[0] if contracts else None,
        heading="The certificate",
    )


def cut(whole: View, most: int) -> View:
    """The view with at most so many rows in a table, and as many drawings."""
    grids = tuple(
        replace(grid, rows=grid.rows[:most], left_out=max(0, len(grid.rows) - most)) for grid in whole.grids
    )
    return replace(whole, grids=grids, cards=whole.cards[:most])


def longest(whole: View) -> int:
    """The rows of the longest table, or the number of drawings where that is more."""
    return max([len(whole.cards), *(len(grid.rows) for grid in whole.grids)])


def _saved(name: str, before: int, after: int, show: Any) -> Figure:
    return Figure(name, f"{show(before)} → {show(after)}", change(before, after))


def _grids(tables: Sequence[Table]) -> tuple[Grid, ...]:
    return tuple(_grid(table) for table in tables if table.rows)


def _grid(table: Table) -> Grid:
    measures = {index for index, name in enumerate(table.columns) if name in MEASURES}
    counted = table.right | measures
    rows = tuple(
        tuple(Cell(text, sort_key(text) if index in counted else None) for index, text in enumerate(row))
        for row in table.rows
    )
    return Grid(table.title, table.columns, rows, counted, table.right, table.footer)


def _findings(title: str, findings: Sequence[Finding]) -> Table:
    columns = ("module", "operator", "tier", "before", "after", "gap", "witness", "reason")
    rows = tuple(_finding(finding) for finding in findings)
    return Table(title, columns, rows, frozenset({3, 4}))


def _finding(finding: Finding) -> tuple[str, ...]:
    shown = content.claim(finding)
    gap, witness = measured(finding.gap), measured(finding.witness)
    return finding.path or ROOT, *shown, gap, witness, content.because(finding)


def _card(finding: Finding) -> Card:
    _, tier, before, after = content.claim(finding)
    facts = [("parameters", f"{before} → {after}")]
    if finding.gap is not None:
        facts.append(("gap", measured(finding.gap)))
    if finding.witness is not None:
        facts.append(("witness", measured(finding.witness)))
    said = "; ".join(
        f"{name} {text}" for name, value in finding.arguments.items() if (text := _argument(value))
    )
    return Card(finding.operator, finding.path or ROOT, tier, tuple(facts), said, plots(finding))


def _argument(value: Json) -> str:
    """An argument in a few words, empty where it takes more."""
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, str):
        return value[:60]
    if (
        isinstance(value, list)
        and 0 < len(value) <= 8
        and not any(isinstance(n, (list, dict)) for n in value)
    ):
        return " ".join(f"{n:.4g}" if isinstance(n, float) else str(n)[:20] for n in value)
    return ""
