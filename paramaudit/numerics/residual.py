"""Is what a fit leaves over noise, or the trace of something else?

A name may be read through noise, but only through noise: a replaced row, flipped signs or a second
structure leave a residual that is not spread evenly, and then the name is wrong.
"""

from __future__ import annotations

import math

import scipy.special
import torch
from torch import Tensor

from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.norms import top_direction

_FAR = 6.5
"""Fewer than one in a hundred normal matrices of 4096 x 4096 holds an entry this many deviations out."""

_FEW = 4096
"""Of fewer entries no one may be that far out; then shares of the whole are compared with their own law."""

_SELDOM = 1e-5
"""Noise of few entries is taken for something else this often, in each of its tests."""

MANY = 1 << 14
"""Of so many entries the tests of noise see every structure that a closer fit could take up."""

_ALONG = 3.5
"""Deviations, and ..."""

_RELATED = 0.03
"""... the correlation that neighbours of any noise may have."""


def noise_like(residual: Tensor) -> bool:
    """Whether a residual could be independent noise of one size.

    No entry, no row, no column and no direction of it is heavier than noise has them, and neighbours are not
    alike.

    Args:
        residual: ``(rows, columns)``, float64.

    Source:
        Largest singular value of a noise matrix: Davidson and Szarek, Local operator theory, random matrices
        and Banach spaces (2001), theorem 2.13.
    """
    if not residual.numel():
        return False
    squares = residual.square()
    size = float(squares.mean()) ** 0.5
    if not math.isfinite(size):
        return False
    if size == 0.0:
        return True
    # blocks that a fit stores leave nothing
    others = max(int(squares.count_nonzero()), residual.numel() // 2)
    if float(residual.abs().max()) > _FAR * size * (residual.numel() / others) ** 0.5:
        return False
    if residual.numel() < _FEW and not (_shared(squares, 1) and _unlike_neighbours(residual)):
        return False
    for d in (0, 1):
        sums, terms = squares.sum(d), residual.shape[d]
        if not _even(sums / size**2, terms) or (residual.numel() < _FEW and not _shared(sums, terms)):
            return False
    return _flat(residual, size)


def settles(residual: Tensor, weight: Tensor) -> bool:
    """Whether a fit of a large matrix leaves noise and nothing else: no closer one need be looked for."""
    return weight.numel() >= MANY and left_over(residual, weight) <= NOISY and noise_like(residual)


def _shared(sums: Tensor, terms: int) -> bool:
    """Whether no sum of ``terms`` squares is a larger part of all of them than chance makes the largest.

    Source: the part is distributed as Beta(k / 2, (N - k) / 2); Muirhead, Aspects of Multivariate Statistical
    Theory (1982), theorem 1.5.7; all sums at once by Bonferroni's inequality.
    """
    rest = (sums.numel() - 1) * terms
    if not rest:
        return True
    part = float(sums.max() / sums.sum())
    return float(scipy.special.betainc(rest / 2, terms / 2, 1 - part)) * sums.numel() >= _SELDOM


def _unlike_neighbours(residual: Tensor) -> bool:
    """Whether neighbours in rows and in columns are no more alike than chance has them.

    Source: a product of neighbours has mean 0 and variance 1; Box and Jenkins, Time Series Analysis, 2.1.6.
    """
    energy = float(residual.square().sum())
    for one, next_ in ((residual[1:], residual[:-1]), (residual[:, 1:], residual[:, :-1])):
        related = abs(float((one * next_).sum())) / energy
        if related > _RELATED + _ALONG * math.sqrt(one.numel()) / residual.numel():
            return False
    return True


def _even(sums: Tensor, terms: int) -> bool:
    """Whether sums of ``terms`` squares stay where a chi-squared variable does, by its cube root.

    Source: Wilson and Hilferty, The distribution of chi-square, PNAS 17 (1931).
    """
    normal = ((sums / terms) ** (1 / 3) - (1 - 2 / (9 * terms))) / math.sqrt(2 / (9 * terms))
    return float(normal.abs().max()) <= _FAR


def _flat(residual: Tensor, size: float) -> bool:
    """Whether no direction stands out: the largest singular value stays below the edge of noise."""
    rows, columns = residual.shape
    if residual.numel() < _FEW and min(rows, columns) > 1:
        return float(torch.linalg.matrix_norm(residual, 2)) ** 2 <= _edge(rows, columns) * size**2
    edge = size * (math.sqrt(rows) + math.sqrt(columns) + _FAR)
    direction = top_direction(residual, torch.Generator().manual_seed(0), steps=8)
    return float((residual @ direction).norm()) <= edge


def _edge(rows: int, columns: int) -> float:
    """The square of the largest singular value that one noise matrix in a thousand exceeds, of variance 1.

    Source: Johnstone, On the distribution of the largest eigenvalue in principal components analysis, Annals
    of Statistics 29 (2001), theorem 1.1; 3.27 is the 99.9 % point of the law of Tracy and Widom for it.
    """
    sides = math.sqrt(rows - 1), math.sqrt(columns)
    width = sum(sides) * (1 / sides[0] + 1 / sides[1]) ** (1 / 3)
    return float(sum(sides) ** 2 + 3.27 * width)
