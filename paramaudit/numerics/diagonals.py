"""Diagonals of a matrix: their sums, the matrix they span, and how alike neighbouring rows are.

Diagonal ``d`` holds the entries with ``row - column = d``; a vector over all diagonals of an
``(m, n)`` matrix runs from ``-(n - 1)`` to ``m - 1``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS_AT_ONCE = 256


def diagonal_sums(matrix: Tensor) -> Tensor:
    """The sums ``(m + n - 1,)`` of all diagonals of an ``(m, n)`` matrix, in O(m n)."""
    sums = torch.zeros(sum(matrix.shape) - 1, dtype=matrix.dtype)
    for place, slid in _slid(matrix, 0.0):
        sums[place] += slid.sum(0)
    return sums


def diagonal_extremes(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest number ``(m + n - 1,)`` of every diagonal of an ``(m, n)`` matrix."""
    extremes = []
    for sign in (-1.0, 1.0):
        most = torch.full((sum(matrix.shape) - 1,), -torch.inf, dtype=matrix.dtype)
        for place, slid in _slid(sign * matrix, -torch.inf):
            most[place] = torch.maximum(most[place], slid.amax(0))
        extremes.append(sign * most)
    return extremes[0], extremes[1]


def _slid(matrix: Tensor, fill: float) -> Iterator[tuple[slice, Tensor]]:
    """Some rows at a time, with diagonals as columns, and which diagonals these are.

    A row that is padded to one number less than its stride slides one place right per row.
    """
    columns = matrix.shape[1]
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        part = matrix[start : start + ROWS_AT_ONCE].flip(1)
        height = part.shape[0]
        width = columns + height - 1
        padded = torch.full((height, width + 1), fill, dtype=matrix.dtype)
        padded[:, :columns] = part
        yield slice(start, start + width), padded.flatten()[: height * width].view(height, width)


def diagonal_counts(rows: int, columns: int) -> Tensor:
    """How many entries each diagonal has, ``(rows + columns - 1,)`` int64."""
    offset = torch.arange(-(columns - 1), rows)
    return torch.minimum(torch.full_like(offset, rows) - offset.clamp_min(0), columns + offset.clamp_max(0))


def from_diagonals(values: Tensor, columns: int) -> Tensor:
    """The Toeplitz matrix ``(m, columns)`` with these diagonals ``(m + columns - 1,)``."""
    return values.flip(0).unfold(0, columns, 1).flip(0)


def toeplitz_fit(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest Toeplitz matrix, as its diagonals ``(m + n - 1,)``, and the residual ``(m, n)``.

    Where the matrix is Toeplitz to the last bit its own numbers are returned, not their means.
    """
    rows, columns = matrix.shape
    own = torch.cat([matrix[0].flip(0), matrix[1:, 0]])
    residual = matrix - from_diagonals(own, columns)
    if not bool(residual.any()):
        return own, residual
    means = diagonal_sums(matrix) / diagonal_counts(rows, columns)
    return means, matrix - from_diagonals(means, columns)


def circulant_fit(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest circulant matrix, as its first column ``(n,)``, and the residual ``(n, n)``."""
    size = matrix.shape[0]

    def wrapped(column: Tensor) -> Tensor:
        return from_diagonals(torch.cat([column[1:], column]), size)

    own = matrix[:, 0].clone()
    residual = matrix - wrapped(own)
    if not bool(residual.any()):
        return own, residual
    sums = diagonal_sums(matrix)
    means = sums[size - 1 :].clone()
    means[1:] += sums[: size - 1]
    means /= size
    return means, matrix - wrapped(means)


def alike(first: Tensor, second: Tensor) -> float:
    """The mean cosine between rows of two ``(k, n)`` matrices; rows that are zero in both are left out.

    1 when nothing is left.
    """
    one, two = first.norm(dim=1), second.norm(dim=1)
    used = (one > 0) | (two > 0)
    if not bool(used.any()):
        return 1.0
    cosine = (first * second).sum(1)[used] / (one * two)[used].clamp_min(torch.finfo(first.dtype).tiny)
    return float(cosine.mean())
