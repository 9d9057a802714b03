"""A linear map whose rows (or columns) are orthogonal polynomials of common nodes.

What it finds:    A matrix of the values of the polynomials of degree 0, 1, 2, ... of Legendre, Chebyshev
                  (both kinds) or Gegenbauer (3/2 and 2) at uniform, Chebyshev or Gauss-Legendre nodes,
                  ascending or descending, or its transpose: projections on polynomials, polynomial
                  features, quadrature transforms. Rows as in textbooks, of unit length, or with a stored
                  gain each; columns plain, of unit length, or with a stored weight each.
Why it matters:   m n numbers are none, or the gains and weights that have no formula.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The second row over the first is the node up to an affine map, which says which
                  nodes and, with the next rows, which family.
Swap safety:      Exact at any input of n numbers. Only stored gains and weights are trainable. The values are
                  computed anew by recurrence in every call, O(m n log m) and in float64: fewer numbers, not
                  fewer operations, and slower than the dense product at small batches.
Source:           Abramowitz and Stegun, Handbook of Mathematical Functions (1964), chapters 22 and 25.4.
"""

from __future__ import annotations

import numpy as np
import scipy.special
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.layers import parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.numerics.polynomials import FAMILIES, NODES, lengths, placed, table
from paramaudit.records import Example, Json, Matrix, Operator

FIRST = 6
"""So many rows tell family and nodes."""

SNAP = 64
"""Gains are those of a formula when they are to so many roundings."""


class OrthogonalPolynomial(nn.Module):
    """Polynomials of degree 0 to m - 1 at n nodes, ``(..., n)`` to ``(..., m)``, or the transpose.

    Args:
        family: a name of ``FAMILIES``.
        nodes: a name of ``NODES``, with a minus in front when they descend.
        shape: ``(m, n)``.
        unit: whether polynomials have unit length instead of the textbook's.
        level: whether every column is scaled to unit length.
        gains: ``(m,)``, ``(1,)`` for a common one, or None.
        weights: ``(n,)`` or None.
        transposed: whether the map is ``(..., m)`` to ``(..., n)``.
        bias: of the outputs, or None.
    """

    def __init__(
        self,
        family: str,
        nodes: str,
        shape: tuple[int, int],
        *,
        unit: bool = False,
        level: bool = False,
        gains: Tensor | None = None,
        weights: Tensor | None = None,
        transposed: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.family, self.nodes, self.shape = family, nodes, shape
        self.unit, self.level, self.transposed = unit, level, transposed
        self.gains, self.weights, self.bias = parameter(gains), parameter(weights), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Family, nodes and degrees, and how rows and columns are scaled."""
        one = self.gains is None or len(self.gains) == 1
        return {
            "family": self.family,
            "nodes": self.nodes.removeprefix("-"),
            "descending": self.nodes.startswith("-"),
            "degrees": self.shape[0],
            "points": self.shape[1],
            "rows": "stored" if not one else "unit length" if self.unit else "textbook",
            "gain": self.gains is not None,
            "columns": "stored" if self.weights is not None else "unit length" if self.level else "plain",
            "transposed": self.transposed,
            "bias": self.bias is not None,
        }

    def values(self, device: torch.device) -> Tensor:
        """The matrix ``(m, n)`` without what is stored, in float64 where there is one."""
        degrees, points = self.shape
        nodes = placed(self.nodes.removeprefix("-"), points, device)
        values = table(self.family, degrees, nodes.flip(0) if self.nodes.startswith("-") else nodes)
        if self.unit or self.level:
            units = values / lengths(self.family, degrees, device)[:, None]
            values = units if self.unit else values
            if self.level:
                values = values / units.square().sum(0).sqrt()
        return values

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the values and multiply."""
        matrix = self.values(inputs.device)
        if self.gains is not None:
            matrix = matrix * self.gains[:, None]
        if self.weights is not None:
            matrix = matrix * self.weights
        matrix = (matrix.T if self.transposed else matrix).to(inputs.dtype)
        return plus(F.linear(inputs, matrix), self.bias, inputs.dtype)


def propose(view: Matrix) -> OrthogonalPolynomial | None:
    """The family and nodes that leave least, rows or columns being the polynomials."""
    for transposed in (False, True):
        weight = view.weight.T if transposed else view.weight
        along = _along(weight)
        if along is None or not usable(view):
            continue
        layer = _nearest(weight, along, view, transposed)
        if layer is not None:
            return layer
    return None


def _along(weight: Tensor) -> Tensor | None:
    """The second row over the first ``(n,)``, where it goes steadily up or down; None elsewhere."""
    rows, columns = weight.shape
    if rows < 4 or columns < rows:
        return None
    base = weight[0]
    if not bool((base.abs() > 1e-4 * base.abs().max()).all()):
        return None
    along = weight[1] / base
    place = torch.arange(columns, dtype=along.dtype)
    return along if abs(float(torch.corrcoef(torch.stack([along, place]))[0, 1])) >= 0.9 else None


def _nearest(weight: Tensor, along: Tensor, view: Matrix, transposed: bool) -> OrthogonalPolynomial | None:
    points = weight.shape[1]
    first = weight[:FIRST]
    tried: list[tuple[float, str, str]] = []
    for kind in NODES:
        nodes = placed(kind, points, weight.device)
        if abs(float(torch.corrcoef(torch.stack([along, nodes]))[0, 1])) < 0.98:
            continue
        for family in FAMILIES:
            values = table(family, len(first), nodes) * first[0]
            tried.append((left_over(first - _scaled(first, values), first), family, kind))
    if not tried or min(tried)[0] > NOISY:
        return None
    _, family, kind = min(tried)
    sign = "-" if float(along[-1] - along[0]) < 0 else ""
    bias = kept_bias(view)
    layer = _settled(weight, view.noise, family, sign + kind, transposed, bias)
    return layer if layer is not None else _settled(weight, view.noise, family, kind, transposed, bias)


def _scaled(rows: Tensor, values: Tensor) -> Tensor:
    """The values with the gain for every row that brings them nearest."""
    return values * _gains(rows, values)[:, None]


def _gains(rows: Tensor, values: Tensor) -> Tensor:
    power = values.square().sum(1)
    return (rows * values).sum(1) / torch.where(power > 0, power, 1.0)


def _settled(
    weight: Tensor, noise: float, family: str, nodes: str, transposed: bool, bias: Tensor | None
) -> OrthogonalPolynomial | None:
    """The layer that stores least: formulas for columns and rows where they hold."""
    shape = (weight.shape[0], weight.shape[1])
    for unit, level in ((False, False), (True, False), (True, True), (False, True)):
        layer = OrthogonalPolynomial(
            family, nodes, shape, unit=unit, level=level, transposed=transposed, bias=bias
        )
        values = layer.values(weight.device)
        gains = _gains(weight, values)
        if left_over(weight - gains[:, None] * values, weight) > SNAP * noise:
            continue
        common = gains.mean()
        if bool(((gains - common).abs() <= SNAP * noise * common.abs()).all()):
            if float((common - 1).abs()) > SNAP * noise:
                layer.gains = parameter(common[None])
            return layer
    plain = OrthogonalPolynomial(family, nodes, shape, transposed=transposed, bias=bias)
    values = plain.values(weight.device)
    gains = _gains(weight, values)
    if left_over(weight - gains[:, None] * values, weight) <= NOISY:
        plain.gains = parameter(gains)
        return plain
    weights = weight[0] / values[0]
    gains = _gains(weight, values * weights)
    if left_over(weight - gains[:, None] * values * weights, weight) > NOISY:
        return None
    plain.gains, plain.weights = parameter(gains), parameter(weights)
    return plain


def _values(kind: str, degrees: int, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """By numpy's and scipy's own evaluation."""
    evaluate = {
        "legendre": scipy.special.eval_legendre,
        "chebyshev-t": scipy.special.eval_chebyt,
        "chebyshev-u": scipy.special.eval_chebyu,
        "gegenbauer-3/2": lambda k, x: scipy.special.eval_gegenbauer(k, 1.5, x),
    }[kind]
    return np.asarray(evaluate(np.arange(degrees)[:, None], nodes), dtype=np.float64)


def _gauss(size: int, kind: str = "orthogonal") -> Matrix:
    """Legendre polynomials at Gauss nodes; with the weights' roots the matrix is orthogonal."""
    nodes, weights = np.polynomial.legendre.leggauss(size)
    values = _values("legendre", size, nodes)
    if kind == "orthogonal":
        values = values * np.sqrt(np.arange(size) + 0.5)[:, None] * np.sqrt(weights)
    return stored(values)


def _uniform(kind: str, degrees: int, points: int, bias: bool = False) -> Matrix:
    values = _values(kind, degrees, np.linspace(-1, 1, points))
    return stored(values, np.random.default_rng(0).standard_normal(degrees) if bias else None)


def _features(degree: int, points: int) -> Matrix:
    features = np.polynomial.legendre.legvander(np.linspace(-1, 1, points), degree)
    return stored(np.asarray(features, dtype=np.float64))


def _own_scales(degrees: int, points: int) -> Matrix:
    rng = np.random.default_rng(1)
    gains = rng.uniform(0.5, 2, degrees) * rng.choice([-1.0, 1.0], degrees)
    return stored(_values("legendre", degrees, np.linspace(1, -1, points)) * gains[:, None])


def _window(degrees: int, points: int) -> Matrix:
    weights = 0.1 + np.hanning(points)
    return stored(_values("chebyshev-u", degrees, np.linspace(-1, 1, points)) * weights)


def _gegenbauer(degrees: int, points: int) -> NDArray[np.float64]:
    """Between Legendre's parameter, 1/2, and that of Chebyshev's second kind, 1."""
    grid = np.linspace(-1, 1, points)
    return np.asarray(scipy.special.eval_gegenbauer(np.arange(degrees)[:, None], 0.6, grid), dtype=np.float64)


def _powers(degrees: int, points: int) -> Matrix:
    return stored(np.vander(np.linspace(-1, 1, points), degrees, increasing=True).T)


def _noisy(degrees: int, points: int) -> Matrix:
    clean = _values("legendre", degrees, np.linspace(-1, 1, points))
    return stored(clean * (1 + 0.01 * np.random.default_rng(3).standard_normal(clean.shape)))


OPERATOR = Operator(
    "orthogonal-polynomial",
    propose,
    finds=(
        Example("Legendre, uniform", lambda: _uniform("legendre", 8, 64)),
        Example("Legendre at Gauss nodes, orthogonal", lambda: _gauss(48)),
        Example("Legendre at Gauss nodes", lambda: _gauss(33, "plain")),
        Example("Chebyshev, first kind, uniform, bias", lambda: _uniform("chebyshev-t", 12, 50, bias=True)),
        Example("Chebyshev, second kind", lambda: _uniform("chebyshev-u", 7, 40)),
        Example("Gegenbauer", lambda: _uniform("gegenbauer-3/2", 9, 45)),
        Example("polynomial features", lambda: _features(10, 60)),
        Example("own gains, descending", lambda: _own_scales(16, 80)),
        Example("under a window", lambda: _window(12, 60)),
    ),
    ignores=(
        Example("powers", lambda: _powers(8, 64)),
        Example("1 % noise", lambda: _noisy(8, 64)),
        Example("Gegenbauer 0.6", lambda: stored(_gegenbauer(8, 64))),
    ),
)
