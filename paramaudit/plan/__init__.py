"""The plan: rewrite to a fixed point on a copy, and keep the account of what was done and refused."""

from __future__ import annotations

from paramaudit.graph.joined import join, part
from paramaudit.graph.program import Program
from paramaudit.graph.surgery import Draft
from paramaudit.operators import OPERATORS
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.chains import apply_chains
from paramaudit.plan.curves import apply_curves
from paramaudit.plan.kernels import apply_kernels
from paramaudit.plan.matches import apply_rewrite, report_not_finite, report_unread
from paramaudit.plan.tables import apply_tables
from paramaudit.rewrites import REWRITES

__all__ = ["Book", "Choice", "best_plan"]

_MOST_ROUNDS = 20


def best_plan(program: Program, choice: Choice) -> tuple[Program, Book]:
    """Rewrite a copy of ``program`` until nothing changes.

    Where one map of several inputs may store less than their own maps do, both are planned, and the smaller
    plan is taken.
    """
    draft, book = _planned(Draft(program), choice)
    joint = Draft(program)
    if joins := join(joint):
        joint, other = _planned(joint, choice)
        part(joint, joins)
        spent = {name: book.spent.get(name, 0.0) + other.spent.get(name, 0.0) for name in other.spent}
        if joint.count() < draft.count():
            draft, book = joint, other
        book.spent |= spent
    book.settle({operator.name for operator in OPERATORS})
    return draft.finish(), book


def _planned(draft: Draft, choice: Choice) -> tuple[Draft, Book]:
    """Rewrite until nothing changes.

    First functions of one variable, everything that simplifies the graph, then chains and operators, to a
    fixed point; then folds into what is left, which would hide operators if they came first.
    """
    book = Book()
    report_not_finite(draft, book)
    report_unread(draft, choice, book)
    tried: set[object] = set()
    for _ in range(_MOST_ROUNDS):
        if _simplify(draft, choice, book, tried):
            continue
        if not _each(draft, 1, choice, book):
            break
    apply_tables(draft, choice, book)  # last: what reads stored numbers has had its turn
    return draft, book


def _simplify(draft: Draft, choice: Choice, book: Book, tried: set[object]) -> bool:
    changed = apply_curves(draft, choice, book, tried)  # before folds hide a network over a fixed grid
    changed = apply_kernels(draft, choice, book, tried) or changed
    while _each(draft, 0, choice, book):
        changed = True
    return apply_chains(draft, choice, book, tried) or changed


def _each(draft: Draft, stage: int, choice: Choice, book: Book) -> bool:
    """Every rewrite of a stage once; True when any of them changed something."""
    changed = False
    for rewrite in REWRITES:
        if rewrite.stage == stage:
            changed = apply_rewrite(draft, rewrite, choice, book) or changed
    return changed
