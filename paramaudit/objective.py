"""What a plan is for: fewest numbers, or none of them at the price of time or operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial

from paramaudit.graph.program import Program
from paramaudit.pays import part_flops, speeds
from paramaudit.plan import Book, Choice, best_plan
from paramaudit.records import Finding

SLOWER = 0.95
"""A part that takes longer than its original by more than this share lost time; less is noise."""
MOST_ROUNDS = 3
WORTH = 0.1
"""Swaps that change less than this share of their part's numbers are not measured."""


def plan_for(objective: str, program: Program, choice: Choice, device: str) -> tuple[Program, Book]:
    """The best plan without the swaps that cost what the objective wants to save.

    ``parameters`` and ``bytes`` are what the plan minimises anyway. For ``latency`` and ``flops`` each
    swapped part is measured beside its original at the example's batch size; what loses is ignored and the
    plan is made again, so that the next best swap gets its turn.
    """
    refactored, book = best_plan(program, choice)
    refused: list[Finding] = []
    for _ in range(MOST_ROUNDS if objective in ("latency", "flops") else 0):
        losses = list(_losses(objective, program, refactored, book, device))
        if not losses:
            break
        refused += losses
        ignored = (f"{finding.path}:{finding.operator}" for finding in losses)
        choice = replace(choice, ignore=(*choice.ignore, *ignored))
        refactored, book = best_plan(program, choice)
    book.findings += refused
    return refactored, book


def _losses(
    objective: str, program: Program, refactored: Program, book: Book, device: str
) -> Iterator[Finding]:
    """The applied findings whose part became worse, as refusals; a part is measured once for all of them."""
    why = cache(partial(_slower if objective == "latency" else _dearer, program, refactored, device))
    for finding in book.findings:
        changed = finding.parameters_before - finding.parameters_after
        if not finding.applied_by_default or finding.part_of or changed < WORTH * finding.parameters_before:
            continue
        if cost := why(finding.path):
            reason = f"not applied for --objective {objective}: {cost}; {finding.reason}"
            left = replace(finding, parameters_after=finding.parameters_before, indices_after=0)
            yield replace(left, applied_by_default=False, reason=reason)


def _slower(program: Program, refactored: Program, device: str, path: str) -> str:
    for found in speeds(program, refactored, [path], device, batches=()):
        ((_, ratio),) = found.ratios.items()
        if ratio < SLOWER:
            return f"{ratio:.2g} times as fast on {device} at the example's size"
    return ""


def _dearer(program: Program, refactored: Program, device: str, path: str) -> str:  # noqa: ARG001 - a count
    before, after = (part_flops(side, path) for side in (program, refactored))
    if before is None or after is None or after <= before:
        return ""
    return f"{after:,} FLOPs instead of {before:,}"
