"""What the documents for CI say about a record, before any format: notices at lines of source, and cases.

A notice is something to look at, a case something that was judged. A case fails only where the exit code of
the command does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

from paramaudit.records import (
    Audit,
    Certificate,
    Check,
    Comparison,
    Diff,
    Finding,
    ModuleChange,
    Plan,
    Replay,
    Tier,
    WasteChange,
)
from paramaudit.records.claims import Judgement, Ruling
from paramaudit.records.report import Report
from paramaudit.report import content
from paramaudit.report.check import reasons
from paramaudit.report.diff import telling, what
from paramaudit.report.page import ROOT, change


@dataclass(frozen=True)
class Notice:
    """Something to look at.

    ``rule`` is the operator or the kind of notice, ``key`` identifies it from run to run, ``level`` is
    "error", "warning" or "note", ``path`` the module that it speaks about, ``source`` its ``file:line``.
    """

    rule: str
    key: str
    level: str
    message: str
    path: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class Case:
    """Something judged: ``outcome`` is "passed", "failed", "error" or "skipped", ``text`` says why."""

    group: str
    name: str
    outcome: str
    text: str
    source: str | None = None


@dataclass(frozen=True)
class Notices:
    """A document for CI; ``rules`` is the documentation of what notices name, ``target`` the model."""

    title: str
    target: str
    notices: tuple[Notice, ...] = ()
    cases: tuple[Case, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)


def notices(
    record: Any,
    audit: Audit | None = None,
    atlas: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
) -> Notices:
    """The notices of a record.

    Args:
        record: what to tell.
        audit: for a plan, which holds ids only, the audit that it was made of.
        atlas: the documentation of every operator and rewrite; that of those named is taken along.
        strict: for claims, whether those that do not hold fail the command.

    Raises:
        TypeError: there is nothing to tell of this record.
    """
    found = _of(record, audit, strict)
    named = {notice.rule for notice in found.notices}
    known = {**OWN_RULES, **(atlas or {})}
    rules = {name: known.get(name, "") for name in sorted(named)}
    return replace(found, rules=rules)


OWN_RULES = {
    "budget": "A limit from the configuration, or the committed baseline.",
    "claim": "A statement about the model, held against what was measured.",
    "cost": "What the two models cost.",
    "equivalence": "Whether two models are the same function.",
    "module-change": "A module that is not what it was.",
}
"""Kinds of notices that are no operators."""


@singledispatch
def _of(record: Any, audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001 - for some records only
    raise TypeError(f"no notices for {type(record).__name__}")


@_of.register
def _audit(audit: Audit, _given: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    shown = sorted((f for f in audit.findings if f.part_of is None), key=_weight)
    modules = [
        Case(
            "modules",
            row.path or ROOT,
            "passed",
            f"{row.verdict}: {row.reason}; {row.parameters:,} -> {row.parameters_after:,} parameters",
            audit.source_of(row.path),
        )
        for row in audit.modules
        if row.parameters or row.rule
    ]
    skipped = [
        Case("skipped", skip.path or ROOT, "skipped", skip.reason, audit.source_of(skip.path))
        for skip in audit.skipped
    ]
    told = tuple(_finding(f, audit, f.applied_by_default, f.reason) for f in shown)
    return Notices(f"Audit of {audit.model.target}", audit.model.target, told, (*modules, *skipped))


@_of.register
def _plan(plan: Plan, audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    known = {finding.id: finding for finding in (audit.findings if audit else ())}
    refused = {refusal.id: refusal.reason for refusal in plan.refused}
    told, cases = [], []
    for key in (*plan.apply, *refused):
        found, reason = known.get(key), refused.get(key)
        source = audit.source_of(found.path) if audit and found else None
        outcome = "passed" if reason is None else "skipped"
        cases.append(Case("plan", key, outcome, reason or "would be applied", source))
        if audit and found and found.part_of is None:
            told.append((found, _finding(found, audit, reason is None, reason or found.reason)))
    told.sort(key=lambda pair: _weight(pair[0]))
    title = f"Plan for {plan.model.target}"
    return Notices(title, plan.model.target, tuple(notice for _, notice in told), tuple(cases))


@_of.register
def _certificate(certificate: Certificate, _audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    page = content.page(certificate)
    answer = page.lines[0]
    different = certificate.equivalent is False
    outcome = "failed" if different else "passed" if certificate.keeps else "error"
    cases = [Case("equivalence", "the two models", outcome, "; ".join(page.lines[:2]))]
    cases += [Case("swaps", swap.id, "passed", str(swap.tier)) for swap in certificate.swaps]
    told = [Notice("equivalence", "equivalence", "error" if different else "warning", answer)]
    return Notices(
        page.title,
        certificate.refactored,
        () if certificate.keeps else tuple(told),
        tuple(cases),
    )


@_of.register
def _replay(replay: Replay, _audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    page = content.page(replay)
    outcome = "failed" if replay.differs else "passed"
    told = (Notice("equivalence", "counterexample", "error", page.lines[0]),) if replay.differs else ()
    return Notices(
        page.title, replay.targets[1], told, (Case("equivalence", "counterexample", outcome, page.lines[0]),)
    )


@_of.register
def _comparison(comparison: Comparison, _audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    page = content.page(comparison)
    rows = [(row[0], f"{row[0]} {row[1]} -> {row[2]} ({row[3]})") for row in page.tables[0].rows]
    told = tuple(Notice("cost", f"cost:{name}", "note", text) for name, text in rows)
    return Notices(page.title, "", told, tuple(Case("cost", name, "passed", text) for name, text in rows))


@_of.register
def _diff(diff: Diff, _audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    waste = sorted((_waste(entry) for entry in diff.waste), key=lambda notice: notice.level == "note")
    told = (*waste, *(_module(*row) for row in telling(diff)))
    cases = tuple(Case(n.rule, n.path or ROOT, "passed", n.message, n.source) for n in told)
    title = f"Changes from {diff.original.target} to {diff.refactored.target}"
    return Notices(title, diff.refactored.target, told, cases)


@_of.register
def _check(check: Check, _audit: Audit | None, strict: bool) -> Notices:  # noqa: ARG001
    level = "error" if check.fails else "warning"
    names = [
        *(budget.name for budget in check.budgets if budget.passed is False),
        *(f"baseline {growth.name}" for growth in check.baseline if not growth.passed),
        *(budget.name for budget in check.budgets if budget.passed is None),
    ]
    told = [
        Notice("budget", f"budget:{name}", level, line)
        for name, line in zip(names, reasons(check), strict=True)
    ]
    bad = "failed" if check.fails else "passed"
    cases = [
        Case(
            "budgets",
            budget.name,
            "skipped" if budget.passed is None else "passed" if budget.passed else bad,
            budget.why_not or f"{budget.actual:,} of {budget.limit:,} {budget.unit}".strip(),
        )
        for budget in check.budgets
    ]
    cases += [
        Case(
            "baseline",
            growth.name,
            "passed" if growth.passed else bad,
            f"{growth.before:,} -> {growth.actual:,} {growth.unit}".strip(),
        )
        for growth in check.baseline
    ]
    return Notices(f"Check of {check.target}", check.target, tuple(told), tuple(cases))


@_of.register
def _judgement(judgement: Judgement, _audit: Audit | None, strict: bool) -> Notices:
    told, cases = [], []
    for claim in judgement.claims:
        text = f"{claim.verdict}: {claim.statement}: {claim.reason}"
        right = claim.verdict is Ruling.RIGHT
        cases.append(Case("claims", claim.id, "failed" if strict and not right else "passed", text))
        if not right:
            told.append(Notice("claim", f"claim:{claim.id}", "error" if strict else "warning", text))
    return Notices(f"Claims about {judgement.target}", judgement.target, tuple(told), tuple(cases))


@_of.register
def _report(report: Report, _audit: Audit | None, strict: bool) -> Notices:
    parts = [part for part in (report.audit, report.certificate, report.comparison) if part is not None]
    found = [_of(part, None, strict) for part in parts]
    told = tuple(notice for part in found for notice in part.notices)
    cases = tuple(case for part in found for case in part.cases)
    return Notices("Report", found[0].target if found else "", told, cases)


def _weight(finding: Finding) -> tuple[bool, int, str]:
    """What is applied before what is not, the largest saving first."""
    saved = finding.parameters_before - finding.parameters_after
    return not finding.applied_by_default, -saved, finding.id


def _finding(finding: Finding, audit: Audit, applied: bool, reason: str) -> Notice:
    found, after = f"not {finding.operator}", ""
    if finding.tier is not Tier.REFUTED:
        found = f"{finding.operator}, {finding.tier}"
        after = f"; {finding.parameters_before:,} -> {finding.parameters_after:,} parameters"
    return Notice(
        finding.operator,
        finding.id,
        "warning" if applied else "note",
        f"{finding.path or ROOT}: {found}: {reason}{after}",
        finding.path,
        audit.source_of(finding.path),
    )


def _module(entry: ModuleChange, before: int, after: int) -> Notice:
    counts = f"{before:,} -> {after:,} parameters ({change(before, after)})"
    return Notice(
        "module-change",
        f"module:{entry.path}",
        "note",
        f"{entry.path or ROOT}: {what(entry)}; {counts}",
        entry.path,
        entry.source,
    )


def _waste(entry: WasteChange) -> Notice:
    worse = entry.saved_after > entry.saved_before
    return Notice(
        entry.operator,
        entry.id,
        "warning" if worse else "note",
        f"{entry.path or ROOT}: {entry.change} waste, {entry.operator}, {entry.tier}: {entry.reason}; "
        f"{entry.saved_after:,} parameters could go, {entry.saved_before:,} before",
        entry.path,
        entry.source,
    )


def place(source: str | None) -> tuple[str, int] | None:
    """The file and the line of ``file:line``."""
    file, _, line = (source or "").rpartition(":")
    return (file, int(line)) if file and line.isdecimal() and int(line) > 0 else None
