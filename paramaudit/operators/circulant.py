"""A linear map that is a circular convolution.

What it finds:    A square matrix whose every row is the row above, moved one place to the right and wrapped
                  around: equalisers, circular filters, cyclic differences, any map that commutes with
                  rotation of its input. ``stores`` says what: the ``kernel`` (n numbers), or ``half-kernel``
                  when it is the same forwards and backwards, that is when the map is n//2 + 1 real gains
                  of frequencies. The kernel and not the gains are stored because these are the numbers of
                  the matrix itself, to the last bit where they agree; ``spectrum()`` gives the gains.
                  Also under free scales and signs of rows, of columns or of both.
Why it matters:   n^2 numbers are n or fewer, 3 n under scales, and a product costs O(n log n) by FFT.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The kernel is the mean of each wrapped diagonal, the nearest circulant matrix in
                  the Frobenius norm.
Swap safety:      Exact at any input of n numbers. The numbers that remain are trainable, but a trained
                  circulant stays circulant: training can no longer leave that family. Half precision is
                  transformed in float32.
Source:           Gray, Toeplitz and Circulant Matrices: A Review (2006), chapter 3. Nearest circulant:
                  T. Chan, SIAM J. Sci. Stat. Comput. 9 (1988).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from paramaudit.numerics.diagonal_gauge import under_scales
from paramaudit.numerics.diagonals import alike, circulant_fit
from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.layers import owned, parameter, plus, widened
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, left_over, spread, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Circulant(nn.Module):
    """Circular convolution of the last dimension, ``(..., n)`` to ``(..., n)``, by FFT.

    Args:
        size: n.
        values: the kernel ``(n,)``, which is the first column; or, when ``even``, its first half
            ``(n//2 + 1,)``.
        even: whether the kernel is the same forwards and backwards.
        bias: ``(n,)`` or None.
    """

    def __init__(self, size: int, values: Tensor, even: bool, bias: Tensor | None = None) -> None:
        super().__init__()
        self.size, self.even = size, even
        self.values = owned(values)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, and which numbers are stored."""
        return {
            "n": self.size,
            "stores": "half-kernel" if self.even else "kernel",
            "bias": self.bias is not None,
        }

    def spectrum(self) -> Tensor:
        """The frequency response ``(n//2 + 1,)``, complex; real up to rounding when the kernel is even."""
        kernel = widened(self.values)
        if self.even:
            kernel = torch.cat([kernel, kernel[1 : (self.size + 1) // 2].flip(0)])
        response: Tensor = torch.fft.rfft(kernel)
        return response

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply the spectrum by the frequency response."""
        outputs = torch.fft.irfft(torch.fft.rfft(widened(inputs)) * self.spectrum(), n=self.size)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Circulant | Gauged | None:
    """The nearest circulant matrix, when it is near; under scales where that is nearer."""
    size = view.weight.shape[0]
    if view.weight.shape[1] != size or size < 3:
        return None
    left, plain = _plain(view)
    scaled = under_scales(view, wrapped=True, left=left)
    if scaled is None:
        return plain
    core = _layer(scaled.values, SIGMAS * 2**0.5 * scaled.off, view, None)
    return Gauged(core, scaled.scaling, bias=kept_bias(view))


def _plain(view: Matrix) -> tuple[float, Circulant | None]:
    """The nearest circulant matrix, and what it leaves."""
    weight, size = view.weight, len(view.weight)
    some = torch.linspace(0, size - 2, min(8, size - 1)).long()
    if alike(weight[some].roll(1, dims=1), weight[some + 1]) < 0.6 or not usable(view):
        return 1.0, None
    kernel, residual = circulant_fit(weight)
    left = left_over(residual, weight)
    if left > NOISY:
        return 1.0, None
    off = SIGMAS * spread(residual, size) * (2 / size) ** 0.5 * torch.ones_like(kernel)
    return left, _layer(kernel, off, view, kept_bias(view))


def _layer(kernel: Tensor, off: Tensor, view: Matrix, bias: Tensor | None) -> Circulant:
    """The layer of a kernel whose numbers may be ``off`` by so much: half of it where that says the rest."""
    size = len(kernel)
    mirrored = kernel[(-torch.arange(size)) % size]
    if bool(((kernel - mirrored).abs() <= off + 4 * view.noise * kernel.abs().max()).all()):
        return Circulant(size, 0.5 * (kernel + mirrored)[: size // 2 + 1], even=True, bias=bias)
    return Circulant(size, kernel, even=False, bias=bias)


def _random_kernel(size: int, seed: int) -> Matrix:
    kernel = np.random.default_rng(seed).standard_normal(size) / np.sqrt(size)
    return stored(scipy.linalg.circulant(kernel))


def _equaliser(size: int) -> Matrix:
    """Real gains on the frequencies: ``irfft(rfft(x) g)``, one basis vector at a time."""
    gains = 1 + 0.5 * np.random.default_rng(size).standard_normal(size // 2 + 1)
    return stored(np.fft.irfft(np.fft.rfft(np.eye(size), axis=0) * gains[:, None], n=size, axis=0))


def _with_bias(size: int) -> Matrix:
    rng = np.random.default_rng(1)
    return stored(scipy.linalg.circulant(rng.standard_normal(size)), rng.standard_normal(size))


def _smoother(size: int) -> Matrix:
    kernel = np.zeros(size)
    kernel[[0, 1, -1]] = 0.5, 0.25, 0.25
    return stored(scipy.linalg.circulant(kernel))


def _not_wrapped(size: int) -> Matrix:
    """Toeplitz, and circulant but for the wrapped corners."""
    column = 0.9 ** np.arange(size)
    return stored(scipy.linalg.toeplitz(column, column))


def _skew(size: int) -> Matrix:
    """The wrapped part changes its sign; of an odd size this is circulant, under signs."""
    kernel = np.random.default_rng(2).standard_normal(size)
    return stored(scipy.linalg.toeplitz(kernel, np.concatenate([kernel[:1], -kernel[:0:-1]])))


def _scaled(size: int, even: bool = False) -> Matrix:
    """Under scales and signs of rows and columns."""
    rng = np.random.default_rng(size)
    sides = rng.uniform(0.5, 2, (2, size)) * rng.choice([-1.0, 1.0], (2, size))
    kernel = rng.standard_normal(size)
    core = scipy.linalg.circulant(kernel + kernel[-np.arange(size)] if even else kernel)
    return stored(sides[0][:, None] * core * sides[1])


def _noisy(size: int) -> Matrix:
    rng = np.random.default_rng(3)
    clean = scipy.linalg.circulant(rng.standard_normal(size))
    return stored(clean * (1 + 0.01 * rng.standard_normal(clean.shape)))


OPERATOR = Operator(
    "circulant",
    propose,
    finds=(
        Example("random kernel, even size", lambda: _random_kernel(64, 0)),
        Example("random kernel, odd size", lambda: _random_kernel(257, 1)),
        Example("real gains of 60 points", lambda: _equaliser(60)),
        Example("real gains of 97 points", lambda: _equaliser(97)),
        Example("with a bias", lambda: _with_bias(48)),
        Example("circular smoother", lambda: _smoother(32)),
        Example("scales of rows and columns", lambda: _scaled(60)),
        Example("scaled, odd size, even kernel", lambda: _scaled(51, even=True)),
    ),
    ignores=(
        Example("Toeplitz but not wrapped", lambda: _not_wrapped(64)),
        Example("skew-circulant", lambda: _skew(34)),
        Example("circulant with 1 % noise", lambda: _noisy(64)),
    ),
    transposes=True,
)
