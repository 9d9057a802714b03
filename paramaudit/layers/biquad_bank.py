"""A bank of second-order recursive filters.

What it computes: k sections ``y[t] = b0 x[t] + b1 x[t-1] + b2 x[t-2] - a1 y[t-1] - a2 y[t-2]`` of the same
                  input, side by side; zero initial state.
Replaces:         A dense layer n to k n: k n^2 numbers are 5 k.
Faster when:      From n = 1024 on: about 3 times, 26 times at 4096. Slower at 256 (0.2 times). See
                  benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Always stable: ``a2 = p2`` and ``a1 = p1 (1 + p2)`` with reflection coefficients p1, p2 that
                  are the tanh of what is trained, which reaches every stable section, real poles included.
                  Impulse responses are made in float64, then convolved by FFT in the input's dtype (half
                  precision in float32).
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 3rd edition, 6.3 and 6.6 (lattice).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paramaudit.numerics.initial import Numbers, filled, inside
from paramaudit.numerics.layers import owned
from paramaudit.numerics.response import causal, filtered, two_pole
from paramaudit.numerics.scan import precise


class BiquadBank(nn.Module):
    """k second-order sections over the last dimension, ``(..., n)`` to ``(..., k, n)`` for any n.

    Args:
        k: how many sections.
        sos: first coefficients, ``(k, 6)`` or ``(6,)`` for all: b0, b1, b2, a0, a1, a2 as in
            ``scipy.signal``. By default each output is the input.

    Raises:
        ValueError: when a section is not stable, or the coefficients do not fit.

    Example:
        >>> bank = BiquadBank(4, sos=[0.2, 0.0, -0.2, 1.0, -1.2, 0.7])
        >>> bank(torch.randn(8, 256)).shape
        torch.Size([8, 4, 256])
    """

    def __init__(self, k: int, sos: Numbers = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)) -> None:
        super().__init__()
        self.k = k
        given = filled(sos, k, 6)
        wide = given.double() / given[:, 3:4]
        second = inside(wide[:, 5], -1.0, 1.0, "a2 / a0")
        first = inside(wide[:, 4] / (1 + second), -1.0, 1.0, "a1 / (a0 + a2)")
        self.numerator = owned(wide[:, :3].to(given.dtype))
        self.raw_reflection = owned(torch.stack([first, second], -1).atanh().to(given.dtype))

    @property
    def sos(self) -> Tensor:
        """The coefficients ``(k, 6)`` in float64, as ``scipy.signal`` wants them."""
        first, second = precise(self.raw_reflection).tanh().unbind(-1)
        poles = torch.stack([torch.ones_like(first), first * (1 + second), second], -1)
        return torch.cat([precise(self.numerator), poles], -1)

    def extra_repr(self) -> str:
        """The number of sections, for ``print``."""
        return str(self.k)

    def forward(self, inputs: Tensor) -> Tensor:
        """Filter with the sections' impulse responses."""
        raw = precise(self.raw_reflection)
        first, second = raw.tanh().unbind(-1)
        poles = two_pole(first, second, 1 / raw[:, 0].cosh(), inputs.shape[-1])
        return causal(inputs, filtered(precise(self.numerator), poles)).to(inputs.dtype)
