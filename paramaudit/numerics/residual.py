"""Is what a fit leaves over noise, or the trace of something else?

A name may be read through noise, but only through noise: a replaced row, flipped signs or a second
structure leave a residual that is not spread evenly, and then the name is wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paramaudit.numerics.norms import top_direction

_FAR = 6.5
"""Fewer than one in a hundred normal matrices of 4096 x 4096 holds an entry this many deviations out."""


def noise_like(residual: Tensor) -> bool:
    """Whether a residual could be independent noise of one size.

    No entry, no row, no column and no direction of it is heavier than noise has them.

    Args:
        residual: ``(rows, columns)``, float64.

    Source:
        Largest singular value of a noise matrix: Davidson and Szarek, Local operator theory, random matrices
        and Banach spaces (2001), theorem 2.13.
    """
    if not residual.numel() or not bool(torch.isfinite(residual).all()):
        return False
    squares = residual.square()
    size = float(squares.mean()) ** 0.5
    if size == 0.0:
        return True
    if float(residual.abs().max()) > _FAR * size:
        return False
    return all(_even(squares.sum(d) / size**2, residual.shape[d]) for d in (0, 1)) and _flat(residual, size)


def _even(sums: Tensor, terms: int) -> bool:
    """Whether sums of ``terms`` squares stay where a chi-squared variable does, by its cube root.

    Source: Wilson and Hilferty, The distribution of chi-square, PNAS 17 (1931).
    """
    normal = ((sums / terms) ** (1 / 3) - (1 - 2 / (9 * terms))) / math.sqrt(2 / (9 * terms))
    return float(normal.abs().max()) <= _FAR


def _flat(residual: Tensor, size: float) -> bool:
    """Whether no direction stands out: the largest singular value stays below the edge of noise."""
    rows, columns = residual.shape
    edge = size * (math.sqrt(rows) + math.sqrt(columns) + _FAR)
    direction = top_direction(residual, torch.Generator().manual_seed(0), steps=8)
    return float((residual @ direction).norm()) <= edge
