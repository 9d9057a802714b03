"""From a table to the law of its sinusoids: layout, frequencies, first row, amplitude."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from paramaudit.numerics.sinusoids import PAIRED, SINGLE, Law, counted, pairs, single
from paramaudit.numerics.tables import snapped

_ROWS = 1024
_DENOMINATORS = (1, 4, 64)
_LEAST_TURN, _MOST_TURN = 0.05, 2.5
"""Over a lag a cosine should turn by so much, and less than half a turn, for its angle to be read off."""
_SLOWEST_SINGLE = 0.02
"""Below that the frequency of a cosine without its sine is not read off its curvature."""


@dataclass(frozen=True)
class Guess:
    """A layout, a law, the place of the first row, and whether the amplitude is 1."""

    layout: str
    law: Law
    first: float
    unit: bool


def guesses(table: Tensor, noise: float) -> Iterator[Guess]:
    """What a table ``(rows, columns)`` of consecutive rows may be; float64, at least four rows.

    Args:
        table: as it is stored.
        noise: unit roundoff of its dtype.
    """
    some = table[: max(4, min(len(table), _ROWS))]
    for layout in (*PAIRED, *SINGLE):
        if not _looks(layout, some, noise):
            continue
        if layout in PAIRED:
            yield from _paired(layout, some, noise)
        else:
            yield from _single(layout, some, noise)


def looks_like_waves(rows: Tensor, noise: float, layouts: Sequence[str] = (*PAIRED, *SINGLE)) -> bool:
    """Whether a few consecutive rows ``(4 or more, columns)`` have the shape of some layout."""
    return any(_looks(layout, rows, noise) for layout in layouts)


def _looks(layout: str, rows: Tensor, noise: float) -> bool:
    """Pairs keep their amplitude from row to row; a single wave keeps ``(x[t-1] + x[t+1]) / x[t]``."""
    tolerance = 1e-3 + 8 * noise
    columns = rows.shape[1]
    if columns < 4 or (layout.endswith(("twice", "repeated")) and columns % 2):
        return False
    few = rows[[0, 1, 2, 3, len(rows) // 2, len(rows) - 1]]
    if layout in PAIRED:
        sine, cosine = pairs(layout, few)
        sizes = sine.square() + cosine.square()
        return bool(sizes[0, 0] > 0) and bool(
            ((sizes - sizes[0, 0]).abs() <= 2 * tolerance * sizes[0, 0]).all()
        )
    if layout.endswith("twice") and not torch.equal(few[:, : columns // 2], few[:, columns // 2 :]):
        return False
    if layout.endswith("repeated") and not torch.equal(few[:, ::2], few[:, 1::2]):
        return False
    only = single(layout, few)
    left = (only[0] + only[2]) * only[2] - (only[1] + only[3]) * only[1]
    return bool((left.abs() <= 8 * tolerance * only.square().amax()).all())


def _paired(layout: str, rows: Tensor, noise: float) -> Iterator[Guess]:
    sine, cosine = pairs(layout, rows)
    turns = torch.complex(cosine, sine)
    steps = _steps(turns)
    if not bool((steps > 0).all()):
        return
    unit = abs(float(turns.abs().mean()) - 1) <= 1e-4 + 4 * noise
    slowest = int(steps.argmin())
    first = float(turns[0, slowest].angle()) / float(steps[slowest])
    for law in _laws(steps, counted(layout, rows.shape[1]), rows.shape[1], noise):
        yield Guess(layout, law, round(2 * first) / 2, unit)


def _single(layout: str, rows: Tensor, noise: float) -> Iterator[Guess]:
    """Cosines or sines alone; rows are taken to count from 0."""
    only = single(layout, rows)
    steps = _swings(only)
    fast = steps > _SLOWEST_SINGLE
    trusted = int(fast.long().cumprod(0).sum())
    if trusted < 2:
        return
    unit = abs(float(only.abs().max()) - 1) <= 1e-2
    for law in _laws(steps[:trusted], counted(layout, rows.shape[1]), rows.shape[1], noise + 1e-6):
        yield Guess(layout, law, 0.0, unit)


def _swings(only: Tensor) -> Tensor:
    """The same for a wave without its partner, from ``x[t-L] + x[t+L] = 2 cos(w L) x[t]``."""
    steps, lag = torch.zeros(only.shape[1], dtype=torch.float64), 1
    while 2 * lag < len(only):
        middle, around = only[lag:-lag], only[2 * lag :] + only[: -2 * lag]
        swing = (around * middle).sum(0) / (2 * middle.square().sum(0).clamp_min(1e-300))
        found = swing.clamp(-1, 1).arccos() / lag
        usable = (steps * lag > _LEAST_TURN) & (steps * lag < _MOST_TURN)
        steps = found if lag == 1 else torch.where(usable, found, steps)
        lag *= 2
    return steps


def _steps(turns: Tensor) -> Tensor:
    """How far each column turns from row to row, in radians ``(count,)``; longer lags give more digits."""
    steps = _turned(turns, 1)
    lag = 2
    while lag < len(turns):
        off = _turned(turns, lag) - lag * steps
        steps = steps + (off - 2 * math.pi * (off / (2 * math.pi)).round()) / lag
        lag *= 2
    return steps


def _turned(turns: Tensor, lag: int) -> Tensor:
    return (turns[lag:] * turns[:-lag].conj()).sum(0).angle()


def _laws(steps: Tensor, count: int, columns: int, noise: float) -> Iterator[Law]:
    """Geometric laws of round numbers that the frequencies follow, with the customary divisors."""
    order = torch.arange(len(steps), dtype=torch.float64)
    logs = steps.log()
    centred = order - order.mean()
    slope = float((centred * logs).sum() / centred.square().sum())
    offset = float(logs.mean()) - slope * float(order.mean())
    off = (logs - (offset + slope * order)).abs()
    # a frequency is known to an absolute error, so slow ones are known less well
    if slope >= 0 or bool((off > 2e-3 + 50 * noise + 1e-6 / steps).any()):
        return
    tolerance = 2e-4 + 16 * noise
    scale = _simple(math.exp(offset), tolerance)
    divisors = (columns / 2 if count != columns else float(columns), float(count), count - 1.0)
    for divisor in dict.fromkeys(divisors):
        bases = [snapped(math.exp(-slope * divisor), 5 * tolerance, digits) for digits in (1, 2, 3)]
        for base in dict.fromkeys(bases):
            if scale is not None and base is not None and divisor > 0:
                yield Law(count, base, divisor, scale)


def _simple(value: float, tolerance: float) -> float | None:
    """A simple fraction, perhaps times pi, or a number of two digits near a value; None when none is."""
    for unit in (1.0, math.pi):
        for largest in _DENOMINATORS:
            near = Fraction(value / unit).limit_denominator(largest)
            if near > 0 and abs(value / unit - float(near)) <= tolerance * value / unit:
                return float(near) * unit
    return snapped(value, tolerance, 2)
