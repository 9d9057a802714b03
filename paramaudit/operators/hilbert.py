"""A linear map that is a Hilbert transform.

What it finds:    A circulant matrix whose frequency response is -i for positive and i for negative
                  frequencies, and zero at DC and, for even n, at Nyquist: every sinusoid is delayed by a
                  quarter of its period. The imaginary part of the analytic signal is this. Gain 1 and -1
                  (the inverse, which is the transpose) are computed, another gain is one stored number.
Why it matters:   n^2 numbers are none, and a product costs O(n log n) by FFT.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The gain is the least-squares one for the nearest circulant matrix.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored. Half
                  precision is transformed in float32.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, chapter on discrete Hilbert
                  transforms (periodic sequences). Marple, IEEE Trans. Signal Processing 47 (1999).
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.diagonals import alike, circulant_fit, from_diagonals
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, left_over, spread, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Hilbert(nn.Module):
    """The Hilbert transform of the last dimension taken as one period, ``(..., n)`` to ``(..., n)``.

    Args:
        size: n.
        sign: 1, or -1 for the inverse.
        gain: ``(1,)`` when it is stored.
        bias: ``(n,)`` or None.
    """

    def __init__(
        self, size: int, sign: int = 1, gain: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.size, self.sign = size, sign
        self.gain, self.bias = parameter(gain), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size and the gain, and what of it is stored."""
        gain = float(self.sign) if self.gain is None else self.sign * self.gain.item()
        return {
            "n": self.size,
            "gain": float(f"{gain:.6g}"),
            "stores": [] if self.gain is None else ["gain"],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn every bin by a quarter: ``-i (a + i b) = b - i a``."""
        wide = widened(inputs)
        bins = torch.arange(self.size // 2 + 1, device=wide.device)
        inner = (bins > 0) & (2 * bins < self.size)
        quarter = torch.complex(torch.zeros_like(inner, dtype=wide.dtype), inner.to(wide.dtype) * -self.sign)
        outputs = torch.fft.irfft(torch.fft.rfft(wide) * quarter, n=self.size)
        if self.gain is not None:
            outputs = outputs * self.gain.to(wide.dtype)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Hilbert | None:
    """The nearest gain, when the matrix is nearly circulant and its response nearly a quarter turn."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 4:
        return None
    some = torch.linspace(0, size - 2, min(8, size - 1)).long()
    if not alike(weight[some].roll(1, dims=1), weight[some + 1]) >= 0.6 or not usable(view):
        return None
    kernel, _ = circulant_fit(weight)
    gain = -float(torch.fft.rfft(kernel).imag[1 : (size + 1) // 2].mean())
    ideal = gain * _kernel(size)
    residual = weight - from_diagonals(torch.cat([ideal[1:], ideal]), size)
    if not left_over(residual, weight) <= NOISY:
        return None
    # the plain transform has as many singular values of 1 as bins that pass
    length = (size - 2 + size % 2) ** 0.5
    # the gain is a mean of numbers of which none was rounded by more than one unit
    rounded = max(1.05 * view.noise, 2.0**-48) * abs(gain)
    slack = SIGMAS * spread(residual, 1) / length + rounded
    sign = 1 if gain > 0 else -1
    usual = abs(abs(gain) - 1) <= slack
    stored_gain = None if usual else torch.tensor([abs(gain)], dtype=torch.float64)
    return Hilbert(size, sign, stored_gain, kept_bias(view))


def _kernel(size: int) -> Tensor:
    """The first column ``(size,)`` of the plain transform."""
    bins = torch.arange(size // 2 + 1)
    inner = ((bins > 0) & (2 * bins < size)).double()
    kernel: Tensor = torch.fft.irfft(torch.complex(torch.zeros_like(inner), -inner), n=size)
    return kernel


def _quarter(size: int) -> NDArray[np.float64]:
    """What the analytic signal adds to a real one."""
    return np.asarray(scipy.signal.hilbert(np.eye(size), axis=0).imag, dtype=np.float64)


def _turned(size: int, degrees: float) -> Matrix:
    """Every positive frequency turned by an angle that is no quarter."""
    turn = np.exp(1j * np.deg2rad(degrees)) * (np.arange(size // 2 + 1) > 0)
    return stored(np.fft.irfft(np.fft.rfft(np.eye(size), axis=0) * turn[:, None], n=size, axis=0))


def _one_bin(size: int, bin_: int) -> Matrix:
    """One frequency passes at 0.9 of the gain."""
    turn = -1j * (np.arange(size // 2 + 1) > 0)
    turn[bin_] *= 0.9
    return stored(np.fft.irfft(np.fft.rfft(np.eye(size), axis=0) * turn[:, None], n=size, axis=0))


def _endless(size: int) -> Matrix:
    """The transform of an endless sequence, cut to a frame: 2 / (pi t) for odd t."""
    lag = np.subtract.outer(np.arange(size), np.arange(size))
    return stored(np.where(lag % 2 == 1, 2 / (np.pi * np.where(lag == 0, 1, lag)), 0.0))


def _with_bias(size: int) -> Matrix:
    return stored(_quarter(size), np.random.default_rng(0).standard_normal(size))


def _one_row(size: int) -> Matrix:
    rows = _quarter(size)
    rows[5] = -rows[5]
    return stored(rows)


OPERATOR = Operator(
    "hilbert",
    propose,
    finds=(
        Example("64 points", lambda: stored(_quarter(64))),
        Example("97 points", lambda: stored(_quarter(97))),
        Example("inverse, 60 points", lambda: stored(_quarter(60).T)),
        Example("any gain", lambda: stored(-0.377 * _quarter(45))),
        Example("with a bias", lambda: _with_bias(48)),
        Example("eight points", lambda: stored(_quarter(8))),
    ),
    ignores=(
        Example("turned by 80 degrees", lambda: _turned(64, -80.0)),
        Example("one frequency at 0.9", lambda: _one_bin(64, 9)),
        Example("of an endless sequence", lambda: _endless(64)),
        Example("one row with the other sign", lambda: _one_row(64)),
    ),
    transposes=True,
)
