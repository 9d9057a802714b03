"""A hard knee on every number: a compressor, an expander or a clipper without memory.

What it computes: The input up to a threshold; beyond it, moves of the input divided by a ratio; above the
                  threshold, below it, or beyond it on both sides of zero.
Replaces:         A network over one variable: its numbers are one to three.
Faster when:      It is a few operations a number, where a network has a hidden layer.
Mind:             Threshold, ratio and gain are trained, and nothing keeps a ratio from 0. Without a ratio it
                  clips.
Source:           Giannoulis, Massberg and Reiss, Digital Dynamic Range Compressor Design, J. Audio Eng. Soc.
                  60 (2012), section 2.2, equation 4 with knee width 0, for amplitudes instead of decibels.
"""

from __future__ import annotations

from paramaudit.numerics.initial import Numbers, filled
from paramaudit.operators.knee import Knee

SIDES = ("both", "above", "below")


class HardKnee(Knee):
    """A hard knee on every number, ``(...)`` to the same.

    Args:
        threshold: first value; with ``side`` "both" it bends at minus that too, and must not be negative.
        ratio: the first slope before the threshold over that beyond; None clips.
        gain: the first slope before the threshold; None for 1, which is not trained.
        side: "both", "above" or "below".

    Raises:
        ValueError: for a ratio of 0, a threshold that does not fit, or a side that there is not.

    Example:
        >>> HardKnee(0.5, ratio=4.0)(torch.tensor([-2.5, 0.25, 0.9])).tolist()
        [-1.0, 0.25, 0.6000000238418579]
    """

    def __init__(
        self,
        threshold: Numbers,
        ratio: Numbers | None = None,
        gain: Numbers | None = None,
        side: str = "both",
    ) -> None:
        bend, slopes = filled(threshold, 1), None if ratio is None else filled(ratio, 1)
        if side not in SIDES:
            raise ValueError(f"there is no side {side!r}; known are {', '.join(SIDES)}")
        if (side == "both" and float(bend) < 0) or (slopes is not None and not float(slopes)):
            raise ValueError(f"no knee has threshold {threshold} on the side {side!r} and ratio {ratio}")
        super().__init__(bend, slopes, None if gain is None else filled(gain, 1), side)
