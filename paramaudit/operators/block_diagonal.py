"""A linear map that falls into parts which know nothing of each other.

What it finds:    A matrix whose rows and columns can be ordered so that it is block-diagonal: groups of
                  inputs and outputs that only see each other, of any shapes and in any order (grouped
                  layers, independent channels, experts side by side). Inputs that nobody reads and outputs
                  that are always zero are left out. Blocks are stored, and the order as indices where it is
                  not the one that was there.
Why it matters:   m n numbers and multiplications are those of the blocks.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Blocks are the connected parts of the graph in which a row and a column are joined
                  by an entry that is not small; there must be a gap between these and the others.
Swap safety:      Exact. The blocks stay trainable; training can no longer join them.
Source:           Golub and Van Loan, Matrix Computations, 1.3. Pothen and Fan, Computing the block triangular
                  form of a sparse matrix, ACM TOMS 16 (1990).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.components import Block, blocks, has_gaps, within
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class BlockDiagonal(nn.Module):
    """Matrices side by side, ``(..., n)`` to ``(..., m)``.

    Args:
        stacks: blocks of one shape each, ``(k, rows, columns)``, in the order of their outputs.
        columns: ``(c,)`` int64, the inputs in the order in which blocks read them; None for as they are.
        rows: ``(m,)`` int64, where in the blocks' outputs each output is; one beyond the last is zero. None
            for as they are.
        bias: ``(m,)`` or None.
    """

    columns: Tensor | None
    rows: Tensor | None

    def __init__(
        self,
        stacks: Sequence[Tensor],
        columns: Tensor | None = None,
        rows: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.stacks = nn.ParameterList([owned(stack) for stack in stacks])
        self.register_buffer("columns", None if columns is None else columns.detach().clone())
        self.register_buffer("rows", None if rows is None else rows.detach().clone())
        self.bias = parameter(bias)
        self.made = sum(stack.shape[0] * stack.shape[1] for stack in stacks)
        self.has_zeros = rows is not None and bool((rows == self.made).any())

    def arguments(self) -> dict[str, Json]:
        """How many blocks there are of which shape, and whether the order is another one."""
        shapes: list[Json] = [list(stack.shape) for stack in self.stacks]
        return {
            "blocks": shapes,
            "reordered": self.columns is not None or self.rows is not None,
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Pick the inputs, apply blocks of one shape at once, put the outputs in order."""
        picked = inputs if self.columns is None else inputs.index_select(-1, self.columns)
        flat = picked.reshape(-1, picked.shape[-1])
        widths = [stack.shape[0] * stack.shape[2] for stack in self.stacks]
        made = [
            torch.einsum("bkc,krc->bkr", part.reshape(-1, stack.shape[0], stack.shape[2]), stack).flatten(1)
            for part, stack in zip(torch.split(flat, widths, dim=1), self.stacks, strict=True)
        ]
        outputs = torch.cat(made, dim=1)
        if self.has_zeros:
            outputs = F.pad(outputs, (0, 1))
        if self.rows is not None:
            outputs = outputs.index_select(1, self.rows)
        outputs = outputs.reshape(*inputs.shape[:-1], outputs.shape[1])
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> BlockDiagonal | None:
    """The blocks, when there are at least two (or numbers that nobody needs), and not all are one number."""
    weight = view.weight
    if min(weight.shape) < 2 or weight.numel() < 8:
        return None
    found = blocks(weight, view.noise) if has_gaps(weight) and usable(view) else []
    if not found or all(block.shape == (1, 1) for block in found):
        return None
    if left_over(weight - within(weight, found), weight) > NOISY:
        return None
    rows, columns = _orders(found, weight.shape[0])
    plain = _unmoved(columns, weight.shape[1]) and _unmoved(rows, weight.shape[0])
    if not plain:
        found = sorted(found, key=lambda block: block.shape)
        rows, columns = _orders(found, weight.shape[0])
    stacks = [
        torch.stack([weight[block.rows[:, None], block.columns] for block in group])
        for _, group in itertools.groupby(found, key=lambda block: block.shape)
    ]
    kept = None if _unmoved(columns, weight.shape[1]) else columns
    return BlockDiagonal(stacks, kept, None if _unmoved(rows, weight.shape[0]) else rows, kept_bias(view))


def _orders(found: Sequence[Block], size: int) -> tuple[Tensor, Tensor]:
    """Where each of ``size`` outputs is in the blocks' outputs, and the inputs in the order of the blocks."""
    made = torch.cat([block.rows for block in found])
    rows = torch.full((size,), len(made))
    rows[made] = torch.arange(len(made))
    return rows, torch.cat([block.columns for block in found])


def _unmoved(order: Tensor, size: int) -> bool:
    return len(order) == size and bool((order == torch.arange(size)).all())


def _parts(*shapes: tuple[int, int], shuffled: bool = False, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(len(shapes))
    matrix = scipy.linalg.block_diag(*(rng.standard_normal(shape) for shape in shapes))
    if shuffled:
        matrix = matrix[rng.permutation(len(matrix))][:, rng.permutation(matrix.shape[1])]
    return stored(matrix, rng.standard_normal(len(matrix)) if bias else None)


_FOUR = ((9, 7), (2, 20), (9, 7), (1, 9), (17, 11))


def _unread() -> Matrix:
    """A quarter of the outputs is zero, and a quarter of the inputs is not read."""
    matrix = np.zeros((40, 48))
    matrix[5:35, 12:] = np.random.default_rng(4).standard_normal((30, 36))
    return stored(matrix)


def _leaking(size: int) -> Matrix:
    """One per cent between the two halves."""
    rng = np.random.default_rng(5)
    matrix = rng.standard_normal((size, size))
    matrix[: size // 2, size // 2 :] *= 0.01
    matrix[size // 2 :, : size // 2] *= 0.01
    return stored(matrix)


def _one_bridge(size: int) -> Matrix:
    """A single weak entry joins two blocks."""
    rng = np.random.default_rng(6)
    matrix = scipy.linalg.block_diag(*(rng.standard_normal((size, size)) for _ in range(2)))
    matrix[0, -1] = 0.01
    return stored(matrix)


def _sparse(size: int) -> NDArray[np.float64]:
    """A tenth of the entries, anywhere: one connected part."""
    rng = np.random.default_rng(7)
    return rng.standard_normal((size, size)) * (rng.random((size, size)) < 0.1)


OPERATOR = Operator(
    "block-diagonal",
    propose,
    finds=(
        Example("four of 16", lambda: _parts(*[(16, 16)] * 4)),
        Example("three shapes, bias", lambda: _parts((8, 12), (20, 5), (3, 31), bias=True)),
        Example("shuffled", lambda: _parts(*[(12, 9)] * 5, shuffled=True)),
        Example("four shapes, shuffled, bias", lambda: _parts(*_FOUR, shuffled=True, bias=True)),
        Example("zeros at the edges", _unread),
    ),
    ignores=(
        Example("1 % between two blocks", lambda: _leaking(48)),
        Example("one entry between two blocks", lambda: _one_bridge(24)),
        Example("sparse at random", lambda: stored(_sparse(64))),
    ),
    transposes=True,
)
