"""Is a matrix of low rank? A cheap test that nearly all matrices fail, then the factors."""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.moments import emptiness
from paramaudit.numerics.noise import finite
from paramaudit.numerics.norms import back

CLIFF = 4.0
"""Neighbouring singular values with at least this ratio are a cliff."""

SKETCHED = 1.2
"""The same in a sketch, where noise weighs more; what is no cliff is dismissed by the factors."""

SURE = 0.92
"""A part of the empty spectrum that a matrix of low rank must have; its estimate may be off by the rest."""

FEW = 32
"""Of fewer rows or columns moments say nothing, and all singular values cost little."""

SPARE = 56
"""Rows that a sketch has more than columns, so that its last pivot is not small by chance."""


def sketched_rank(matrix: Tensor, worth: int, noise: float, generator: torch.Generator) -> int:
    """About what rank the matrix has, when that is at most ``worth``; 0 when it is not.

    Moments of a sample of rows dismiss nearly everything (:func:`emptiness`), a part of a few more rows and
    columns than ``worth`` nearly all the rest. What remains is added up, with random signs, into a sketch
    of that size. A sketch cannot have a higher rank than its matrix, and the triangular factor of a matrix
    of rank r has at most r pivots that are not zero. Of what passes that too the sketch's singular values are
    looked at.

    Args:
        matrix: ``(m, n)``.
        worth: the largest rank of interest.
        noise: unit roundoff of the numbers' dtype.
        generator: deals rows into sums.

    Source:
        Clarkson and Woodruff, Low rank approximation and regression in input sparsity time, STOC 2013.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T.contiguous()
    few = min(matrix.shape) < FEW
    if not few and _full(
        tall.T if tall is matrix and matrix.shape[0] > matrix.shape[1] else matrix, worth, generator
    ):
        return 0
    if not finite(matrix):  # asked only now, as it takes longer than the moments
        return 0
    if _no_small_pivot(_some(tall, worth + 8 + SPARE, worth + 8, generator)):
        return 0
    sketch = _added_up(tall, worth + 8 + SPARE, generator)
    sketch = _added_up(sketch.T.contiguous(), worth + 8, generator).T
    if _no_small_pivot(sketch):
        return 0
    return cliff(torch.linalg.svdvals(sketch), worth, noise, SKETCHED)


def _some(tall: Tensor, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """A part of the matrix, whose rank is not above its own."""
    down, along = (torch.randperm(size, generator=generator) for size in tall.shape)
    return tall[down[:rows]].index_select(1, along[:columns])


def _no_small_pivot(sketch: Tensor) -> bool:
    """Whether the triangular factor has no pivot that is small beside those of a Gaussian matrix."""
    pivots = torch.linalg.qr(sketch.float(), mode="r").R.diagonal().abs()
    # of a Gaussian matrix the last pivot is about this part of the first
    usual = ((SPARE + 1) / (SPARE + len(pivots))) ** 0.5
    return bool((pivots >= 0.4 * usual * pivots.max()).all())


def _full(wide: Tensor, worth: int, generator: torch.Generator) -> bool:
    """Whether moments say that a matrix ``(m, n)``, m at most n, has a rank above ``worth``."""
    least = SURE * (1 - worth / wide.shape[0])
    return emptiness(wide, generator) < least or emptiness(wide, generator, trained=True) < least


def cliff(values: Tensor, worth: int, noise: float, ratio: float = CLIFF) -> int:
    """How many of the descending values come before a cliff, or stand out of the noise.

    Args:
        values: ``(k,)``, descending.
        worth: the largest answer of interest.
        noise: unit roundoff; values of at most 256 times it, relative to the first, are all noise.
        ratio: what makes a cliff.

    Returns:
        0 when there is neither within the first ``worth``.
    """
    largest = float(values[0])
    if largest == 0.0:
        return 0
    beyond = min(worth, len(values) - 1)
    tail = float(values[beyond])
    if tail <= 256 * noise * largest:
        # the largest singular value of noise is at most about 3 times one in the midst of them
        return int((values > max(3 * tail, noise * largest)).sum())
    drops = values[:beyond] / values[1 : beyond + 1].clamp_min(noise * largest)
    best = int(drops.argmax())
    return best + 1 if float(drops[best]) >= ratio else 0


def _added_up(matrix: Tensor, groups: int, generator: torch.Generator) -> Tensor:
    """Rows with random signs, dealt into groups of nearly equal size and added up."""
    rows = matrix.shape[0]
    if groups >= rows:
        return matrix
    order = torch.randperm(rows, generator=generator)
    sign = torch.randint(0, 2, (rows, 1), generator=generator).to(matrix.dtype) * 2 - 1
    group = torch.empty(rows, dtype=torch.int64)
    group[order] = torch.arange(rows) % groups
    return torch.zeros(groups, matrix.shape[1], dtype=matrix.dtype).index_add_(0, group, matrix * sign)


def leading_factors(matrix: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The leading left singular vectors and values by a randomised range finder with one power step.

    Returns:
        ``U (m, k)`` and ``s (k,)`` with k a little above ``rank``.

    Source:
        Halko, Martinsson and Tropp, Finding structure with randomness, SIAM Review 53 (2011), 4.4 and 5.1.
    """
    columns = matrix.shape[1]
    width = min(rank + 16, *matrix.shape)
    start = torch.randn(columns, width, dtype=matrix.dtype, generator=generator)
    basis = torch.linalg.qr(matrix @ start).Q
    basis = torch.linalg.qr(matrix @ torch.linalg.qr(back(matrix, basis)).Q).Q
    small = torch.linalg.qr(back(matrix, basis), mode="r").R
    turn, values, _ = torch.linalg.svd(small.T)
    return basis @ turn, values
