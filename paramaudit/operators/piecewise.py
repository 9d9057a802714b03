"""A function of one variable that is a few straight pieces.

What it finds:    Any curve of one variable, with one channel or several, that bends in few places: a lookup
                  table with interpolation, a gain curve, a calibration, a rectifier's characteristic. Bends
                  that rounding scattered are seen as one. It is the plain name for what has no better one.
Why it matters:   A network of thousands of numbers is ``k`` knots, ``k c`` changes of slope, and a line.
Proof:            The curve of the network is propagated exactly, and so is the curve of this layer from its
                  own graph; their gap is bounded for every input and compared with the network's rounding.
Swap safety:      Exact wherever the network is used: on the whole real line, or on the interval that a stored
                  grid covers. It is proposed whatever it costs; the planner takes it where it is smaller.
Source:           de Boor, A Practical Guide to Splines (1978), chapters 8 (truncated powers) and 3.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned
from paramaudit.numerics.piecewise import ideal
from paramaudit.numerics.polyline import plain, settled, tensor, usable
from paramaudit.records import Curve, Example, Json, Operator


class Piecewise(nn.Module):
    """``(..., 1)`` to ``(..., c)``: a line, and at every knot a change of its slope.

    Args:
        knots: ``(k,)``, increasing.
        changes: ``(k, c)``, how much steeper it gets at each.
        slope: ``(c,)``, the slope before the first.
        offset: ``(c,)``, the height of that first line at zero.
    """

    def __init__(self, knots: Tensor, changes: Tensor, slope: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.knots, self.changes = owned(knots), owned(changes)
        self.slope, self.offset = owned(slope), owned(offset)

    def arguments(self) -> dict[str, Json]:
        """How many knots and channels there are, and where the function bends."""
        knots: list[Json] = list(self.knots.tolist())
        shown = knots if len(knots) <= 64 else [*knots[:32], None, *knots[-32:]]
        return {"knots": len(knots), "channels": len(self.slope), "at": shown}

    def forward(self, inputs: Tensor) -> Tensor:
        """The line, and what every knot that was passed adds to it."""
        bends = torch.relu(inputs - self.knots) @ self.changes
        outputs: Tensor = inputs * self.slope + self.offset + bends
        return outputs


def propose(view: Curve) -> Piecewise | None:
    """The simplification that many tolerances agree on, else every bend."""
    if not usable(view):
        return None
    pieces = settled(view) or plain(view)
    if pieces is None or not len(pieces.knots):
        return None
    changes = np.diff(pieces.slopes, axis=0)
    return Piecewise(
        tensor(pieces.knots), tensor(changes), tensor(pieces.slopes[0]), tensor(pieces.heights[0])
    )


def _table(count: int, seed: int, channels: int = 1) -> Curve:
    """Random heights at random places, and slopes that go on."""
    rng = np.random.default_rng(seed)
    knots = np.sort(rng.uniform(-3, 3, count)) + 0.2 * np.arange(count)
    return ideal(knots, rng.standard_normal((count, channels)), 0.5, -1.25)


def _calibration() -> Curve:
    """A sensor's table, known on its range alone."""
    volts = np.array([0.4, 0.8, 1.3, 1.9, 2.6, 3.0])
    return ideal(volts, np.array([-40.0, 0.0, 25.0, 60.0, 110.0, 150.0]), 0.0, 0.0, (0.4, 3.0))


def _near_line() -> Curve:
    """A straight line, which is no bend at all."""
    return ideal([0.0], [0.3], 2.0, 2.0)


OPERATOR = Operator(
    "piecewise",
    propose,
    finds=(
        Example("seven knots", lambda: _table(7, 0)),
        Example("four channels with the same knots", lambda: _table(12, 1, 4)),
        Example("sensor table on its range", _calibration),
        Example("dead zone", lambda: ideal([-0.3, 0.3], [0.0, 0.0], 1.0, 1.0)),
        Example("absolute value", lambda: ideal([0.0], [0.0], -1.0, 1.0)),
    ),
    ignores=(Example("straight line", _near_line),),
    view=Curve,
)
