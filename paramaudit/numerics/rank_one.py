"""Parts of a matrix that are products of two vectors: how much of them is, and the vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

STEPS = 6
"""Power steps; between neighbouring singular values of ratio 0.4 each takes a factor 0.16 off the error."""


def power_of_two(values: Tensor) -> float:
    """A power of two which brings the largest of these numbers near one when it divides them."""
    largest = float(values.abs().max())
    return 2.0 ** min(1000, max(-1000, math.frexp(largest)[1]))


def shares(parts: Tensor) -> Tensor:
    """What the leading 1, 2, ... singular values hold of the squared Frobenius norm, ``(..., min(p, q))``.

    ``parts`` are ``(..., p, q)``; 1 for zeros, 0 where a number is NaN or infinite. By the smaller Gram
    matrix: good to some 1e-8.
    """
    parts = parts if parts.shape[-2] <= parts.shape[-1] else parts.mT
    largest = parts.abs().amax((-1, -2), keepdim=True)
    usable = (largest > 0) & largest.isfinite()
    scaled = torch.where(usable, parts / torch.where(usable, largest, 1.0), 0.0)
    values = torch.linalg.eigvalsh(scaled @ scaled.mT).clamp_min(0).flip(-1).cumsum(-1)
    held = values / values[..., -1:].clamp_min(torch.finfo(parts.dtype).tiny)
    return torch.where(largest[..., 0] == 0, 1.0, held)


def share(parts: Tensor) -> Tensor:
    """The first of :func:`shares`: how near each part is to a product of two vectors, ``(...,)``."""
    return shares(parts)[..., 0]


def usual_share(rows: int, columns: int) -> float:
    """About what :func:`share` is of ``(rows, columns)`` independent numbers, for rank 1."""
    return min(1.0, (math.sqrt(rows) + math.sqrt(columns)) ** 2 / (rows * columns))


def leading(parts: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The product of two vectors that is nearest each part, ``(..., p)`` and ``(..., q)``.

    The first vector is of unit length and already rounded to ``dtype``, and the second the best one beside
    it, so that only the second one's rounding is left when both are stored.

    Args:
        parts: ``(..., p, q)``, float64.
        dtype: that of the stored numbers.

    Source:
        Golub and Van Loan, Matrix Computations, 8.2.1 (power method).
    """
    heaviest = parts.square().sum(-1).argmax(-1)
    index = heaviest[..., None, None].expand(*heaviest.shape, 1, parts.shape[-1])
    right = _unit(parts.gather(-2, index).squeeze(-2))
    for _ in range(STEPS):
        left = _unit((parts @ right.unsqueeze(-1)).squeeze(-1))
        right = _unit((left.unsqueeze(-2) @ parts).squeeze(-2))
    left = _unit((parts @ right.unsqueeze(-1)).squeeze(-1)).to(dtype).to(parts.dtype)
    return left, beside(parts, left)


def beside(parts: Tensor, left: Tensor) -> Tensor:
    """The vectors ``(..., q)`` that with ``left`` ``(..., p)`` come nearest the parts ``(..., p, q)``."""
    power = left.square().sum(-1, keepdim=True)
    return (left.unsqueeze(-2) @ parts).squeeze(-2) / torch.where(power > 0, power, 1.0)


def _unit(vectors: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)
