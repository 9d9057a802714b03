"""A linear map that is a Kronecker product: one matrix along each axis of a reshaped input.

What it finds:    ``W = A (x) B``, also of three and more factors, and sums of two or three such products: the
                  input read as a table, one matrix applied to its columns and one to its rows. A factor
                  that is the identity (the same matrix for every position, or for every channel) is not
                  stored. Factors that are in other places need a shuffle of inputs and outputs, which is
                  not looked for.
Why it matters:   m n numbers are those of the factors; for two of square root size, 2 n instead of n^2.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Rearranged so that every block is a row, a Kronecker product has rank one; its
                  leading singular vectors are the nearest factors. Of several splits that fit, the one with
                  the fewest numbers is taken.
Swap safety:      The same function, with factors that are trainable within the family.
Source:           Van Loan and Pitsianis, Approximation with Kronecker products (1993). Van Loan, The
                  ubiquitous Kronecker product, J. Comput. Appl. Math. 123 (2000).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.kronecker import products
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import kept_bias, left_over, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator

NEAR = 64
"""A factor is the identity when it is one to so many roundings, or as near as the whole fit is."""


class Kronecker(nn.Module):
    """A sum of Kronecker products on the last dimension, ``(..., n)`` to ``(..., m)``.

    Args:
        factors: the k-th factor of every term, ``(terms, rows, columns)``, or the size of an identity.
        bias: ``(m,)`` or None.
    """

    def __init__(self, factors: Sequence[Tensor | int], bias: Tensor | None = None) -> None:
        super().__init__()
        self.sizes = tuple((f, f) if isinstance(f, int) else (f.shape[1], f.shape[2]) for f in factors)
        self.stored = tuple(k for k, factor in enumerate(factors) if not isinstance(factor, int))
        self.factors = nn.ParameterList([owned(f) for f in factors if not isinstance(f, int)])
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The shapes of the factors, which of them are stored, and how many products are added."""
        return {
            "factors": [list(size) for size in self.sizes],
            "identities": [k for k in range(len(self.sizes)) if k not in self.stored],
            "terms": self.factors[0].shape[0],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply each factor along its axis."""
        done, outputs = 1, inputs.reshape(-1, 1, inputs.shape[-1])
        for index, (which, factor) in enumerate(zip(self.stored, self.factors, strict=True)):
            columns = self.sizes[which][1]
            before = prod(self.sizes[k][0] for k in range(which))
            after = prod(self.sizes[k][1] for k in range(which + 1, len(self.sizes)))
            outputs = outputs.reshape(-1, done, before, columns, after)
            start, stop = "k" if index else "z", "" if which == self.stored[-1] else "k"
            outputs = torch.einsum(f"b{start}lcr,kmc->b{stop}lmr", outputs, factor)
            done = 1 if not stop else factor.shape[0]
        total = prod(rows for rows, _ in self.sizes)
        return plus(outputs.reshape(*inputs.shape[:-1], total), self.bias, inputs.dtype)


def propose(view: Matrix) -> Kronecker | None:
    """The near sum of products with the fewest numbers, its factors split on as far as they go."""
    if view.weight.numel() < 16:
        return None
    factors = _factors(view.weight, view)
    if factors is None or not usable(view) or all(isinstance(factor, int) for factor in factors):
        return None
    return Kronecker(factors, kept_bias(view))


def _factors(weight: Tensor, view: Matrix) -> list[Tensor | int] | None:
    """The factors of every term, from the first axis to the last; None when there are none."""
    found = products(weight, view.dtype, view.noise)
    if found is None:
        return None
    if found.first.shape[0] > 1:
        return [found.first, found.second]
    first, second = found.first[0], found.second[0]
    # the scale is free: an identity takes none of it
    for one, other in ((first, second), (second, first)):
        gain = one.diagonal().mean()
        if one.shape[0] == one.shape[1] > 1 and gain != 0:
            eye = torch.eye(len(one), dtype=one.dtype)
            if left_over(one / gain - eye, eye) <= NEAR * view.noise + found.left:
                kept: list[Tensor | int] = [len(one), (gain * other)[None]]
                return kept if one is first else kept[::-1]
    return [*_split_on(first, view), *_split_on(second, view)]


def _split_on(factor: Tensor, view: Matrix) -> list[Tensor | int]:
    inner = _factors(factor, view) if factor.numel() >= 16 else None
    single = inner is not None and all(isinstance(f, int) or f.shape[0] == 1 for f in inner)
    return inner if inner is not None and single else [factor[None]]


def _product(*shapes: tuple[int, int], bias: bool = False) -> Matrix:
    rng = np.random.default_rng(sum(map(sum, shapes)))
    matrix: NDArray[np.float64] = np.ones((1, 1))
    for shape in shapes:
        matrix = np.asarray(np.kron(matrix, rng.standard_normal(shape)), dtype=np.float64)
    return stored(matrix, rng.standard_normal(len(matrix)) if bias else None)


def _sum(terms: int, first: tuple[int, int], second: tuple[int, int]) -> Matrix:
    rng = np.random.default_rng(terms)
    each = [np.kron(rng.standard_normal(first), rng.standard_normal(second)) for _ in range(terms)]
    return stored(np.asarray(np.sum(each, axis=0), dtype=np.float64))


def _random(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(8).standard_normal(shape)


def _kron(first: NDArray[np.float64], second: NDArray[np.float64]) -> Matrix:
    return stored(np.asarray(np.kron(first, second), dtype=np.float64))


def _laplacian(size: int) -> Matrix:
    """The five-point Laplacian of a square: ``T (x) I + I (x) T``."""
    line = scipy.linalg.toeplitz(np.r_[2.0, -1.0, np.zeros(size - 2)])
    square = np.kron(line, np.eye(size)) + np.kron(np.eye(size), line)
    return stored(np.asarray(square, dtype=np.float64))


def _noisy(size: int) -> Matrix:
    clean = np.kron(_random(size, size), _random(size, size).T)
    noise = np.random.default_rng(3).standard_normal(clean.shape)
    return stored(np.asarray(clean * (1 + 0.01 * noise), dtype=np.float64))


def _one_row(size: int) -> Matrix:
    matrix = np.kron(_random(size, size), _random(size, size).T)
    matrix[5] = np.random.default_rng(4).standard_normal(size * size)
    return stored(np.asarray(matrix, dtype=np.float64))


def _plus(size: int) -> Matrix:
    """A sum of five products, four of them small."""
    rng = np.random.default_rng(5)
    terms = [np.kron(rng.standard_normal((size, size)), rng.standard_normal((size, size))) for _ in range(5)]
    return stored(np.asarray(terms[0] + 0.001 * np.sum(terms[1:], axis=0), dtype=np.float64))


OPERATOR = Operator(
    "kronecker",
    propose,
    finds=(
        Example("8 x 8 with 8 x 8", lambda: _product((8, 8), (8, 8))),
        Example("rectangular, bias", lambda: _product((3, 8), (10, 5), bias=True)),
        Example("three factors", lambda: _product((3, 4), (5, 5), (4, 3))),
        Example("the same matrix for every position", lambda: _kron(np.eye(6), _random(9, 7))),
        Example("the same matrix for every channel", lambda: _kron(_random(9, 7), np.eye(6))),
        Example("a sum of two", lambda: _sum(2, (6, 6), (8, 8))),
        Example("a sum of three, rectangular", lambda: _sum(3, (6, 10), (10, 6))),
        Example("Laplacian of a square", lambda: _laplacian(8)),
        Example("Hadamard's matrix", lambda: stored(np.array(scipy.linalg.hadamard(32), dtype=float))),
    ),
    ignores=(
        Example("1 % noise", lambda: _noisy(8)),
        Example("one row replaced", lambda: _one_row(8)),
        Example("four more products of a thousandth", lambda: _plus(8)),
    ),
    transposes=True,
)
