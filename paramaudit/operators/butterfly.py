"""A linear map that is a product of log2 n sparse butterflies, as fast transforms are.

What it finds:    A square matrix of 2^L numbers that is a product of L matrices, each of which mixes pairs of
                  numbers at one distance: n/2, n/4, ..., 1 from the output to the input, or the other way
                  round; also with inputs (or outputs) in bit-reversed order. Walsh-Hadamard and Haar-like
                  transforms, products of rotations, learned butterflies.
Why it matters:   n^2 numbers are 2 n log2 n, and so are the multiplications.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Levels are peeled off one by one: two rows that a level joins are multiples of
                  one another in either half of the columns. O(n^2) in all.
Swap safety:      The same function; all 2 n log2 n numbers are trainable. Below some hundred points a dense
                  product is faster.
Source:           Dao et al., Learning fast algorithms for linear transforms using butterfly factorizations,
                  ICML 2019. Le, Zheng, Riccietti and Gribonval, Fast learning of fast transforms, with
                  guarantees, ICASSP 2022 (hierarchical factorisation).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.butterflies import factors, looks_so, reversed_bits
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import kept_bias, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Butterfly(nn.Module):
    """L butterflies of the last dimension, ``(..., n)`` to ``(..., n)``.

    Args:
        values: ``(L, n/2, 2, 2)``: for every level, the matrix of every pair. Level i joins places that are
            ``n / 2^(i+1)`` apart; pairs are in the order of their first place.
        widest_last: whether the level that joins the most distant places is applied last.
        reversed_at: "inputs" or "outputs" when these are in bit-reversed order, else "".
        bias: ``(n,)`` or None.
    """

    def __init__(
        self, values: Tensor, widest_last: bool, reversed_at: str = "", bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.values = owned(values)
        self.widest_last, self.reversed_at = widest_last, reversed_at
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, the order of the levels and of inputs and outputs."""
        return {
            "n": 2 * self.values.shape[1],
            "levels": self.values.shape[0],
            "widest": "last" if self.widest_last else "first",
            "bit_reversed": self.reversed_at or "nothing",
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Mix pairs, level by level."""
        levels, half = self.values.shape[:2]
        outputs = inputs.reshape(-1, 2 * half)
        if self.reversed_at == "inputs":
            outputs = _reversed(outputs, levels)
        for level in reversed(range(levels)) if self.widest_last else range(levels):
            groups, apart = 2**level, half // 2**level
            pairs = outputs.reshape(-1, groups, 2, apart)
            matrices = self.values[level].reshape(groups, apart, 2, 2)
            outputs = torch.einsum("bgjp,gpij->bgip", pairs, matrices).reshape(-1, 2 * half)
        if self.reversed_at == "outputs":
            outputs = _reversed(outputs, levels)
        return plus(outputs.reshape(inputs.shape), self.bias, inputs.dtype)


def _reversed(values: Tensor, levels: int) -> Tensor:
    """The last dimension in bit-reversed order: every bit of the place is an axis."""
    axes = values.reshape(-1, *([2] * levels)).permute(0, *range(levels, 0, -1))
    return axes.reshape(-1, 2**levels)


def propose(view: Matrix) -> Butterfly | None:
    """The butterflies in the layout that fits best."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 16 or size & (size - 1):
        return None
    bits = reversed_bits(size)
    layouts: tuple[tuple[Callable[[Tensor], Tensor], bool, str], ...] = (
        (lambda rows: weight[rows], True, ""),
        (lambda rows: weight[:, rows].T, False, ""),
        (lambda rows: weight[rows][:, bits], True, "inputs"),
        (lambda rows: weight[bits[rows]], True, "outputs"),
    )
    found: list[tuple[float, Butterfly]] = []
    for take, widest_last, where in layouts:
        if not looks_so(take, size) or not usable(view):
            continue
        rows = take(torch.arange(size))
        near = factors(rows, view.dtype)
        if near is not None:
            values, left = near
            layer = Butterfly(values if widest_last else values.mT, widest_last, where, kept_bias(view))
            found.append((left, layer))
            if found[-1][0] <= 16 * view.noise:
                break
    # one order of the levels may come near by chance where another one is meant
    return min(found, key=lambda one: one[0])[1] if found else None


def _random(size: int, seed: int, bias: bool = False, transposed: bool = False) -> Matrix:
    """The product of sparse matrices, one after another, with random pairs."""
    rng = np.random.default_rng(seed)
    matrix = _levels(size, lambda: rng.standard_normal((2, 2)))
    return stored(matrix.T if transposed else matrix, rng.standard_normal(size) if bias else None)


def _levels(size: int, pair: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """``X_1 X_2 ... X_L``; in X_i the places that are ``n / 2^i`` apart are joined."""
    matrix = np.eye(size)
    apart = size // 2
    while apart:
        level = np.zeros((size, size))
        for first in range(size):
            if not first & apart:
                level[np.ix_([first, first + apart], [first, first + apart])] = pair()
        matrix = matrix @ level
        apart //= 2
    return matrix


def _rotations(size: int, reverse: str) -> Matrix:
    """Orthogonal: every pair is turned; with bit-reversed inputs or outputs."""
    rng = np.random.default_rng(size)

    def turn() -> NDArray[np.float64]:
        angle = rng.uniform(0, 2 * np.pi)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    matrix = _levels(size, turn)
    digits = size.bit_length() - 1
    bits = np.array([int(f"{place:0{digits}b}"[::-1], 2) for place in range(size)])
    return stored(matrix[:, bits] if reverse == "inputs" else matrix[bits])


def _hadamard(size: int) -> NDArray[np.float64]:
    return np.array(scipy.linalg.hadamard(size), dtype=np.float64)


def _orthogonal(size: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.qr(np.random.default_rng(4).standard_normal((size, size)))[0])


def _one_row(size: int) -> Matrix:
    matrix = _hadamard(size)
    matrix[5] = np.random.default_rng(2).standard_normal(size)
    return stored(matrix)


def _noisy(size: int) -> Matrix:
    return stored(_hadamard(size) + 0.01 * np.random.default_rng(3).standard_normal((size, size)))


OPERATOR = Operator(
    "butterfly",
    propose,
    finds=(
        Example("random, 32 points", lambda: _random(32, 0)),
        Example("random, 128 points, bias", lambda: _random(128, 1, bias=True)),
        Example("narrowest last", lambda: _random(64, 2, transposed=True)),
        Example("rotations, inputs reversed", lambda: _rotations(64, "inputs")),
        Example("rotations, outputs reversed", lambda: _rotations(32, "outputs")),
        Example("Hadamard's matrix", lambda: stored(_hadamard(64))),
    ),
    ignores=(
        Example("orthogonal at random", lambda: stored(_orthogonal(64))),
        Example("one row replaced", lambda: _one_row(64)),
        Example("1 % noise", lambda: _noisy(64)),
    ),
    transposes=True,
)
