"""Which offers count: for every tensor the one that leaves fewest numbers, none in another's way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from paramaudit.bare.offers import Offer
from paramaudit.plan.book import Book


def settle(offers: Sequence[Offer]) -> tuple[Book, Mapping[str, Offer]]:
    """The findings, and the offer that counts for each tensor that shrinks.

    Offers that leave the numbers of other tensors alone are chosen first. One that writes a sum or product
    into another tensor is taken only where no chosen one touches or needs that tensor.
    """
    taken = _chosen(offers)
    book = Book()
    keys: dict[str, str] = {}
    for offer in sorted(offers, key=lambda offer: not _counts(offer, taken)):  # stable: winners first
        if _counts(offer, taken):
            keys[str(offer.shrinks)] = _add(book, offer, applied=True)
            continue
        winner = taken.get(offer.shrinks) if offer.shrinks and offer.evidence.tier.safe else None
        if winner is not None:
            _add(book, offer, part_of=keys[str(offer.shrinks)])
        elif offer.shrinks and offer.evidence.tier.safe and offer.left < offer.before:
            _add(book, _beside(offer))
        else:
            _add(book, offer)
    return book, taken


def _counts(offer: Offer, taken: Mapping[str, Offer]) -> bool:
    return offer.shrinks is not None and taken.get(offer.shrinks) is offer


def _chosen(offers: Iterable[Offer]) -> Mapping[str, Offer]:
    usable = [offer for offer in offers if offer.shrinks is not None and offer.evidence.tier.safe]
    taken: dict[str, Offer] = {}
    for offer in usable:
        name = str(offer.shrinks)
        best = taken.get(name)
        if not offer.changes and offer.left < offer.before and (best is None or _rank(offer) < _rank(best)):
            taken[name] = offer
    written: set[str] = set()
    for offer in usable:
        touched = {*offer.changes, str(offer.shrinks)}
        needed = {*taken, *(source for other in taken.values() for source in other.sources)}
        if offer.changes and not touched & (needed | written):
            taken[str(offer.shrinks)] = offer
            written |= touched
    return taken


def _rank(offer: Offer) -> tuple[int, int]:
    return offer.left, offer.indices


def _beside(offer: Offer) -> Offer:
    reason = f"{offer.evidence.reason}; not counted, since another finding needs these numbers as they are"
    return replace(offer, evidence=replace(offer.evidence, reason=reason))


def _add(book: Book, offer: Offer, *, applied: bool = False, part_of: str | None = None) -> str:
    return book.add(
        offer.operator,
        offer.path,
        offer.tensors,
        offer.evidence,
        (offer.before, offer.after),
        arguments=offer.arguments,
        indices=offer.indices,
        applied=applied,
        part_of=part_of,
        requires=offer.requires,
    )


def in_file_order(book: Book, names: Sequence[str]) -> None:
    """Put the findings in the order of their first tensors in the file."""
    place: dict[str, int] = defaultdict(lambda: len(names), {name: i for i, name in enumerate(names)})
    book.findings.sort(key=lambda finding: place[finding.tensors[0]])
