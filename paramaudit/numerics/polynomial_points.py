"""Nodes and exponents that have no formula, read off rows that are clean enough for their digits to be kept.

With ``t = W[1] / W[0]`` the rows are monic polynomials of t, up to scales, whose recurrence tells exponents
and the affine map from t to the variable; every column then moves to the node that suits all of its rows.

Source: Gautschi, Orthogonal Polynomials: Computation and Approximation (2004), 2.1 (modified Chebyshev).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares
from torch import Tensor

from paramaudit.numerics.noise import left_over
from paramaudit.numerics.polynomial_rows import three_terms
from paramaudit.numerics.polynomial_scales import fitted, rows_beside
from paramaudit.numerics.polynomials import (
    FAMILIES,
    Family,
    Steps,
    exponents_of,
    named,
    orthonormal,
    table,
    unit_steps,
)

CLEAN = 1000
"""Rows keep a recurrence to so many roundings."""

_DEGREES = 9
_NEAR = 0.02
_STEPS, _LAST = 8, 3
_FEW = 32
"""Nodes are read off so many rows, and only moved to where they suit all, which takes longer."""
_KEPT = 0.02
"""What nodes leave of few rows when they are worth that."""
_SURE = 1e-3
"""Where the first row is this much of its largest number, its digits are those of the node."""


@dataclass(frozen=True)
class Points:
    """Polynomials of a family at nodes ``(n,)`` of its variable."""

    family: Family
    nodes: Tensor

    @property
    def mirrored(self) -> Points:
        """The same up to signs of rows, with the variable's sign changed."""
        family = self.family
        other = named(family.kind, family.beta, family.alpha)[0] if family.kind == "jacobi" else family
        return Points(other, -self.nodes)


def readings(weight: Tensor, noise: float) -> list[Points]:
    """What nodes and family the rows of ``(m, n)`` may be; exponents of short numbers first."""
    if noise > 1e-5 or three_terms(weight) > CLEAN * noise:
        return []
    base = weight[0]
    if not bool((base.abs() > 1e-30 * base.abs().max()).all()):
        return []
    diagonal, squares = _monic(weight[:_DEGREES])
    if not (np.isfinite(diagonal).all() and (squares > 0).all()):
        return []
    graded = [(_missed(family, diagonal, squares), family) for family in FAMILIES]
    short = min(graded, key=lambda one: float(np.abs(one[0]).max()))
    found = [short[1]] if float(np.abs(short[0]).max()) <= _NEAR else []
    if len(diagonal) >= 2:  # else there are no more numbers than unknowns
        free = (_free(kind, diagonal, squares) for kind in ("jacobi", "laguerre"))
        found += [family for family in free if family is not None]
    along = weight[1] / base * (base.abs().max() / weight[1].abs().max())
    sure = base.abs() > _SURE * base.abs().max()
    read = []
    for family in found:
        start = _placed(family, along, diagonal, squares)
        few, left = _moved(weight[:_FEW], start, _STEPS)
        if left <= _KEPT:
            nodes = few.nodes if len(weight) <= _FEW else _moved(weight, few, _LAST)[0].nodes
            read.append(Points(family, _straight(nodes, sure, CLEAN * noise)))
    return read


def _monic(rows: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Diagonal and squares beside it of the Jacobi matrix of t, from degree 1 on; it starts with 0."""
    rows = rows / rows.abs().amax(1, keepdim=True)
    first, second = rows[0], rows[1]
    diagonal, squares, grown = [], [], 1.0
    for k in range(1, len(rows) - 1):
        basis = torch.stack([second * rows[k], first * rows[k], first * rows[k - 1]], 1)
        sizes = basis.norm(dim=0)
        if not bool((sizes > 0).all()):
            return np.array([np.nan]), np.array([np.nan])
        found = torch.linalg.lstsq(basis / sizes, (first * rows[k + 1])[:, None]).solution[:, 0] / sizes
        by_t, constant, before = (float(value) for value in found)
        if by_t == 0:
            return np.array([np.nan]), np.array([np.nan])
        diagonal.append(-constant / by_t)
        squares.append(-before / (by_t * grown))
        grown = by_t
    return np.array(diagonal), np.array(squares)


def _matrix(family: Family, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    diagonal, beside = orthonormal(family, count + 1, exponents_of(family, torch.device("cpu")))
    return diagonal.numpy(), beside.numpy()[:count] ** 2


def _unit(family: Family, diagonal: NDArray[np.float64], squares: NDArray[np.float64]) -> float:
    """What t grows by where the family's variable grows by 1."""
    size = float(np.sqrt(squares[0] / _matrix(family, 1)[1][0]))
    return -size if family.kind == "laguerre" and diagonal[0] < 0 else size


def _missed(
    family: Family, diagonal: NDArray[np.float64], squares: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By how much a family's recurrence differs, relative."""
    own, own_squares = _matrix(family, len(diagonal))
    unit = _unit(family, diagonal, squares)
    size = np.sqrt(own_squares)
    off = (diagonal / unit - (own[1:] - own[0])) / size
    return np.concatenate([off, squares / (unit**2 * own_squares) - 1])


def _free(kind: str, diagonal: NDArray[np.float64], squares: NDArray[np.float64]) -> Family | None:
    """The exponents that suit a recurrence, or None where none do."""

    def family(values: NDArray[np.float64]) -> Family:
        numbers = np.exp(values) - 1
        return Family(kind, kind, float(numbers[0]), float(numbers[-1]) if kind == "jacobi" else 0.0)

    count = 2 if kind == "jacobi" else 1
    best = None
    for start in (0.5, 1.0, 2.5):
        solved = least_squares(
            lambda values: _missed(family(values), diagonal, squares),
            np.log(np.full(count, start)),
            bounds=(-6.0, 3.0),
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        )
        if best is None or solved.cost < best.cost:
            best = solved
    if best is None or float(np.abs(best.fun).max()) > _NEAR:
        return None
    found = family(best.x)
    if kind == "jacobi" and abs(found.alpha - found.beta) <= 1e-5:
        middle = (found.alpha + found.beta) / 2
        return replace(found, name="gegenbauer", alpha=middle, beta=middle)
    return found


def _placed(
    family: Family, along: Tensor, diagonal: NDArray[np.float64], squares: NDArray[np.float64]
) -> Points:
    start = float(_matrix(family, 1)[0][0])
    return Points(family, along / _unit(family, diagonal, squares) + start)


def _moved(weight: Tensor, points: Points, count: int) -> tuple[Points, float]:
    """Every column's node moved to where it suits all rows, and what was left over before the last step.

    Gauss and Newton's method, column by column.
    """
    exponents = exponents_of(points.family, weight.device)
    steps = unit_steps(points.family, len(weight), exponents)
    nodes, rows, missed = points.nodes, torch.ones(0), 1.0
    for step in range(count):
        values, slopes = _slopes(steps, nodes)
        if not bool(values.isfinite().all()):
            break
        if step == 0:
            rows = fitted(weight, values, 40)[0]
        along, across = rows[:, None] * values, rows[:, None] * slopes
        one, both, two = along.square().sum(0), (along * across).sum(0), across.square().sum(0)
        left, right = (along * weight).sum(0), (across * weight).sum(0)
        bottom = one * two - both.square()
        scale, slope = (left * two - right * both) / bottom, (right * one - left * both) / bottom
        change = slope / scale
        if not bool(change.isfinite().all()):
            break
        missed = left_over(weight - along * scale, weight)
        nodes = nodes + change
        rows = rows_beside(weight * values, values.square(), scale)
    return Points(points.family, nodes), missed


def _slopes(steps: Steps, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Values and derivatives ``(m, n)``, both over the same power of two in every column."""
    with torch.enable_grad():
        leaf = nodes.detach().clone().requires_grad_()
        values = table(steps, leaf).scaled
        each = torch.zeros_like(values, requires_grad=True)
        # what goes back is linear in what is sent, so its derivative holds every entry's own slope
        (back,) = torch.autograd.grad(values, leaf, each, create_graph=True)
        (slopes,) = torch.autograd.grad(back.sum(), each)
    return values.detach(), slopes


def even(nodes: Tensor, slack: float) -> Tensor | None:
    """First and last ``(2,)`` of evenly spaced nodes, None where they are not."""
    if not bool(nodes.isfinite().all()):
        return None
    line = _line(len(nodes))
    ends: Tensor = torch.linalg.lstsq(line, nodes[:, None]).solution[:, 0]
    off = float((line @ ends - nodes).abs().max())
    return ends if off <= slack * float((ends[1] - ends[0]).abs()) else None


def _straight(nodes: Tensor, sure: Tensor, slack: float) -> Tensor:
    """The nodes, all on the line on which the sure ones are, where these are on one."""
    if bool(sure.all()) or int(sure.sum()) < 8 or not bool(nodes[sure].isfinite().all()):
        return nodes
    line = _line(len(nodes))
    ends = torch.linalg.lstsq(line[sure], nodes[sure, None]).solution[:, 0]
    off = float((line @ ends - nodes)[sure].abs().max())
    return line @ ends if off <= slack * float((ends[1] - ends[0]).abs()) else nodes


def _line(size: int) -> Tensor:
    """Parts of the first and the last of evenly spaced numbers, ``(size, 2)``."""
    place = torch.linspace(0, 1, size, dtype=torch.float64)
    return torch.stack([1 - place, place], 1)
