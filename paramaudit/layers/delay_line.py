"""A delay line with taps.

What it computes: ``y[t] = sum of gain[i] x[t - delay[i]]``, zeros before the first sample.
Replaces:         A dense n x n layer that learned echoes: n^2 numbers are one gain for each delay.
Faster when:      From n = 1024 on: about 5 times, and at 4096 49 times with 4 taps, 20 times with 32. Slower
                  at 256 (0.3 and 0.2 times). See benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Delays are whole samples and not trained. Up to 8 taps are added one by one, without
                  further rounding; more are convolved. Half precision is computed in float32.
Source:           Smith, Physical Audio Signal Processing (2010), delay lines and tapped delay lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from paramaudit.numerics.initial import Numbers, filled
from paramaudit.numerics.layers import owned, widened
from paramaudit.numerics.response import causal
from paramaudit.numerics.scan import delayed

FEW = 8
"""Up to this many taps are added one by one."""


class DelayLine(nn.Module):
    """Fixed delays with trained gains over the last dimension, ``(..., n)`` to ``(..., n)`` for any n.

    Args:
        delays: in samples, each at least 0 and none twice.
        gains: first values, one number or one a delay.

    Raises:
        ValueError: for delays that are negative or repeated, or gains that do not fit.

    Example:
        >>> line = DelayLine([0, 37, 74], gains=[1.0, 0.5, 0.25])
        >>> line(torch.randn(8, 256)).shape
        torch.Size([8, 256])
    """

    where: Tensor

    def __init__(self, delays: Sequence[int], gains: Numbers = 1.0) -> None:
        super().__init__()
        self.delays = tuple(int(delay) for delay in delays)
        if not self.delays or min(self.delays) < 0 or len(set(self.delays)) < len(self.delays):
            raise ValueError(f"delays must be different whole numbers of at least 0, not {self.delays}")
        self.gains = owned(filled(gains, len(self.delays)))
        self.register_buffer("where", torch.tensor(self.delays), persistent=False)

    def extra_repr(self) -> str:
        """The delays, for ``print``."""
        return f"delays={self.delays}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Add the delayed inputs, or convolve where there are many."""
        wide = widened(inputs)
        gains = self.gains.to(wide.dtype)
        if len(self.delays) > FEW:
            kernel = gains.new_zeros(max(self.delays) + 1).index_add(0, self.where, gains)
            return causal(wide, kernel.unsqueeze(0)).squeeze(-2).to(inputs.dtype)
        outputs = gains[0] * delayed(wide, self.delays[0])
        for gain, delay in zip(gains[1:], self.delays[1:], strict=True):
            outputs = outputs + gain * delayed(wide, delay)
        return outputs.to(inputs.dtype)
