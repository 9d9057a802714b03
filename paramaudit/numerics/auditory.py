"""Banks of triangular filters that are equally spaced on a scale of hearing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LINEAR_UP_TO = 1000.0
"""Slaney's scale is linear up to this frequency in Hz, at 3 mel for 200 Hz."""

PER_MEL = math.log(6.4) / 27
"""Above, one mel multiplies the frequency by e to this."""

CORNERS = {"htk": 700.0, "erb": 1 / 0.00437}
"""Scales ``log(1 + f / corner)``, up to a factor that plays no part."""

SCALES = ("slaney", *CORNERS)
"""All names."""

NORMS = ("none", "slaney")
"""Triangles of height one, or of the same area: height ``2 / width`` with the width in Hz."""


def to_scale(name: str, hertz: Tensor) -> Tensor:
    """Frequencies on a scale.

    Source:
        htk: O'Shaughnessy, Speech Communication (1987). slaney: Slaney, Auditory Toolbox (1998).
        erb: Glasberg and Moore, Hearing Research 47 (1990).
    """
    if name in CORNERS:
        return torch.log1p(hertz / CORNERS[name])
    above = 15 + torch.log(hertz.clamp_min(LINEAR_UP_TO) / LINEAR_UP_TO) / PER_MEL
    return torch.where(hertz < LINEAR_UP_TO, hertz * (3 / 200), above)


def to_hertz(name: str, points: Tensor) -> Tensor:
    """The inverse of :func:`to_scale`."""
    if name in CORNERS:
        return CORNERS[name] * torch.expm1(points)
    above = LINEAR_UP_TO * torch.exp(PER_MEL * (points - 15).clamp_min(0.0))
    return torch.where(points < 15, points * (200 / 3), above)


def corners(name: str, count: int, low: Tensor, high: Tensor) -> Tensor:
    """Feet and tops ``(count + 2,)`` in Hz, equally spaced on a scale from ``low`` to ``high`` in Hz."""
    start, end = to_scale(name, low), to_scale(name, high)
    place = torch.arange(count + 2, dtype=low.dtype, device=low.device)
    return to_hertz(name, start + (end - start) * (place / (count + 1)))


def triangles(points: Tensor, bins: int, rate: Tensor | float) -> Tensor:
    """Triangles of height one ``(count, bins)``: each rises from a point to the next and falls to that after.

    Args:
        points: ``(count + 2,)`` in Hz, ascending.
        bins: how many frequencies, equally spaced from 0 to half the rate.
        rate: the sample rate in Hz.
    """
    place = torch.arange(bins, dtype=points.dtype, device=points.device)
    hertz = place * (rate / (2 * (bins - 1)))
    low, top, high = points[:-2, None], points[1:-1, None], points[2:, None]
    return torch.minimum((hertz - low) / (top - low), (high - hertz) / (high - top)).clamp_min(0.0)


def feet(rows: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Where triangles begin and end, for those that show it.

    A side shows it that has two samples beside the largest: the line through them meets zero at its foot,
    whatever the height.

    Args:
        rows: ``(count, bins)``, not negative but for noise.
        noise: entries of at most this are taken for zero.

    Returns:
        Indices of points ``(k,)`` int64, as in :func:`corners`, and where these are in bins ``(k,)``.
    """
    index: list[int] = []
    place: list[float] = []
    for row, values in enumerate(rows.tolist()):
        top = max(range(len(values)), key=values.__getitem__)
        for side, number in ((-1, row), (1, row + 2)):
            end = top + side
            while 0 <= end + side < len(values) and values[end + side] > noise:
                end += side
            near = top + side
            if (end - near) * side >= 1 and values[near] > values[end] > noise:
                slope = (values[near] - values[end]) / (near - end)
                index.append(number)
                place.append(end - values[end] / slope)
    return torch.tensor(index, dtype=torch.int64), torch.tensor(place, dtype=torch.float64)
