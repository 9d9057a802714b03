"""Rows in bands: within a band every row is the row above, moved on by a power of two and wrapped around."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 256
ALIKE = 0.8
"""Haar details, level by level, come to 0.71 by chance; noise that is still looked through leaves 0.86."""


@dataclass(frozen=True)
class Band:
    """Some rows that one ``generator`` ``(n,)`` makes, the first of them; ``left`` is what it leaves of them.

    The rows are halved ``level`` times from n. ``detail`` is False for the one band that passes DC.
    """

    first: int
    rows: int
    level: int
    detail: bool
    generator: Tensor
    left: float


def found_bands(weight: Tensor) -> tuple[Band, ...]:
    """The bands of an ``(n, n)`` matrix, if they are n/2, n/4, ... rows and twice the last; else none.

    Bands may be in any order. A generator is the mean of its band's rows, moved back.
    """
    size = weight.shape[0]
    if size % 2 or not any(_moves_on(weight, start, 2, 2) for start in {0, size // 2 - 1, size - 2}):
        return ()
    starts: list[tuple[int, int]] = []
    start = 0
    while start < size:
        rows = _rows(weight, start)
        if not rows:
            return ()
        starts.append((start, rows))
        # only the last two are as large as one another
        if sum(rows == others for _, others in starts) > 2:
            return ()
        start += rows
    counts = sorted((rows for _, rows in starts), reverse=True)
    if counts != [*(size >> step for step in range(1, len(counts))), size >> (len(counts) - 1)]:
        return ()
    generators = [_generator(weight, *at) for at in starts]
    passing = [
        -1.0 if rows > counts[-1] else float(generator.sum().abs() / generator.norm())
        for (_, rows), (generator, _) in zip(starts, generators, strict=True)
    ]
    lowest = passing.index(max(passing))
    return tuple(
        Band(start, rows, (size // rows).bit_length() - 1, place != lowest, *generators[place])
        for place, (start, rows) in enumerate(starts)
    )


def _moves_on(weight: Tensor, start: int, rows: int, step: int) -> float:
    """The least cosine of rows with those above, moved on by ``step``; in eight pairs from first to last.

    0 where it is too little.
    """
    some = start + torch.linspace(0, rows - 2, min(8, rows - 1)).long()
    above, below = weight[some].roll(step, dims=1), weight[some + 1]
    lengths = above.norm(dim=1) * below.norm(dim=1)
    score = float(((above * below).sum(1) / lengths.clamp_min(torch.finfo(weight.dtype).tiny)).min())
    return score if score >= ALIKE else 0.0


def _rows(weight: Tensor, start: int) -> int:
    """How many rows the band that starts here has; 0 when none does."""
    size = weight.shape[0]
    steps = [2**level for level in range(1, size.bit_length()) if size % 2**level == 0]
    fitting = [step for step in steps if start + size // step <= size]
    scores = {step: _moves_on(weight, start, size // step, step) for step in fitting if step < size}
    best = max(scores, key=lambda step: scores[step], default=0)
    if best and scores[best]:
        return size // best
    return int(size in fitting)


def _generator(weight: Tensor, first: int, rows: int) -> tuple[Tensor, float]:
    """The mean ``(n,)`` of the rows moved back, and the length of what it leaves of them."""
    size = weight.shape[1]
    total = torch.zeros(size, dtype=weight.dtype)
    for back in _moved_back(weight, first, rows):
        total += back.sum(0)
    mean = total / rows
    off = torch.stack([(back - mean).norm() for back in _moved_back(weight, first, rows)])
    return mean, float(off.norm())


def _moved_back(weight: Tensor, first: int, rows: int) -> list[Tensor]:
    """The rows, each moved back onto the first of them, some at a time."""
    size = weight.shape[1]
    places = torch.arange(size)
    parts = []
    for start in range(0, rows, ROWS_AT_ONCE):
        inside = torch.arange(start, min(rows, start + ROWS_AT_ONCE))
        where = (places + (size // rows) * inside[:, None]) % size
        parts.append(weight[first + inside].gather(1, where))
    return parts
