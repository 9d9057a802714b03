"""A complex matrix as a Fourier matrix under any order and scale of rows and columns, said most plainly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.characters import Labels, cyclic_labels, one_modulus, rescaled
from paramaudit.numerics.gauge import Scaling, tidied
from paramaudit.numerics.noise import NOISY
from paramaudit.numerics.orders import Order, natural, order_of, usual_names


@dataclass(frozen=True)
class Cyclic:
    """``diag(r) P F Q diag(c)`` with ``F[a, b] = exp(sign 2 pi i a b / n)``, and what is left over."""

    sign: int
    rows: Order
    columns: Order
    scaling: Scaling
    left: float


def scales(size: int) -> dict[str, float]:
    """The usual normalisations by name."""
    return {"1": 1.0, "1/sqrt(n)": size**-0.5, "1/n": 1 / size}


def cyclic(weight: Tensor, noise: float) -> Cyclic | None:
    """What a complex matrix ``(m, n)`` is, m at most n; None when no Fourier matrix is near.

    Args:
        weight: complex128.
        noise: unit roundoff of the numbers' dtype.
    """
    count, size = weight.shape
    if not 2 <= count <= size or size < 4 or not one_modulus(weight):
        return None
    labels = cyclic_labels(weight)
    if labels is None:
        return None
    labels = _plain(labels)
    scaled = rescaled(weight, table(labels), noise)
    # small sizes have few phases and many orders: there noise would say nothing
    if scaled is None or not scaled.left <= min(NOISY, 0.02 * size):
        return None
    labels, rows, columns = _moved(labels, scaled.rows, scaled.columns)
    scaling = tidied(rows, columns, scaled.slack, scales(size))
    orders = {-1: order_of(labels.rows, size), 1: order_of(-labels.rows % size, size)}
    sign = 1 if orders[1].rank < orders[-1].rank else -1
    return Cyclic(sign, orders[sign], order_of(labels.columns, size), scaling, scaled.left)


def table(labels: Labels) -> Tensor:
    """``exp(-2 pi i a b / n)``, ``(m, n)`` complex128."""
    size = len(labels.columns)
    return _roots(size)[labels.rows[:, None] * labels.columns % size]


def _roots(size: int) -> Tensor:
    angle = torch.arange(size, dtype=torch.float64) * (-2 * math.pi / size)
    return torch.polar(torch.ones_like(angle), angle)


def _plain(labels: Labels) -> Labels:
    """The same, multiplied so that columns, or else rows, stand in an order with a name."""
    unit = _unit(labels.columns, len(labels.columns))
    if unit is not None:
        return _multiplied(labels, unit)
    unit = _unit(labels.rows, len(labels.columns))
    return labels if unit is None else _multiplied(labels, pow(unit, -1, len(labels.columns)))


def _multiplied(labels: Labels, unit: int) -> Labels:
    """Rows times a unit, columns divided by it."""
    size = len(labels.columns)
    return Labels(labels.rows * unit % size, labels.columns * pow(unit, -1, size) % size)


def _unit(places: Tensor, size: int) -> int | None:
    """The factor by which places are those of a named order, but for a shift; None when they are not."""
    if len(places) < 2:
        return None
    named = [Order(name, size, size) for name in usual_names(size)] if len(places) == size else []
    for order in (natural(size), *named):
        known = order.index()[: len(places)]
        where = [int((known == label).nonzero()[0]) for label in (0, 1)]
        shift, unit = int(places[where[0]]), int(places[where[1]] - places[where[0]]) % size
        if math.gcd(unit, size) == 1 and torch.equal((known * unit + shift) % size, places):
            return unit
    return None


def _moved(labels: Labels, rows: Tensor, columns: Tensor) -> tuple[Labels, Tensor, Tensor]:
    """Labels moved so that scales lose the phases that are a row or column of the table; and the scales."""
    size = len(labels.columns)
    roots = _roots(size)
    first = _character(labels.columns, columns, size)
    moved = (labels.rows + first) % size
    columns = columns * roots[labels.columns * first % size].conj()
    second = _character(moved, rows, size)
    rows = rows * roots[moved * second % size].conj()
    return Labels(moved, (labels.columns + second) % size), rows, columns


def _character(places: Tensor, values: Tensor, size: int) -> int:
    """Which row of the table the phases of these scales are, up to signs; 0 when they are none."""
    phases = torch.sgn(values)
    for power in (1, 2):
        ordered = phases.new_zeros(size).index_copy(0, places, phases**power)
        sums = torch.fft.ifft(ordered, norm="forward").abs()
        best = int(sums.argmax())
        if float(sums[best]) >= 0.9 * len(places) and len(places) > 2:
            half = best if power == 1 else (best if best % 2 == 0 else best + size)
            if half % power == 0:
                return half // power % size
    return 0
