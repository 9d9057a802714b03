"""What PyWavelets knows about wavelets; the one file that imports it."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Bank:
    """A low-pass and a high-pass filter, equally long, of an even number of taps."""

    wavelet: str
    low: tuple[float, ...]
    high: tuple[float, ...]

    def reversed(self) -> Bank:
        """The same filters backwards in time."""
        return Bank(self.wavelet, self.low[::-1], self.high[::-1])


def filter_length(name: str) -> int | None:
    """The number of taps of a wavelet's decomposition filters, None for a name PyWavelets does not know."""
    if name not in pywt.wavelist(kind="discrete"):
        return None
    return int(pywt.Wavelet(name).dec_len)


def coefficient_lengths(name: str, size: int, level: int) -> tuple[int, ...]:
    """How many numbers each band of a padded decomposition has: ``a_level, d_level, ..., d_1``.

    Raises:
        ValueError: for a name that PyWavelets does not know, or a level or size below 1.
    """
    if level < 1 or size < 1:
        raise ValueError(f"no decomposition of {size} samples has {level} levels")
    details, left = [], size
    for _ in range(level):
        left = int(pywt.dwt_coeff_len(left, pywt.Wavelet(name), "symmetric"))
        details.append(left)
    return (left, *reversed(details))


def analysis_filters(name: str) -> tuple[list[float], list[float]]:
    """The low-pass and the high-pass decomposition filter of a discrete wavelet, equally long.

    Raises:
        ValueError: for a name that PyWavelets does not know.
    """
    wavelet = pywt.Wavelet(name)
    return list(wavelet.dec_lo), list(wavelet.dec_hi)


@functools.cache
def banks(inverse: bool) -> tuple[Bank, ...]:
    """The filters of every discrete wavelet, orthogonal ones first, then in PyWavelets' order.

    Args:
        inverse: whether those of the transposed inverse transform: reconstruction filters backwards.
    """
    discrete = set(pywt.wavelist(kind="discrete"))
    ordered = [name for family in pywt.families() for name in pywt.wavelist(family) if name in discrete]
    return tuple(_bank(pywt.Wavelet(name), inverse) for name in ordered)


@functools.cache
def bank(name: str, inverse: bool) -> Bank:
    """One of :func:`banks`, by the wavelet's name."""
    return next(bank for bank in banks(inverse) if bank.wavelet == name)


def _bank(wavelet: pywt.Wavelet, inverse: bool) -> Bank:
    if inverse:
        return Bank(wavelet.name, tuple(wavelet.rec_lo[::-1]), tuple(wavelet.rec_hi[::-1]))
    return Bank(wavelet.name, tuple(wavelet.dec_lo), tuple(wavelet.dec_hi))


def wrapped(taps: tuple[float, ...], size: int) -> NDArray[np.float64]:
    """The first row ``(size,)`` of a periodised filter: ``y[0] = sum_j taps[j] x[len/2 - j]``."""
    row = np.zeros(size)
    np.add.at(row, (len(taps) // 2 - np.arange(len(taps))) % size, taps)
    return row


def spectra(bank: Bank, size: int, levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """Transforms ``(size//2 + 1,)`` of the first rows of approximation and detail, level by level from 1."""
    low, high = (torch.fft.fft(torch.from_numpy(wrapped(taps, size))) for taps in (bank.low, bank.high))
    bins = torch.arange(size // 2 + 1)
    rest = torch.ones(len(bins), dtype=low.dtype)
    approximations, details = [], []
    for level in range(levels):
        place = bins * 2**level % size
        details.append(rest * high[place])
        rest = rest * low[place]
        approximations.append(rest)
    return approximations, details
