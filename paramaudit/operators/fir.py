"""A linear map that is a filter with few taps.

What it finds:    ``y[t] = sum_j b_j x[t - j]`` with far fewer taps than inputs: from rest, centred, looking
                  ahead, or only where all taps see an input (the valid part); several filters over the
                  same input, one block after another or row by row in turn. Taps that are the same
                  forwards and backwards, but perhaps for their sign, are stored once (linear phase).
Why it matters:   m n numbers are a few taps, and a product costs O(m) for each of them.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Taps are means of diagonals, the nearest Toeplitz matrix in the Frobenius
                  norm; the first and the last one are more than 6 standard deviations away from zero.
Swap safety:      Exact at any input of n numbers. The taps are trainable within the family. Half precision is
                  computed in float32.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 5.7 (linear phase) and 6.5.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.linalg
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.blocks import deviations, stacked, trimmed
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import SIGMAS, kept_bias, stored
from paramaudit.numerics.response import impulse_matrix
from paramaudit.records import Example, Json, Matrix, Operator

SHORT = 0.25
"""Taps are few when they are at most this part of the inputs."""

SMALL = 5
"""So many are few as well, where there are three times as many diagonals."""


class Fir(nn.Module):
    """k filters of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        rows: m, the outputs of one filter.
        columns: n.
        first: the lag ``row - column`` of the first tap.
        values: the taps ``(k, taps)``; with a symmetry the first ones only, those up to the middle.
        taps: how many taps a filter has.
        symmetry: what the last tap is of the first: 1, -1, or 0 when there is none.
        interleaved: whether outputs take turns between the filters.
        bias: ``(k m,)`` or None.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        first: int,
        values: Tensor,
        taps: int,
        symmetry: int = 0,
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first = rows, columns, first
        self.taps, self.symmetry, self.interleaved = taps, symmetry, interleaved
        self.values = owned(values)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, order of blocks, and the taps of every filter from the lag of the first one."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "interleaved": self.interleaved,
            "starts_at": self.first,
            "filters": list(self.response().detach().tolist()),
            "stores": "half the taps" if self.symmetry else "taps",
            "bias": self.bias is not None,
        }

    def response(self) -> Tensor:
        """All taps, ``(k, taps)``."""
        if not self.symmetry:
            return self.values
        rest = self.values[:, : self.taps // 2].flip(1) * self.symmetry
        middle = self.taps - rest.shape[1] - self.values.shape[1]
        # the middle tap of an odd number with opposite sign is zero and not stored
        gap = torch.zeros(len(rest), middle, dtype=rest.dtype, device=rest.device)
        return torch.cat([self.values, gap, rest], dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve with the taps."""
        outputs = convolved(inputs, self.response(), self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Fir | None:
    """The taps of a stack, when they are few; half of them, when these say the others."""
    stack = view.once(stacked)
    if stack is None or min(stack.rows, stack.columns) < 3:
        return None
    for unit in deviations(stack, view)[:2]:  # the view's own rounding, no coarser
        alive = stack.values.abs() > SIGMAS * unit
        if not bool(alive.any()):
            return None
        found = trimmed(stack, alive)
        taps = found.values.shape[1]
        few = max(SHORT * stack.columns, min(SMALL, (stack.rows + stack.columns - 1) // 3))
        if 2 <= taps <= few:
            low = found.first - stack.first
            values, symmetry = _halved(found.values, unit[:, low : low + taps])
            shape = found.rows, found.columns, found.first
            return Fir(*shape, values, taps, symmetry, found.interleaved, kept_bias(view))
    return None


def _halved(values: Tensor, unit: Tensor) -> tuple[Tensor, int]:
    """The taps that need storing, and the symmetry that says the others."""
    tolerance = SIGMAS * (unit.square() + unit.flip(1).square()).sqrt()
    taps = values.shape[1]
    for sign in (1, -1):
        mirrored = sign * values.flip(1)
        if bool(((values - mirrored).abs() <= tolerance).all()):
            kept = (taps + 1) // 2 if sign == 1 else taps // 2
            return 0.5 * (values + mirrored)[:, :kept], sign
    return values, 0


def _random_taps(taps: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(taps)


def _part(size: int, taps: NDArray[np.float64], mode: Literal["valid", "same", "full"]) -> Matrix:
    """``np.convolve`` of every unit impulse in one of numpy's modes."""
    return stored(np.stack([np.convolve(row, taps, mode) for row in np.eye(size)], axis=1))


def _bank(size: int, interleaved: bool) -> Matrix:
    """Four filters of seven taps over the same input, with a bias."""
    blocks = [impulse_matrix(size, _random_taps(7, seed)) for seed in range(4)]
    stack = np.stack(blocks, axis=1 if interleaved else 0).reshape(-1, size)
    return stored(stack, _random_taps(len(stack), 9))


def _drifting(size: int) -> Matrix:
    """The second tap grows by 1 % from the first output to the last."""
    matrix = impulse_matrix(size, np.array([1.0, 0.5, 0.25]))
    matrix += np.diag(np.linspace(0, 0.005, size - 1), -1)
    return stored(matrix)


def _one_row(size: int) -> Matrix:
    """One row's taps are in reverse."""
    matrix = impulse_matrix(size, _random_taps(5, 3))
    matrix[size // 2] = scipy.linalg.toeplitz(matrix[:, 0])[size // 2]
    return stored(matrix)


OPERATOR = Operator(
    "fir",
    propose,
    finds=(
        Example("five taps from rest", lambda: stored(impulse_matrix(64, _random_taps(5, 0)))),
        Example("valid part", lambda: _part(80, _random_taps(9, 1), "valid")),
        Example("centred", lambda: _part(60, _random_taps(7, 2), "same")),
        Example("with its tail", lambda: _part(50, _random_taps(6, 3), "full")),
        Example("linear phase", lambda: _part(120, scipy.signal.firwin(21, 0.3), "same")),
        Example("antisymmetric", lambda: _part(64, np.array([1.0, 2.0, 0.0, -2.0, -1.0]), "same")),
        Example("four filters, with a bias", lambda: _bank(48, interleaved=False)),
        Example("four filters, in turns", lambda: _bank(40, interleaved=True)),
    ),
    ignores=(
        Example("a tap that drifts", lambda: _drifting(64)),
        Example("one row in reverse", lambda: _one_row(64)),
    ),
)
