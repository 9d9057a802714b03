"""Textbook bounds on rounding errors, as information: they are far too loose to judge a swap by.

A product of n numbers each: ``gamma_n = n u / (1 - n u)`` times ``|W| |x|``, and for a chain the factors
``1 + gamma`` multiply (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 3.1 and
3.5). A radix-2 fast Fourier transform of ``2^t`` numbers: ``t eta / (1 - t eta)`` of the result's norm, with
``eta = mu + gamma_4 (sqrt 2 + mu)`` and weights off by ``mu`` (the same book, theorem 24.2). Half-precision
products are modelled as summed in float32 and rounded once. There is no bound where ``n u >= 1``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from paramaudit.numerics.norms import ROUNDOFF
from paramaudit.records import Matrix

SOURCE = "Higham 2002, sections 3.1 and 3.5; theorem 24.2 for transforms"
_HALF = (torch.float16, torch.bfloat16)


def gamma(count: int, unit: float) -> float | None:
    """``n u / (1 - n u)``; None where ``n u >= 1``."""
    return count * unit / (1 - count * unit) if count * unit < 1 else None


def chain(layers: Sequence[tuple[Tensor, Tensor | None]], dtype: torch.dtype) -> float | None:
    """A bound on the error of dense layers one after the other, per ``|[x;1]|``.

    Args:
        layers: weights ``(out, in)`` and biases in float64, the first one first.
        dtype: what they are computed in.

    Returns:
        ``|computed - exact| / |[x;1]|`` at most, or None where there is no bound.
    """
    grown, size = 1.0, 1.0
    for weight, bias in layers:
        one = _layer(weight.shape[1] + (bias is not None), dtype)
        if one is None:
            return None
        grown *= 1 + one
        size *= _absolute_norm(weight, bias)
    bound = (grown - 1) * size
    return bound if math.isfinite(bound) else None


def transform(view: Matrix, length: int) -> float | None:
    """A bound on the error of a fast Fourier transform of windowed numbers, per ``|[x;1]|``.

    The whole transform has the norm ``sqrt(length)``. Window and gains are at most ``sqrt 2`` times the map's
    largest entry, since the cosine or the sine of any angle is at least ``1 / sqrt 2``.

    Args:
        view: the map that it computes, real and imaginary parts of every bin, with its dtype.
        length: how many numbers are transformed.
    """
    if length < 2 or length & (length - 1) or view.dtype in _HALF:
        return None
    unit, steps = view.noise, length.bit_length() - 1
    four = gamma(4, unit)
    if four is None:
        return None
    eta = unit + four * (math.sqrt(2) + unit)
    if steps * eta >= 1:
        return None
    relative = (1 + steps * eta / (1 - steps * eta)) * (1 + unit) ** 2 - 1  # the window and the gains
    return relative * math.sqrt(2 * length) * float(view.weight.abs().max())


def _layer(count: int, dtype: torch.dtype) -> float | None:
    unit = torch.finfo(dtype).eps / 2
    if dtype not in _HALF:
        return gamma(count, unit)
    summed = gamma(count, torch.finfo(torch.float32).eps / 2)
    return None if summed is None else (1 + summed) * (1 + unit) - 1


def _absolute_norm(weight: Tensor, bias: Tensor | None) -> float:
    """A bound on the norm of ``|W|``, with the bias as the last column and the 1 carried on."""
    joined = weight.abs() if bias is None else torch.cat([weight.abs(), bias.abs()[:, None]], 1)
    if not joined.numel():
        return 1.0
    sums = math.sqrt(float(joined.sum(0).max()) * float(joined.sum(1).max()))
    slack = 1 + (16 * sum(joined.shape) + joined.numel()) * ROUNDOFF
    return math.hypot(min(float(torch.linalg.matrix_norm(joined)), sums) * slack, 1.0)
