"""Inverse of the periodised discrete wavelet transform.

What it computes: The signal whose bands these are: what ``pywt.waverec(bands, wavelet,
                  mode="periodization")`` makes of the approximation and the details, coarse to fine, one band
                  after another; the inverse of ``WaveletBank``.
Replaces:         A dense n x n layer: n^2 numbers are none.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             Nothing is trained. Half precision is computed in float32.
Source:           Mallat, A Wavelet Tour of Signal Processing, 3rd edition, 7.3. Filters: PyWavelets.
"""

from __future__ import annotations

from paramaudit.numerics.wavelets import filter_length
from paramaudit.operators.wavelet import Part, Wavelet


class InverseWaveletBank(Wavelet):
    """All bands to a signal, ``(..., n)`` to ``(..., n)``.

    Args:
        wavelet: a discrete wavelet of PyWavelets, e.g. ``db4``.
        level: how many times the signal was split.
        n: samples, a multiple of ``2**level``.

    Raises:
        ValueError: for a wavelet that PyWavelets does not know, or a level that does not divide n.

    Example:
        >>> InverseWaveletBank("db4", level=3, n=64)(torch.randn(8, 64)).shape
        torch.Size([8, 64])
    """

    def __init__(self, wavelet: str, level: int, n: int) -> None:
        if level < 1 or n < 1 or n % 2**level:
            raise ValueError(f"{n} samples cannot have been halved {level} times")
        if filter_length(wavelet) is None:
            raise ValueError(f"PyWavelets knows no discrete wavelet {wavelet!r}")
        details = [Part(step, detail=True) for step in range(level, 0, -1)]
        super().__init__(n, wavelet, [Part(level, detail=False), *details], inverse=True)
