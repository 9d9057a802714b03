"""Attack, decay, sustain, release: a curve of straight lines over time.

What it computes: From 0 to 1 over the attack, on to the sustain level over the decay, held, and from
                  wherever it then is to 0 over the release, which ends at ``end``. Zero outside.
Replaces:         A network over one time variable: its numbers are 4 for each channel.
Faster when:      Than a hidden layer of n units from n = 256 on: 1.4 times, 6 times at 1024, 18 times at
                  4096. See benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Times are positive because their logarithms are trained; the sustain level is free. Where a
                  release begins before attack and decay are over, it falls from where they are; a release
                  longer than ``end`` leaves nothing. Half precision is computed in float32.
Source:           Roads, The Computer Music Tutorial (1996), envelope generators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paramaudit.numerics.initial import Numbers, filled, inside
from paramaudit.numerics.layers import owned, widened


class Envelope(nn.Module):
    """Envelopes at given times, ``(...,)`` to ``(..., channels)``.

    Args:
        channels: how many envelopes.
        attack: first value of the rise time, one number or one a channel, in units of the times given.
        decay: of the time from 1 to the sustain level.
        sustain: of the level that is held.
        release: of the time to 0.
        end: when the release is over, the same for all channels.

    Raises:
        ValueError: when a time is not positive, or numbers do not fit the channels.

    Example:
        >>> envelope = Envelope(3, attack=[0.01, 0.1, 0.2], end=2.0)
        >>> envelope(torch.linspace(0, 2, 100)).shape
        torch.Size([100, 3])
    """

    def __init__(
        self,
        channels: int,
        attack: Numbers = 0.1,
        decay: Numbers = 0.2,
        sustain: Numbers = 0.7,
        release: Numbers = 0.3,
        end: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.end = channels, end
        self.log_attack = owned(_logarithm(attack, channels, "attack"))
        self.log_decay = owned(_logarithm(decay, channels, "decay"))
        self.log_release = owned(_logarithm(release, channels, "release"))
        self.sustain = owned(filled(sustain, channels))

    @property
    def attack(self) -> Tensor:
        """The rise times ``(channels,)``."""
        return self.log_attack.exp()

    @property
    def decay(self) -> Tensor:
        """The times ``(channels,)`` from 1 to the sustain level."""
        return self.log_decay.exp()

    @property
    def release(self) -> Tensor:
        """The times ``(channels,)`` to 0."""
        return self.log_release.exp()

    def extra_repr(self) -> str:
        """The arguments that are not trained, for ``print``."""
        return f"{self.channels}, end={self.end:g}"

    def forward(self, times: Tensor) -> Tensor:
        """Rise and fall up to the release, times what the release leaves."""
        wide = widened(times).unsqueeze(-1)
        attack, decay, release = (
            log.to(wide.dtype).exp() for log in (self.log_attack, self.log_decay, self.log_release)
        )
        start = self.end - release
        held = torch.minimum(wide, start)
        rise = (held / attack).clamp(0, 1)
        fall = ((held - attack) / decay).clamp(0, 1) * (1 - self.sustain.to(wide.dtype))
        left = 1 - ((wide - start) / release).clamp(0, 1)
        return ((rise - fall) * left).to(times.dtype)


def _logarithm(times: Numbers, channels: int, name: str) -> Tensor:
    return inside(filled(times, channels), 0.0, float("inf"), name).log()
