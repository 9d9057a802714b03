"""A hard knee: a compressor, an expander or a clipper, as a function of one number.

What it finds:    A curve that is the line ``y = gain x`` up to a threshold and a line of another slope beyond
                  it: on both sides alike (odd), only above or only below. ``ratio`` is how many times less
                  the output moves beyond the threshold; a clipper, which does not move there at all, has
                  none. However many hidden units bend at nearly the same place, they are one threshold.
Why it matters:   A network of thousands of numbers is two: threshold and ratio; a clipper is one. A gain
                  other than 1 is one more.
Proof:            The curve of the network is propagated exactly, and so is the curve of this layer from its
                  own graph; their gap is bounded for every input and compared with the network's rounding.
Swap safety:      Exact on the whole real line, slopes at infinity included. What is stored stays trainable
                  in this family. A soft knee is none of this, and stays refused.
Source:           Giannoulis, Massberg and Reiss, Digital Dynamic Range Compressor Design, J. Audio Eng. Soc.
                  60 (2012), section 2.2, equation 4 with knee width 0, for amplitudes instead of decibels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned, parameter
from paramaudit.numerics.piecewise import ideal
from paramaudit.numerics.polyline import Polyline, levels, size, tensor, usable
from paramaudit.records import Curve, Example, Json, Operator


class Knee(nn.Module):
    """A hard knee on every number of a tensor ``(..., 1)``.

    Args:
        threshold: ``(1,)``, where it bends; with ``side`` "both" it bends at minus that too.
        ratio: ``(1,)``, the slope before over the slope beyond; None clips.
        gain: ``(1,)``, the slope before the threshold; None for 1.
        side: "both", "above" or "below".
    """

    def __init__(self, threshold: Tensor, ratio: Tensor | None, gain: Tensor | None, side: str) -> None:
        super().__init__()
        self.threshold, self.ratio, self.gain = owned(threshold), parameter(ratio), parameter(gain)
        self.side = side

    def arguments(self) -> dict[str, Json]:
        """Threshold, ratio (None for a clipper), gain and side."""
        return {
            "threshold": self.threshold.item(),
            "ratio": None if self.ratio is None else self.ratio.item(),
            "gain": 1.0 if self.gain is None else self.gain.item(),
            "side": self.side,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """What is beyond the threshold moves ``ratio`` times less."""
        inner = inputs
        if self.side != "below":
            inner = torch.minimum(inner, self.threshold)
        if self.side == "both":
            inner = torch.maximum(inner, -self.threshold)
        if self.side == "below":
            inner = torch.maximum(inner, self.threshold)
        outputs = inner if self.ratio is None else inner + (inputs - inner) / self.ratio
        return outputs if self.gain is None else outputs * self.gain


@dataclass(frozen=True)
class _Shape:
    """Threshold, slope before it and beyond it, and the side."""

    threshold: float
    inner: float
    outer: float
    side: str


def propose(view: Curve) -> Knee | None:
    """The finest simplification that is a knee."""
    if view.values.shape[1] != 1 or not usable(view):
        return None
    whole = size(view)
    for pieces in levels(view, most=64):
        slack = max(64 * pieces.tolerance, 256 * view.noise * whole, 4 * view.error)
        shape = _shape(pieces, min(slack, 0.05 * whole))
        if shape is not None:
            return _layer(shape, min(slack, 0.05 * whole))
    return None


def _layer(shape: _Shape, slack: float) -> Knee | None:
    unit = abs(shape.inner - 1) <= slack
    inner = 1.0 if unit else shape.inner
    clips = abs(shape.outer) <= slack
    if not clips and abs(shape.inner - shape.outer) <= slack:
        return None
    ratio = None if clips else tensor(inner / shape.outer).reshape(1)
    gain = None if unit else tensor(inner).reshape(1)
    return Knee(tensor(shape.threshold).reshape(1), ratio, gain, shape.side)


def _shape(pieces: Polyline, slack: float) -> _Shape | None:
    """The knee that one or two bends are; None when they are none."""
    knots, slopes, heights = pieces.knots, pieces.slopes[:, 0], pieces.heights[:, 0]
    if len(knots) == 2:
        alike = abs(slopes[0] - slopes[2]) <= slack and abs(heights[0] + heights[2]) <= slack
        if not alike or abs(heights[1]) > slack or knots[0] >= 0 or abs(slopes[1]) <= slack:
            return None
        outer, height = (slopes[0] + slopes[2]) / 2, (heights[2] - heights[0]) / 2
        inner = _rounded(slopes[1], slack)  # exactly 1 leaves the outer lines to tell where they meet it
        return _Shape(float(height / (inner - outer)), inner, float(outer), "both")
    if len(knots) != 1:
        return None
    sides = [("above", 0, 1), ("below", 1, 0)]
    for side, before, beyond in sorted(sides, key=lambda entry: abs(slopes[entry[1]] - 1)):
        if abs(heights[before]) <= slack < abs(slopes[before]):
            inner, outer = _rounded(slopes[before], slack), float(slopes[beyond])
            if abs(inner - outer) > slack:
                return _Shape(float(heights[beyond] / (inner - outer)), inner, outer, side)
    return None


def _rounded(slope: float, slack: float) -> float:
    """1 for a slope that is nearly 1."""
    return 1.0 if abs(slope - 1) <= slack else float(slope)


def _knee(threshold: float, ratio: float, gain: float = 1.0, low: float | None = None) -> Curve:
    """The textbook's two lines; beyond ``low``, minus the threshold unless given, as above."""
    low = -threshold if low is None else low
    knots = [low, 0.0, threshold] if low > -np.inf else sorted([0.0, threshold])
    outside = gain / ratio
    values = [gain * x if x <= threshold else gain * threshold + outside * (x - threshold) for x in knots]
    return ideal(knots, values, outside if low > -np.inf else gain, outside)


def _soft(width: float) -> Curve:
    """The quadratic knee of the same source, as a network of 33 pieces has it."""
    t = np.linspace(1 - width, 1 + width, 34)
    above = t + (1 / 4 - 1) * (t - 1 + width) ** 2 / (4 * width)
    knots, values = np.concatenate([-t[::-1], t]), np.concatenate([-above[::-1], above])
    return ideal(knots, values, 0.25, 0.25)


def _sine() -> Curve:
    t = np.linspace(-2, 2, 41)
    return ideal(t, np.sin(t), 0.0, 0.0)


OPERATOR = Operator(
    "knee",
    propose,
    finds=(
        Example("compressor", lambda: _knee(0.6, 3.0)),
        Example("compressor with make-up gain", lambda: _knee(0.25, 8.0, 2.5)),
        Example("expander", lambda: _knee(1.5, 0.5)),
        Example("clipper", lambda: _knee(0.9, np.inf)),
        Example("limiter of peaks above only", lambda: _knee(0.7, 10.0, low=-np.inf)),
        Example("leaky rectifier", lambda: ideal([0.0], [0.0], 0.1, 1.0)),
    ),
    ignores=(
        Example("soft knee", lambda: _soft(0.5)),
        Example("sides with other ratios", lambda: ideal([-0.5, 0.5], [-0.5, 0.5], 0.25, 0.24)),
        Example("sides with other thresholds", lambda: _knee(0.5, 4.0, low=-0.52)),
        Example("shifted", lambda: ideal([-0.5, 0.5], [-0.49, 0.51], 0.25, 0.25)),
        Example("piece of a sine", _sine),
    ),
    view=Curve,
)
