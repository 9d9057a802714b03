"""A linear map that delays: a few echoes of the input, each with its own gain.

What it finds:    ``y[t] = sum_i g_i x[t - d_i]`` from rest with few delays d_i among many: pure delays, delay
                  lines, early reflections; several of them over the same input, one block after another
                  or row by row in turn. Delays may be negative (looking ahead). Gains that are all
                  1 are not stored. A delay line that wraps around is circulant, and a circular
                  delay by itself a permutation; both are left to those.
Why it matters:   m n numbers are one gain and one index for each delay.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Gains are means of diagonals, the nearest Toeplitz matrix in the Frobenius
                  norm; a diagonal counts as zero when it is within 6 standard deviations of it.
Swap safety:      Exact at any input of n numbers. The gains are trainable, the delays are not. Half precision
                  is computed in float32.
Source:           Smith, Physical Audio Signal Processing (2010), Delay Lines and Tapped Delay Lines.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.blocks import Stack, deviations, stacked, trimmed
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import SIGMAS, kept_bias, stored
from paramaudit.records import Example, Json, Matrix, Operator

FEW = 0.5
"""Delays are few when they are at most this part of the lags from the first to the last of them."""


class Delay(nn.Module):
    """k tapped delay lines of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        rows: m, the outputs of one line.
        columns: n.
        first: the lag ``row - column`` of the earliest delay.
        shape: k, and how many lags there are from the earliest delay to the latest.
        places: ``(p,)`` int64, the delays less ``first``, plus the lags of all lines before.
        gains: ``(p,)``, or None when all are 1.
        interleaved: whether outputs take turns between the lines.
        bias: ``(k m,)`` or None.
    """

    places: Tensor

    def __init__(
        self,
        rows: int,
        columns: int,
        first: int,
        shape: tuple[int, int],
        places: Tensor,
        gains: Tensor | None = None,
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first = rows, columns, first
        self.shape, self.interleaved = shape, interleaved
        self.register_buffer("places", places)
        self.gains, self.bias = parameter(gains), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, order of blocks, and delays and gains of every line."""
        gains = torch.ones(len(self.places)) if self.gains is None else self.gains.detach().double()
        lines: list[Json] = []
        for line in range(self.shape[0]):
            own = self.places // self.shape[1] == line
            delays = self.places[own] % self.shape[1] + self.first
            lines.append({"delays": list(delays.tolist()), "gains": list(gains[own].tolist())})
        return {
            "rows": self.rows,
            "columns": self.columns,
            "interleaved": self.interleaved,
            "lines": lines,
            "stores": [] if self.gains is None else ["gains"],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Put the gains in their places and convolve."""
        wide = widened(inputs)
        if self.gains is None:
            gains = torch.ones(self.places.shape, dtype=wide.dtype, device=wide.device)
        else:
            gains = self.gains.to(wide.dtype)
        lags = torch.zeros(self.shape[0] * self.shape[1], dtype=wide.dtype, device=wide.device)
        responses = lags.index_add(0, self.places, gains).reshape(self.shape)
        outputs = convolved(wide, responses, self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Delay | None:
    """The diagonals of a stack that are not zero, when they are few."""
    stack = view.once(stacked)
    if stack is None or min(stack.rows, stack.columns) < 3:
        return None
    for unit in deviations(stack, view)[:2]:  # the view's own rounding, no coarser
        alive = stack.values.abs() > SIGMAS * unit
        if not bool(alive.any(1).all()):
            return None
        found = trimmed(stack, alive)
        if int(alive.any(0).sum()) <= max(1, FEW * found.values.shape[1]):
            low = found.first - stack.first
            inside = slice(low, low + found.values.shape[1])
            return _line_of(found, alive[:, inside], unit[:, inside], view)
    return None


def _line_of(stack: Stack, alive: Tensor, unit: Tensor, view: Matrix) -> Delay | None:
    """The delay lines, unless another operator is more telling."""
    if _diagonal(stack) or _wraps(stack, alive):
        return None
    gains = stack.values[alive]
    plain = bool(((gains - 1).abs() <= SIGMAS * unit[alive]).all())
    shape = stack.values.shape[0], stack.values.shape[1]
    places = alive.flatten().nonzero()[:, 0]
    return Delay(
        stack.rows,
        stack.columns,
        stack.first,
        shape,
        places,
        None if plain else gains,
        stack.interleaved,
        kept_bias(view),
    )


def _diagonal(stack: Stack) -> bool:
    """Whether nothing is delayed."""
    return stack.first == 0 and stack.values.shape == (1, 1)


def _wraps(stack: Stack, alive: Tensor) -> bool:
    """Whether what leaves a square block on one side comes in on the other."""
    size = stack.columns
    if stack.rows != size or stack.values.shape[1] <= size:
        return False
    lags = stack.first + torch.arange(stack.values.shape[1])
    for own, values in zip(alive, stack.values, strict=True):
        gains = dict(zip(lags[own].tolist(), values[own].tolist(), strict=True))
        turned = {lag - size if lag > 0 else lag + size: gain for lag, gain in gains.items() if lag}
        if not turned or turned.keys() != gains.keys() - {0}:
            return False
        if any(abs(gains[lag] - gain) > 0.01 * abs(gain) for lag, gain in turned.items()):
            return False
    return True


def _line(
    rows: int, columns: int, delays: NDArray[np.int64], gains: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum of ``gain np.eye(rows, columns, -delay)``."""
    matrix = np.zeros((rows, columns))
    for delay, gain in zip(delays.tolist(), gains.tolist(), strict=True):
        matrix += gain * np.eye(rows, columns, -delay)
    return matrix


def _random_line(rows: int, columns: int, taps: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    delays = np.sort(rng.choice(np.arange(1, rows - 2), taps, replace=False))
    return _line(rows, columns, delays, rng.choice([-1.0, 1.0], taps) * rng.uniform(0.1, 1.0, taps))


def _lines(size: int, interleaved: bool) -> Matrix:
    """Three delay lines over the same input, with a bias."""
    blocks = [_random_line(size, size, 4, seed) for seed in (1, 2, 3)]
    stack = np.stack(blocks, axis=1 if interleaved else 0).reshape(-1, size)
    return stored(stack, np.random.default_rng(0).standard_normal(len(stack)))


def _later(size: int) -> Matrix:
    """One of the delays is a sample longer from the middle on; the size has no divisor near."""
    first, second = (_line(size, size, np.array([3, d]), np.array([0.8, 0.5])) for d in (20, 21))
    return stored(np.concatenate([first[: size // 2], second[size // 2 :]]))


def _fading(size: int) -> Matrix:
    """The echo is half a per cent weaker at the end than at the beginning."""
    echo = np.eye(size, size, -17) * np.linspace(0.6, 0.597, size)[:, None]
    return stored(np.eye(size) + echo)


OPERATOR = Operator(
    "delay",
    propose,
    finds=(
        Example("eight echoes", lambda: stored(_random_line(96, 96, 8, 0))),
        Example("pure delay", lambda: stored(np.eye(64, 64, -19))),
        Example("pure delay with a gain", lambda: stored(-0.7 * np.eye(50, 50, -1))),
        Example("dry and two echoes", lambda: stored(np.eye(80) + _random_line(80, 80, 2, 1))),
        Example("longer than the input", lambda: stored(_random_line(120, 70, 5, 2))),
        Example("looking ahead", lambda: stored(np.eye(40, 60, 12) + 0.5 * np.eye(40, 60, 20))),
        Example("three lines, with a bias", lambda: _lines(64, interleaved=False)),
        Example("three lines, in turns", lambda: _lines(48, interleaved=True)),
    ),
    ignores=(
        Example("one delay longer from the middle on", lambda: _later(89)),
        Example("fading echo", lambda: _fading(96)),
    ),
)
