"""Bare tensors: what stored numbers say without a graph, and what those findings would leave.

Every file but the ones named here is one kind of evidence; each looks at the numbers alone and makes offers,
and :mod:`settle` decides which of them count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from paramaudit.bare import (
    constant_table,
    dead_units,
    duplicates,
    named,
    recurrent,
    unseen,
    untrained,
    weight_norm_pair,
    zero,
)
from paramaudit.bare.account import model_info, module_counts, totals
from paramaudit.bare.offers import Offer
from paramaudit.bare.settle import in_file_order, settle
from paramaudit.bare.stored import Stored, inventory
from paramaudit.errors import NotAuditableError
from paramaudit.plan.book import Book, Choice
from paramaudit.records import Audit, Loaded, Skipped
from paramaudit.rules import Rule, verdicts

__all__ = ["Evidenced", "audit_tensors", "documentation", "evidence"]

_DOCUMENTED = (constant_table, dead_units, untrained, weight_norm_pair, zero)


@dataclass(frozen=True)
class Evidenced:
    """All findings in a book, and the offer that counts for each tensor by its name."""

    book: Book
    taken: Mapping[str, Offer]


def audit_tensors(
    loaded: Loaded, rules: Sequence[Rule], choice: Choice, progress: Callable[[str], None]
) -> Audit:
    """Audit a checkpoint without its model; the totals are what the safe findings would leave.

    Args:
        loaded: with ``tensors``.
        rules: what modules are expected to be, by their paths; their types are not known.
        choice: which kinds of evidence and operators are wanted.
        progress: told the stage.

    Raises:
        NotAuditableError: it stores no floating-point numbers.
    """
    tensors = loaded.tensors or {}
    info = model_info(loaded, tensors)
    if not info.parameters + info.buffers:
        raise NotAuditableError(
            f"{loaded.target} stores no floating-point numbers, so nothing can be audited"
        )
    found = evidence(tensors, loaded.optimizer, choice, progress)
    progress("rules against evidence")
    findings = tuple(found.book.findings)
    rows = verdicts(module_counts(tensors, found.taken), findings, rules)
    skipped = tuple(found.book.skipped.values())
    after = totals(tensors, found.taken)
    return Audit(info, None, rows, findings, skipped, after, looked=found.book.spent)


def evidence(
    tensors: Mapping[str, Tensor],
    optimizer: Mapping[str, Any] | None,
    choice: Choice,
    progress: Callable[[str], None],
) -> Evidenced:
    """Everything that a checkpoint's stored numbers say.

    Args:
        tensors: by state-dict key.
        optimizer: the state dict of its optimizer, if it holds one.
        choice: which kinds and operators are wanted.
        progress: told the stage.
    """
    progress("stored numbers")
    held, skipped = inventory(tensors)
    found = list(_without_operators(held, tensors, optimizer))
    offers = [o for o in found if isinstance(o, Offer) and choice.wants(o.operator, o.path)]
    done = {o.shrinks for o in offers if o.evidence.tier.safe and not o.changes and o.left <= 1}
    looked = Book()
    progress("operators")
    for stored in held.values():
        if stored.numbers and stored.name not in done:
            offers += named.find(stored, choice, looked)
    book, taken = settle(offers)
    in_file_order(book, list(tensors))
    book.spent.update(looked.spent)
    for entry in (*skipped, *(o for o in found if isinstance(o, Skipped))):
        book.skip(entry)
    return Evidenced(book, taken)


def _without_operators(
    held: Mapping[str, Stored], tensors: Mapping[str, Tensor], optimizer: Mapping[str, Any] | None
) -> Iterator[Offer | Skipped]:
    for stored in held.values():
        if stored.numbers:
            yield from zero.find(stored)
            yield from constant_table.find(stored)
    yield from duplicates.find(held)
    yield from recurrent.find(held)
    yield from weight_norm_pair.find(held, tensors)
    yield from dead_units.find(held)
    unreached = list(unseen.find(held, optimizer)) if optimizer is not None else []
    yield from unreached
    told = {name for offer in unreached if isinstance(offer, Offer) for name in offer.tensors}
    yield from (offer for offer in untrained.find(held) if not told & {*offer.tensors})


def documentation() -> Mapping[str, str]:
    """The documentation of every kind of evidence by name."""
    return {module.NAME: (module.__doc__ or "").strip() for module in _DOCUMENTED}
