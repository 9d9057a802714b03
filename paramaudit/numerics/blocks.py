"""A matrix as a stack of Toeplitz blocks over the same input: the impulse responses of a bank of filters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from paramaudit.numerics.diagonals import alike, diagonal_counts, toeplitz_fit
from paramaudit.numerics.eight_bits import diagonals_before
from paramaudit.numerics.noise import NOISY, left_over, spread, usable
from paramaudit.records import Matrix

MEANS = 2.0**-20
"""A residual beyond this part asks whether means of diagonals are the numbers that were rounded."""


@dataclass(frozen=True)
class Stack:
    """k filters over the same n inputs, each with m outputs.

    ``values`` ``(k, band)`` are their diagonals from the offset ``first`` (``row - column``) on, ``noise``
    ``(band,)`` is the standard deviation of each by how much its entries differ. ``left`` is what the stack
    leaves of the matrix, 0 where storage in eight bits a row explains all of it.
    """

    rows: int
    columns: int
    interleaved: bool
    values: Tensor
    first: int
    noise: Tensor
    left: float

    @property
    def lags(self) -> int:
        """How many lags a response has from ``first`` to the last row."""
        return self.rows - self.first


def stacked(view: Matrix) -> Stack | None:
    """The smallest of the near stacks of Toeplitz blocks; None when no stack is near."""
    weight = view.weight
    total, columns = weight.shape
    if total < 2 or columns < 2:
        return None
    layouts = _layouts(weight)
    # a few rows dismiss most matrices before all numbers are read
    if not layouts or not usable(view):
        return None
    found: list[Stack] = []
    for blocks, interleaved in layouts:
        stack = _fit(weight, blocks, interleaved)
        if stack is None:
            continue
        if stack.values.numel() < weight.numel():
            found.append(stack)
        if stack.left <= 2 * view.noise:
            break
    if not found:
        return None
    best = min(stack.left for stack in found)
    near = [stack for stack in found if stack.left <= 1.5 * best + 2 * view.noise]
    return min(near, key=lambda stack: stack.values.numel())


def deviations(stack: Stack, view: Matrix) -> list[Tensor]:
    """How far each value ``(k, band)`` may be from a clean one, as one standard deviation; guesses.

    Entries that are alike to the last bit still carry the rounding of their dtype, or that of a sum which
    they are made of, and formulas that of float64. Numbers may have been rounded to a shorter dtype
    before, which only a fit can tell.
    """
    sizes = stack.values.abs()
    largest = sizes.max()
    noises = [view.noise, *(noise for noise in (2.0**-24, 2.0**-11, 2.0**-8) if noise > 2 * view.noise)]
    floor = stack.noise + 2.0**-46 * largest
    return [floor + noise * kind for noise in noises for kind in (sizes, 4 * largest.expand_as(sizes))]


def trimmed(stack: Stack, alive: Tensor) -> Stack:
    """The stack from the first lag to the last at which some of these ``(k, band)`` flags is set."""
    lags = alive.any(0).nonzero()[:, 0]
    low, high = int(lags[0]), int(lags[-1]) + 1
    values, noise = stack.values[:, low:high], stack.noise[low:high]
    return replace(stack, values=values, first=stack.first + low, noise=noise)


def _fit(weight: Tensor, blocks: int, interleaved: bool) -> Stack | None:
    total, columns = weight.shape
    rows = total // blocks
    parts = weight.reshape((rows, blocks, columns) if interleaved else (blocks, rows, columns))
    if interleaved:
        parts = parts.transpose(0, 1)
    fitted, residuals = zip(*(toeplitz_fit(part) for part in parts), strict=True)
    means, residual = torch.stack(fitted), torch.stack(residuals)
    left = left_over(residual, weight)
    if left > NOISY:
        return None
    if left > MEANS:
        before = [diagonals_before(part, mean) for part, mean in zip(parts, means, strict=True)]
        if all(value is not None for value in before):
            means, left = torch.stack([value for value in before if value is not None]), 0.0
    noise = spread(residual, means.numel()) / diagonal_counts(rows, columns).sqrt()
    # the band ends where a diagonal is within 5 standard deviations of zero
    alive = (means.abs() > 5 * noise + 1e-12 * float(means.abs().max())).any(0).nonzero()[:, 0]
    if not len(alive):
        return None
    low, high = int(alive[0]), int(alive[-1]) + 1
    return Stack(rows, columns, interleaved, means[:, low:high], low - (columns - 1), noise[low:high], left)


def _layouts(weight: Tensor) -> list[tuple[int, bool]]:
    """Numbers of blocks worth fitting, one after another (False) or in turns (True)."""
    total = weight.shape[0]
    found: list[tuple[int, bool]] = []
    divisors = [k for k in range(1, total // 2 + 1) if total % k == 0]
    if _moves_on(weight, 1) >= 0.5:
        moved = weight[1:, 1:] - weight[:-1, :-1]
        energy = weight.square().sum(1)
        off = moved.square().sum(1)
        breaks = (off > 0.3 * (energy[1:] + energy[:-1])) & (off > 0.05 * float(energy.mean()))
        where = breaks.nonzero()[:, 0] + 1
        found += [
            (k, False)
            for k in divisors
            # noise breaks rows that are empty: one block is always worth a look
            if k == 1 or (total // k >= 4 and bool((where % (total // k) == 0).all()))
        ]
    found += [(k, True) for k in divisors if k > 1 and total // k >= 4 and _moves_on(weight, k) >= 0.6]
    return found[:12]


def _moves_on(weight: Tensor, step: int) -> float:
    """How much a row is the row ``step`` above, moved one place to the right; on 16 rows."""
    last = weight.shape[0] - step - 1
    some = torch.linspace(0, last, min(16, last + 1)).long()
    return alike(weight[some, :-1], weight[some + step, 1:])
