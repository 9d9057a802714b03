"""Claims that follow from other figures: sums, products, differences and reductions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from paramaudit.claims.claim import Bench, Claim, Outcome, Reference, Value, compared, resolve
from paramaudit.claims.quantity import Quantity, plain
from paramaudit.records import Ruling


@dataclass(frozen=True)
class Way:
    """Two figures whose difference a claim may be: where it starts, and what is left."""

    before: Value
    after: Value


@dataclass(frozen=True, kw_only=True)
class Sum(Claim):
    """The items add up to what is stated."""

    stated: Quantity
    items: tuple[Value, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The claims whose numbers are added."""
        return _references(self.items)

    def judge(self, bench: Bench) -> Outcome:
        """Add up the figures as they stand."""
        items = [resolve(item, bench) for item in self.items]
        total = sum((item.value for item in items), Fraction(0))
        ruling, remark = compared(self.stated, total)
        reason = f"{' + '.join(item.text for item in items)} = {self.stated.show(total)}, {remark}"
        return Outcome(self.stated.text, plain(total), ruling, reason)


@dataclass(frozen=True, kw_only=True)
class Product(Claim):
    """The factors multiply to what is stated."""

    stated: Quantity
    factors: tuple[Value, ...]

    @property
    def references(self) -> tuple[Reference, ...]:
        """The claims whose numbers are multiplied."""
        return _references(self.factors)

    def judge(self, bench: Bench) -> Outcome:
        """Multiply the figures as they stand."""
        factors = [resolve(factor, bench) for factor in self.factors]
        result = math.prod((factor.value for factor in factors), start=Fraction(1))
        ruling, remark = compared(self.stated, result)
        reason = f"{' x '.join(factor.text for factor in factors)} = {self.stated.show(result)}, {remark}"
        return Outcome(self.stated.text, plain(result), ruling, reason)


@dataclass(frozen=True, kw_only=True)
class Difference(Claim):
    """What is left is less than what there was by ``stated``, by ``percent`` of it, or both.

    The percentage is one ``of`` what there was, unless the claim names another whole. ``also`` are further
    ways to the same figure; where one of them leads elsewhere the claim is right in part.
    """

    before: Value
    after: Value
    stated: Quantity | None = None
    percent: Quantity | None = None
    of: Value | None = None
    also: tuple[Way, ...] = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """The claims whose numbers are subtracted."""
        ways = (Way(self.before, self.after), *self.also)
        values = [value for way in ways for value in (way.before, way.after)]
        return _references((*values, self.of) if self.of is not None else tuple(values))

    def judge(self, bench: Bench) -> Outcome:
        """Subtract, and divide for a percentage, along every way."""
        stated = [quantity for quantity in (self.stated, self.percent) if quantity is not None]
        if not stated:
            raise ValueError("states neither 'stated' nor 'percent'")
        ways = [self._along(way, bench) for way in (Way(self.before, self.after), *self.also)]
        rulings = {ruling for ruling, *_ in ways}
        ruling = rulings.pop() if len(rulings) == 1 else Ruling.PARTLY
        reason = "; ".join(text for _, text, _ in ways)
        return Outcome(" = ".join(q.text for q in stated), plain(ways[0][2]), ruling, reason)

    def _along(self, way: Way, bench: Bench) -> tuple[Ruling, str, Fraction]:
        """The ruling, the calculation, and the difference (the share where only that was stated)."""
        before, after = resolve(way.before, bench), resolve(way.after, bench)
        whole = before if self.of is None else resolve(self.of, bench)
        change = before.value - after.value
        if not whole.value and self.percent is not None:
            raise ValueError("a percentage of nothing")
        share = 100 * change / whole.value if whole.value else Fraction(0)
        rulings, remarks = set(), []
        for quantity, measured in ((self.stated, change), (self.percent, share)):
            if quantity is not None:
                ruling, remark = compared(quantity, measured)
                rulings.add(ruling)
                remarks.append(f"{quantity.show(measured)} ({remark})")
        first = self.stated or before
        text = f"{first.show(before.value)} - {first.show(after.value)} = {' = '.join(remarks)}"
        ruling = rulings.pop() if len(rulings) == 1 else Ruling.PARTLY
        return ruling, text, share if self.stated is None else change


def _references(values: tuple[Value, ...]) -> tuple[Reference, ...]:
    return tuple(value for value in values if isinstance(value, Reference))
