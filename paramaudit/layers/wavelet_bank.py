"""Periodised discrete wavelet transform.

What it computes: Level by level, circular convolution with a low-pass and a high-pass filter, keeping every
                  second output; the low half is split again. The same numbers in the same order as
                  ``pywt.wavedec(x, wavelet, mode="periodization", level=level)``, one band after another.
Replaces:         A dense n x n layer: n^2 numbers are two filters of a few taps.
Faster when:      From n = 1024 on: about 1.7 times, 13 times at 4096. Much slower at 256 (0.08 times). See
                  benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Trained filters are free: nothing keeps them orthogonal or their sum right. Half precision
                  is computed in float32.
Source:           Mallat, A Wavelet Tour of Signal Processing, 3rd edition, 7.3. Filters: PyWavelets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import widened
from paramaudit.numerics.periodic import turned
from paramaudit.numerics.wavelets import analysis_filters


class WaveletBank(nn.Module):
    """All bands of a wavelet transform, ``(..., n)`` to ``(..., n)``.

    The order is that of ``pywt.wavedec``: the approximation, then details from coarse to fine; see
    :meth:`bands`. ``filters`` is ``(2, taps)``, low-pass and high-pass: a buffer, or a parameter when
    trained, under the same key.

    Args:
        wavelet: a discrete wavelet of PyWavelets, e.g. ``db4``.
        level: how many times to split.
        n: samples, a multiple of ``2**level``.
        train: whether the filters are trained.

    Raises:
        ValueError: for a wavelet that PyWavelets does not know, or a level that does not divide n.

    Example:
        >>> bank = WaveletBank("db4", level=3, n=64)
        >>> [band.shape[-1] for band in bank.bands(bank(torch.randn(8, 64)))]
        [8, 8, 16, 32]
    """

    filters: Tensor

    def __init__(self, wavelet: str, level: int, n: int, train: bool = False) -> None:
        super().__init__()
        if level < 1 or n < 1 or n % 2**level:
            raise ValueError(f"{n} samples cannot be halved {level} times")
        self.wavelet, self.level, self.n = wavelet, level, n
        filters = torch.tensor(analysis_filters(wavelet), dtype=torch.get_default_dtype())
        if train:
            self.filters = nn.Parameter(filters)
        else:
            self.register_buffer("filters", filters)

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"{self.wavelet!r}, level={self.level}, n={self.n}, train={self.filters.requires_grad}"

    def bands(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """The approximation and the details, coarse to fine, as views of the last dimension."""
        first = self.n >> self.level
        details = (outputs[..., self.n >> step :][..., : self.n >> step] for step in range(self.level, 0, -1))
        return outputs[..., :first], *details

    def forward(self, inputs: Tensor) -> Tensor:
        """Split ``level`` times."""
        wide = widened(inputs)
        # windows times taps: by default torch's own convolutions are TF32 on CUDA, three digits
        taps = self.filters.to(wide.dtype).flip(-1).mT
        count = len(taps)
        rest, details = wide, list[Tensor]()
        for _ in range(self.level):
            longer = turned(rest, 1 - count // 2, rest.shape[-1] + count - 2)
            both = longer.unfold(-1, count, 2) @ taps
            rest = both[..., 0]
            details.insert(0, both[..., 1])
        return torch.cat([rest, *details], -1).to(inputs.dtype)
