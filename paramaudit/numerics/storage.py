"""What storing an exact table in fewer bits leaves behind, so that its noise is called by its name."""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.eight_bits import LEVELS, OFF_GRID, row_steps, whole

FLOATS = (torch.float16, torch.bfloat16)
"""Shorter formats that tables pass through, the finer one first."""

STORED = 0.03
"""Storage in eight bits leaves no more of a matrix than this; more is another matrix."""

REACHED = 0.1
"""Rounding to nearest reaches this part of half a unit somewhere, also where a fit took up some of it."""

DUST = 2.0**-40
"""What computing a matrix in float64 leaves where it is zero, as a part of its largest number."""

ROUNDED = 0.4
"""Root mean square of what rounding leaves, in steps, at most; 0.29 where numbers are spread evenly."""


def storage_noise(held: Tensor, meant: Tensor) -> str:
    """In words, which shorter storage of ``meant`` would explain every difference from ``held``.

    Args:
        held: the numbers as they are, of any shape, float64; the last dimension is a row.
        meant: what was recognised in them, of the same shape.

    Returns:
        ``"float16"``, ``"bfloat16"`` or ``"int8 with one scale a row"``, the finest that explains all
        differences; empty where none does, or where there is no difference.

    Source:
        Higham, Accuracy and Stability of Numerical Algorithms, 2.1 (rounding to nearest: half a unit in the
        last place); symmetric absmax quantisation: half a step of ``max|row| / 127``.
    """
    if held.shape != meant.shape or not held.numel():
        return ""
    apart = (held - meant).abs()
    if not bool(apart.isfinite().all()) or not bool((apart > 0).any()):
        return ""
    dust = DUST * float(meant.abs().max())
    for dtype in FLOATS:
        if _explains(apart, _half_unit(meant, dtype), dust):
            return dtype_name(dtype)
    return "int8 with one scale a row" if held.dim() and _in_steps(held, meant) else ""


def told(held: Tensor, meant: Tensor) -> str:
    """The same as a clause to end a reason with, e.g. ``"; every difference is within what ..."``."""
    name = storage_noise(held, meant)
    return f"; every difference is within what storage in {name} leaves" if name else ""


def told_exactly(held: Tensor, meant: Tensor) -> str:
    """A clause that names the shorter storage of ``meant`` that leaves ``held`` itself, number for number.

    Args:
        held: the numbers as they are, of any shape and floating dtype.
        meant: the computed ones, of the same shape and dtype.

    Returns:
        empty where no shorter storage leaves these numbers.
    """
    for dtype in FLOATS:
        shorter = torch.finfo(dtype).bits < torch.finfo(held.dtype).bits
        if shorter and torch.equal(meant.to(dtype).to(held.dtype), held):
            return f"; they are the computed ones as {dtype_name(dtype)} stores them"
    if _whole_steps(held.double(), meant.double()):
        return "; they are the computed ones as int8 with a scale stores them"
    return ""


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype as it is named to people, e.g. ``float16``."""
    return str(dtype).removeprefix("torch.")


def _whole_steps(held: Tensor, meant: Tensor) -> bool:
    """Whether ``held`` are whole multiples of a step of all or of their row, nearest to ``meant``."""
    for sizes in (held.abs().max(), held.abs().amax(-1, keepdim=True)):
        step = sizes / LEVELS
        levels = held / step.clamp_min(torch.finfo(torch.float64).tiny)
        near = (held - meant).abs() <= (0.5 + OFF_GRID) * step + 1e-7 * sizes
        if whole(levels) and bool(near.all()):
            return True
    return False


def _in_steps(held: Tensor, meant: Tensor) -> bool:
    """Whether ``held`` are whole steps of their rows, and what differs from ``meant`` is their rounding.

    A fit is off by a part of a step where numbers of a row were all rounded alike, so that single
    differences may be a whole one; on average they must be those of rounding, a step over the root of 12.
    A zero is a whole step as it is: of a few numbers among zeros only these are asked.
    """
    step = row_steps(held)
    if step is None:
        return False
    slack, apart = 1e-9 * float(held.abs().max()), (held - meant).abs()
    step = step.expand_as(held)
    rounded = (step > 0) & ((meant.abs() > slack) | (apart > slack))
    parts = apart[rounded] / step[rounded]
    if not parts.numel():
        return False
    typical, most = float(parts.square().mean().sqrt()), float(parts.max())
    return bool((apart <= step + slack).all()) and most > REACHED / 2 and typical <= ROUNDED


def _explains(apart: Tensor, half: Tensor, dust: float) -> bool:
    """Whether no difference beyond dust is above half a unit, and the largest is not far smaller still."""
    reached = (apart > REACHED * half) & (apart > dust)
    return bool((apart <= half + dust).all()) and bool(reached.any())


def _half_unit(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Half the distance between neighbours of ``dtype`` at each value, subnormals included."""
    about = torch.finfo(dtype)
    _, exponent = torch.frexp(values.abs().clamp_min(about.tiny))
    half = torch.ldexp(torch.ones_like(values), exponent - 1) * (about.eps / 2)
    # a value next to a power of two may round across it, where neighbours are twice as far
    return half * (1 + about.eps)
