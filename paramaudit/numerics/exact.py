"""An affine map evaluated with more digits than its dtype holds, to see rounding errors by.

For float32 and shorter, float64 is more than enough. For float64 itself numbers are cut into slices of so
few bits that products of slices round nowhere, and what they sum to is kept as ``high + low``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_DIGITS = 72
"""Bits beyond those of the number of terms that are kept of the largest product."""


def affine(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``W x + b`` in float64: ``(n, in)`` and ``(out, in)`` to ``(n, out)``."""
    result = inputs.to(torch.float64) @ weight.T
    return result if bias is None else result + bias


class AffinePair:
    """``W x + b`` with some twenty bits more than float64 has, for many inputs; the map is cut up only once.

    Args:
        weight: ``(out, in)``, float64.
        bias: ``(out,)``, float64, or None.

    Source:
        Ozaki, Ogita, Oishi and Rump, Error-free transformations of matrix multiplication by using fast
        routines of matrix multiplication, Numerical Algorithms 59 (2012), section 3. Sums: Knuth's two-sum.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        terms = max(1, weight.shape[1]).bit_length()
        self._bits = (53 - terms) // 2
        self._count = -(-(_DIGITS + terms) // self._bits)
        self._slices, self._size = self._cut(weight)
        self._bias = bias
        self._terms = weight.shape[1]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """``high`` and ``low``, each ``(n, out)`` float64, of inputs ``(n, in)`` in float64."""
        parts, size = self._cut(inputs)
        shape = (inputs.shape[0], len(self._size))
        high, low = (torch.zeros(shape, dtype=torch.float64) for _ in range(2))
        for both in range(self._count):
            for first in range(both + 1):
                if first < len(parts) and both - first < len(self._slices):
                    high, error = _two_sum(high, parts[first] @ self._slices[both - first].T)
                    low = low + error
        scale = size * self._size[:, 0]
        high, low = high * scale, low * scale
        if self._bias is not None:
            high, error = _two_sum(high, self._bias)
            low = low + error
        return high, low

    def dropped(self, inputs: Tensor) -> Tensor:
        """A bound on the Euclidean length of what ``high + low`` leave out, ``(n,)``.

        Products of slices beyond the last ones count, and the roundings of ``low``.
        """
        size = torch.frexp(inputs.abs().amax(1)).exponent.double().exp2()
        length = float(torch.linalg.vector_norm(self._size))
        return (self._count + 1) ** 2 * self._terms * 2.0 ** -(self._bits * self._count) * size * length

    def _cut(self, rows: Tensor) -> tuple[list[Tensor], Tensor]:
        """Slices of the rows, each divided by a power of two ``(n, 1)`` that brings it below one."""
        largest = rows.abs().amax(1, keepdim=True) if rows.numel() else rows.new_zeros(len(rows), 1)
        exponent = torch.frexp(largest).exponent.clamp(-1000, 1000).double()
        left, slices = rows / exponent.exp2(), []
        for index in range(self._count):
            if not bool((left != 0).any()):
                break
            # adding and taking away this rounds to a multiple of its last bit
            anchor = 1.5 * math.ldexp(1.0, 52 - self._bits * (index + 1))
            slices.append((left + anchor) - anchor)
            left = left - slices[-1]
        return slices, exponent.exp2()


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a + b`` and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
