"""A bank of damped oscillators driven by the input.

What it computes: k resonators ``y[t] = b0 x[t] + 2 r cos(w) y[t-1] - r^2 y[t-2]`` of the same input, side by
                  side; zero initial state. Struck once, each rings at angle w a sample and decays by r.
Replaces:         A dense layer n to k n: k n^2 numbers are 3 k.
Faster when:      From n = 1024 on: about 2.6 times, 30 times at 4096. Slower at 256 (0.15 times). See
                  benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Always stable: the radius r is the logistic function of what is trained. Angles are free; w,
                  -w and w + 2 pi are the same oscillator. Impulse responses are made in float64, then
                  convolved by FFT in the input's dtype (half precision in float32).
Source:           Smith, Introduction to Digital Filters (2007), two-pole filters; Adrien, The missing link:
                  modal synthesis, in De Poli et al., Representations of Musical Signals (1991).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.numerics.initial import Numbers, filled, inside
from paramaudit.numerics.layers import owned
from paramaudit.numerics.response import causal, two_pole
from paramaudit.numerics.scan import precise

DECIBELS_60 = math.log(1000.0)


class ResonatorBank(nn.Module):
    """k damped oscillators over the last dimension, ``(..., n)`` to ``(..., k, n)`` for any n.

    Args:
        k: how many oscillators.
        gain: first b0, one number or one for each.
        radius: first radius, between 0 and 1.
        angle: first angle in radians a sample; by default spread evenly between 0 and pi.
        sample_rate: samples a second, which only the physical properties use.

    Raises:
        ValueError: for a radius outside 0 to 1, or numbers that do not fit.

    Example:
        >>> bank = ResonatorBank.tuned([440.0, 880.0], decay_time=[0.5, 0.2], sample_rate=16000)
        >>> bank(torch.randn(8, 256)).shape
        torch.Size([8, 2, 256])
    """

    def __init__(
        self,
        k: int,
        gain: Numbers = 1.0,
        radius: Numbers = 0.95,
        angle: Numbers | None = None,
        sample_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.k, self.sample_rate = k, sample_rate
        spread = [math.pi * (i + 1) / (k + 1) for i in range(k)]
        self.gain = owned(filled(gain, k))
        self.raw_radius = owned(inside(filled(radius, k), 0.0, 1.0, "radius").logit())
        self.angle = owned(filled(spread if angle is None else angle, k))

    @classmethod
    def tuned(
        cls, frequency: Numbers, decay_time: Numbers, sample_rate: float, gain: Numbers = 1.0
    ) -> ResonatorBank:
        """Oscillators of these frequencies in hertz ``(k,)`` and decay times in seconds (60 dB)."""
        hertz = torch.as_tensor(frequency, dtype=torch.float64)
        seconds = torch.as_tensor(decay_time, dtype=torch.float64)
        radius = inside(torch.exp(-DECIBELS_60 / (seconds * sample_rate)), 0.0, 1.0, "radius")
        angle = hertz * (2 * math.pi / sample_rate)
        dtype = frequency.dtype if isinstance(frequency, Tensor) else torch.get_default_dtype()
        bank = cls(len(hertz), gain, angle=angle.to(dtype), sample_rate=sample_rate)
        # not by way of the radius: near 1 that would lose most digits in float32
        bank.raw_radius = owned(radius.expand(bank.k).logit().to(dtype))
        return bank

    @property
    def radius(self) -> Tensor:
        """By how much each decays in a sample, ``(k,)``, float64."""
        return precise(self.raw_radius).sigmoid()

    @property
    def frequency(self) -> Tensor:
        """How often each oscillates in a second, ``(k,)``, between 0 and half the sample rate."""
        return torch.acos(precise(self.angle).cos()) * (self.sample_rate / (2 * math.pi))

    @property
    def decay_time(self) -> Tensor:
        """Seconds until each has fallen by 60 dB, ``(k,)``."""
        return DECIBELS_60 / (-self.radius.log() * self.sample_rate)

    def extra_repr(self) -> str:
        """The arguments that are not trained, for ``print``."""
        return f"{self.k}, sample_rate={self.sample_rate:g}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Filter with the oscillators' impulse responses."""
        angle, squared = precise(self.angle), self.radius.square()
        first = -2 * self.radius * angle.cos() / (1 + squared)
        lost = -torch.expm1(2 * F.logsigmoid(precise(self.raw_radius)))
        across = torch.hypot(lost, 2 * self.radius * angle.sin()) / (1 + squared)
        poles = two_pole(first, squared, across, inputs.shape[-1])
        return causal(inputs, precise(self.gain).unsqueeze(-1) * poles).to(inputs.dtype)
