"""Is a matrix of low rank? A cheap test that nearly all matrices fail, then the factors."""

from __future__ import annotations

import scipy.linalg
import torch
from torch import Tensor

CLIFF = 8.0
"""Neighbouring singular values with at least this ratio are a cliff."""

TINY = 0.02
"""A pivot below this part of the largest one makes a sketch look singular."""


def sketched_rank(matrix: Tensor, worth: int, noise: float, generator: torch.Generator) -> int:
    """About what rank the matrix has, when that is at most ``worth``; 0 when it is not.

    Rows and columns are added up, with random signs, into a sketch a little larger than ``worth``. A
    sketch cannot have a higher rank than its matrix, and the triangular factor of a matrix of rank r
    has at most r pivots that are not zero. So one read and a small QR dismiss nearly everything;
    what remains is looked at with pivoting.

    Args:
        matrix: ``(m, n)``.
        worth: the largest rank of interest.
        noise: unit roundoff of the numbers' dtype.
        generator: deals rows into sums.

    Source:
        Clarkson and Woodruff, Low rank approximation and regression in input sparsity time, STOC 2013.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T.contiguous()
    sketch = _added_up(tall, worth + 24, generator)
    sketch = _added_up(sketch.T.contiguous(), worth + 8, generator).T
    pivots = torch.linalg.qr(sketch.float(), mode="r").R.diagonal().abs()
    if bool((pivots >= TINY * pivots.max()).all()):
        return 0
    pivots = torch.from_numpy(scipy.linalg.qr(sketch.numpy(), mode="r", pivoting=True)[0]).diagonal().abs()
    return cliff(pivots, worth, noise, CLIFF / 2)


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


def leading_factors(matrix: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The leading singular triplets by a randomised range finder with one power step.

    Returns:
        ``U (m, k)``, ``s (k,)``, ``V^T (k, n)`` with k a little above ``rank``.

    Source:
        Halko, Martinsson and Tropp, Finding structure with randomness, SIAM Review 53 (2011), 4.4 and 5.1.
    """
    columns = matrix.shape[1]
    width = min(rank + 16, *matrix.shape)
    start = torch.randn(columns, width, dtype=matrix.dtype, generator=generator)
    basis = torch.linalg.qr(matrix @ start).Q
    basis = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ basis).Q).Q
    right, small = torch.linalg.qr(matrix.T @ basis)
    turn, values, back = torch.linalg.svd(small.T, full_matrices=False)
    return basis @ turn, values, back @ right.T
