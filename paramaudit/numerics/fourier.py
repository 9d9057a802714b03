"""Rows that are windowed cosines and sines of Fourier bins: which bin, how large, under which window."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Waves:
    """What each of m rows is: ``gain * window * cos`` (``sine`` false) or ``sin`` of ``2 pi bin t / n``.

    ``score`` is the cosine of the angle between the row and that wave; ``norm`` is the length of the
    windowed wave before the gain.
    """

    bins: Tensor
    sine: Tensor
    gains: Tensor
    norms: Tensor
    scores: Tensor


def match(rows: Tensor, window: Tensor) -> Waves:
    """The best wave for each row of ``(m, n)`` under a window ``(n,)``: a matched filter by FFT.

    The inner products of a row with all windowed cosines and sines are the real and imaginary parts of
    the transform of row times window; the lengths of those waves follow from the transform of the
    squared window at twice the frequency. So a wave is found even where the window smears DC into the
    first bins.
    """
    size = rows.shape[1]
    squared = torch.fft.fft(window * window).real
    twice = squared[(2 * torch.arange(size // 2 + 1)) % size]
    energy = 0.5 * torch.cat([squared[0] + twice, squared[0] - twice])
    # sin of DC and Nyquist is nothing; tiny leftovers of it are no wave
    possible = energy > 1e-9 * float(squared[0])
    lengths = torch.where(possible, energy, 1.0).sqrt()
    parts = []
    for some in torch.split(rows, ROWS_AT_ONCE):
        spectrum = torch.fft.rfft(some * window)
        inner = torch.cat([spectrum.real, -spectrum.imag], dim=1) / lengths
        inner = torch.where(possible, inner, 0.0)
        best = inner.abs().argmax(1)
        parts.append((best, inner.gather(1, best[:, None])[:, 0]))
    best = torch.cat([part[0] for part in parts])
    along = torch.cat([part[1] for part in parts])
    half = size // 2 + 1
    scores = along.abs() / rows.norm(dim=1).clamp_min(torch.finfo(rows.dtype).tiny)
    return Waves(best % half, best >= half, along / lengths[best], lengths[best], scores)


def waves(found: Waves, size: int) -> Tensor:
    """The plain cosines and sines ``(m, size)`` of these bins, without gain or window."""
    angle = torch.arange(size, dtype=torch.float64) * (2 * math.pi / size)
    tables = torch.stack([torch.cos(angle), torch.sin(angle)])
    phase = found.bins[:, None] * torch.arange(size)[None] % size
    return tables[found.sine.long()[:, None], phase]


def fit_gains(rows: Tensor, found: Waves, window: Tensor) -> tuple[Waves, Tensor]:
    """Least-squares gains for given bins under a window, and the residual ``(m, n)``."""
    shapes = waves(found, rows.shape[1]) * window
    norms = shapes.norm(dim=1)
    gains = (rows * shapes).sum(1) / norms.square().clamp_min(torch.finfo(rows.dtype).tiny)
    residual = rows - gains[:, None] * shapes
    return Waves(found.bins, found.sine, gains, norms, found.scores), residual


def fit_window(rows: Tensor, found: Waves, window: Tensor, rounds: int = 4) -> tuple[Waves, Tensor, Tensor]:
    """Least-squares window and gains in turns, for given bins: ``row = gain * wave * window``.

    Returns:
        The waves with their gains, the window ``(n,)``, the residual ``(m, n)``.
    """
    shapes = waves(found, rows.shape[1])
    gains = found.gains
    for _ in range(rounds):
        window = _window_under(rows, gains[:, None] * shapes)
        windowed = shapes * window
        gains = (rows * windowed).sum(1) / windowed.square().sum(1).clamp_min(torch.finfo(rows.dtype).tiny)
    windowed = shapes * window
    fitted = Waves(found.bins, found.sine, gains, windowed.norm(dim=1), found.scores)
    return fitted, window, rows - gains[:, None] * windowed


def window_of(rows: Tensor, found: Waves, gains: Tensor) -> Tensor:
    """The least-squares window ``(n,)`` of rows whose gains ``(m,)`` are known."""
    return _window_under(rows, gains[:, None] * waves(found, rows.shape[1]))


def _window_under(rows: Tensor, scaled: Tensor) -> Tensor:
    weight = scaled.square().sum(0)
    return (rows * scaled).sum(0) / weight.clamp_min(1e-12 * float(weight.max()))
