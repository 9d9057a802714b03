"""A linear map that is a convolution: constant along its diagonals.

What it finds:    A matrix of any shape whose rows are the row above, moved one place to the right with new
                  numbers coming in; or a stack of k such matrices over the same input, one block after
                  another or row by row in turn (banks of filters). Only the diagonals from the first to
                  the last that is not zero are stored, so that a causal filter of n samples stores n.
Why it matters:   m n numbers are at most m + n - 1, and a product costs O((m + n) log(m + n)).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The numbers are means of diagonals, the nearest Toeplitz matrix in the
                  Frobenius norm; a diagonal is left out when it is within 5 standard deviations of zero.
Swap safety:      Exact at any input of n numbers. The numbers that remain are trainable within the family.
                  Bands of up to 64 diagonals are computed as a convolution, longer ones by FFT (half
                  precision then in float32).
Source:           Gray, Toeplitz and Circulant Matrices: A Review (2006), chapters 1 and 4. Golub and
                  Van Loan, Matrix Computations, 4.7 and 4.8.2 (product by FFT).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.numerics.diagonals import alike, diagonal_counts, toeplitz_fit
from paramaudit.numerics.layers import fast_length, owned, parameter, plus, widened
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, spread, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator

SHORT = 64
"""Bands of up to this many diagonals are convolved directly."""


class Toeplitz(nn.Module):
    """k convolutions of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        rows: m, the outputs of one block.
        columns: n.
        values: ``(k, band)``, the diagonals of each block from ``first`` on.
        first: the offset ``row - column`` of the first stored diagonal.
        interleaved: whether outputs take turns between the blocks, instead of block after block.
        bias: ``(k m,)`` or None.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        values: Tensor,
        first: int,
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first, self.interleaved = rows, columns, first, interleaved
        self.values = owned(values)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, number of blocks and their order, and the stored diagonals."""
        blocks, band = self.values.shape
        return {
            "rows": self.rows,
            "columns": self.columns,
            "blocks": blocks,
            "interleaved": self.interleaved,
            "diagonals": [self.first, self.first + band - 1],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve, directly or by FFT, and put the blocks in order."""
        short = self.values.shape[1] <= SHORT
        outputs = self._direct(inputs) if short else self._by_fft(inputs)
        if self.interleaved:
            outputs = outputs.transpose(-1, -2)
        return plus(outputs.flatten(-2), self.bias, inputs.dtype)

    def _direct(self, inputs: Tensor) -> Tensor:
        """``(..., n)`` to ``(..., k, m)``."""
        last = self.first + self.values.shape[1] - 1
        padded = F.pad(inputs, (last, self.rows - self.columns - self.first))
        flat = padded.reshape(-1, 1, padded.shape[-1])
        outputs = F.conv1d(flat, self.values.flip(1).unsqueeze(1))
        return outputs.reshape(*inputs.shape[:-1], *outputs.shape[1:])

    def _by_fft(self, inputs: Tensor) -> Tensor:
        """``(..., n)`` to ``(..., k, m)``."""
        wide = widened(inputs)
        whole = self.columns + self.values.shape[1] - 1
        length = fast_length(whole)
        response = torch.fft.rfft(self.values.to(wide.dtype), n=length)
        full = torch.fft.irfft(torch.fft.rfft(wide, n=length).unsqueeze(-2) * response, n=length)
        return F.pad(full[..., :whole], (self.first, self.rows - self.first - whole))


def propose(view: Matrix) -> Toeplitz | None:
    """The smallest of the near stacks of Toeplitz blocks."""
    weight = view.weight
    total, columns = weight.shape
    if total < 2 or columns < 2 or not usable(view):
        return None
    fits: list[tuple[float, Toeplitz]] = []
    for blocks, interleaved in _layouts(weight):
        rows = total // blocks
        shape = (rows, blocks, columns) if interleaved else (blocks, rows, columns)
        parts = weight.reshape(shape)
        if interleaved:
            parts = parts.transpose(0, 1)
        means, residuals = zip(*(toeplitz_fit(part) for part in parts), strict=True)
        residual = torch.stack(residuals)
        left = left_over(residual, weight)
        if left > NOISY:
            continue
        banded = _band(torch.stack(means), residual, rows, columns)
        if banded is not None and banded[0].numel() < weight.numel():
            fits.append((left, Toeplitz(rows, columns, *banded, interleaved, kept_bias(view))))
        if left <= 16 * view.noise:
            break
    if not fits:
        return None
    best = min(left for left, _ in fits)
    near = [layer for left, layer in fits if left <= 1.5 * best + 16 * view.noise]
    return min(near, key=lambda layer: layer.values.numel())


def _layouts(weight: Tensor) -> list[tuple[int, bool]]:
    """Numbers of blocks worth fitting, one after another (False) or in turns (True)."""
    total = weight.shape[0]
    found: list[tuple[int, bool]] = []
    divisors = [k for k in range(1, total // 2 + 1) if total % k == 0]
    if _moves_on(weight, 1) >= 0.5:
        moved = weight[1:, 1:] - weight[:-1, :-1]
        energy = weight.square().sum(1)
        off = moved.square().sum(1)
        breaks = (off > 0.3 * (energy[1:] + energy[:-1])) & (off > 0.05 * float(energy.mean()))
        where = breaks.nonzero()[:, 0] + 1
        found += [
            (k, False)
            for k in divisors
            if total // k >= 4 or k == 1
            if bool((where % (total // k) == 0).all())
        ]
    found += [(k, True) for k in divisors if k > 1 and total // k >= 4 and _moves_on(weight, k) >= 0.6]
    return found[:12]


def _moves_on(weight: Tensor, step: int) -> float:
    """How much a row is the row ``step`` above, moved one place to the right; on 16 rows."""
    last = weight.shape[0] - step - 1
    some = torch.linspace(0, last, min(16, last + 1)).long()
    return alike(weight[some, :-1], weight[some + step, 1:])


def _band(means: Tensor, residual: Tensor, rows: int, columns: int) -> tuple[Tensor, int] | None:
    """The diagonals ``(k, band)`` from the first to the last that is not zero, and the first's offset."""
    noise = spread(residual, means.numel()) / diagonal_counts(rows, columns).sqrt()
    alive = (means.abs() > 5 * noise + 1e-12 * float(means.abs().max())).any(0).nonzero()[:, 0]
    if not len(alive):
        return None
    low, high = int(alive[0]), int(alive[-1])
    return means[:, low : high + 1], low - (columns - 1)


def _causal(size: int) -> Matrix:
    """A decaying oscillation as a causal filter: lower triangular."""
    time = np.arange(size)
    response = 0.98**time * np.cos(0.3 * time)
    return stored(scipy.linalg.toeplitz(response, np.zeros(size)))


def _rectangular(rows: int, columns: int) -> Matrix:
    rng = np.random.default_rng(rows)
    return stored(scipy.linalg.toeplitz(rng.standard_normal(rows), rng.standard_normal(columns)))


def _fir(taps: int, rows: int, columns: int) -> Matrix:
    """``np.convolve`` of the input with a few taps, only where both overlap fully."""
    kernel = np.random.default_rng(taps).standard_normal(taps)
    return stored(np.stack([np.convolve(row, kernel, "valid")[:rows] for row in np.eye(columns)], axis=1))


def _bank(filters: int, size: int, interleaved: bool) -> Matrix:
    """Filters over the same input: two-pole resonators, each with its own radius and angle."""
    time = np.arange(size)
    blocks = []
    for index in range(filters):
        radius, angle = 0.9 + 0.01 * index, 0.2 + 0.3 * index
        response = radius**time * np.sin((time + 1) * angle) / np.sin(angle)
        blocks.append(scipy.linalg.toeplitz(response, np.zeros(size)))
    return stored(np.stack(blocks, axis=1 if interleaved else 0).reshape(filters * size, size))


def _with_bias(size: int) -> Matrix:
    rng = np.random.default_rng(5)
    return stored(scipy.linalg.toeplitz(rng.standard_normal(size)), rng.standard_normal(size))


def _hankel(size: int) -> Matrix:
    return stored(scipy.linalg.hankel(np.random.default_rng(6).standard_normal(size)))


def _cauchy(size: int) -> Matrix:
    """``1 / (i + 2 j + 1)``: of low displacement rank too, yet no diagonal is constant."""
    index = np.arange(size)
    return stored(1 / (index[:, None] + 2 * index[None, :] + 1.0))


def _wavering(size: int) -> Matrix:
    """A filter whose gain drifts by 2 % from the first output to the last."""
    response = 0.9 ** np.arange(size)
    return stored(scipy.linalg.toeplitz(response, np.zeros(size)) * np.linspace(1, 1.02, size)[:, None])


OPERATOR = Operator(
    "toeplitz",
    propose,
    finds=(
        Example("causal filter", lambda: _causal(128)),
        Example("wide", lambda: _rectangular(40, 97)),
        Example("tall", lambda: _rectangular(131, 24)),
        Example("five taps, valid part", lambda: _fir(5, 60, 64)),
        Example("three filters, block after block", lambda: _bank(3, 64, interleaved=False)),
        Example("seven filters, in turns", lambda: _bank(7, 40, interleaved=True)),
        Example("symmetric, with a bias", lambda: _with_bias(50)),
    ),
    ignores=(
        Example("Hankel", lambda: _hankel(64)),
        Example("Cauchy", lambda: _cauchy(64)),
        Example("filter with drifting gain", lambda: _wavering(64)),
    ),
)
