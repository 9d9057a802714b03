"""Linear recurrences over time without a loop over time.

``h[t] = A h[t-1] + u[t]`` is the sum of ``A^i`` applied to the inputs i steps ago, and that sum is a product:
``1 / (1 - A z) = (1 + A z) (1 + A^2 z^2) (1 + A^4 z^4) ...``. So log2 T steps do, each over all times at
once; the powers come by squaring. Initial states are zero: add ``A h[-1]`` to the first input for another.

Source: Hillis and Steele, Data parallel algorithms, CACM 29 (1986); Blelloch, Prefix sums and their
applications (1990), 1.4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def precise(values: Tensor) -> Tensor:
    """The same few numbers in float64, where the device has it: what is made of powers needs the digits."""
    return values.float() if values.device.type == "mps" else values.double()


def delayed(inputs: Tensor, delay: int) -> Tensor:
    """The last dimension, ``delay`` samples later; zeros come in, and what leaves is lost."""
    if delay >= inputs.shape[-1]:
        return torch.zeros_like(inputs)
    return F.pad(inputs[..., : inputs.shape[-1] - delay], (delay, 0))


def echoes(inputs: Tensor, gain: Tensor, delay: int) -> Tensor:
    """``y[t] = x[t] + gain y[t - delay]`` over the last dimension, ``(..., n)`` to ``(..., n)``.

    Args:
        inputs: x.
        gain: one number.
        delay: at least 1.
    """
    outputs, power, step = inputs, precise(gain), delay
    while step < inputs.shape[-1]:
        outputs = outputs + power.to(inputs.dtype) * delayed(outputs, step)
        power, step = power * power, 2 * step
    return outputs


def linear_scan(matrix: Tensor, inputs: Tensor) -> Tensor:
    """``h[t] = A h[t-1] + u[t]`` for all t, ``(..., T, d)`` to ``(..., T, d)``.

    Args:
        matrix: A, ``(d, d)``.
        inputs: u.
    """
    states, power, step = inputs, precise(matrix).mT, 1
    while step < inputs.shape[-2]:
        moved = states[..., : inputs.shape[-2] - step, :] @ power.to(inputs.dtype)
        states = states + F.pad(moved, (0, 0, step, 0))
        power, step = power @ power, 2 * step
    return states
