"""Cosine transforms of types 1 to 4 by real FFT, without factors: as ``scipy.fft.dct`` has them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _turns(like: Tensor, count: int, step: float, first: float = 0.0) -> Tensor:
    """``exp(i step (first + t))``, t below ``count``; float64 angles, float32 ones would cost two digits."""
    wide = torch.float32 if like.device.type == "mps" else torch.float64
    angle = (torch.arange(count, dtype=wide, device=like.device) + first) * step
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype.to_complex())


def _woven(even: Tensor, odd: Tensor) -> Tensor:
    """``even`` and the reversed ``odd`` in turns; ``odd`` may be one shorter."""
    count = even.shape[-1] + odd.shape[-1]
    second = F.pad(odd.flip(-1), (0, even.shape[-1] - odd.shape[-1]))
    return torch.stack([even, second], dim=-1).flatten(-2)[..., :count]


def cosines_1(x: Tensor) -> Tensor:
    """Continued evenly on both ends, x is periodic after 2 (n - 1) points."""
    outputs: Tensor = torch.fft.rfft(torch.cat([x, x[..., 1:-1].flip(-1)], dim=-1)).real
    return outputs


def cosines_2(x: Tensor) -> Tensor:
    """Even points, then odd ones backwards: output k and n - k are real and imaginary part of bin k."""
    n = x.shape[-1]
    spectrum = torch.fft.rfft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1))
    spectrum = spectrum * (2 * _turns(x, n // 2 + 1, -math.pi / (2 * n)))
    return torch.cat([spectrum.real, -spectrum.imag[..., 1 : (n + 1) // 2].flip(-1)], dim=-1)


def cosines_3(x: Tensor) -> Tensor:
    """The steps of type 2 backwards."""
    n = x.shape[-1]
    bins, step = n // 2 + 1, math.pi / (2 * n)
    backwards = F.pad(x[..., n - n // 2 :].flip(-1), (1, 0))
    # from n on, the turns are i times those from 0 on
    spectrum = x[..., :bins] * _turns(x, bins, step) - backwards * _turns(x, bins, step, n)
    points = torch.fft.irfft(spectrum, n, norm="forward")
    return _woven(points[..., : n - n // 2], points[..., n - n // 2 :])


def cosines_4(x: Tensor) -> Tensor:
    """Bin j of the turned points is output 2 j, and minus output 2 n - 1 - 2 j."""
    n = x.shape[-1]
    spectrum = torch.fft.fft(x * _turns(x, n, -math.pi / (2 * n), 0.5))
    outputs = (spectrum * (2 * _turns(x, n, -math.pi / n))).real
    return _woven(outputs[..., : n - n // 2], -outputs[..., n - n // 2 :])


COSINES = (cosines_1, cosines_2, cosines_3, cosines_4)
