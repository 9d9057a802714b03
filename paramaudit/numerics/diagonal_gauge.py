"""The plainest way to say diagonals under scales: in which gauge, and which scales are worth storing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.diagonal_scales import (
    Scaled,
    counted,
    scaled_diagonals,
    spread_out,
    summed,
    with_values,
)
from paramaudit.numerics.gauge import Scaling, tidied
from paramaudit.numerics.hexagons import scaled_diagonals_likely
from paramaudit.numerics.noise import SIGMAS, spread, usable
from paramaudit.numerics.residual import noise_like
from paramaudit.numerics.storage import STORED, storage_noise
from paramaudit.records import Matrix

WORTH = 2.0
"""Entries on diagonals that are not zero must be so many times the stored numbers, or any would do."""

BETTER = 0.5
"""Scales are there when what they leave is below this part of what is left without them."""


@dataclass(frozen=True)
class Settled:
    """Scales as they are to be stored, and the diagonals beside them.

    ``values`` are those of :class:`Scaled`, ``off`` is one standard deviation of each, and ``alive`` says
    which are not zero.
    """

    scaling: Scaling
    values: Tensor
    off: Tensor
    alive: Tensor


def under_scales(view: Matrix, wrapped: bool, left: float) -> Settled | None:
    """Diagonals under scales of rows or columns; None where there are none, or plain diagonals do.

    Args:
        view: with finite numbers, some of which are not zero.
        wrapped: whether diagonals go round.
        left: what plain diagonals leave of the matrix, relative; 1 where they are not near.
    """
    weight = view.weight
    if left <= 64 * view.noise or not scaled_diagonals_likely(weight, wrapped) or not usable(view):
        return None
    found = scaled_diagonals(weight, wrapped, view.noise)
    if found is None or found.left > BETTER * left or not _all_but_noise(weight, found, view.noise):
        return None
    slack, off = _slack(weight, found, view.noise)
    if _rank_one(found, off):
        return None
    scaling = tidied(*_plainest(found, slack), slack, {"1": 1.0})
    if scaling.rows is None and scaling.columns is None:
        return None
    scaling, found = _stored(weight, scaling, wrapped, view.dtype)
    _, off = _slack(weight, found, view.noise)
    alive = found.values.abs() > 5 * off + 1e-12 * found.values.abs().max()
    rows, columns = weight.shape
    count = sum(0 if s is None else len(s) for s in (scaling.rows, scaling.columns)) + int(alive.sum())
    if WORTH * count > int(counted(rows, columns, wrapped)[alive].sum()):
        return None
    return Settled(scaling, found.values, off, alive)


@dataclass(frozen=True)
class Band:
    """Scales, and the diagonals ``(1, band)`` from the offset ``first`` (``row - column``) on."""

    scaling: Scaling
    values: Tensor
    first: int


def one_band(view: Matrix, left: float) -> Band | None:
    """The same for diagonals that do not go round, from the first to the last that is not zero."""
    found = under_scales(view, wrapped=False, left=left)
    if found is None:
        return None
    places = found.alive.nonzero()[:, 0]
    low, high = int(places[0]), int(places[-1]) + 1
    return Band(found.scaling, found.values[None, low:high], low - (view.weight.shape[1] - 1))


def _slack(weight: Tensor, found: Scaled, noise: float) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """How far scales may be off, relative, and one standard deviation of each diagonal."""
    model = found.matrix()
    fitted = len(found.rows) + len(found.columns) + len(found.values)
    off = spread(weight - model, min(fitted, weight.numel() // 2))
    floor = 16 * max(noise, 2.0**-50)
    rows, columns = (SIGMAS * off / model.norm(dim=d) + floor for d in (1, 0))
    power = summed((found.rows[:, None] * found.columns).square(), found.wrapped).sqrt()
    return (rows, columns), off / power + noise * found.values.abs()


def _all_but_noise(weight: Tensor, found: Scaled, noise: float) -> bool:
    """Whether what is left is rounding, or even noise before the scales or behind them.

    A smooth kernel comes near scaled diagonals without being any.
    """
    model = found.matrix()
    residual = weight - model
    outer = (found.rows[:, None] * found.columns).abs()
    rounding = max(2 * noise, min(256 * noise, 2e-5))  # also that of a sum, in the wider formats
    if found.left <= rounding or noise_like(residual) or noise_like(residual / outer):
        return True
    return found.left <= STORED and bool(storage_noise(weight, model))


def _rank_one(found: Scaled, off: Tensor) -> bool:
    """Whether diagonals are powers of one number, and the matrix a product of two vectors."""
    sizes = found.values.abs()
    clear = sizes > 2 * SIGMAS * off
    if not bool(clear.all()):
        return False
    logs, within = sizes.log(), SIGMAS * off / sizes
    trend = torch.zeros_like(logs) if found.wrapped else _slope(logs, within) * torch.arange(len(logs))
    middle = logs - trend
    middle = (middle - _mean(middle, within)).abs()
    signs = found.values.sign()
    changes = signs[1:] * signs[:-1]
    return bool((middle <= 2 * within + 1e-9).all()) and bool((changes == changes[0]).all())


def _plainest(found: Scaled, slack: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Scales in the gauge that leaves one side plain, if any does; else the one without a trend.

    Sizes have a geometric mean of 1.
    """
    rows, columns = found.rows, found.columns
    if not found.wrapped:
        along = _slope(columns.abs().log(), slack[1])
        against = -_slope(rows.abs().log(), slack[0])
        flat = [
            (step, _uneven(part, slack[side]))
            for step, side in ((along, 1), (against, 0))
            for part in (_tilted(rows, columns, step)[side],)
        ]
        step, uneven = min(flat, key=lambda entry: entry[1])
        rows, columns = _tilted(rows, columns, step if uneven <= 1 else 0.5 * (along + against))
    if not found.wrapped or len(rows) % 2 == 0:
        rows, columns = _fewer_signs(rows, columns)
    return rows / rows.abs().log().mean().exp(), columns / columns.abs().log().mean().exp()


def _tilted(rows: Tensor, columns: Tensor, step: float) -> tuple[Tensor, Tensor]:
    up = step * (torch.arange(len(rows), dtype=rows.dtype) - 0.5 * len(rows))
    down = step * (torch.arange(len(columns), dtype=rows.dtype) - 0.5 * len(columns))
    return rows * up.exp(), columns * (-down).exp()


def _uneven(values: Tensor, slack: Tensor) -> float:
    """How far sizes are from one size, in parts of what they may be off."""
    logs = values.abs().log()
    return float(((logs - _mean(logs, slack)).abs() / slack).max())


def _fewer_signs(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of the two gauges that differ by a sign of every second row and column, the one of fewer changes."""
    turned = [side * (1.0 - 2.0 * (torch.arange(len(side)) % 2).to(side.dtype)) for side in (rows, columns)]

    def changes(*sides: Tensor) -> int:
        return sum(int((side[1:].sign() != side[:-1].sign()).sum()) for side in sides)

    return (turned[0], turned[1]) if changes(*turned) < changes(rows, columns) else (rows, columns)


def _mean(values: Tensor, slack: Tensor) -> Tensor:
    weight = slack.square().reciprocal()
    return (weight * values).sum() / weight.sum()


def _slope(values: Tensor, slack: Tensor) -> float:
    """The slope of the straight line through values that may be off by their slack."""
    weight = slack.square().reciprocal()
    steps = torch.arange(len(values), dtype=values.dtype)
    steps = steps - _mean(steps, slack)
    return float((weight * steps * values).sum() / (weight * steps.square()).sum())


def _stored(weight: Tensor, scaling: Scaling, wrapped: bool, dtype: torch.dtype) -> tuple[Scaling, Scaled]:
    """Scales as they will be rounded, each fitted beside the others, and last the diagonals."""
    sides = [scaling.rows, scaling.columns]
    scales = [
        torch.ones(size, dtype=weight.dtype) if side is None else side * torch.ones(size, dtype=weight.dtype)
        for side, size in zip(sides, weight.shape, strict=True)
    ]
    free = [side is not None and not bool((side.abs() == side.abs()[0]).all()) for side in sides]
    scales[0] = scales[0] * scaling.factor
    for _ in range(2):
        for side in (1, 0):
            if free[side]:
                found = with_values(weight, scales[0], scales[1], wrapped)
                beside = scales[1 - side] if side == 0 else scales[0][:, None]
                core = spread_out(found.values, weight.shape[1], wrapped) * beside
                fitted = (weight * core).sum(1 - side) / core.square().sum(1 - side)
                scales[side] = fitted.to(dtype).to(weight.dtype)
    found = with_values(weight, scales[0], scales[1], wrapped)
    kept = [scale if is_free else side for scale, side, is_free in zip(scales, sides, free, strict=True)]
    return Scaling(scaling.name, scaling.factor, kept[0], kept[1]), found
