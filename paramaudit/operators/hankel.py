"""A linear map that is constant along its anti-diagonals.

What it finds:    A matrix of any shape whose every row is the row above, moved one place to the left with new
                  numbers coming in; or a stack of such matrices over the same input, one block after another
                  or row by row in turn. It is a convolution of the input read backwards: a correlation.
                  Only the anti-diagonals from the first to the last that is not zero are stored. One such
                  matrix is also found under free scales and signs of its rows, its columns or both.
Why it matters:   m n numbers are at most m + n - 1, twice that under scales, and a product costs
                  O((m + n) log(m + n)).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The numbers are means of anti-diagonals, the nearest Hankel matrix in the
                  Frobenius norm.
Swap safety:      Exact at any input of n numbers. The numbers that remain are trainable within the family. Up
                  to 64 numbers are convolved directly, more by FFT (half precision then in float32).
Source:           Golub and Van Loan, Matrix Computations, 4.7 and 4.8.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.numerics.block_filters import BlockFilters
from paramaudit.numerics.blocks import stacked
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.diagonal_gauge import one_band
from paramaudit.numerics.diagonals import alike
from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.hexagons import scaled_diagonals_likely
from paramaudit.numerics.layers import plus
from paramaudit.numerics.noise import kept_bias, stored
from paramaudit.records import Example, Json, Matrix, Operator


class Hankel(BlockFilters):
    """k correlations of the last dimension, ``(..., n)`` to ``(..., k m)``.

    ``first`` is ``row + column - (n - 1)`` of the first stored anti-diagonal.
    """

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, number of blocks and their order, and the stored anti-diagonals from 0 on."""
        return self.described("anti_diagonals", self.first + self.columns - 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve what is read backwards, directly or by FFT."""
        outputs = convolved(inputs.flip(-1), self.values, self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Hankel | Gauged | None:
    """The same of the mirrored matrix as for a Toeplitz one."""
    if min(view.weight.shape) < 2:
        return None
    moves = _moves_back(view.weight)
    if not moves and not scaled_diagonals_likely(view.weight, wrapped=False, mirrored=True):
        return None  # before a copy is made
    mirrored = replace(view, weight=view.weight.flip(1))
    stack = stacked(mirrored) if moves else None
    scaled = one_band(mirrored, 1.0 if stack is None else stack.left)
    if scaled is not None:
        rows, columns = view.weight.shape
        core = Hankel(rows, columns, scaled.values, scaled.first)
        own = scaled.scaling.columns
        scaling = replace(scaled.scaling, columns=None if own is None else own.flip(0))
        return Gauged(core, scaling, bias=kept_bias(view))
    if stack is None:
        return None
    shape = stack.rows, stack.columns
    return Hankel(*shape, stack.values, stack.first, stack.interleaved, kept_bias(view))


def _moves_back(weight: Tensor) -> bool:
    """Whether some rows are the row one block above, moved one place to the left; no copy is made."""
    rows = weight.shape[0]
    for step in (1, *(k for k in range(2, rows // 4 + 1) if rows % k == 0)):
        some = torch.linspace(0, rows - step - 1, min(16, rows - step)).long()
        if alike(weight[some, 1:], weight[some + step, :-1]) >= 0.5:
            return True
    return False


def _square(size: int, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(size)
    values = rng.standard_normal(2 * size - 1)
    matrix = scipy.linalg.hankel(values[:size], values[size - 1 :])
    return stored(matrix, rng.standard_normal(size) if bias else None)


def _rectangular(rows: int, columns: int) -> Matrix:
    rng = np.random.default_rng(rows)
    return stored(scipy.linalg.hankel(rng.standard_normal(rows), rng.standard_normal(columns)))


def _response(size: int) -> Matrix:
    """The Hankel matrix of a decaying oscillation of two different rates: future outputs of past inputs."""
    time = np.arange(2 * size - 1)
    response = 0.97**time * np.cos(0.3 * time) + np.random.default_rng(1).standard_normal(len(time)) / 9
    return stored(scipy.linalg.hankel(response[:size], response[size - 1 :]))


def _correlation(taps: int, size: int) -> Matrix:
    """``np.correlate`` of a few taps with the input read backwards."""
    kernel = np.random.default_rng(taps).standard_normal(taps)
    return stored(np.stack([np.correlate(row[::-1], kernel, "valid") for row in np.eye(size)], axis=1))


def _two(size: int, interleaved: bool) -> Matrix:
    rng = np.random.default_rng(5)
    blocks = [scipy.linalg.hankel(rng.standard_normal(size), rng.standard_normal(size)) for _ in range(2)]
    return stored(np.stack(blocks, axis=1 if interleaved else 0).reshape(2 * size, size))


def _hilbert(size: int) -> NDArray[np.float64]:
    return np.asarray(scipy.linalg.hilbert(size), dtype=np.float64)


def _drift(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A gain for every row, from 1 to 1.01."""
    return matrix * np.linspace(1, 1.01, len(matrix))[:, None]


def _scaled(size: int) -> Matrix:
    """Under scales and signs of rows and columns."""
    rng = np.random.default_rng(size)
    sides = rng.uniform(0.5, 2, (2, size)) * rng.choice([-1.0, 1.0], (2, size))
    return stored(sides[0][:, None] * _square(size).weight.numpy() * sides[1])


def _checked(matrix: NDArray[np.float64]) -> Matrix:
    """A gain that is no product of a row's and a column's: 1.01 in three quarters of the fields."""
    step = np.arange(len(matrix)) // 5 % 2
    return stored(matrix * (1.01 - 0.01 * np.outer(step, step)))


def _one_row(size: int) -> Matrix:
    matrix = _square(size).weight.numpy().copy()
    matrix[3] = np.random.default_rng(2).standard_normal(size)
    return stored(matrix)


def _noisy(size: int) -> Matrix:
    clean = _square(size).weight.numpy()
    return stored(clean * (1 + 0.01 * np.random.default_rng(3).standard_normal(clean.shape)))


OPERATOR = Operator(
    "hankel",
    propose,
    finds=(
        Example("random", lambda: _square(64)),
        Example("odd size, bias", lambda: _square(51, bias=True)),
        Example("wide", lambda: _rectangular(40, 97)),
        Example("tall", lambda: _rectangular(131, 24)),
        Example("of an impulse response", lambda: _response(64)),
        Example("Hilbert's matrix", lambda: stored(_hilbert(48))),
        Example("five taps", lambda: _correlation(5, 64)),
        Example("two, block after block", lambda: _two(48, interleaved=False)),
        Example("two, in turns", lambda: _two(48, interleaved=True)),
        Example("Hilbert's matrix, rows drifting by 1 %", lambda: stored(_drift(_hilbert(48)))),
        Example("scales of rows and columns", lambda: _scaled(60)),
    ),
    ignores=(
        Example(
            "Toeplitz", lambda: stored(scipy.linalg.toeplitz(np.random.default_rng(6).standard_normal(64)))
        ),
        Example("every other number 1 % more", lambda: _checked(_hilbert(48))),
        Example("one row replaced", lambda: _one_row(64)),
        Example("1 % noise", lambda: _noisy(64)),
    ),
    transposes=True,
)
