"""The redesign lane: for modules that a rule calls replaceable and no proof does, fit what the rule names.

What is fitted is another function. It has an error, which is measured on rows that the fit has not seen, and
a tier of its own; it is swapped in only where a user allows that, and no total of safe savings holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from paramaudit.graph.program import Program
from paramaudit.graph.surgery import Draft
from paramaudit.plan import Book, Choice
from paramaudit.records import Audit, Evidence, Finding, Json, ModuleRow, Tier, Verdict
from paramaudit.redesign.data import read_data
from paramaudit.redesign.fit import NOTHING, Fit, fit
from paramaudit.redesign.recording import Recording, record

__all__ = ["Redesign", "read_data", "redesign"]


@dataclass(frozen=True)
class Redesign:
    """What was fitted, as findings, and the program with all that a user allowed swapped in."""

    findings: tuple[Finding, ...]
    applied: tuple[str, ...]
    program: Program


def redesign(program: Program, audit: Audit, data: Sequence[Tensor], choice: Choice) -> Redesign:
    """Fit a layer for every unproven module that a rule calls replaceable.

    Args:
        program: what the plan leaves.
        audit: its audit.
        data: recorded inputs, see :func:`read_data`.
        choice: fitted layers are swapped in when it allows that tier.
    """
    book = Book(list(audit.findings))
    before = len(book.findings)
    draft = Draft(program)
    copy = replace(program, module=draft.module)
    allowed: dict[str, tuple[ModuleRow, Recording, Fit]] = {}
    for row, operator in _wanted(audit):
        if not choice.wants(operator, row.path):
            continue
        try:
            recording = record(copy, row.path, data)
            found = fit(operator, recording, recording.source.meta["val"].dtype, choice.seed)
        except LookupError as error:
            _note(book, row, operator, Evidence(Tier.REFUTED, f"nothing was fitted: {error}"), None)
            continue
        evidence = _judged(found, row)
        key = _note(book, row, operator, evidence, found)
        if evidence.tier is Tier.FITTED and Tier.FITTED in choice.allow:
            allowed[key] = row, recording, found
    for swap in allowed.values():  # after all was recorded, so that no fit sees another one's outputs
        _swap(draft, *swap)
    return Redesign(tuple(book.findings[before:]), tuple(allowed), draft.finish() if allowed else program)


def _wanted(audit: Audit) -> Iterator[tuple[ModuleRow, str]]:
    """Modules to fit with the operator expected there, outermost first; nothing inside another of them."""
    done: list[str] = []
    for row in sorted(audit.modules, key=lambda row: row.path):
        rule = row.rule
        operator = rule.operator if rule is not None and rule.cls == "ml-replaceable" else None
        inside = any(row.path.startswith(f"{path}.") for path in done)
        if row.verdict is Verdict.UNPROVEN and operator and row.parameters and not inside:
            done.append(row.path)
            yield row, operator


def _judged(found: Fit, row: ModuleRow) -> Evidence:
    known, fresh = found.rows
    result = (
        f"{found.name} fitted to {known} recorded rows leaves {found.error:.1%} of the spread of {fresh} "
        f"held-out rows (largest error {found.largest:.2g}); the best affine map leaves {found.affine:.1%}"
    )
    if not found.error <= NOTHING:
        return Evidence(Tier.REFUTED, f"the fit explains nothing: {result}")
    if found.numbers >= row.parameters_after:
        return Evidence(Tier.REFUTED, f"the fit is not smaller ({found.numbers} numbers): {result}")
    return Evidence(Tier.FITTED, f"another function: {result}")


def _note(book: Book, row: ModuleRow, operator: str, evidence: Evidence, found: Fit | None) -> str:
    arguments: dict[str, Json] = {"redesign": True}
    if found is not None:
        arguments |= {
            "layer": found.name,
            "held_out_error": found.error,
            "fitted_error": found.seen,
            "largest_error": found.largest,
            "affine_error": found.affine,
            "fitted_rows": found.rows[0],
            "held_out_rows": found.rows[1],
        }
    after = row.parameters_after
    if found is not None and evidence.tier is Tier.FITTED:
        after = found.numbers
    counts = (row.parameters_after, after)
    return book.add(operator, row.path, (), evidence, counts, arguments=arguments, applied=False)


def _swap(draft: Draft, row: ModuleRow, recording: Recording, found: Fit) -> None:
    """Call the fitted layer instead of the module."""
    source, end = recording.source, recording.end
    layer = found.layer.to(recording.source.meta["val"].dtype)
    inside = [n for n in draft.graph.nodes if n.op == "get_attr" and _below(str(n.target), row.path)]
    with draft.graph.inserting_before(end):
        new = draft.layer(f"{row.path}.fitted", layer, source, end, draft.keys(inside))
        draft.replace(end, draft.reshape_like(new, end, source))
    draft.clean()


def _below(name: str, path: str) -> bool:
    return name.startswith(f"{path}.")
