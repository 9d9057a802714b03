"""The few straight pieces behind a curve whose knots were scattered by rounding.

A unit that bends at 0.8 bends at 0.8 and a little once its weights are rounded, and a thousand of them make a
cluster of knots. Which bends are meant is a guess at some tolerance; so several are offered, finest first.
Distances are relative to ``1 + |t|`` throughout, as the prover's are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.records import Curve

Array = NDArray[np.float64]

MOST = 256
"""The most bends that a simplification is looked for with."""
_MOST_KNOTS = 8192
_LEVELS = 17
_COARSEST = 0.04
"""No tolerance is larger than this part of the curve's size."""
_FAR = (1.0, 16.0, 1024.0)


@dataclass(frozen=True)
class Polyline:
    """Straight pieces: ``knots`` ``(k,)`` where they meet, ``slopes`` and ``heights`` ``(k + 1, c)``.

    On piece i the function is ``heights[i] + slopes[i] t``. ``tolerance`` is what was seen through.
    """

    knots: Array
    slopes: Array
    heights: Array
    tolerance: float


def usable(view: Curve) -> bool:
    """Whether there is anything to recognise: finite numbers, not all zero, not too many."""
    parts = (view.knots, view.values, view.left, view.right)
    finite = all(bool(part.isfinite().all()) for part in parts)
    return finite and 0 < view.values.numel() <= 2**20 and size(view) > 0


def size(view: Curve) -> float:
    """The largest ``|f(t)| / (1 + |t|)``."""
    inner = float((view.values.abs() / (1 + view.knots.abs())[:, None]).max())
    return max(inner, float(view.left.abs().max()), float(view.right.abs().max()))


def channel(view: Curve, index: int) -> Curve:
    """One channel alone."""
    some = slice(index, index + 1)
    return Curve(
        view.knots,
        view.values[:, some],
        view.left[some],
        view.right[some],
        view.domain,
        view.dtype,
        view.error,
    )


def levels(view: Curve, most: int = MOST) -> Iterator[Polyline]:
    """Simplifications with at most ``most`` bends, finest first, no two with the same number of bends.

    Each is the one in the middle of the tolerances that give that number.
    """
    t, values = _points(view)
    found: list[tuple[float, list[int]]] = []
    whole = size(view)
    for step in range(_LEVELS):
        tolerance = min(view.noise * 2.0**step, _COARSEST) * whole
        kept = _kept(t, values, tolerance, most)
        if kept is not None:
            found.append((tolerance, kept))
        if tolerance >= _COARSEST * whole:
            break
    start = 0
    while start < len(found):
        stop = start + 1
        while stop < len(found) and len(found[stop][1]) == len(found[start][1]):
            stop += 1
        tolerance, kept = found[(start + stop - 1) // 2]
        yield _fitted(view, t, values, kept, tolerance)
        start = stop


def settled(view: Curve, most: int = MOST) -> Polyline | None:
    """The simplification whose number of bends stays the same over the first 16-fold range of tolerances."""
    t, values = _points(view)
    whole = size(view)
    counts: list[int] = []
    for step in range(_LEVELS):
        tolerance = min(view.noise * 2.0**step, _COARSEST) * whole
        kept = _kept(t, values, tolerance, most)
        counts.append(-1 - step if kept is None else len(kept))
        if kept is not None and len(counts) >= 5 and len(set(counts[-5:])) == 1:
            return _fitted(view, t, values, kept, tolerance)
    return None


def plain(view: Curve) -> Polyline | None:
    """Every bend that the curve's dtype could tell from none; None when these are thousands."""
    t, values = _points(view)
    tolerance = size(view) * view.noise / 8
    kept = _kept(t, values, tolerance, _MOST_KNOTS)
    if kept is None:
        return None
    knots = t[kept[1:-1]]
    return _continuous(view, knots[np.isin(knots, view.knots.numpy())], tolerance)


def samples(view: Curve) -> tuple[Array, Array, Array]:
    """Two points for each piece, ``(2 k,)``, the values there ``(2 k, c)``, and weights ``(2 k,)``.

    The weighted sum of squares is the integral of the square over ``(1 + |t|)^2`` of what is linear between
    knots, nearly; beyond the last knots a stretch as long as ``1 + |t|`` counts.
    """
    t, values = _points(view)
    inner = slice(None) if view.domain is not None else slice(len(_FAR) - 1, len(t) - len(_FAR) + 1)
    return _gauss(t[inner], values[inner])


def _points(view: Curve) -> tuple[Array, Array]:
    """The knots, and points far out on the rays, with the values there."""
    t, values = view.knots.numpy(), view.values.numpy()
    if view.domain is not None:
        return t, values
    out = np.array(_FAR)
    low, high = -out[::-1] * (1 + abs(t[0])), out * (1 + abs(t[-1]))
    before = values[0] + low[:, None] * view.left.numpy()
    after = values[-1] + high[:, None] * view.right.numpy()
    return np.concatenate([t[0] + low, t, t[-1] + high]), np.concatenate([before, values, after])


def _kept(t: Array, values: Array, tolerance: float, most: int) -> list[int] | None:
    """Indices of points whose polygon misses no point by more than the tolerance; None when too many.

    Source:
        Douglas and Peucker, Cartographica 10 (1973).
    """
    reach = 1 + np.abs(t)
    kept = {0, len(t) - 1}
    stack = [(0, len(t) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2 or t[b] <= t[a]:
            continue
        share = (t[a + 1 : b] - t[a]) / (t[b] - t[a])
        chord = values[a] + share[:, None] * (values[b] - values[a])
        off = np.abs(values[a + 1 : b] - chord).max(axis=1) / reach[a + 1 : b]
        worst = int(off.argmax())
        if off[worst] > tolerance:
            middle = a + 1 + worst
            kept.add(middle)
            if len(kept) > most + 2:
                return None
            stack += [(a, middle), (middle, b)]
    return _merged(t, values, sorted(kept), tolerance)


def _merged(t: Array, values: Array, kept: list[int], tolerance: float) -> list[int]:
    """The same without points at which one line through both neighbouring pieces does as well.

    A chord ends on a point that rounding moved, and the line through all points does not.
    """
    result = kept[:1]
    for middle, after in itertools.pairwise(kept[1:]):
        part = slice(result[-1], after + 1)
        slope, height = _line(t[part], values[part])
        off = np.abs(values[part] - height - t[part, None] * slope).max(axis=1) / (1 + np.abs(t[part]))
        if float(off.max()) > 2 * tolerance:
            result.append(middle)
    return [*result, kept[-1]]


def _fitted(view: Curve, t: Array, values: Array, kept: list[int], tolerance: float) -> Polyline:
    """A line through each piece, bends where neighbours meet, then all heights at the bends anew."""
    lines = [_line(t[a : b + 1], values[a : b + 1]) for a, b in itertools.pairwise(kept)]
    slopes, heights = np.stack([s for s, _ in lines]), np.stack([h for _, h in lines])
    if view.domain is None:
        left, right = view.left.numpy(), view.right.numpy()
        slopes[0], heights[0] = left, values[0] - left * t[0]
        slopes[-1], heights[-1] = right, values[-1] - right * t[-1]
    inner = t[kept[1:-1]]
    knots = _meetings(slopes, heights, inner, t[kept])
    return _continuous(view, knots, tolerance)


def _line(t: Array, values: Array) -> tuple[Array, Array]:
    """Slope and height ``(c,)`` of the line nearest to the points' polygon, weighted by length."""
    points, at, weights = _gauss(t, values)
    total = weights.sum()
    middle, mean = weights @ points / total, weights @ at / total
    spread = weights @ (points - middle) ** 2
    slope: Array = (weights * (points - middle)) @ (at - mean) / spread if spread > 0 else 0 * mean
    return slope, mean - slope * middle


def _gauss(t: Array, values: Array) -> tuple[Array, Array, Array]:
    """Gauss points of each piece, values and weights; exact for squares of what is linear on a piece."""
    length, middle = np.diff(t), (t[1:] + t[:-1]) / 2
    centre, half = (values[1:] + values[:-1]) / 2, np.diff(values, axis=0) / 2
    part = 1 / np.sqrt(3.0)
    points = np.concatenate([middle - part * length / 2, middle + part * length / 2])
    at = np.concatenate([centre - part * half, centre + part * half])
    weights = np.concatenate([length, length]) / 2 / (1 + np.abs(points)) ** 2
    order = points.argsort(kind="stable")
    return points[order], at[order], weights[order]


def _meetings(slopes: Array, heights: Array, near: Array, corners: Array) -> Array:
    """Where neighbouring lines meet, the mean over channels; the point nearby where they hardly do."""
    change, apart = np.diff(slopes, axis=0), np.diff(heights, axis=0)
    bend = (change**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = -(change * apart).sum(axis=1) / bend
    inside = np.isfinite(meet) & (meet > corners[:-2]) & (meet < corners[2:])
    knots: Array = np.where(inside, meet, near)
    return knots if bool((np.diff(knots) > 0).all()) else near


def _continuous(view: Curve, knots: Array, tolerance: float) -> Polyline:
    """The polygon with these knots that is nearest to the curve, its end slopes kept."""
    points, values, weights = samples(view)
    if view.domain is not None:
        corners = np.concatenate([view.domain[:1], knots, view.domain[1:]])
        left = right = np.zeros(values.shape[1])
    else:
        corners = knots if len(knots) else np.zeros(1)
        left, right = view.left.numpy(), view.right.numpy()
    start = _interpolated(view, corners)
    shares, index = _hats(points, corners)
    rays = (np.minimum(points - corners[0], 0)[:, None] * left) + (
        np.maximum(points - corners[-1], 0)[:, None] * right
    )
    hat = (
        start[index] * (1 - shares)[:, None]
        + start[np.minimum(index + 1, len(corners) - 1)] * shares[:, None]
    )
    at = start + _corrections(shares, index, weights, values - hat - rays, len(corners))
    slopes = np.diff(at, axis=0) / np.diff(corners)[:, None]
    if view.domain is None:
        slopes = np.concatenate([left[None], slopes, right[None]])
        at = np.concatenate([at[:1], at])
        anchors = np.concatenate([corners[:1], corners])
    else:
        at, anchors = at[:-1], corners[:-1]
    used = slopes if len(slopes) == len(knots) + 1 else slopes[:1]
    return Polyline(knots, used, (at - slopes * anchors[:, None])[: len(used)], tolerance)


def _interpolated(view: Curve, corners: Array) -> Array:
    t, values = _points(view)
    return np.stack([np.interp(corners, t, column) for column in values.T], axis=1)


def _hats(points: Array, corners: Array) -> tuple[Array, NDArray[np.int64]]:
    """For each point the corner before it, and how far it is on the way to the next, from 0 to 1."""
    index = np.clip(np.searchsorted(corners, points, side="right") - 1, 0, len(corners) - 1)
    after = np.minimum(index + 1, len(corners) - 1)
    width = corners[after] - corners[index]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(width > 0, (points - corners[index]) / width, 0.0)
    return np.clip(share, 0.0, 1.0), index


def _corrections(
    shares: Array, index: NDArray[np.int64], weights: Array, residual: Array, count: int
) -> Array:
    """The least-squares change of the heights at the corners; the normal equations have three diagonals."""
    after = np.minimum(index + 1, count - 1)
    diagonal, beside = np.zeros(count), np.zeros(count)
    np.add.at(diagonal, index, weights * (1 - shares) ** 2)
    np.add.at(diagonal, after, weights * shares**2)
    np.add.at(beside, after, weights * shares * (1 - shares))
    right = np.zeros((count, residual.shape[1]))
    np.add.at(right, index, (weights * (1 - shares))[:, None] * residual)
    np.add.at(right, after, (weights * shares)[:, None] * residual)
    diagonal += 1e-14 * diagonal.max()
    if count == 1:
        return right / diagonal[:, None]
    solution: Array = scipy.linalg.solveh_banded(np.stack([beside, diagonal]), right)
    return solution


def tensor(values: Array | float) -> Tensor:
    """The same numbers as a tensor."""
    return torch.from_numpy(np.array(values, dtype=np.float64))
