"""Numbers that were stored in eight bits with one scale a row: the steps, and what they may have been."""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.diagonals import diagonal_extremes

LEVELS = 127
"""Positive steps of a row in eight bits, symmetric about zero."""

OFF_GRID = 1e-4
"""Parts of a step: a scale that was itself rounded, to float32 at the shortest, puts numbers this far off."""


def row_steps(held: Tensor) -> Tensor | None:
    """The step ``(rows, 1)`` of every row where all numbers are whole multiples of it; None where not."""
    step = held.abs().amax(-1, keepdim=True) / LEVELS
    levels = held / step.clamp_min(torch.finfo(held.dtype).tiny)
    return step if whole(levels) else None


def whole(levels: Tensor) -> bool:
    """Whether these are whole numbers, but for how a scale is rounded."""
    return float((levels - levels.round()).abs().max()) <= OFF_GRID


def diagonals_before(held: Tensor, means: Tensor) -> Tensor | None:
    """Diagonals ``(m + n - 1,)`` which eight bits a row make these numbers of; None where there are none.

    Rows of one step round a diagonal alike, so that its mean may be further from the numbers of other rows
    than rounding is. Every number is an interval of half a step on both sides; a diagonal is in all of
    its own.

    Args:
        held: ``(m, n)``.
        means: of its diagonals, which are moved as little as possible.
    """
    step = row_steps(held)
    if step is None:
        return None
    half = (0.5 + OFF_GRID) * step
    low, high = diagonal_extremes(held - half)[1], diagonal_extremes(held + half)[0]
    return means.clamp(low, high) if bool((low <= high).all()) else None
