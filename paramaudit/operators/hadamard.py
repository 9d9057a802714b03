"""A linear map that is a Walsh-Hadamard transform, reordered and scaled.

What it finds:    A square matrix of 2^m rows that is the transform of Sylvester's Hadamard matrix with its
                  rows and columns in any order, each with its own scale or sign. Rows in natural, sequency
                  (Walsh) and dyadic (Paley) order are computed, and so are usual normalisations; other
                  orders are stored as n indices, scales and signs as n numbers a side where they differ.
                  Another Hadamard matrix of the same size (Paley's construction) is not this one.
Why it matters:   n^2 numbers are none to 2 n, and a product costs n log n additions.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Signs are divided by those of a row and a column; what is left are characters of
                  bits, whose labels are read in turns from rows and columns by fast transforms.
Swap safety:      Exact at any input of n numbers. Stored scales stay trainable. Half precision is
                  transformed in float32. Below some hundred points a dense product can win.
Source:           Sylvester, Phil. Mag. 34 (1867). Fast: Fino and Algazi, IEEE Trans. Computers C-25 (1976),
                  with the orders of the rows.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.characters import Labels, bit_labels, hadamard, one_modulus, rescaled
from paramaudit.numerics.cyclic import scales
from paramaudit.numerics.gauge import Gauged, tidied
from paramaudit.numerics.noise import kept_bias, stored, usable
from paramaudit.numerics.orders import order_of
from paramaudit.records import Example, Json, Matrix, Operator

ALIASES = {"bit-reversed": "dyadic"}


class Sylvester(nn.Module):
    """The plain transform of the last dimension, ``(..., n)`` to ``(..., n)``, n a power of two."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def arguments(self) -> dict[str, Json]:
        """The size."""
        return {"n": self.size}

    def forward(self, inputs: Tensor) -> Tensor:
        """Sums and differences of halves, then of quarters, and so on."""
        outputs, half = inputs, self.size // 2
        while half:
            pairs = torch.unflatten(outputs, -1, (-1, 2, half))
            first, second = pairs[..., 0, :], pairs[..., 1, :]
            outputs = torch.stack([first + second, first - second], dim=-2).flatten(-3)
            half //= 2
        return outputs


def propose(view: Matrix) -> Gauged | None:
    """Labels of rows and columns from the signs, then the scales, then both as plain as they can be."""
    weight = view.weight
    size = weight.shape[1]
    if (
        weight.shape[0] != size
        or size < 4
        or size & (size - 1)
        or not one_modulus(weight)
        or not usable(view)
    ):
        return None
    labels = bit_labels(weight)
    if labels is None:
        return None
    labels = _plain(labels)
    scaled = rescaled(weight, _table(labels), view.noise)
    # small sizes have few signs and many orders: there half a number of noise would say nothing
    if scaled is None or not scaled.left <= min(0.5, 0.02 * size):
        return None
    labels, turns = _moved(labels, scaled.rows, scaled.columns)
    rows, columns = (order_of(places, size) for places in (labels.rows, labels.columns))
    scaling = tidied(scaled.rows * turns[0], scaled.columns * turns[1], scaled.slack, scales(size))
    return Gauged(Sylvester(size), scaling, rows, columns, kept_bias(view), ALIASES)


def _table(labels: Labels) -> Tensor:
    """The rows and columns of the plain matrix that have these labels."""
    plain = hadamard(torch.eye(len(labels.columns), dtype=torch.float64))
    return plain[labels.rows][:, labels.columns]


def _plain(labels: Labels) -> Labels:
    """The same with rows counted from 0 on, where bits of rows are sums of bits of their places."""
    size = len(labels.columns)
    if torch.equal(labels.columns, torch.arange(size)):
        return labels
    rows = labels.rows ^ labels.rows[0]
    basis = [rows[2**bit] for bit in range(size.bit_length() - 1)]
    linear, columns = torch.zeros_like(rows), torch.zeros_like(rows)
    for bit, image in enumerate(basis):
        linear = linear ^ (torch.arange(size) // 2**bit % 2 * image)
        columns = columns + 2**bit * _parity(labels.columns & image)
    return Labels(torch.arange(size), columns) if torch.equal(linear, rows) else labels


def _parity(bits: Tensor) -> Tensor:
    """Whether the number of ones is odd."""
    odd = torch.zeros_like(bits)
    while bool(bits.any()):
        odd, bits = odd ^ (bits & 1), bits >> 1
    return odd


def _moved(labels: Labels, rows: Tensor, columns: Tensor) -> tuple[Labels, tuple[Tensor, Tensor]]:
    """Labels moved so that scales lose the signs that are a row or column of the table; and those signs."""
    first = _character(labels.columns, columns)
    moved = labels.rows ^ first
    second = _character(labels.rows, rows)
    turns = (1.0 - 2.0 * _parity(places) for places in (moved & second, labels.columns & first))
    row_turns, column_turns = turns
    return Labels(moved, labels.columns ^ second), (row_turns, column_turns)


def _character(places: Tensor, values: Tensor) -> int:
    """Which row of the table the signs of these scales are, 0 when they are none."""
    size = len(values)
    sums = hadamard(torch.zeros(size, dtype=torch.float64).index_copy(0, places, values.sign()))
    best = int(sums.abs().argmax())
    return best if float(sums[best].abs()) >= 0.9 * size else 0


def _matrix(size: int) -> NDArray[np.float64]:
    return np.asarray(scipy.linalg.hadamard(size), dtype=np.float64)


def _walsh(size: int) -> Matrix:
    """Rows by the number of their sign changes."""
    rows = _matrix(size)
    return stored(rows[np.argsort((np.diff(rows, axis=1) != 0).sum(1))])


def _dyadic(size: int) -> Matrix:
    """Rows with the bits of their number backwards, orthonormal."""
    bits = size.bit_length() - 1
    order = [int(f"{k:0{bits}b}"[::-1], 2) for k in range(size)]
    return stored(_matrix(size)[order] / np.sqrt(size))


def _shuffled(size: int, bias: bool = False) -> Matrix:
    """Rows and columns in any order."""
    rng = np.random.default_rng(size)
    rows = _matrix(size)[rng.permutation(size)][:, rng.permutation(size)]
    return stored(rows, rng.standard_normal(size) if bias else None)


def _scaled(size: int) -> Matrix:
    """The same with scales and signs of their own."""
    rng = np.random.default_rng(size)
    sides = rng.uniform(0.5, 2.0, (2, size)) * rng.choice([-1.0, 1.0], (2, size))
    return stored(sides[0][:, None] * _shuffled(size).weight.numpy() * sides[1])


def _paley(prime: int) -> Matrix:
    """Paley's first construction of size prime + 1, for primes of the form 4 k + 3."""
    squares = {k * k % prime for k in range(1, prime)}
    character = np.array([0.0, *(1.0 if k in squares else -1.0 for k in range(1, prime))])
    core = character[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
    whole = np.block([[np.zeros((1, 1)), np.ones((1, prime))], [-np.ones((prime, 1)), core]])
    return stored(whole + np.eye(prime + 1))


def _flipped(size: int) -> Matrix:
    """1 % of the signs turned."""
    rng = np.random.default_rng(4)
    return stored(np.where(rng.random((size, size)) < 0.01, -1, 1) * _matrix(size))


def _one_row(size: int) -> Matrix:
    rows = _matrix(size)
    rows[5] = np.random.default_rng(2).standard_normal(size)
    return stored(rows)


OPERATOR = Operator(
    "hadamard",
    propose,
    finds=(
        Example("natural order, 64", lambda: stored(_matrix(64))),
        Example("sequency order, 32", lambda: _walsh(32)),
        Example("dyadic order, orthonormal, 64", lambda: _dyadic(64)),
        Example("rows and columns shuffled, bias", lambda: _shuffled(32, bias=True)),
        Example("shuffled, scaled and signed", lambda: _scaled(64)),
        Example("any gain", lambda: stored(-0.377 * _matrix(16))),
        Example("eight points", lambda: stored(_matrix(8))),
    ),
    ignores=(
        Example("Paley, 32", lambda: _paley(31)),
        Example("1 % of signs turned", lambda: _flipped(64)),
        Example("one row replaced", lambda: _one_row(64)),
        Example("random signs", lambda: stored(np.random.default_rng(5).choice([-1.0, 1.0], (64, 64)))),
    ),
    transposes=True,
)
