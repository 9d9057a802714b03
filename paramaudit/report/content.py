"""Records to pages: which lines and tables a person reads, whatever the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

from paramaudit.records import (
    Audit,
    Certificate,
    Check,
    Comparison,
    Cost,
    Diff,
    Finding,
    Judgement,
    PartSpeed,
    Plan,
    Replay,
    Totals,
)
from paramaudit.records.report import Report
from paramaudit.report.certificate import certificate_page, contract_lines
from paramaudit.report.check import check_page
from paramaudit.report.claims import claims_page
from paramaudit.report.diff import diff_page
from paramaudit.report.modules import modules
from paramaudit.report.page import ROOT, Page, Table, change, listed, measured, number, size
from paramaudit.report.replay import replay_page

NUMBERS = frozenset({1, 2, 3})


@singledispatch
def page(record: Any, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    """The page of an audit, a plan, a certificate or a comparison.

    Args:
        record: what to show.
        findings: for a plan, what its ids stand for.

    Raises:
        TypeError: there is no page for this record.
    """
    raise TypeError(f"no page for {type(record).__name__}")


@page.register
def _audit(audit: Audit, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    model = audit.model
    lines = [_totals(audit.totals)]
    if not model.exported:
        lines.append(f"not exported, so its stored numbers alone were audited: {model.why_not or 'no graph'}")
    if audit.contract is not None:
        lines.extend(contract_lines(audit.contract))
    chosen = [finding for finding in audit.findings if is_applied(finding)]
    rest = [finding for finding in audit.findings if not is_applied(finding)]
    skipped = tuple((skip.path or ROOT, skip.reason) for skip in audit.skipped)
    tables = (
        modules(audit),
        _findings("Findings, applied by default", chosen),
        _findings("Not applied", rest),
        Table("Skipped", ("module", "reason"), skipped),
    )
    return Page(f"Audit of {model.target}", tuple(lines), tables)


@page.register
def _plan(plan: Plan, findings: Sequence[Finding] = ()) -> Page:
    known = {finding.id: finding for finding in findings}
    chosen = tuple(_planned(key, known.get(key)) for key in plan.apply)
    refused = tuple((refusal.id, refusal.reason) for refusal in plan.refused)
    columns = ("finding", "operator", "tier", "before", "after")
    tables = (
        Table("Would be applied", columns, chosen, frozenset({3, 4}), frozenset({1, 2, 3, 4})),
        Table("Refused", ("finding", "reason"), refused),
    )
    nothing = () if plan.apply else ("nothing would be applied",)
    beyond = (
        () if plan.beyond is None else (f"with what was fitted, another function: {_totals(plan.beyond)}",)
    )
    return Page(f"Plan for {plan.model.target}", (_totals(plan.totals), *beyond, *nothing), tables)


@page.register
def _certificate(certificate: Certificate, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    return certificate_page(certificate)


@page.register
def _replay(replay: Replay, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    return replay_page(replay)


@page.register
def _comparison(comparison: Comparison, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    before, after = comparison.original, comparison.refactored
    rows = [
        _difference("parameters", before.parameters, after.parameters, number),
        _difference("buffers", before.buffers, after.buffers, number),
        _difference("bytes", before.bytes, after.bytes, size),
        _difference("file", before.file_bytes, after.file_bytes, size),
        ("FLOPs", _flops(before), _flops(after), _change(before.flops.total, after.flops.total)),
    ]
    for device in dict.fromkeys([*before.devices, *after.devices]):
        ratio = comparison.latency.get(device)
        rows.append((f"latency {device}", _latency(before, device), _latency(after, device), _ratio(ratio)))
        peaks = _peak(before, device), _peak(after, device)
        if peaks != (None, None):
            rows.append(_difference(f"peak memory {device}", *peaks, size))
    columns = ("", "original", "refactored", "change")
    tables = [Table("Savings", columns, tuple(rows), NUMBERS)]
    if comparison.parts:
        batches = list(comparison.parts[0].ratios)
        heads = ("part", "device", *(f"batch {batch}" for batch in batches), "pays")
        numbers = frozenset(range(2, 2 + len(batches)))
        tables.append(
            Table(
                "Parts, original time / refactored time", heads, tuple(map(_part, comparison.parts)), numbers
            )
        )
    return Page("Comparison", (), tuple(tables))


def _part(found: PartSpeed) -> tuple[str, ...]:
    last = list(found.ratios.values())[-1]
    pays = "from batch 1 on" if found.pays_from == 1 else f"from batch {found.pays_from} on"
    if found.pays_from is None:
        pays = "slower" if last < 1 else "yes"
    return found.path, found.device, *(f"{ratio:.2f}x" for ratio in found.ratios.values()), pays


@page.register
def _check(check: Check, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    return check_page(check)


@page.register
def _report(report: Report, findings: Sequence[Finding] = ()) -> Page:
    known = [record for record in (report.audit, report.comparison, report.certificate) if record]
    pages = [page(record, findings) for record in known]
    of = f" on {report.audit.model.target}" if report.audit else ""
    lines = tuple(dict.fromkeys(line for one in pages for line in one.lines))
    return Page(f"Report{of}", (*report.notes, *lines), tuple(table for one in pages for table in one.tables))


@page.register
def _diff(diff: Diff, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    return diff_page(diff)


@page.register
def _judgement(judgement: Judgement, findings: Sequence[Finding] = ()) -> Page:  # noqa: ARG001
    return claims_page(judgement)


def is_applied(finding: Finding) -> bool:
    """Whether it is applied, or is the inner half of a chain that was then named."""
    return finding.applied_by_default or (finding.part_of is not None and finding.tier.safe)


def _findings(title: str, findings: Sequence[Finding]) -> Table:
    columns = ("module", "operator", "tier", "before", "after", "evidence")
    rows = tuple(_finding(finding) for finding in findings)
    return Table(title, columns, rows, frozenset({3, 4}), frozenset({1, 2, 3, 4}))


def _finding(finding: Finding) -> tuple[str, ...]:
    sizes = (("gap", finding.gap), ("witness", finding.witness))
    shown = [f"{name} {measured(value)}" for name, value in sizes if value is not None]
    return finding.path or ROOT, *claim(finding), because(finding, shown)


def because(finding: Finding, more: Sequence[str] = ()) -> str:
    """Why a finding has its tier, with more after the reason."""
    said = [finding.reason, *more]
    if finding.requires:
        said.append(f"requires: {', '.join(finding.requires)}")
    if finding.p_value is not None:
        said.append(f"p = {finding.p_value:.2g}")
    if finding.counterexample is not None:
        said.append(f"counterexample {finding.counterexample}")
    if finding.part_of is not None:
        said.append(f"part of {finding.part_of}")
    return "; ".join(said)


def claim(finding: Finding) -> tuple[str, str, str, str]:
    """What a finding says: operator, tier, parameters before and after."""
    after = number(finding.parameters_after)
    if finding.indices_after:
        after += f" + {finding.indices_after:,} indices"
    return finding.operator, str(finding.tier), number(finding.parameters_before), after


def _planned(key: str, finding: Finding | None) -> tuple[str, ...]:
    return (key, "", "", "", "") if finding is None else (key, *claim(finding))


def _totals(totals: Totals) -> str:
    before, after = totals.parameters_before, totals.parameters_after
    indices = f" and {totals.indices_after:,} indices" if totals.indices_after else ""
    return (
        f"{before:,} -> {after:,} parameters{indices} ({change(before, after)}), "
        f"{size(totals.bytes_before)} -> {size(totals.bytes_after)}"
    )


def _difference(
    name: str, before: int | None, after: int | None, show: Callable[[int | None], str]
) -> tuple[str, str, str, str]:
    return name, show(before), show(after), _change(before, after)


def _change(before: int | None, after: int | None) -> str:
    return "unknown" if before is None or after is None else change(before, after)


def _flops(cost: Cost) -> str:
    if cost.flops.total is not None:
        return number(cost.flops.total)
    return f"uncounted: {listed(cost.flops.uncounted)}" if cost.flops.uncounted else "unknown"


def _latency(cost: Cost, device: str) -> str:
    spent = cost.devices.get(device)
    if spent is None:
        return "not measured"
    if spent.unavailable is not None:
        return f"unavailable: {spent.unavailable}"
    if spent.latency_ms is None:
        return "not measured"
    times = spent.latency_ms
    return f"{times.median:.4g} ms ({times.low:.4g} to {times.high:.4g}, {times.runs} runs)"


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "unknown"
    word = "as fast" if ratio == 1 else "faster" if ratio > 1 else "slower"
    return f"{ratio:.2f}x ({word})"


def _peak(cost: Cost, device: str) -> int | None:
    spent = cost.devices.get(device)
    return None if spent is None else spent.peak_bytes
