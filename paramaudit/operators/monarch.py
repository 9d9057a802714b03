"""A linear map that is two block-diagonal matrices with a transposition between them.

What it finds:    ``W = L P R``: the input in k blocks, a small matrix for each; the results read across the
                  blocks; again a small matrix for each group. In a matrix, the part that leads from one
                  block of inputs through one place between to every k-th output is the product of two
                  vectors. All block sizes that divide rows and columns are tried, and the smallest near
                  one is taken.
Why it matters:   m n numbers are j k (m/j + n/k); with blocks of square root size 2 n sqrt n instead of n^2.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The vectors are the leading singular vectors of every part, the nearest such map
                  in the Frobenius norm.
Swap safety:      The same function, with blocks that are trainable within the family.
Source:           Dao et al., Monarch: expressive structured matrices for efficient and accurate training,
                  ICML 2022, 3.1 and theorem 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.chance import log_chance
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.numerics.rank_one import leading, power_of_two, share, usual_share
from paramaudit.records import Example, Json, Matrix, Operator

SAMPLE = 8
"""Rows and columns of a part that are looked at first."""

FIRM = 1e-3
"""Parts of few rows and columns are never this near to products by chance."""

CLEAR = 0.13
"""Small parts are nearer than this: zeros with noise are nearly products as well, of blocks on a diagonal."""

SURE = -50.0
"""The logarithm of how likely so near a fit is by chance, at most."""

MOST = 4
"""So many near maps are fitted, those that store least."""


class Monarch(nn.Module):
    """Two block-diagonal matrices, ``(..., n)`` to ``(..., m)``.

    Args:
        right: ``(k, j, n/k)``, the matrix of every block of inputs.
        left: ``(k, j, m/j)``, output l of group j is the sum over k of ``left[k, j, l]`` times what block k
            made for it; outputs take turns between the groups.
        bias: ``(m,)`` or None.
    """

    def __init__(self, right: Tensor, left: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.right = owned(right)
        self.left = owned(left)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """How many blocks there are of which shape, first those that see the input."""
        k, j, wide = self.right.shape
        tall = self.left.shape[2]
        return {"right": [k, j, wide], "left": [j, tall, k], "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Apply the blocks, read across, apply the others."""
        blocks = inputs.reshape(-1, self.right.shape[0], self.right.shape[2])
        between = torch.einsum("bki,kji->bkj", blocks, self.right)
        outputs = torch.einsum("bkj,kjl->blj", between, self.left)
        total = self.left.shape[1] * self.left.shape[2]
        return plus(outputs.reshape(*inputs.shape[:-1], total), self.bias, inputs.dtype)


def propose(view: Matrix) -> Monarch | None:
    """The near map with the fewest numbers."""
    weight = view.weight
    sizes = _looking_so(weight)
    if not sizes or not usable(view):
        return None
    gain = power_of_two(weight)
    found: list[tuple[float, Monarch]] = []
    for groups, blocks in sorted(sizes, key=lambda at: at[1] * weight.shape[0] + at[0] * weight.shape[1]):
        parts = _parts(weight, groups, blocks) / gain
        if not _roughly(parts):
            continue
        left, right = leading(parts, view.dtype)
        residual = left_over(parts - left.unsqueeze(-1) * right.unsqueeze(-2), parts)
        usual = 1 - usual_share(*parts.shape[-2:])
        if residual <= max(FIRM, NOISY * usual**0.5) or _surely(residual, parts):
            found.append((residual, Monarch(right * gain, left, kept_bias(view))))
            if residual <= view.noise or len(found) == MOST:
                break  # those to come store more
    best = min((residual for residual, _ in found), default=0.0)
    near = (layer for residual, layer in found if residual <= 1.5 * best + 2 * view.noise)
    return next(near, None)


def _surely(residual: float, parts: Tensor) -> bool:
    """Whether parts too small to tell one by one are, all of them, nearer to products than by chance."""
    count = parts.shape[:-2].numel()
    return residual <= CLEAR and log_chance(residual, parts.numel(), count * sum(parts.shape[-2:])) <= SURE


def _roughly(parts: Tensor) -> bool:
    """Whether every part, on the whole, lies along its own heaviest row."""
    heaviest = parts.square().sum(-1).argmax(-1)
    index = heaviest[..., None, None].expand(*heaviest.shape, 1, parts.shape[-1])
    right = parts.gather(-2, index).squeeze(-2)
    right = right / right.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(parts.dtype).tiny)
    along = torch.linalg.vector_norm(parts @ right.unsqueeze(-1))
    return float(along) ** 2 >= 0.5 * float(torch.linalg.vector_norm(parts)) ** 2


def _sizes(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Numbers of groups and blocks with parts of at least three rows and columns, that save numbers."""
    several = [blocks for blocks in range(1, columns // 3 + 1) if columns % blocks == 0]
    for groups in (groups for groups in range(1, rows // 3 + 1) if rows % groups == 0):
        for blocks in several:
            if groups * blocks == 1:
                continue
            if groups * blocks * (rows // groups + columns // blocks) < rows * columns:
                yield groups, blocks


def _parts(weight: Tensor, groups: int, blocks: int) -> Tensor:
    """``(k, j, m/j, n/k)``: from every block of inputs to every group of outputs; a view."""
    return weight.reshape(-1, groups, blocks, weight.shape[1] // blocks).permute(2, 1, 0, 3)


def _looking_so(weight: Tensor) -> list[tuple[int, int]]:
    """The sizes at which samples of a few parts have rank one; those of one shape are judged at once."""
    sizes = list(_sizes(*weight.shape))
    # what is dear is looked at only where what is cheap has passed
    looks: list[Callable[[Tensor, tuple[int, int]], Tensor]] = [_first, _later]
    looks += [partial(_around, entry=entry) for entry in range(3)]
    for sample in looks:
        samples: dict[tuple[int, ...], list[tuple[tuple[int, int], Tensor]]] = {}
        for size in sizes:
            part = sample(weight, size)
            samples.setdefault(tuple(part.shape), []).append((size, part))
        bad: set[tuple[int, int]] = set()
        for shape, taken in samples.items():
            held = share(torch.stack([part for _, part in taken]))
            least = (1 + min(usual_share(shape[0], shape[1]), 0.8)) / 2
            bad |= {size for (size, _), own in zip(taken, held.tolist(), strict=True) if own < least}
        sizes = [size for size in sizes if size not in bad]
    return sizes


def _first(weight: Tensor, size: tuple[int, int], group: int = 0, block: int = 0) -> Tensor:
    """Some rows and columns of the first part of a size, or of another one."""
    (groups, blocks), (rows, columns) = size, weight.shape
    down = _spread(rows // groups) * groups + group
    along = _spread(columns // blocks) + block * (columns // blocks)
    return torch.from_numpy(weight.numpy()[down[:, None], along])


@lru_cache(maxsize=4096)
def _spread(count: int) -> NDArray[np.int64]:
    """Some of 0 ... count - 1, evenly apart, the ends among them."""
    return np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)


def _later(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """The same of a part further on."""
    return _first(weight, size, size[0] // 2, size[1] - 1)


def _around(weight: Tensor, size: tuple[int, int], entry: int) -> Tensor:
    """The heaviest rows and columns beside a heavy entry, of its part: most others may be zero."""
    (groups, blocks), (rows, columns), numbers = size, weight.shape, weight.numpy()
    row = (2 * entry + 1) * rows // 6
    column = int(np.abs(numbers[row]).argmax())
    wide = columns // blocks
    down = np.arange(row % groups, rows, groups)
    along = np.arange(column // wide * wide, (column // wide + 1) * wide)
    down = down[np.argsort(-np.abs(numbers[down, column]), kind="stable")[:SAMPLE]]
    along = along[np.argsort(-np.abs(numbers[row, along]), kind="stable")[:SAMPLE]]
    return torch.from_numpy(numbers[down[:, None], along])


def _random(groups: int, blocks: int, tall: int, wide: int, bias: bool = False) -> Matrix:
    """``left @ shuffle @ right`` with ``scipy.linalg.block_diag``."""
    rng = np.random.default_rng(groups + blocks)
    right = scipy.linalg.block_diag(*rng.standard_normal((blocks, groups, wide)))
    left = scipy.linalg.block_diag(*rng.standard_normal((groups, tall, blocks)))
    across = np.arange(blocks * groups).reshape(blocks, groups).T.ravel()
    back = np.arange(groups * tall).reshape(groups, tall).T.ravel()
    matrix = (left @ right[across])[back]
    return stored(matrix, rng.standard_normal(len(matrix)) if bias else None)


def _fourier_like(size: int) -> Matrix:
    """Hartley's transform: no Monarch matrix of real blocks, though Fourier's is one of complex ones."""
    grid = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    return stored(np.cos(grid) + np.sin(grid))


def _one_row(size: int) -> Matrix:
    matrix = _random(size, size, size, size).weight.numpy().copy()
    matrix[3] = np.random.default_rng(2).standard_normal(size * size)
    return stored(matrix)


def _noisy(size: int) -> Matrix:
    clean = _random(size, size, size, size).weight.numpy()
    return stored(clean * (1 + 0.01 * np.random.default_rng(3).standard_normal(clean.shape)))


OPERATOR = Operator(
    "monarch",
    propose,
    finds=(
        Example("64 points, blocks of 8", lambda: _random(8, 8, 8, 8)),
        Example("rectangular, bias", lambda: _random(4, 6, 9, 10, bias=True)),
        Example("wide", lambda: _random(5, 12, 5, 12)),
        Example("144 points", lambda: _random(12, 12, 12, 12)),
    ),
    ignores=(
        Example("Hartley's transform", lambda: _fourier_like(64)),
        Example("one row replaced", lambda: _one_row(8)),
        Example("1 % noise", lambda: _noisy(8)),
    ),
    transposes=True,
)
