"""The blocks of a matrix: rows and columns that large entries join, whatever their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from paramaudit.numerics.noise import left_over

_EXACT = (0.0, 1e-6, 1e-4, 3e-3)
_NOISY = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45, 0.65, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)
LEVELS = (*_EXACT, *_NOISY)
"""What is taken for zero, as parts of a row's root mean square: none, rounding of several dtypes, noise."""

_OF_ALL = 9
"""So many of the last levels are also tried as parts of the whole matrix's root mean square."""

WORTH = 0.75
"""Blocks that hold more than this part of all entries are no finding."""

SAMPLED = 64
"""Rows that are asked first whether they join all columns."""

BESIDE = 0.6
"""Norm outside the block that a row or column may have, as a part of its own: noise weighs on small ones."""

_FEW = 4096
"""A matrix of fewer numbers is cheap to look at, and a few of its rows say little."""


@dataclass(frozen=True)
class Block:
    """Some rows and some columns, each ascending, that only see each other."""

    rows: Tensor
    columns: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """How many of each."""
        return len(self.rows), len(self.columns)


def blocks(weight: Tensor, noise: float) -> list[Block]:
    """The blocks of a matrix ``(m, n)``, by their first column; empty when it has none worth the name.

    At each level small entries are taken for zero, and the parts into which the bipartite graph of the others
    falls are blocks. Levels count at which little of every single row and column is outside of them: a
    matrix of heavy tails falls apart too, but its small entries are most of some rows. Of those that leave
    about as little a number, the one with the fewest entries is taken. Rows that are no more
    than rounding, of unit roundoff ``noise``, are in no block.
    """
    size = weight.abs()
    largest = size.amax(1, keepdim=True)
    asked = torch.linspace(0, len(size) - 1, min(SAMPLED, len(size))).long()
    sampled = size[asked]
    least = min(64 * noise, 0.02) * float(weight.square().mean().sqrt())
    before, fits = -1, list[tuple[float, int, list[Block]]]()
    for limit in _limits(weight, least):
        if _joined(sampled > limit[asked], float((largest > limit).double().mean())):
            continue
        alive = size > limit
        count = int(alive.sum())
        if count == before:
            continue
        before = count
        found = _parts(alive)
        held = sum(len(b.rows) * len(b.columns) for b in found)
        if found and held <= WORTH * weight.numel() and _little_beside(weight, found, least):
            beside = weight.numel() - held
            left = left_over(weight - within(weight, found), weight)
            fits.append((left * (weight.numel() / beside) ** 0.5, held, found))
            if fits[-1][0] == 0.0:
                break
    best = min((left for left, _, _ in fits), default=0.0)
    near = [(held, found) for left, held, found in fits if left <= 1.5 * best + 2 * noise]
    return min(near, key=lambda fit: fit[0])[1] if near else []


def _limits(weight: Tensor, least: float) -> Iterator[Tensor]:
    """What may be taken for zero in each row, or everywhere: rounding goes by rows, noise may be of one size.

    Rows of a root mean square of at most ``least`` are zero.
    """
    scale = weight.square().mean(1, keepdim=True).sqrt()
    nothing, whole = scale <= least, weight.square().mean().sqrt()
    for level in LEVELS:
        yield (level * scale).masked_fill(nothing, torch.inf)
    for level in _NOISY[-_OF_ALL:]:
        yield (level * whole).expand_as(scale).masked_fill(nothing, torch.inf)


def within(weight: Tensor, found: Sequence[Block]) -> Tensor:
    """The matrix with zeros outside of the blocks."""
    inside = torch.zeros_like(weight)
    for block in found:
        at = block.rows[:, None], block.columns
        inside[at] = weight[at]
    return inside


def has_gaps(weight: Tensor) -> bool:
    """Whether a sixth of the entries of a few rows are small; a twelfth or so is in a Gaussian one.

    Not asked of a matrix of few numbers.
    """
    rows = weight.shape[0]
    if weight.numel() < _FEW:
        return True
    some = weight[torch.linspace(0, rows - 1, min(16, rows)).long()]
    limit = 0.1 * some.square().mean(1, keepdim=True).sqrt()
    return float((some.abs() <= limit).double().mean()) >= 0.16


def _joined(some: Tensor, filled: float) -> bool:
    """Whether a few rows already join all columns, so that there is one block, and that of most rows.

    Args:
        some: which entries of those rows are not small.
        filled: how large a part of all rows has such entries.
    """
    reached = some[int(some.sum(1).argmax())]
    for _ in range(8):
        wider = some[(some & reached).any(1)].any(0)
        if bool(wider.all()):
            return filled > WORTH
        if torch.equal(wider, reached):
            return False
        reached = wider
    return False


def _parts(alive: Tensor) -> list[Block]:
    rows, columns = alive.shape
    where = alive.nonzero().numpy()
    if not len(where):
        return []
    graph = coo_array((alive[alive].numpy(), (where[:, 0], where[:, 1] + rows)), shape=(rows + columns,) * 2)
    _, label = connected_components(graph, directed=False)
    labels = torch.from_numpy(label).long()
    order = labels.argsort(stable=True)  # rows before columns in every part
    found: list[Block] = []
    for members in torch.tensor_split(order, labels.bincount().cumsum(0)[:-1]):
        inside = members[members < rows], members[members >= rows] - rows
        if len(inside[0]) and len(inside[1]):
            found.append(Block(*inside))
    return sorted(found, key=lambda block: int(block.columns[0]))


def _little_beside(weight: Tensor, found: list[Block], least: float) -> bool:
    beside, whole = (weight - within(weight, found)).square(), weight.square()
    return all(
        bool((beside.sum(axis) <= BESIDE**2 * whole.sum(axis) + least**2 * weight.shape[axis]).all())
        for axis in (0, 1)
    )
