"""Functions of one variable that are continuous and piecewise linear, propagated exactly.

Affine maps act on the values at the knots; an activation that bends adds a knot wherever a channel crosses a
bend. Nothing is sampled. What float64 rounding leaves out is bounded channel by channel: of the values, and
of a crossing that fell beside its knot, relative to ``1 + |t|``, which is linear between knots because 0 is
one of them. So a bound at two neighbouring knots holds between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.records import Curve

_EPS = 2.0**-52
_MOST_NUMBERS = 2**25
"""The most values that are kept at a time, 256 MiB."""
_BLOCK = 2**21
_FARTHEST = 2.0**60
"""A crossing farther out than this is no knot; the bend is accounted as an error of the slope."""

Domain: TypeAlias = tuple[float, float] | None


@dataclass(frozen=True)
class Lines:
    """``w`` channels: ``knots`` ``(k,)``, ``values`` ``(k, w)``, end slopes ``left``, ``right`` ``(w,)``.

    The function that is meant lies within ``error`` ``(w,)`` times ``1 + |t|`` of these numbers.
    """

    knots: Tensor
    values: Tensor
    left: Tensor
    right: Tensor
    error: Tensor
    domain: Domain = None

    @property
    def width(self) -> int:
        """The number of channels."""
        return self.values.shape[1]


@dataclass(frozen=True)
class Bend:
    """An elementwise activation made of straight pieces.

    ``points`` increase, ``slopes`` has one more entry, ``at`` is the value at the first point. A slope may
    be a tensor ``(w,)``, one for each channel.
    """

    points: tuple[float, ...]
    slopes: tuple[float | Tensor, ...]
    at: float = 0.0

    @property
    def corners(self) -> list[tuple[float, float | Tensor, float | Tensor]]:
        """Every point with the slopes before and after it."""
        return list(zip(self.points, self.slopes[:-1], self.slopes[1:], strict=True))

    @property
    def steepest(self) -> Tensor:
        """The Lipschitz constant, a scalar or ``(w,)``."""
        return _largest([_tensor(s).abs() for s in self.slopes])

    def __call__(self, values: Tensor) -> Tensor:
        """Apply it to every number; channels are the last dimension."""
        leans = isinstance(self.slopes[0], Tensor) or self.slopes[0] != 0.0 or self.at != 0.0
        result = self.slopes[0] * (values - self.points[0]) + self.at if leans else None
        for point, before, after in self.corners:
            part = torch.relu(values - point) if point else torch.relu(values)
            step = after - before
            part = part if isinstance(step, float) and step == 1.0 else part * step
            result = part if result is None else result + part
        return values if result is None else result

    def rounding(self, size: Tensor) -> Tensor:
        """A bound on the rounding of a call on values up to ``size (1 + |t|)``, over ``1 + |t|``."""
        terms = sum((_tensor(s).abs() for s in self.slopes), torch.zeros((), dtype=torch.float64))
        farthest = max(abs(p) for p in self.points)
        return 16 * _EPS * (abs(self.at) + 2 * terms * (size + farthest))


def identity(domain: Domain = None) -> Lines:
    """The variable itself, on a domain or on the whole real line."""
    knots = [0.0] if domain is None else sorted({*domain, *([0.0] if domain[0] < 0 < domain[1] else [])})
    ends = torch.ones(1, dtype=torch.float64) if domain is None else torch.zeros(1, dtype=torch.float64)
    points = torch.tensor(knots, dtype=torch.float64)
    return Lines(points, points[:, None].clone(), ends, ends.clone(), torch.zeros(1).double(), domain)


def sorted_once(*points: Tensor) -> Tensor:
    """All of these points in order, each once."""
    result: Tensor = torch.unique(torch.cat(points))
    return result


def reach(t: Tensor) -> Tensor:
    """``1 + |t|``, what bounds are relative to."""
    return 1 + t.abs()


def largest(lines: Lines) -> Tensor:
    """The least ``m`` ``(w,)`` with ``|f(t)| <= m (1 + |t|)`` for every t, up to rounding."""
    inner = (lines.values.abs() / reach(lines.knots)[:, None]).amax(0)
    return _largest([inner, lines.left.abs(), lines.right.abs()])


def at(lines: Lines, t: Tensor) -> Tensor:
    """The values ``(n, w)`` at points ``(n,)``, within ``16 eps`` of :func:`largest` times ``1 + |t|``.

    A value is reached from the neighbouring knot that is nearer to zero, so that a far knot, whose value
    may be large, does not spoil a small one. A knot's own value is returned to the last bit.
    """
    knots, values = lines.knots, lines.values
    count = len(knots)
    right = torch.searchsorted(knots, t.contiguous(), right=True)
    a, b = (right - 1).clamp(0, count - 1), right.clamp(0, count - 1)
    swap = knots[b].abs() < knots[a].abs()
    near, far = torch.where(swap, b, a), torch.where(swap, a, b)
    width = knots[far] - knots[near]
    share = torch.where(width != 0, (t - knots[near]) / torch.where(width != 0, width, 1.0), 0.0)
    result = values[near]
    result = result + share[:, None] * (values[far] - result)
    for outside, end, slope in ((right == 0, 0, lines.left), (right == count, -1, lines.right)):
        if bool(outside.any()):
            result[outside] = values[end] + (t[outside] - knots[end])[:, None] * slope
    return result


def affine(lines: Lines, weight: Tensor, bias: Tensor | None) -> Lines:
    """``W f + b``: ``weight`` ``(out, w)``, ``bias`` ``(out,)`` or None."""
    return _affine(lines, weight, bias, largest(lines))


def scaled(lines: Lines, gain: Tensor | None, shift: Tensor | None) -> Lines:
    """``gain f + shift``, each a tensor of 1 or ``c`` numbers or None; one channel may become ``c``."""
    one = torch.ones(1, dtype=torch.float64)
    g, b = (one if gain is None else gain), (0 * one if shift is None else shift)
    width = max(lines.width, len(g), len(b))
    _check(len(lines.knots) * width)
    values = (lines.values * g + b).expand(-1, width).contiguous()
    left, right = ((slope * g).expand(width).contiguous() for slope in (lines.left, lines.right))
    error = g.abs() * lines.error + 4 * _EPS * (g.abs() * largest(lines) + b.abs())
    return _finite(Lines(lines.knots, values, left, right, error.expand(width).clone(), lines.domain))


def added(first: Lines, second: Lines, factor: float = 1.0) -> Lines:
    """``f + factor g`` of the same variable; a single channel is repeated."""
    first, second = aligned(first, second)
    width = max(first.width, second.width)
    values = first.values + factor * second.values
    size = largest(first) + abs(factor) * largest(second)
    error = first.error + abs(factor) * second.error + 4 * _EPS * size
    left, right = first.left + factor * second.left, first.right + factor * second.right
    return _finite(Lines(first.knots, values, left, right, error.expand(width).clone(), first.domain))


def joined(parts: list[Lines]) -> Lines:
    """Channels side by side."""
    result = parts[0]
    for part in parts[1:]:
        a, b = aligned(result, part)
        values = torch.cat([a.values, b.values], 1)
        left, right = torch.cat([a.left, b.left]), torch.cat([a.right, b.right])
        result = Lines(a.knots, values, left, right, torch.cat([a.error, b.error]), a.domain)
    return result


def picked(lines: Lines, channels: slice) -> Lines:
    """Some of the channels."""
    parts = (lines.values[:, channels], lines.left[channels], lines.right[channels], lines.error[channels])
    return Lines(lines.knots, *parts, lines.domain)


def aligned(first: Lines, second: Lines) -> tuple[Lines, Lines]:
    """Both with the knots of both."""
    if torch.equal(first.knots, second.knots):
        return first, second
    knots = sorted_once(first.knots, second.knots)
    return refined(first, knots), refined(second, knots)


def refined(lines: Lines, knots: Tensor) -> Lines:
    """The same function with more knots."""
    _check(len(knots) * lines.width)
    error = lines.error + 16 * _EPS * largest(lines)
    return Lines(knots, at(lines, knots), lines.left, lines.right, error, lines.domain)


def bent(lines: Lines, bend: Bend, weight: Tensor | None = None, bias: Tensor | None = None) -> Lines:
    """The activation of every channel, and then ``W f + b`` where a weight is given.

    With a weight the activations, which may be many channels at many knots, are never all kept.

    Raises:
        ValueError: too many numbers, or one that is not finite.
    """
    knots = sorted_once(lines.knots, _crossings(lines, bend))
    size = largest(lines)
    ends = [_end_slopes(lines, bend, knots, side) for side in (0, 1)]
    spread = torch.stack([lost for _, lost in ends]).amax(0)
    tallest = torch.zeros(lines.width, dtype=torch.float64)
    parts: list[Tensor] = []
    _check(len(knots) * (lines.width if weight is None else len(weight)))
    for block in _blocks(knots, lines.width):
        inner = at(lines, block)
        n = reach(block)[:, None]
        spread = torch.maximum(spread, _beside(inner, bend, n))
        outer = bend(inner)
        tallest = torch.maximum(tallest, (outer.abs() / n).amax(0))
        outer = outer[1:] if parts else outer
        parts.append(outer if weight is None else outer @ weight.T)
    (left, _), (right, _) = ends
    error = bend.steepest * (lines.error + 16 * _EPS * size) + bend.rounding(size) + spread
    values = torch.cat(parts)
    if weight is None:
        return _finite(Lines(knots, values, left, right, error.expand(lines.width).clone(), lines.domain))
    tallest = _largest([tallest, left.abs(), right.abs()])
    ready = Lines(knots, values, left, right, error, lines.domain)
    return _affine(ready, weight, bias, tallest, multiplied=True)


def curve(lines: Lines, dtype: torch.dtype) -> Curve:
    """The record of these lines."""
    error = 2.0**0.5 * float(lines.error.norm())  # 1 + |t| is at most that much more than |[t;1]|
    values = lines.values.clone()
    return Curve(lines.knots.clone(), values, lines.left, lines.right, lines.domain, dtype, error)


def ideal(
    knots: Sequence[float] | NDArray[np.float64],
    values: Sequence[float] | NDArray[np.float64],
    left: float,
    right: float,
    domain: Domain = None,
    dtype: torch.dtype = torch.float32,
) -> Curve:
    """The record of a formula: ``values`` ``(k,)`` or ``(k, c)`` at the knots, and slopes beyond them."""
    points = torch.tensor([float(k) for k in knots], dtype=torch.float64)
    at_points = torch.as_tensor(np.array(values, dtype=np.float64)).reshape(len(points), -1)
    ends = [torch.full((at_points.shape[1],), float(slope), dtype=torch.float64) for slope in (left, right)]
    return Curve(points, at_points, ends[0], ends[1], domain, dtype)


def lines_of(view: Curve) -> Lines:
    """The lines of a record, as they are; its ``error`` is not in them."""
    nothing = torch.zeros(view.values.shape[1], dtype=torch.float64)
    return Lines(view.knots, view.values, view.left, view.right, nothing, view.domain)


def _affine(
    lines: Lines, weight: Tensor, bias: Tensor | None, size: Tensor, multiplied: bool = False
) -> Lines:
    _check(len(lines.knots) * len(weight))
    values = lines.values if multiplied else lines.values @ weight.T
    sizes = weight.abs()
    # a bound that holds for any order of summation
    rounding = (weight.shape[1] + 4) * _EPS * (sizes @ size)
    error = sizes @ lines.error * (1 + 1e-9) + rounding
    if bias is not None:
        values = values + bias
        error = error + 4 * _EPS * bias.abs()
    left, right = weight @ lines.left, weight @ lines.right
    return _finite(Lines(lines.knots, values, left, right, error, lines.domain))


def _crossings(lines: Lines, bend: Bend) -> Tensor:
    """Points at which some channel passes a bend between knots or beyond the last."""
    knots, found = lines.knots, [lines.knots[:0]]
    for point in bend.points:
        off = lines.values - point
        rows, channels = ((off[:-1] < 0) & (off[1:] > 0) | (off[:-1] > 0) & (off[1:] < 0)).nonzero().T
        if len(rows):
            a, b = off[rows, channels], off[rows + 1, channels]
            below, above = knots[rows], knots[rows + 1]
            near = below.abs() <= above.abs()
            width = above - below
            cross = torch.where(near, below + width * (a / (a - b)), above - width * (b / (b - a)))
            found.append(torch.minimum(torch.maximum(cross, below), above))
        if lines.domain is None:
            for end, slope, sign in ((0, lines.left, -1), (-1, lines.right, 1)):
                beyond = -off[end] / slope
                met = (sign * beyond > 0) & (beyond.abs() < _FARTHEST)
                found.append(knots[end] + beyond[met])
    return torch.cat(found)


def _beside(inner: Tensor, bend: Bend, n: Tensor) -> Tensor:
    """How far the chords between neighbouring knots miss a bend that lies beside its knot, ``(w,)``."""
    worst = torch.zeros(inner.shape[1], dtype=torch.float64)
    least = torch.minimum(n[:-1, 0], n[1:, 0])
    for point, before, after in bend.corners:
        off = inner - point if point else inner
        rows, channels = ((off[:-1] < 0) & (off[1:] > 0) | (off[:-1] > 0) & (off[1:] < 0)).nonzero().T
        if not len(rows):
            continue
        a, b = off[rows, channels].abs(), off[rows + 1, channels].abs()
        step = _tensor(after - before).abs().expand(inner.shape[1])[channels]
        miss = step * torch.minimum(a, b) / least[rows]
        missed = torch.zeros_like(worst).scatter_reduce(0, channels, miss, "amax")
        worst = worst + missed
    return worst


def _end_slopes(lines: Lines, bend: Bend, knots: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """The slopes ``(w,)`` before the first or after the last knot, and what bends beyond it make an error."""
    slope, sign = (lines.left, -1.0) if side == 0 else (lines.right, 1.0)
    lost = torch.zeros_like(slope)
    if lines.domain is not None:
        return torch.zeros_like(slope), lost
    end = knots[:1] if side == 0 else knots[-1:]
    value, outward = at(lines, end)[0], sign * slope
    factor = torch.where(outward > 0, _tensor(bend.slopes[-1]), _tensor(bend.slopes[0]))
    for point, before, after in bend.corners:
        ahead = (outward > 0) & (value < point) | (outward < 0) & (value > point)
        missed = torch.minimum(slope.abs(), (value - point).abs() / reach(end))
        lost = lost + torch.where(ahead, _tensor(after - before).abs() * missed, 0.0)
    return slope * factor, lost


def _blocks(knots: Tensor, width: int) -> Iterator[Tensor]:
    """The knots in runs that overlap by one."""
    size = max(2, _BLOCK // max(1, width))
    yield knots[: size + 1]
    for start in range(size, len(knots) - 1, size):
        yield knots[start : start + size + 1]


def _tensor(value: float | Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _largest(parts: list[Tensor]) -> Tensor:
    result = parts[0]
    for part in parts[1:]:
        result = torch.maximum(result, part)
    return result


def _check(numbers: int) -> None:
    if numbers > _MOST_NUMBERS:
        msg = "the function has too many knots and channels to be kept"
        raise ValueError(msg)


def _finite(lines: Lines) -> Lines:
    parts = (lines.values, lines.left, lines.right, lines.error)
    if not all(bool(part.isfinite().all()) for part in parts):
        msg = "a number of the function is NaN or infinite"
        raise ValueError(msg)
    return lines
