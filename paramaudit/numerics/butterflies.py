"""A matrix as a product of butterflies, peeled off level by level.

A level that joins places n/2 apart is four diagonals ``[[D1, D2], [D3, D4]]``, and what is left is
block-diagonal: ``W = [[D1 A, D2 B], [D3 A, D4 B]]``. So in either half of the columns row i and row
i + n/2 are multiples of one another, and A and B are butterflies of half the size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.rank_one import leading, power_of_two, share


def reversed_bits(size: int) -> Tensor:
    """The places ``(size,)`` in bit-reversed order; ``size`` is a power of two."""
    levels = size.bit_length() - 1
    return torch.arange(size).reshape([2] * levels).permute(*range(levels - 1, -1, -1)).flatten()


def looks_so(take: Callable[[Tensor], Tensor], size: int) -> bool:
    """Whether a few pairs of rows are multiples of one another in either half of the columns.

    Args:
        take: gives some rows ``(k, size)`` of the matrix.
        size: how many it has.
    """
    half = size // 2
    some = torch.linspace(0, half - 1, 6).long()
    pairs = _pairs(torch.stack([take(some), take(some + half)]))
    energy = pairs.square().sum((-1, -2))
    return float((share(pairs) * energy).sum()) >= (1 - NOISY**2) * float(energy.sum())


def factors(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, float] | None:
    """The butterflies ``(L, n/2, 2, 2)``, the widest first, and what they leave; None when that is much.

    All but the last ones are already rounded to ``dtype``, and what follows makes up for that rounding.

    Args:
        weight: ``(n, n)``, n a power of two.
        dtype: that of the stored numbers.
    """
    size = len(weight)
    gain = power_of_two(weight)
    rest = (weight / gain)[None]  # (blocks, s, s)
    levels: list[Tensor] = []
    off = 0.0
    while rest.shape[1] > 2:
        blocks, width, _ = rest.shape
        half = width // 2
        pairs = _pairs(rest.reshape(blocks, 2, half, width).transpose(0, 1))  # (blocks, p, side, 2, half)
        sides, right = leading(pairs, dtype)
        fitted = sides.unsqueeze(-1) * right.unsqueeze(-2)
        off += float((pairs - fitted).square().sum())
        if off > NOISY**2 * float(rest.square().sum()):
            return None
        levels.append(sides.transpose(-1, -2).reshape(size // 2, 2, 2))  # (.., p, row, side)
        rest = right.permute(0, 2, 1, 3).reshape(2 * blocks, half, half)
    levels.append(rest * gain)
    values = torch.stack(levels)
    left = left_over(multiplied(values) - weight, weight)
    return (values, left) if left <= NOISY else None


def multiplied(values: Tensor) -> Tensor:
    """The matrix ``(n, n)`` of butterflies ``(L, n/2, 2, 2)``, the widest applied last."""
    levels, half = values.shape[:2]
    matrix = torch.eye(2 * half, dtype=values.dtype)
    for level in reversed(range(levels)):
        groups, apart = 2**level, half // 2**level
        rows = matrix.reshape(groups, 2, apart, 2 * half)
        mixed = torch.einsum("gjpn,gpij->gipn", rows, values[level].reshape(groups, apart, 2, 2))
        matrix = mixed.reshape(2 * half, 2 * half)
    return matrix


def _pairs(rows: Tensor) -> Tensor:
    """``(2, ..., p, n)`` rows to ``(..., p, 2 halves of the columns, 2 rows, n/2)``."""
    halves = rows.reshape(*rows.shape[:-1], 2, rows.shape[-1] // 2)
    return halves.movedim(0, -2)
