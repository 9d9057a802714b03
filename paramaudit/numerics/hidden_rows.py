"""Rows of a fast transform under scales and orders of both sides: columns first, then the plain search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from paramaudit.numerics.gauge import Gauged, Scaling, tidied
from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import NOISY, SIGMAS, left_over, spread, usable
from paramaudit.numerics.orders import order_of
from paramaudit.numerics.relabel import Columns, Finder, balanced, bent, orthogonal
from paramaudit.numerics.transform_rows import Transform, TransformRows, nearest
from paramaudit.records import Matrix

CANDIDATES = 2
SAMPLED = 8
"""So many of the plainest are looked at in some rows, and so many of these in all."""


@dataclass(frozen=True)
class Family:
    """A transform with its name, and how its columns are found: with ``across``, by that one's rows.

    They are ``turned`` where the finder is that of another transform.
    """

    name: str
    transform: Transform
    finder: Finder
    turned: Callable[[Columns], Columns] = lambda found: found
    across: Transform | None = None


class _Sought:
    """An orthonormal matrix and its transpose, and what each finder says of them: several families ask it."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix, self.transposed = matrix, matrix.T.contiguous()
        self._found: dict[tuple[Finder, bool], list[Columns]] = {}

    def columns(self, family: Family) -> list[Columns]:
        """What the columns of either may be."""
        key = family.finder, family.across is not None
        if key not in self._found:
            self._found[key] = list(family.finder(self.transposed if key[1] else self.matrix))
        return [family.turned(found) for found in self._found[key]]


@dataclass(frozen=True)
class Hidden:
    """A transform under scales and orders: its name, what it leaves over, and the layer."""

    name: str
    left: float
    layer: Gauged


def hidden(view: Matrix, families: Sequence[Family]) -> Hidden | None:
    """The transform whose rows and columns are these, reordered and scaled; square matrices alone.

    Args:
        view: the matrix.
        families: those of its width, the simplest first.

    Returns:
        Of those that leave about as little as any, the one that stores least.
    """
    weight = view.weight
    size = weight.shape[1]
    scales = balanced(weight) if likely(view) else None
    if scales is None:
        return None
    sought = _Sought(weight / scales[0][:, None] / scales[1])
    fits = [Hidden(f.name, *fit) for f in families for fit in _fits(view, sought, scales[1], f)]
    least = min((fit.left for fit in fits), default=1.0)
    # small sizes have few numbers and many orders: there noise would say nothing
    if least > min(NOISY, 0.02 * size):
        return None
    near = [fit for fit in fits if fit.left <= 1.5 * least + 16 * view.noise]
    return min(near, key=lambda fit: _stored(fit.layer))


def likely(view: Matrix) -> bool:
    """Whether a sample of the matrix is that of some square transform under scales and orders."""
    weight = view.weight
    size = weight.shape[1]
    square = weight.shape[0] == size and size >= 8
    return square and bent(weight) and orthogonal(weight) and usable(view)


def _stored(layer: Gauged) -> tuple[int, int, int, int]:
    """How many numbers and indices a layer stores, how many of its scales have both signs, and its order."""
    scales = [p.detach() for p in layer.parameters()]
    mixed = sum(bool((p > 0).any() and (p < 0).any()) for p in scales)
    rank = layer.columns.rank if layer.columns is not None else 0
    return floats(layer), sum(t.numel() for t in layer.buffers()), mixed, rank


def _row_signs(layer: TransformRows) -> Tensor:
    """The signs of a layer's rows."""
    count = layer.span[1] - layer.span[0]
    if layer.signs is not None:
        return layer.signs
    gains = torch.ones(count) if layer.gains is None else layer.gains.detach().expand(count)
    return gains.sign()


def _fits(view: Matrix, sought: _Sought, scales: Tensor, family: Family) -> list[tuple[float, Gauged]]:
    """What is left over, and the layer, for the plainest columns under which the matrix is the transform.

    With the scales that make it orthonormal and without any.
    """
    matrix, size = sought.matrix, len(scales)
    found = sorted(_candidates(sought, family), key=lambda c: c.plain)
    found = [Columns(torch.arange(size), torch.ones(size, dtype=torch.float64)), *found[: 2 * SAMPLED]]
    found = list(islice((c for c in found if _sampled(matrix, c, family.transform)), CANDIDATES))
    fits = []
    for columns in found:
        order = columns.labels.argsort()
        for scale in (torch.ones_like(scales), scales):
            factor = scale[order] * columns.signs[order]
            plain = view.weight[:, order] / factor
            layer = nearest(replace(view, weight=plain), [family.transform])
            if layer is not None:
                fits.append(_gauged(view, layer, columns, plain, factor))
    return fits


def _candidates(sought: _Sought, family: Family) -> list[Columns]:
    if family.across is None:
        return sought.columns(family)
    across = Matrix(sought.transposed, None, torch.float64)
    found = sorted(sought.columns(family), key=lambda c: c.plain)
    found = [c for c in found[:SAMPLED] if _sampled(across.weight, c, family.across)][:CANDIDATES]
    results = []
    for rows in found:
        order = rows.labels.argsort()
        plain = replace(across, weight=(across.weight * rows.signs)[:, order])
        layer = nearest(plain, [family.across])
        if layer is not None:
            places = torch.arange(*layer.span) if layer.rows is None else layer.rows
            results.append(Columns(places, _row_signs(layer).double()))
    return results


def _sampled(matrix: Tensor, columns: Columns, transform: Transform) -> bool:
    """Whether some rows are rows of the transform, with these columns."""
    some = matrix[torch.linspace(0, len(matrix) - 1, 8).long()]
    plain = (some * columns.signs)[:, columns.labels.argsort()]
    return nearest(Matrix(plain, None, torch.float64), [transform]) is not None


def _gauged(
    view: Matrix, layer: TransformRows, columns: Columns, plain: Tensor, scales: Tensor
) -> tuple[float, Gauged]:
    """The layer with its columns reordered and scaled, least squares; and what is left over."""
    size = len(scales)
    bias, layer.bias = layer.bias, None
    with torch.no_grad():
        table = layer(torch.eye(size, dtype=torch.float64)).T
    power = table.square().sum(0)
    only_signs = bool((scales.abs() == 1).all())
    own = scales if only_signs else scales * (plain * table).sum(0) / power
    residual = plain * scales - table * own
    places = order_of(columns.labels, size)
    slack = SIGMAS * spread(residual, 2 * size) / (own.abs() * power.sqrt()) + 4 * max(view.noise, 2.0**-50)
    own, slack = own[columns.labels], slack[columns.labels]
    scaling = tidied(torch.ones(1, dtype=torch.float64), own, (torch.full((1,), 1e-15), slack), {"1": 1.0})
    left = left_over(residual, view.weight)
    if layer.gains is not None and len(layer.gains) == 1 and scaling.columns is not None:
        scaling = Scaling(columns=scaling.columns * layer.gains.detach())
        layer.gains = None
    return left, Gauged(layer, scaling, None, places, bias)
