"""Which column of a cosine, sine or Hartley transform is each column of a matrix, and with which sign?

A row whose frequency shares no divisor with the size takes every value of its wave once: the order of its
values is the order of the columns, but for a factor that only reorders rows. Signs of columns are those of
the constant row, where there is one, or go by the square, whose wave is twice as fast and knows no sign.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """Labels ``(n,)``, all different, and signs ``(n,)`` of columns."""

    labels: Tensor
    signs: Tensor

    @property
    def plain(self) -> tuple[bool, bool]:
        """Whether signs are not all one, and whether labels are in no natural order; both false is best."""
        moved = not torch.equal(self.labels, torch.arange(len(self.labels)))
        return not bool((self.signs == self.signs[0]).all()), moved


SEARCHED = 128
"""Larger matrices are searched for such a row in half as many: of those, one in three or more will do."""

ROWS = 16
"""Of rows that each tell all columns, so many are read: another one's order differs by a factor alone."""

COMPARED = 64
"""So many rows tell whether a matrix can be orthogonal."""

Finder = Callable[[Tensor], Iterator[Columns]]
"""From an orthonormal matrix ``(n, n)`` to what its columns may be."""


def bent(weight: Tensor) -> bool:
    """Whether a sample of numbers, scales of rows and columns taken out, is spread as waves are.

    Squares of mean 1 have variance 1/2 for waves and 0 for signs; 2 where numbers are Gaussian.
    """
    places = [torch.linspace(0, size - 1, min(48, size)).long() for size in weight.shape]
    squares = weight[places[0]][:, places[1]].square()
    if not bool(squares.isfinite().all()):
        return False
    for _ in range(6):
        squares = squares / squares.mean(dim=1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
        squares = squares / squares.mean(dim=0, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    return float(squares.var()) <= 0.9


def orthogonal(weight: Tensor) -> bool:
    """Whether a sample of rows looks orthogonal once scales of rows and columns are taken out.

    Times n, squares of cosines between rows are 1 on average for a generic square matrix ``(n, n)`` and 0 for
    a transform, whatever the order of its rows and columns; noise of a half of it makes them 0.4.
    """
    size = len(weight)
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(0))[:COMPARED]
    some = weight[rows]
    for side in (1, 0, 1, 0, 1, 0, 1):
        lengths = torch.linalg.vector_norm(some, dim=side, keepdim=True)
        some = some / lengths.clamp_min(torch.finfo(some.dtype).tiny)
    cosines = (some @ some.T).fill_diagonal_(0.0)
    return float(cosines.square().sum()) * size <= 0.7 * len(some) * (len(some) - 1)


def balanced(weight: Tensor, rounds: int = 40) -> tuple[Tensor, Tensor] | None:
    """Scales ``(n,)`` of rows and columns after whose division squares of every row and column sum to 1.

    Those of an orthonormal matrix do, so the scales around one are found without knowing it.

    Source:
        Sinkhorn and Knopp, Pacific J. Math. 21 (1967).
    """
    squares = weight.square()
    columns = torch.ones(weight.shape[1], dtype=weight.dtype)
    rows = columns
    for _ in range(rounds):
        rows = 1 / (squares @ columns)
        before, columns = columns, 1 / (rows @ squares)
        if not bool(columns.isfinite().all() and (columns > 0).all()):
            return None
        if float((columns / before - 1).abs().max()) < 1e-15:
            break
    return rows.rsqrt(), columns.rsqrt()


def cosines_by_constant(matrix: Tensor) -> Iterator[Columns]:
    """Columns of the cosine transforms of type 1 and 2, which have a row of one modulus."""
    size = len(matrix)
    for constant in _flattest(matrix):
        signs = matrix[constant].sign()
        yield Columns(torch.arange(size), signs)
        waves = matrix / (2**0.5 * matrix[constant])
        for half in (0.5, 0.0):  # type 2, type 1
            grid = (torch.arange(size, dtype=torch.float64) + half) / (size - 1 + 2 * half)
            for _, labels in _on_grid(waves.clamp(-1, 1).acos() / math.pi, grid):
                yield Columns(labels, signs)


def cosines_by_square(matrix: Tensor) -> Iterator[Columns]:
    """Columns of the cosine transform of type 4: moduli of a row take every value once."""
    size = len(matrix)
    grid = (torch.arange(size, dtype=torch.float64) + 0.5) / (2 * size)
    moduli = (matrix.abs() * (size / 2) ** 0.5).clamp_max(1).acos() / math.pi
    for row, labels in _on_grid(moduli, grid):
        yield Columns(labels, matrix[row].sign())


def backwards(found: Columns) -> Columns:
    """Of the cosine transform of type 4, the sine transform's."""
    return Columns(len(found.labels) - 1 - found.labels, found.signs)


def alternating(found: Columns) -> Columns:
    """The same of type 2: cosines under alternating signs."""
    return Columns(found.labels, found.signs * (1 - 2 * (found.labels % 2)))


def sines_between(matrix: Tensor) -> Iterator[Columns]:
    """Columns of the sine transform of type 1: moduli come in pairs, which the second row tells apart."""
    size = len(matrix)
    moduli = matrix.abs() * ((size + 1) / 2) ** 0.5
    place = torch.arange(1, size + 1, dtype=torch.float64) * (math.pi / (size + 1))
    expected = place.sin().sort().values
    twice = (2 * place).sin()
    off = (moduli.sort(dim=1).values - expected).abs().amax(1)
    for row in (off <= 0.3 / size).nonzero()[:ROWS, 0].tolist():
        signs = matrix[row].sign()
        rank = moduli[row].argsort().argsort() // 2  # pairs from both ends inwards
        second = int((moduli - twice[rank].abs()).abs().sum(1).argmin())
        left = matrix[second] * signs > 0
        labels = torch.where(left, rank, size - 1 - rank)
        if size % 2:
            labels = torch.where(rank == size // 2, rank, labels)
        if int(labels.bincount(minlength=size).max()) == 1:
            yield Columns(labels, signs)


def hartley_columns(matrix: Tensor) -> Iterator[Columns]:
    """Columns of the Hartley transform: a row and the one of the negative frequency are cosine and sine."""
    size = len(matrix)
    fast = size * matrix.square() - 1
    some = range(min(size, 16))
    # of an even size two rows have the same square
    partners = ((row, (fast @ fast[row]).topk(2, largest=False).indices.tolist()) for row in some)
    pairs = [(row, other) for row, others in partners for other in others]
    for constant, column in product(_flattest(matrix), _flattest(matrix.T)):
        signs = matrix[constant].sign()
        yield Columns(torch.arange(size), signs)
        waves = matrix * signs * (matrix[:, column] * signs[column]).sign()[:, None]
        for row, other in pairs:
            angle = torch.atan2(waves[row] - waves[other], waves[row] + waves[other]) / (2 * math.pi)
            labels = (angle * size).round().long() % size
            if int(labels.bincount(minlength=size).max()) == 1:
                yield Columns(labels, signs)


def _flattest(matrix: Tensor) -> list[int]:
    """The rows, at most four, whose moduli are those of a constant row, as those of slow cycles can be."""
    size = matrix.shape[1]
    off = (matrix.abs() * size**0.5 - 1).abs().mean(1)
    return [row for row in off.argsort()[:4].tolist() if off[row] <= off.min() + 0.05]


def _on_grid(values: Tensor, grid: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The rows of which nearly all values lie at a place of the grid of their own; with these places."""
    some = torch.arange(len(values)) if len(values) <= SEARCHED else torch.arange(SEARCHED // 2)
    values = values[some]
    ranks = values.argsort(dim=1).argsort(dim=1)
    off = (values - grid[ranks]).abs() / (grid[1] - grid[0])
    fits = (off <= 0.25).double().mean(dim=1) >= 0.9
    for row in fits.nonzero()[:, 0].tolist():
        yield row, ranks[row]
