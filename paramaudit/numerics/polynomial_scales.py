"""Scales of rows and columns under which a table of polynomials comes nearest a matrix, and their formulas.

Formulas for rows are the textbook's or that of unit length, those for columns are none, unit length and the
root of the family's weight. What fits best for the numbers that it stores is taken (Schwarz, Annals of
Statistics 6 (1978)); noise and storage in fewer bits are averaged over the whole table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.noise import left_over
from paramaudit.numerics.polynomials import Family, Table, exponents_of, named, row_lengths

SNAP = 64
"""What is left is rounding up to so many roundings, of numbers with more than some four digits."""

_BLIND = 2e-7
"""What sums of squares in float64 cannot tell apart."""

COLUMNS = ("level", "plain", "weighted")


@dataclass(frozen=True)
class Scales:
    """What rows and columns of a table are multiplied by.

    Attributes:
        family: of the polynomials; under ``turned`` its nodes descend.
        turned: whether nodes are in the other order.
        unit: whether rows have unit length instead of the textbook's.
        columns: one of :data:`COLUMNS`.
        gains: ``(m,)``, ``(1,)`` or None.
        weights: ``(n,)`` or None.
    """

    family: Family
    turned: bool
    unit: bool
    columns: str
    gains: Tensor | None
    weights: Tensor | None

    @property
    def numbers(self) -> int:
        """How many it stores."""
        return sum(len(kept) for kept in (self.gains, self.weights) if kept is not None)


def rounding(noise: float, degrees: int) -> float:
    """What may be left of a matrix whose numbers have that noise, by them and by how others compute them."""
    return max(min(SNAP * noise, 1e-5), 2 * noise, 2.0**-44 * degrees)


def fitted(weight: Tensor, values: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Scales ``(..., m)`` and ``(..., n)`` of ``values`` by alternating least squares, and what is left over.

    Args:
        weight: ``(m, n)``.
        values: ``(..., m, n)``.
        steps: at most so many.
    """
    along, power = weight * values, values.square()
    first = int(weight.square().sum(1).argmax())
    columns = along[..., first, :]
    for _ in range(3):  # all of the power is positive, so signs are those of the leading vectors
        rows = _unit((along @ columns.unsqueeze(-1)).squeeze(-1))
        columns = _unit((rows.unsqueeze(-2) @ along).squeeze(-2))
    for _ in range(steps):
        rows = rows_beside(along, power, columns)
        before, columns = columns, rows_beside(along.mT, power.mT, rows)
        if float((columns - before).abs().max()) <= 1e-15 * float(columns.abs().max()):
            break
    rows = rows_beside(along, power, columns)
    residual = weight - rows.unsqueeze(-1) * values * columns.unsqueeze(-2)
    return rows, columns, residual.flatten(-2).norm(dim=-1) / weight.norm()


def rows_beside(along: Tensor, power: Tensor, columns: Tensor) -> Tensor:
    """The scales of rows that are best beside those of columns."""
    bottom = (power @ columns.square().unsqueeze(-1)).squeeze(-1)
    return _quotient((along @ columns.unsqueeze(-1)).squeeze(-1), bottom)


def _quotient(top: Tensor, bottom: Tensor) -> Tensor:
    """Zero where there is nothing to divide by."""
    return top / torch.where(bottom > 0, bottom, torch.inf)


def _unit(vectors: Tensor) -> Tensor:
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def weight_root(family: Family, nodes: Tensor, exponents: Tensor) -> Tensor:
    """The logarithm to base 2 of the root of the family's weight at nodes ``(n,)``; -inf where it is zero."""
    if family.kind == "hermite":
        return -(nodes / family.stretch).square() / (2 * math.log(2))
    alpha, beta = exponents[0], exponents[1]
    if family.kind == "laguerre":
        return (torch.xlogy(alpha, nodes) - nodes) / (2 * math.log(2))
    return (torch.xlogy(alpha, 1 - nodes) + torch.xlogy(beta, 1 + nodes)) / (2 * math.log(2))


def settled(
    weight: Tensor, noise: float, family: Family, table: Table, nodes: Tensor, mirrored: bool
) -> Scales:
    """The formulas for rows and columns that hold, and stored numbers where none does.

    Args:
        weight: ``(m, n)``.
        noise: relative, of stored numbers.
        family: of the table; with exponents that are stored, named ``"jacobi"`` or ``"laguerre"``.
        table: polynomials of equal length.
        nodes: ``(n,)``, ascending or descending.
        mirrored: whether the polynomials may be told as those of the negative variable.
    """
    sizes = _Sizes(weight, table.level)
    exact = rounding(noise, len(weight))
    floor = max(exact, _BLIND)
    entries = weight.numel()
    graded: list[tuple[float, int, Scales, Tensor, Tensor]] = []
    for scales, rows, beside in _offers(sizes, family, table, nodes, mirrored):
        left, columns = beside.missed(rows), beside.columns
        score = entries * math.log(left**2 + floor**2) + scales.numbers * math.log(entries)
        graded.append((score, len(graded), scales, rows, columns))
    best = max(exact, sizes.left)
    for _, _, scales, rows, columns in sorted(graded, key=lambda one: one[:2]):
        if left_over(weight - rows[:, None] * table.level * columns, weight) <= 4 * best:
            return scales
    return graded[-1][2]


class _Sizes:
    """The best scales of a table, and how much worse others are: from sums that are made once."""

    def __init__(self, weight: Tensor, level: Tensor) -> None:
        self.along, self.power = weight * level, level.square()
        self.rows, self.columns, left = fitted(weight, level, 60)
        self.left, self.whole = float(left), float(weight.square().sum())
        self.best = float(self.rows.square() @ (self.power @ self.columns.square()))


class _Beside:
    """The same for scales of rows beside those of the columns, ``(n,)``."""

    def __init__(self, sizes: _Sizes, columns: Tensor) -> None:
        self.columns, self._sizes = columns, sizes
        self._along = sizes.along @ columns
        # one product each, so that what cancels was rounded alike
        self._mixed, self._power = sizes.power @ (sizes.columns * columns), sizes.power @ columns.square()

    def missed(self, rows: Tensor) -> float:
        """What these scales leave over, as a part of the matrix; infinite where they are not finite."""
        sizes = self._sizes
        if not bool(rows.isfinite().all() & self.columns.isfinite().all()):
            return math.inf
        mixed, own = (sizes.rows * rows) @ self._mixed, rows.square() @ self._power
        more = sizes.best - 2 * float(mixed) + float(own)
        found = sizes.left**2 + max(0.0, more) / sizes.whole
        return math.sqrt(found) if math.isfinite(found) else math.inf

    def gain(self, rows: Tensor) -> Tensor:
        """The best common gain of these scales, ``(1,)``."""
        return (rows @ self._along / (rows.square() @ self._power))[None]

    def rows(self) -> Tensor:
        """The best scales of rows, ``(m,)``."""
        return _quotient(self._along, self._power)


def _offers(
    sizes: _Sizes, family: Family, table: Table, nodes: Tensor, mirrored: bool
) -> Iterator[tuple[Scales, Tensor, _Beside]]:
    """Every choice of formulas, with rows ``(m,)`` and columns beside unit columns; stored last."""
    degrees, exponents = len(sizes.rows), exponents_of(family, nodes.device)
    alternating = 1.0 - 2.0 * (torch.arange(degrees, dtype=torch.float64) % 2)
    sides = {
        column: _Beside(sizes, torch.exp2(column_exponents(column, family, table, nodes, exponents)))
        for column in COLUMNS
    }
    for turned in (False, True) if mirrored else (False,):
        own = named(family.kind, family.beta, family.alpha)[0] if turned else family
        for column in COLUMNS:
            beside = sides[column]
            for one, unit, rows in _rows(own, alternating if turned else alternating.abs()):
                gain = beside.gain(rows)
                yield Scales(one, turned, unit, column, None, None), rows, beside
                yield Scales(one, turned, unit, column, gain, None), rows * gain, beside
                if column == "level":  # whose weights are never out of range
                    stored = rows_beside(sizes.along.T, sizes.power.T, rows)
                    yield Scales(one, turned, unit, column, None, stored), rows, _Beside(sizes, stored)
            if not turned:
                stored = beside.rows()
                yield Scales(own, False, True, column, stored, None), stored, beside
    both = Scales(family, False, True, "level", sizes.rows, sizes.columns)
    yield both, sizes.rows, _Beside(sizes, sizes.columns)


def column_exponents(columns: str, family: Family, table: Table, nodes: Tensor, exponents: Tensor) -> Tensor:
    """The logarithm to base 2 of what unit columns are multiplied by, ``(n,)``."""
    if columns == "level":
        return torch.zeros_like(nodes)
    if columns == "plain":
        return table.lengths
    return table.lengths + weight_root(family, nodes, exponents)


def _rows(family: Family, signs: Tensor) -> Iterator[tuple[Family, bool, Tensor]]:
    """The names of a family with the lengths of their textbooks' rows, and unit length."""
    yield family, True, signs
    exponents = exponents_of(family, signs.device)
    for one in named(family.kind, family.alpha, family.beta):
        lengths, own = row_lengths(one, len(signs), exponents)
        yield one, False, signs * own * torch.exp2(lengths)
