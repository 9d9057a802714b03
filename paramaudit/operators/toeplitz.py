"""A linear map that is a convolution: constant along its diagonals.

What it finds:    A matrix of any shape whose rows are the row above, moved one place to the right with new
                  numbers coming in; or a stack of k such matrices over the same input, one block after
                  another or row by row in turn (banks of filters). Only the diagonals from the first to
                  the last that is not zero are stored, so that a causal filter of n samples stores n.
                  One such matrix is also found under free scales and signs of its rows, its columns or
                  both: a filter whose gain changes, a kernel ``q^(i j)``.
Why it matters:   m n numbers are at most m + n - 1, twice that under scales, and a product costs
                  O((m + n) log(m + n)).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The numbers are means of diagonals, the nearest Toeplitz matrix in the
                  Frobenius norm; a diagonal is left out when it is within 5 standard deviations of zero.
                  Scales cancel from products over corners of hexagons, which dismisses nearly all matrices;
                  they come by least squares of logarithms, then by Gauss-Newton steps.
Swap safety:      Exact at any input of n numbers. The numbers that remain are trainable within the family.
                  Bands of up to 64 diagonals are computed as a convolution, longer ones by FFT (half
                  precision then in float32).
Source:           Gray, Toeplitz and Circulant Matrices: A Review (2006), chapters 1 and 4. Golub and
                  Van Loan, Matrix Computations, 4.7 and 4.8.2 (product by FFT).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from torch import Tensor

from paramaudit.numerics.block_filters import BlockFilters
from paramaudit.numerics.blocks import stacked
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.diagonal_gauge import one_band
from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.layers import plus
from paramaudit.numerics.noise import kept_bias, stored
from paramaudit.records import Example, Json, Matrix, Operator


class Toeplitz(BlockFilters):
    """k convolutions of the last dimension, ``(..., n)`` to ``(..., k m)``.

    ``first`` is the offset ``row - column`` of the first stored diagonal.
    """

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, number of blocks and their order, and the stored diagonals."""
        return self.described("diagonals", self.first)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve, directly or by FFT, and put the blocks in order."""
        outputs = convolved(inputs, self.values, self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Toeplitz | Gauged | None:
    """The smallest of the near stacks of Toeplitz blocks, or one block under scales where that is nearer."""
    stack = view.once(stacked)
    scaled = one_band(view, 1.0 if stack is None else stack.left)
    if scaled is not None:
        rows, columns = view.weight.shape
        core = Toeplitz(rows, columns, scaled.values, scaled.first)
        return Gauged(core, scaled.scaling, bias=kept_bias(view))
    if stack is None:
        return None
    shape = stack.rows, stack.columns
    return Toeplitz(*shape, stack.values, stack.first, stack.interleaved, kept_bias(view))


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


def _drifting(size: int) -> Matrix:
    """A filter whose gain drifts by 2 % from the first output to the last."""
    response = np.random.default_rng(7).standard_normal(size)
    return stored(scipy.linalg.toeplitz(response, np.zeros(size)) * np.linspace(1, 1.02, size)[:, None])


def _scaled(rows: int, columns: int) -> Matrix:
    """Under scales and signs of rows and columns, with a bias."""
    rng = np.random.default_rng(rows)
    first, second = (rng.uniform(0.5, 2, size) * rng.choice([-1.0, 1.0], size) for size in (rows, columns))
    core = scipy.linalg.toeplitz(rng.standard_normal(rows), rng.standard_normal(columns))
    return stored(first[:, None] * core * second, rng.standard_normal(rows))


def _band(size: int) -> Matrix:
    """Nine diagonals, and scales of columns."""
    rng = np.random.default_rng(size)
    column, row = np.zeros((2, size))
    column[:4], row[:6] = rng.standard_normal(4), rng.standard_normal(6)
    return stored(scipy.linalg.toeplitz(column, row) * rng.uniform(0.5, 2, size))


def _gaussian_kernel(size: int) -> Matrix:
    """``exp(-0.01 (i - j)^2)`` with a gain that is no product of a row's and a column's."""
    steps = np.arange(size)
    gain = 1 + 0.1 * np.sin(np.outer(steps, steps) / size)
    return stored(np.exp(-0.01 * np.subtract.outer(steps, steps) ** 2) * gain)


def _product(size: int) -> Matrix:
    """Two vectors: scales around a constant, and no filter."""
    first, second = np.random.default_rng(8).standard_normal((2, size))
    return stored(np.outer(first, second))


def _one_row(size: int) -> Matrix:
    matrix = _scaled(size, size).weight.numpy().copy()
    matrix[size // 3] = np.random.default_rng(2).standard_normal(size)
    return stored(matrix)


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
        Example("filter with drifting gain", lambda: _drifting(64)),
        Example("scales of rows and columns", lambda: _scaled(64, 64)),
        Example("wide, scaled", lambda: _scaled(40, 75)),
        Example("nine diagonals, scaled columns", lambda: _band(80)),
    ),
    ignores=(
        Example("Hankel", lambda: _hankel(64)),
        Example("Cauchy", lambda: _cauchy(64)),
        Example("gain of no rank", lambda: _gaussian_kernel(64)),
        Example("product of two vectors", lambda: _product(48)),
        Example("scaled, one row replaced", lambda: _one_row(64)),
    ),
    transposes=True,
)
