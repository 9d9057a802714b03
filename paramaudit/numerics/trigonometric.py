"""Cosine, sine and Hartley transforms by real FFT, without factors: as ``scipy.fft`` has the first two."""

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


def sines_1(x: Tensor) -> Tensor:
    """Continued oddly on both ends, x is periodic after 2 (n + 1) points."""
    sines: Tensor = -torch.fft.rfft(torch.cat([F.pad(x, (1, 1)), -x.flip(-1)], dim=-1)).imag
    return sines[..., 1:-1]


def sines_2(x: Tensor) -> Tensor:
    """Row k is row n - 1 - k of the cosines, with every second point negative."""
    return cosines_2(_alternating(x)).flip(-1)


def sines_3(x: Tensor) -> Tensor:
    """The steps of type 2 backwards."""
    return _alternating(cosines_3(x.flip(-1)))


def sines_4(x: Tensor) -> Tensor:
    """The cosines of the points backwards, every second output negative."""
    return _alternating(cosines_4(x.flip(-1)))


def _alternating(x: Tensor) -> Tensor:
    return x * (1 - 2 * (torch.arange(x.shape[-1], device=x.device) % 2))


SINES = (sines_1, sines_2, sines_3, sines_4)


def hartley(sign: int, x: Tensor) -> Tensor:
    """Bins above the middle are those below it with the other sign."""
    spectrum = torch.fft.rfft(x)
    real, sine = spectrum.real, spectrum.imag * -sign
    return torch.cat([real + sine, (real - sine)[..., 1 : (x.shape[-1] + 1) // 2].flip(-1)], dim=-1)
