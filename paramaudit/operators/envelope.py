"""Envelopes of attack, decay, sustain and release, as functions of time.

What it finds:    Curves that rise on a line from 0 to a peak over ``attack``, fall to ``sustain`` times the
                  peak over ``decay``, hold, and fall to 0 over ``release``, which ends at ``end``: one curve
                  or a bank of them, on a time axis that a stored grid covers or on the whole real line, where
                  they are 0 before and after. Peak and end are common to the bank.
Why it matters:   A network over time is four numbers a channel; a peak or an end other than 1 is one more
                  each. Where a stage is missing (sustain 1 or 0) the number that then says nothing is half of
                  what is left.
Proof:            The curve of the network is propagated exactly, and so is the curve of this layer from its
                  own graph; their gap is bounded over the interval that the network is used on and compared
                  with the network's rounding there.
Swap safety:      Over a stored grid it holds between the grid's ends, at other times as well as at the grid's
                  own, and nowhere else. Exponential segments are not recognised.
Source:           Puckette, The Theory and Technique of Electronic Music (2007), section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.layers import owned, parameter
from paramaudit.numerics.piecewise import ideal
from paramaudit.numerics.polyline import Polyline, channel, levels, samples, size, tensor, usable
from paramaudit.records import Curve, Example, Json, Operator

Array = NDArray[np.float64]
_MOST_CHANNELS = 256


class Envelope(nn.Module):
    """``(..., 1)``, times, to ``(..., c)``, levels.

    Args:
        stages: ``(4, c)``, attack, decay and release as durations, and sustain as a part of the peak, in the
            order attack, decay, sustain, release.
        peak: ``(1,)``, or None for 1.
        end: ``(1,)``, the time at which the release ends, or None for 1.
    """

    def __init__(self, stages: Tensor, peak: Tensor | None = None, end: Tensor | None = None) -> None:
        super().__init__()
        self.attack, self.decay = owned(stages[0]), owned(stages[1])
        self.sustain, self.release = owned(stages[2]), owned(stages[3])
        self.peak, self.end = parameter(peak), parameter(end)

    def arguments(self) -> dict[str, Json]:
        """The stages of every channel, the common peak and the common end."""
        result: dict[str, Json] = {
            name: list(getattr(self, name).tolist()) for name in ("attack", "decay", "sustain", "release")
        }
        return {
            "channels": len(self.attack),
            **result,
            "peak": 1.0 if self.peak is None else self.peak.item(),
            "end": 1.0 if self.end is None else self.end.item(),
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """What has risen, less what has decayed, less what was released."""
        risen = torch.clamp(inputs / self.attack, 0.0, 1.0)
        decayed = torch.clamp((inputs - self.attack) / self.decay, 0.0, 1.0)
        left = (1.0 - inputs) if self.end is None else (self.end - inputs)
        released = 1.0 - torch.clamp(left / self.release, 0.0, 1.0)
        levels = risen - decayed * (1.0 - self.sustain) - released * self.sustain
        return levels if self.peak is None else levels * self.peak


@dataclass(frozen=True)
class _Fit:
    """One channel: its stages, peak and end, and which of the four stages the curve tells.

    Where nothing is held the release starts when the decay ends, and is no number of its own.
    """

    stages: Array
    peak: float
    end: float
    told: tuple[bool, bool, bool, bool]
    held: bool = True

    def changed(self, told: Array, end: float) -> Array:
        """The stages with other numbers for those that the curve tells."""
        stages = self.stages.copy()
        stages[np.array(self.told)] = told
        if not self.held:
            stages[3] = end - stages[0] - stages[1]
        return stages


def propose(view: Curve) -> Envelope | None:
    """Every channel on its own, then the common peak and end, then the stages by least squares."""
    channels = view.values.shape[1]
    if channels > _MOST_CHANNELS or not usable(view) or not _starts_at_zero(view):
        return None
    fits: list[_Fit] = []
    for index in range(channels):
        fit = _channel(channel(view, index))
        if fit is None:
            return None
        fits.append(fit)
    peaks, ends = np.array([f.peak for f in fits]), np.array([f.end for f in fits])
    peak, end = _common(peaks, view.noise), _common(ends, view.noise)
    if peak is None or end is None:
        return None
    stages = [_refined(channel(view, i), fit, peak, end) for i, fit in enumerate(fits)]
    if any(bool((part[[0, 1, 3]] <= 0).any()) for part in stages):
        return None
    return Envelope(
        tensor(np.stack(stages, axis=1)),
        None if peak == 1.0 else tensor(peak).reshape(1),
        None if end == 1.0 else tensor(end).reshape(1),
    )


def _starts_at_zero(view: Curve) -> bool:
    """Whether every channel is about 0 where time starts; nothing more is looked at to dismiss a curve."""
    if view.domain is not None:
        return bool(view.domain[0] >= -1e-3 * view.domain[1])
    flat = torch.cat([view.left, view.right]).abs().max()
    return bool(flat <= 64 * view.noise * max(1.0, size(view)) * len(view.knots) ** 0.5)


def _common(values: Array, noise: float) -> float | None:
    """The number that all of these are, exactly 1 where they are about 1; None when they differ."""
    middle = float(np.median(values))
    slack = max(1e-3, 16 * noise) * abs(middle)
    if middle <= 0 or float(np.abs(values - middle).max()) > slack:
        return None
    mean = float(values.mean())
    return 1.0 if abs(mean - 1) <= max(1e-5, 16 * noise) else mean


def _channel(view: Curve) -> _Fit | None:
    """The stages of one channel from the finest simplification that has them."""
    whole = size(view)
    if whole == 0:
        return None
    for pieces in levels(view, most=24):
        if len(pieces.knots) > (3 if view.domain is not None else 5):
            continue
        fit = _stages(pieces, view, whole)
        if fit is not None:
            return fit
    return None


def _stages(pieces: Polyline, view: Curve, whole: float) -> _Fit | None:
    """The stages that the slopes tell: up, down, level, down, where some may be missing."""
    knots, slopes, heights = pieces.knots, pieces.slopes[:, 0], pieces.heights[:, 0]
    slack = max(64 * pieces.tolerance, 256 * view.noise * whole)
    if view.domain is None:
        outside = np.abs([slopes[0], slopes[-1], heights[0], heights[-1]])
        if len(knots) < 3 or float(outside.max()) > slack or abs(knots[0]) > slack:
            return None
        knots, slopes, heights = knots[1:-1], slopes[1:-1], heights[1:-1]
    if abs(heights[0]) > slack or slopes[0] <= 0 or not len(knots):
        return None
    span = (knots[-1] - knots[0]) or knots[0]
    kinds = "".join("0" if abs(s) * span <= slack else "+" if s > 0 else "-" for s in slopes)
    peak = float(heights[0] + slopes[0] * knots[0])
    end = float(-heights[-1] / slopes[-1]) if kinds[-1] == "-" else float((view.domain or (0.0, 1.0))[1])
    last, attack = float(knots[-1]), float(knots[0])
    half = (end - attack) / 2
    if kinds == "+-0-":
        sustain = float(heights[2] / peak)
        return _Fit(np.array([attack, knots[1] - attack, sustain, end - last]), peak, end, (True,) * 4)
    if kinds == "+--":
        sustain = float((heights[1] + slopes[1] * last) / peak)
        stages = np.array([attack, last - attack, sustain, end - last])
        return _Fit(stages, peak, end, (True, True, True, False), held=False)
    if kinds == "+0-":
        rest = (last - attack) / 2
        return _Fit(np.array([attack, rest, 1.0, end - last]), peak, end, (True, False, False, True))
    if kinds == "+-0" and abs(heights[2]) <= slack:
        return _Fit(np.array([attack, last - attack, 0.0, half]), peak, end, (True, True, False, False))
    if kinds == "+-":
        return _Fit(np.array([attack, end - attack, 0.0, half]), peak, end, (True, True, False, False))
    return None


def _refined(view: Curve, fit: _Fit, peak: float, end: float) -> Array:
    """The stages nearest to the curve in the mean square, started from where its lines meet.

    Rounded weights move a curve by a little offset and drift as well. These are fitted beside the stages
    and left out, or they would end up in the stages.
    """
    points, values, weights = samples(view)
    scale = np.sqrt(weights)

    def off(numbers: Array) -> Array:
        line = numbers[-2] + numbers[-1] * points / end
        levels = _levels(points, fit.changed(numbers[:-2], end), peak, end)
        result: Array = scale * (levels + line * peak - values[:, 0])
        return result

    start = np.concatenate([fit.stages[np.array(fit.told)], np.zeros(2)])
    solution = scipy.optimize.least_squares(off, start, xtol=1e-15, ftol=1e-15, gtol=1e-15)
    found = solution.x if bool(np.isfinite(solution.x).all()) else start
    return fit.changed(found[:-2], end)


def _levels(times: Array, stages: Array, peak: float, end: float) -> Array:
    attack, decay, sustain, release = stages
    risen = np.clip(times / attack, 0, 1)
    decayed = np.clip((times - attack) / decay, 0, 1)
    released = 1 - np.clip((end - times) / release, 0, 1)
    result: Array = peak * (risen - (1 - sustain) * decayed - sustain * released)
    return result


def _bank(
    rows: list[tuple[float, float, float, float]], peak: float = 1.0, end: float = 1.0, ends: bool = False
) -> Curve:
    """Straight lines through the corners of each row, by interpolation; beyond the ends 0 where ``ends``."""
    corners = [([0.0, a, a + d, end - r, end], [0.0, peak, s * peak, s * peak, 0.0]) for a, d, s, r in rows]
    knots = np.unique(np.concatenate([times for times, _ in corners]))
    values = np.stack([np.interp(knots, times, heights) for times, heights in corners], axis=1)
    return ideal(knots, values, 0.0, 0.0, None if ends else (0.0, end))


_ROWS = [(0.1, 0.2, 0.6, 0.25), (0.03, 0.3, 0.45, 0.15), (0.22, 0.17, 0.8, 0.33)]


def _exponential() -> Curve:
    """The same stages with a decay that is an exponential, in 60 chords."""
    t = np.unique(np.concatenate([np.linspace(0.1, 0.7, 60), [0.0, 1.0]]))
    heights = np.where(t < 0.1, 10 * t, 0.5 + 0.5 * np.exp(-6 * (t - 0.1)))
    return ideal(t, np.where(t == 1.0, 0.0, heights), 0.0, 0.0, (0.0, 1.0))


def _corners(times: list[float], heights: list[float]) -> Curve:
    return ideal(times, heights, 0.0, 0.0, (times[0], times[-1]))


OPERATOR = Operator(
    "envelope",
    propose,
    finds=(
        Example("three channels on a grid of times", lambda: _bank(_ROWS)),
        Example("one channel", lambda: _bank(_ROWS[:1])),
        Example("peak 0.7, two and a half seconds", lambda: _bank(_ROWS, 0.7, 2.5)),
        Example("at all times", lambda: _bank(_ROWS[:2], ends=True)),
        Example("nothing held", lambda: _bank([(0.2, 0.5, 0.4, 0.3)])),
        Example("without decay", lambda: _corners([0.0, 0.2, 0.7, 1.0], [0.0, 1.0, 1.0, 0.0])),
    ),
    ignores=(
        Example("exponential decay", _exponential),
        Example("starts above zero", lambda: _corners([0.0, 0.1, 0.3, 0.8, 1.0], [0.1, 1, 0.5, 0.5, 0])),
        Example("sustain that sinks", lambda: _corners([0.0, 0.1, 0.3, 0.8, 1.0], [0, 1, 0.5, 0.48, 0])),
        Example("two attacks", lambda: _corners([0.0, 0.1, 0.3, 0.6, 1.0], [0, 1, 0.5, 0.9, 0])),
        Example(
            "peaks that differ",
            lambda: ideal(
                [0.0, 0.1, 0.3, 0.8, 1.0],
                np.array([[0, 1, 0.5, 0.5, 0], [0, 0.98, 0.5, 0.5, 0]]).T,
                0.0,
                0.0,
                (0.0, 1.0),
            ),
        ),
    ),
    view=Curve,
)
