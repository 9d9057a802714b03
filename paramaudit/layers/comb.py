"""Feedback comb filter and all-pass filter: the two parts of a classical reverberator.

What it computes: The comb ``y[t] = x[t] + g y[t-d]``, and Schroeder's all-pass
                  ``y[t] = -g x[t] + x[t-d] + g y[t-d]``; zero initial state.
Replaces:         A dense n x n layer that learned a decaying row of echoes: n^2 numbers are one.
Faster when:      From n = 1024 on: about 4 times, more than 20 times at 4096. Slower at 256 (0.3 and 0.2
                  times). See benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             The echoes are summed in log2(n / d) steps over all samples at once, not one after another.
                  The gain is the tanh of what is trained, so it stays below 1 and the filter stable. Half
                  precision is computed in float32.
Source:           Schroeder, Natural sounding artificial reverberation, J. Audio Eng. Soc. 10 (1962).
"""

from __future__ import annotations

from torch import Tensor, nn

from paramaudit.numerics.initial import filled, inside
from paramaudit.numerics.layers import owned, widened
from paramaudit.numerics.scan import delayed, echoes


class _Feedback(nn.Module):
    """One delay and one gain between -1 and 1."""

    def __init__(self, delay: int, gain: float | Tensor = 0.5) -> None:
        super().__init__()
        if delay < 1:
            raise ValueError(f"what is fed back must be delayed by at least one sample, not {delay}")
        self.delay = delay
        self.raw_gain = owned(inside(filled(gain), -1.0, 1.0, "gain").atanh())

    @property
    def gain(self) -> Tensor:
        """The gain ``()``, between -1 and 1."""
        return self.raw_gain.tanh()

    def extra_repr(self) -> str:
        """The delay, for ``print``."""
        return f"delay={self.delay}"


class FeedbackComb(_Feedback):
    """``y[t] = x[t] + gain y[t - delay]``, ``(..., n)`` to ``(..., n)`` for any n.

    Args:
        delay: in samples, at least 1; not trained.
        gain: first value, between -1 and 1.

    Raises:
        ValueError: for a delay or a gain outside that.

    Example:
        >>> FeedbackComb(delay=37, gain=0.55)(torch.randn(8, 256)).shape
        torch.Size([8, 256])
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Add all echoes."""
        wide = widened(inputs)
        gain = self.raw_gain.to(wide.dtype).tanh()
        return echoes(wide, gain, self.delay).to(inputs.dtype)


class AllPass(_Feedback):
    """``y[t] = -gain x[t] + x[t - delay] + gain y[t - delay]``, ``(..., n)`` to ``(..., n)`` for any n.

    Args:
        delay: in samples, at least 1; not trained.
        gain: first value, between -1 and 1.

    Raises:
        ValueError: for a delay or a gain outside that.

    Example:
        >>> AllPass(delay=37, gain=0.7)(torch.randn(8, 256)).shape
        torch.Size([8, 256])
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """The feed-forward part, then all its echoes."""
        wide = widened(inputs)
        gain = self.raw_gain.to(wide.dtype).tanh()
        return echoes(delayed(wide, self.delay) - gain * wide, gain, self.delay).to(inputs.dtype)
