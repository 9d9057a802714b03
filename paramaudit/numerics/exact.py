"""An affine map evaluated with more digits than its dtype holds, to see rounding errors by.

For float32 and shorter, float64 is more than enough. For float64 itself the products and sums are
done as unevaluated pairs ``high + low``, about twice the digits.
"""

from __future__ import annotations

import torch
from torch import Tensor


def affine(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``W x + b`` in float64: ``(n, in)`` and ``(out, in)`` to ``(n, out)``."""
    result = inputs.to(torch.float64) @ weight.T
    return result if bias is None else result + bias


def affine_pair(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """``W x + b`` as ``high + low``, each ``(n, out)`` float64.

    Args:
        inputs: ``(n, in)``, float64.
        weight: ``(out, in)``, float64.
        bias: ``(out,)``, float64, or None.

    Source:
        Ogita, Rump and Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26 (2005), algorithm 5.3.
    """
    shape = (inputs.shape[0], weight.shape[0])
    high = torch.zeros(shape, dtype=torch.float64)
    low = torch.zeros(shape, dtype=torch.float64)
    if bias is not None:
        high = high + bias
    for column in range(weight.shape[1]):
        product, product_error = _two_product(inputs[:, column, None], weight[None, :, column])
        high, sum_error = _two_sum(high, product)
        low = low + (product_error + sum_error)
    return high, low


def _two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a + b`` and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """``a * b`` and what rounding took from it (Dekker)."""
    product = a * b
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return product, error


def _split(a: Tensor) -> tuple[Tensor, Tensor]:
    """Two halves of 26 bits each (Veltkamp)."""
    factor = a * (2.0**27 + 1)
    high = factor - (factor - a)
    return high, a - high
