"""A linear map whose rows (or columns) are orthogonal polynomials of common nodes.

What it finds:    A matrix of the values of the polynomials of degree 0, 1, 2, ... of Jacobi (Legendre, the
                  four kinds of Chebyshev, Gegenbauer), Laguerre or Hermite (both normalisations), or its
                  transpose: projections on polynomials, polynomial features, quadrature transforms. Nodes are
                  uniform, Chebyshev's or the family's own Gauss nodes, ascending or descending. Where numbers
                  are clean, any other nodes, ends of uniform ones and exponents are read off and stored. Rows
                  as in textbooks, of unit length, or with a stored gain each; columns plain, of unit length,
                  times the root of the weight (Hermite functions), or with a stored weight each. Powers of x
                  are not orthogonal and not named.
Why it matters:   m n numbers are none, or the nodes, gains and weights that have no formula.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The first rows tell whether a three-term recurrence can hold, and then which
                  family and nodes come nearest; the whole table tells scales, through noise too.
Swap safety:      Exact at any input of n numbers. Only what is stored is trainable. The values are computed
                  anew in every call, in float64, in some 3 sqrt(m) vector steps of O(m n) operations in all
                  (and, for Gauss nodes of other families than Chebyshev's, the eigenvalues of an n x n
                  matrix), and then multiplied densely: fewer numbers, not fewer operations, and far slower
                  than the stored matrix.
Source:           Abramowitz and Stegun, Handbook of Mathematical Functions (1964), chapters 22 and 25.4;
                  Golub and Welsch, Math. Comp. 23 (1969).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.numerics.polynomial_layer import BETWEEN, STORED, OrthogonalPolynomial
from paramaudit.numerics.polynomial_nodes import FREE, placed
from paramaudit.numerics.polynomial_points import CLEAN, Points, even, readings
from paramaudit.numerics.polynomial_rows import Guess, nearest, possible
from paramaudit.numerics.polynomial_scales import rounding, settled
from paramaudit.numerics.polynomials import Family, exponents_of, short, table, unit_steps
from paramaudit.numerics.residual import settles
from paramaudit.records import Example, Matrix, Operator


def propose(view: Matrix) -> OrthogonalPolynomial | None:
    """The family and nodes that leave least, rows or columns being the polynomials."""
    sides = [
        (view.weight.T if transposed else view.weight, transposed)
        for transposed in (False, True)
        if _thinkable(view.weight.T if transposed else view.weight)
    ]
    if not sides or not usable(view) or not 1e-100 < float(view.weight.abs().max()) < 1e100:
        return None  # beyond, squares are no numbers
    layers: list[OrthogonalPolynomial] = []
    left: list[float] = []
    for weight, transposed in sides:
        found = [_layer(weight, guess, view, transposed) for guess in nearest(weight, view.noise)]
        layers += found
        left += [_left(layer, weight) for layer in found]
        if min(left, default=1.0) <= rounding(view.noise, len(weight)) or _only_noise(layers, left, weight):
            break
    else:  # nodes are read off only where none with a formula fit, either way round
        for weight, transposed in sides:
            found = [_read(weight, points, view, transposed) for points in readings(weight, view.noise)]
            layers += found
            left += [_left(layer, weight, view.dtype) for layer in found]
    if min(left, default=1.0) > NOISY:
        return None
    return _least(layers, left, max(view.noise, 2.0**-44 * max(view.weight.shape)))


def _thinkable(weight: Tensor) -> bool:
    return 4 <= weight.shape[0] <= weight.shape[1] and possible(weight)


def _layer(weight: Tensor, guess: Guess, view: Matrix, transposed: bool) -> OrthogonalPolynomial:
    """The layer of a guess that stores least: formulas for columns and rows where they hold."""
    degrees, points = weight.shape
    nodes = placed(guess.nodes, guess.family, points, weight.device)
    nodes = nodes.flip(0) if guess.turned else nodes
    values = table(unit_steps(guess.family, degrees, exponents_of(guess.family, weight.device)), nodes)
    mirrored = guess.nodes != "uniform-open" and guess.family.kind != "laguerre"
    scales = settled(weight, view.noise, guess.family, values, nodes, mirrored)
    return OrthogonalPolynomial(
        guess.nodes,
        (degrees, points),
        scales,
        descending=scales.turned != guess.turned,
        transposed=transposed,
        bias=kept_bias(view),
    )


def _read(weight: Tensor, points: Points, view: Matrix, transposed: bool) -> OrthogonalPolynomial:
    """The layer of nodes that were read off, with a formula for them where there is one."""
    family = points.family
    steps = unit_steps(family, len(weight), exponents_of(family, weight.device))
    values = table(steps, points.nodes)
    mirrored = family.kind != "laguerre"
    scales = settled(weight, view.noise, family, values, points.nodes, mirrored)
    nodes = (points.mirrored if scales.turned else points).nodes * scales.family.stretch
    layers = [
        OrthogonalPolynomial(
            name,
            (weight.shape[0], weight.shape[1]),
            scales,
            points=kept,
            exponents=None if short(scales.family) else exponents_of(scales.family, weight.device),
            descending=down,
            transposed=transposed,
            bias=kept_bias(view),
        )
        for name, kept, down in _kept(nodes, scales.family, view)
    ]
    return _least(layers, [_left(layer, weight, view.dtype) for layer in layers], 0.0)


def _kept(nodes: Tensor, family: Family, view: Matrix) -> Iterator[tuple[str, Tensor | None, bool]]:
    """How nodes can be told: a name, what is stored, whether they descend."""
    slack = CLEAN * max(view.noise, 2.0**-50)
    for kind in FREE if family.kind == "jacobi" else ():
        own = placed(kind, family, len(nodes), nodes.device)
        for down in (False, True):
            if float(((own.flip(0) if down else own) - nodes).abs().max()) <= slack:
                yield kind, None, down
    ends = even(nodes, slack)
    for name, kept in ((BETWEEN, ends), (STORED, nodes)):
        if kept is not None:
            high = kept.to(view.dtype).to(kept.dtype)
            yield name, kept[None], False
            yield name, torch.stack([high, kept - high]), False


def _least(
    layers: Sequence[OrthogonalPolynomial], left: Sequence[float], noise: float
) -> OrthogonalPolynomial:
    """The layer of the fewest numbers among those that leave hardly more than the best, or than noise."""
    most = max(2 * min(left), noise)
    good = [i for i, off in enumerate(left) if off <= most]
    return layers[min(good, key=lambda i: (floats(layers[i]), left[i]))]


def _left(layer: OrthogonalPolynomial, weight: Tensor, dtype: torch.dtype = torch.float64) -> float:
    """What the layer leaves over when its numbers are stored in a dtype."""
    off = left_over(_residual(copy.deepcopy(layer).to(dtype).to(torch.float64), weight), weight)
    return off if math.isfinite(off) else 1.0


def _only_noise(layers: Sequence[OrthogonalPolynomial], left: Sequence[float], weight: Tensor) -> bool:
    """Whether nothing but noise is beside the nearest of some layers."""
    return bool(layers) and settles(_residual(layers[left.index(min(left))], weight), weight)


@torch.no_grad()
def _residual(layer: OrthogonalPolynomial, weight: Tensor) -> Tensor:
    found = layer.matrix(weight.device)
    return weight - (found.T if layer.transposed else found)


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


def _golub_welsch(diagonal: NDArray[np.float64], beside: NDArray[np.float64]) -> Matrix:
    """Orthonormal polynomials at their Gauss nodes, with weights: the Jacobi matrix' eigenvectors."""
    _, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside)
    return stored(vectors * np.sign(vectors[-1]) * (-1.0) ** np.arange(len(vectors) - 1, -1, -1))


def _hermite(size: int) -> Matrix:
    return _golub_welsch(np.zeros(size), np.sqrt(np.arange(1, size) / 2))


def _laguerre(size: int, alpha: float) -> Matrix:
    values = scipy.special.eval_genlaguerre
    nodes, weights = scipy.special.roots_genlaguerre(size, alpha)
    return stored(values(np.arange(size)[:, None], alpha, nodes) * np.sqrt(weights))


def _jacobi(size: int, alpha: float, beta: float) -> Matrix:
    nodes, _ = scipy.special.roots_jacobi(size, alpha, beta)
    return stored(scipy.special.eval_jacobi(np.arange(size)[:, None], alpha, beta, nodes))


def _anywhere(degrees: int, points: int) -> Matrix:
    nodes = np.random.default_rng(6).uniform(-1, 1, points)
    return stored(np.asarray(np.polynomial.legendre.legvander(nodes, degrees - 1), dtype=np.float64))


def _gegenbauer(degrees: int, points: int) -> Matrix:
    """Between Legendre's parameter, 1/2, and that of Chebyshev's second kind, 1."""
    grid = np.linspace(-1, 1, points)
    return stored(scipy.special.eval_gegenbauer(np.arange(degrees)[:, None], 0.6, grid))


def _hermite_functions(degrees: int, points: int) -> Matrix:
    grid, k = np.linspace(-3, 3, points), np.arange(degrees)[:, None]
    norms = np.sqrt(2.0**k * scipy.special.factorial(k) * np.sqrt(np.pi))
    functions = scipy.special.eval_hermite(k, grid) * np.exp(-(grid**2) / 2) / norms
    return stored(np.asarray(functions, dtype=np.float64))


def _powers(degrees: int, points: int) -> Matrix:
    return stored(np.vander(np.linspace(-1, 1, points), degrees, increasing=True).T)


def _one_row(size: int) -> Matrix:
    rows = _gauss(size).weight.numpy().copy()
    rows[size // 2] = np.random.default_rng(4).standard_normal(size) / size**0.5
    return stored(rows)


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
        Example("Jacobi at Gauss nodes", lambda: _jacobi(20, 1.0, 2.0)),
        Example("Laguerre at Gauss nodes, weighted", lambda: _laguerre(24, 0.0)),
        Example("Hermite at Gauss nodes, orthogonal", lambda: _hermite(40)),
        Example("Legendre at any nodes", lambda: _anywhere(6, 70)),
        Example("Gegenbauer 0.6", lambda: _gegenbauer(8, 64)),
        Example("Hermite functions, uniform", lambda: _hermite_functions(10, 80)),
        Example("polynomial features", lambda: _features(10, 60)),
        Example("own gains, descending", lambda: _own_scales(16, 80)),
        Example("under a window", lambda: _window(12, 60)),
    ),
    ignores=(
        Example("powers", lambda: _powers(8, 64)),
        Example("1 % noise", lambda: _noisy(8, 64)),
        Example("one row replaced", lambda: _one_row(40)),
    ),
)
