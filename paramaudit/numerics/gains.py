"""Gains: the factor between stored weights and a formula, and whether it is a plain number."""

from __future__ import annotations

import torch
from torch import Tensor

SNAP = 16
"""A gain is one, and a Gaussian's width a short number, when they are to so many roundings."""


def gain(values: Tensor, weights: Tensor) -> float:
    """The factor of ``weights`` that leaves least of ``values``."""
    return float((values * weights).sum() / weights.square().sum())


def plain(value: float, noise: float) -> float | None:
    """The whole number, or one over a whole number, that a gain is to rounding; None for other gains.

    Where a dtype is so coarse that such a number says little, only one and minus one are plain.
    """
    size, sign = abs(value), 1.0 if value > 0 else -1.0
    if abs(size - 1) <= SNAP * noise:
        return sign
    for number in (size, 1 / size):
        whole = round(number)
        slack = 4 * noise * number
        if 1 < whole <= 1024 and slack <= 0.05 and abs(number - whole) <= slack:
            return sign * (whole if number is size else 1 / whole)
    return None


def exact_gains(values: Tensor, weights: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """The least and the largest gain of each row that give the stored bits.

    Args:
        values: what is stored, ``(rows, n)`` in float64.
        weights: the formula, likewise.
        noise: unit roundoff of the dtype that holds ``values``.

    Returns:
        Two tensors ``(rows,)``; where the first is not below the second, no gain does.
    """
    mantissa, exponent = torch.frexp(values)
    step = torch.ldexp(torch.full_like(values, noise), exponent - 1)
    nearer = torch.where(mantissa.abs() == 0.5, step / 2, step)  # below a power of two numbers lie closer
    size, scale = values.abs(), weights.abs()
    low, high = (size - nearer) / scale, (size + step) / scale
    alive = weights != 0
    low = torch.where(alive, low, -torch.inf).amax(1)
    high = torch.where(alive, high, torch.inf).amin(1)
    signs = torch.sign(values * weights).sum(1)
    agree = (signs.abs() == alive.sum(1)) & ((values != 0) == alive).all(1)
    high = torch.where(agree, high, -torch.inf)
    return torch.where(signs > 0, low, -high), torch.where(signs > 0, high, -low)
