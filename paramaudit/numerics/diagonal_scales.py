"""Diagonals of a matrix under scales: ``W = diag(r) T diag(c)``, where T is constant along diagonals.

Only products of the three mean anything: ``r_i a^i``, ``c_j a^-j`` and ``t_k a^-k`` are the same matrix for
every a (of a circulant T, for a = -1 and an even size only).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.diagonals import diagonal_counts, diagonal_sums, from_diagonals
from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.relabel import balanced

CLEAR = 0.1
"""The logarithm of an entry below this part of the size of its row and column says nothing."""

ROUNDS = 12
"""Gauss-Newton steps: each takes three digits off without noise, and noise stops them earlier."""


@dataclass(frozen=True)
class Scaled:
    """``diag(rows) T diag(columns)``, with what it leaves of the matrix, relative.

    ``rows`` ``(m,)`` and ``columns`` ``(n,)`` are the scales, ``values`` the diagonals ``(m + n - 1,)``, or
    the first column ``(n,)`` when diagonals go round.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    wrapped: bool
    left: float

    def matrix(self) -> Tensor:
        """The matrix ``(m, n)`` itself."""
        return self.rows[:, None] * spread_out(self.values, len(self.columns), self.wrapped) * self.columns


def spread_out(values: Tensor, columns: int, wrapped: bool) -> Tensor:
    """The Toeplitz matrix of these diagonals, or the circulant one of this first column."""
    return from_diagonals(torch.cat([values[1:], values]) if wrapped else values, columns)


def summed(matrix: Tensor, wrapped: bool) -> Tensor:
    """Sums along diagonals; those that go round from the main one on."""
    sums = diagonal_sums(matrix)
    if not wrapped:
        return sums
    size = len(matrix)
    folded = sums[size - 1 :].clone()
    folded[1:] += sums[: size - 1]
    return folded


def counted(rows: int, columns: int, wrapped: bool) -> Tensor:
    """How many entries each diagonal has."""
    return torch.full((rows,), columns) if wrapped else diagonal_counts(rows, columns)


def scaled_diagonals(weight: Tensor, wrapped: bool, noise: float) -> Scaled | None:
    """The nearest matrix of the form, by least squares; None when none is near.

    Signs by vote, logarithms of the clear entries by linear least squares, then all entries as they are.

    Args:
        weight: ``(m, n)``, finite.
        wrapped: whether diagonals go round.
        noise: unit roundoff of the numbers' dtype.
    """
    sides = balanced(weight, 4)
    if sides is None:
        return None
    sizes = (weight / sides[0][:, None] / sides[1]).abs()
    sizes = sizes / sizes.square().mean().sqrt()
    sure = torch.where(sizes > CLEAR, sizes.clamp_max(1.0).square(), 0.0)
    logs = torch.where(sure > 0, weight.abs(), 1.0).log()
    rows, columns, _ = (part.exp() for part in _additive(sure * logs, sure, wrapped, 1e-4, 120))
    best: Scaled | None = None
    for signs in _signs(weight, sure, wrapped):
        start = with_values(weight, rows * signs[0], columns * signs[1], wrapped)
        if best is None or start.left < best.left:
            best = start
    return None if best is None or best.left > 2 * NOISY else _refined(weight, best, noise)


def _refined(weight: Tensor, found: Scaled, noise: float) -> Scaled | None:
    """Gauss-Newton in relative changes, until nothing is left but noise."""
    for _ in range(ROUNDS):
        model = found.matrix()
        steps = _additive((weight - model) * model, model.square(), found.wrapped, 1e-3, 60)
        rows, columns = (1 + part.clamp(-0.5, 0.5) for part in steps[:2])
        better = with_values(weight, found.rows * rows, found.columns * columns, found.wrapped)
        gained = found.left - better.left
        if gained > 0:
            found = better
        if gained <= 1e-3 * found.left or found.left <= 0.1 * noise:
            break
    return found if found.left <= NOISY else None


def with_values(weight: Tensor, rows: Tensor, columns: Tensor, wrapped: bool) -> Scaled:
    """The best diagonals beside given scales."""
    outer = rows[:, None] * columns
    power = summed(outer.square(), wrapped)
    values = summed(weight * outer, wrapped) / power.clamp_min(torch.finfo(power.dtype).tiny)
    residual = weight - outer * spread_out(values, len(columns), wrapped)
    return Scaled(rows, columns, values, wrapped, left_over(residual, weight))


def _additive(
    pull: Tensor, sure: Tensor, wrapped: bool, within: float, steps: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors r, c, t that minimise ``sum sure (r_i + c_j + t_(i-j))^2 - 2 pull (r_i + c_j + t_(i-j))``.

    By conjugate gradients with diagonal preconditioning in single precision, to a relative residual
    ``within``.

    Source:
        Golub and Van Loan, Matrix Computations, 11.3 and 11.5.
    """
    rows, columns = pull.shape
    largest = sure.max()
    pull, sure = (pull / largest).float(), (sure / largest).float()
    sizes = [rows, columns, rows if wrapped else rows + columns - 1]

    def sums(matrix: Tensor) -> Tensor:
        return torch.cat([matrix.sum(1), matrix.sum(0), summed(matrix, wrapped)])

    def applied(vector: Tensor) -> Tensor:
        r, c, t = torch.split(vector, sizes)
        return sums((r[:, None] + c + spread_out(t, columns, wrapped)) * sure)

    weights = sums(sure)
    inverse = torch.where(weights > 0, 1 / weights, 0.0)
    found, residual = torch.zeros_like(weights), sums(pull)
    direction = inverse * residual
    energy = float((residual * direction).sum())
    least = within**2 * energy
    for _ in range(steps):
        if energy <= least:
            break
        image = applied(direction)
        length = energy / float((direction * image).sum())
        found, residual = found + length * direction, residual - length * image
        before, energy = energy, float((residual * inverse * residual).sum())
        direction = inverse * residual + energy / before * direction
    r, c, t = torch.split(found.double(), sizes)
    return r, c, t


def _signs(weight: Tensor, sure: Tensor, wrapped: bool) -> list[tuple[Tensor, Tensor]]:
    """Signs of rows and columns: neighbours along a diagonal differ by a row's and a column's change of sign.

    That is a table of signs of rank one, read by vote. Where diagonals go round, changes of sign at every
    second row and column are another answer.
    """
    votes = (weight[1:, 1:] * weight[:-1, :-1]).sign() * torch.minimum(sure[1:, 1:], sure[:-1, :-1])
    rows, columns = _rank_one_signs(votes)
    one = torch.ones(1, dtype=weight.dtype)
    first, second = torch.cat([one, rows]).cumprod(0), torch.cat([one, columns]).cumprod(0)
    if not wrapped:
        return [(first, second)]
    turns = 1.0 - 2.0 * (torch.arange(len(first)) % 2).to(weight.dtype)
    return [(first, second), (first * turns, second * turns)]


def _rank_one_signs(votes: Tensor) -> tuple[Tensor, Tensor]:
    """Signs whose products agree with most votes, spread from the row with most of them."""
    rows = torch.zeros(votes.shape[0], dtype=votes.dtype)
    rows[int(votes.abs().sum(1).argmax())] = 1.0
    columns = torch.zeros(votes.shape[1], dtype=votes.dtype)
    for _ in range(sum(votes.shape)):
        before = columns
        columns = (rows @ votes).sign()
        rows = (votes @ columns).sign()
        if torch.equal(before, columns):
            break
    return torch.where(rows == 0, 1.0, rows), torch.where(columns == 0, 1.0, columns)
