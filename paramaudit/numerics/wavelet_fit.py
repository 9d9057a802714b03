"""Which wavelet made some bands: filters, where each band starts, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paramaudit.numerics.bands import Band
from paramaudit.numerics.noise import NOISY
from paramaudit.numerics.wavelets import Bank, banks, spectra


@dataclass(frozen=True)
class Fit:
    """The bands of one wavelet laid on those found: gains with signs, lengths of plain rows, what is left."""

    bank: Bank
    backwards: bool
    shifts: tuple[int, ...]
    gains: Tensor
    norms: Tensor
    left: float


def nearest(bands: Sequence[Band], inverse: bool, noise: float) -> Fit | None:
    """The wavelet that leaves least of the bands, of equals the first; None when none is near.

    Args:
        bands: all bands of a matrix.
        inverse: whether the matrix is that of an inverse transform, transposed.
        noise: relative rounding of the numbers.
    """
    whole = float(np.linalg.norm([band.rows**0.5 * float(band.generator.norm()) for band in bands]))
    fits = [_fit(bands, *choice) for choice in _likely(bands, inverse, noise)]
    least = min((fit.left for fit in fits), default=np.inf)
    if not least <= NOISY * whole:
        return None
    return next(fit for fit in fits if fit.left <= 1.001 * least + 16 * noise * whole)


def _likely(bands: Sequence[Band], inverse: bool, noise: float) -> list[tuple[Bank, bool]]:
    """Filters whose high-pass is about as near as any to the finest details, with their direction."""
    fine = next(band.generator for band in bands if band.detail and band.level == 1)
    spectrum = torch.fft.rfft(fine / fine.norm())
    everyone = banks(inverse)
    ideal = torch.stack([spectra(bank, len(fine), 1)[1][0] for bank in everyone])
    lengths = torch.fft.irfft(ideal, n=len(fine)).norm(dim=1)
    found = []
    for backwards in (False, True):
        along = torch.fft.irfft(spectrum * (ideal if backwards else ideal.conj()), n=len(fine))
        cosine = along.abs().amax(1) / lengths
        left = (1 - cosine.square()).clamp_min(0).sqrt()
        found += [(value, bank, backwards) for value, bank in zip(left.tolist(), everyone, strict=True)]
    best = min(value for value, *_ in found)
    if not best <= NOISY:
        return []
    near = 1.5 * best + max(16 * noise, 1e-7)
    return [(bank, backwards) for value, bank, backwards in found if value <= near]


def _fit(bands: Sequence[Band], bank: Bank, backwards: bool) -> Fit:
    """The bands of these filters, each where it fits best."""
    size = len(bands[0].generator)
    used = bank.reversed() if backwards else bank
    approximations, details = spectra(used, size, max(band.level for band in bands))
    shifts, gains, norms, left = [], [], [], [band.left for band in bands]
    for band in bands:
        spectrum = (details if band.detail else approximations)[band.level - 1]
        ideal: Tensor = torch.fft.irfft(spectrum, n=size)
        along = torch.fft.irfft(torch.fft.rfft(band.generator) * spectrum.conj(), n=size)
        shift = _nearest_shift(along)
        gain = float(along[shift]) / float(ideal.square().sum())
        shifts.append(shift)
        gains.append(gain)
        norms.append(band.rows**0.5 * float(ideal.norm()))
        left.append(band.rows**0.5 * float((band.generator - gain * ideal.roll(shift)).norm()))
    return Fit(
        bank,
        backwards,
        tuple(shifts),
        torch.tensor(gains, dtype=torch.float64),
        torch.tensor(norms, dtype=torch.float64),
        float(np.linalg.norm(left)),
    )


def _nearest_shift(along: Tensor) -> int:
    """Where the inner product is largest, either way up; the shift nearest to none where several are."""
    sizes = along.abs()
    places = (sizes >= (1 - 1e-9) * sizes.max()).nonzero()[:, 0].tolist()
    size = len(along)
    signed = [place if 2 * place <= size else place - size for place in places]
    return int(min(signed, key=lambda shift: (abs(shift), -shift)))
