"""Periodic signals: turned, halved by a filter that keeps every second output, and the transpose of that."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def turned(values: Tensor, start: int, count: int | None = None) -> Tensor:
    """``count`` numbers of a periodic ``(b, m)`` from ``start`` on; m of them by default."""
    size = values.shape[-1]
    start, count = start % size, size if count is None else count
    if start == 0 and count == size:
        return values
    whole = torch.cat([values] * -(-(start + count) // size), dim=-1)
    return whole[..., start : start + count]


def halved(values: Tensor, taps: Tensor, moved: int) -> Tensor:
    """``y[k] = sum_j taps[j] x[2 k + len/2 + moved - j]``, ``(b, m)`` to ``(b, m/2)``."""
    length = len(taps)
    start = moved + 1 - length // 2
    rolled = turned(values, start, values.shape[-1] + length - 2)
    return F.conv1d(rolled.unsqueeze(1), taps.flip(0).reshape(1, 1, -1), stride=2).squeeze(1)


def doubled(values: Tensor, taps: Tensor, moved: int) -> Tensor:
    """The transpose of :func:`halved`, ``(b, m/2)`` to ``(b, m)``: even and odd outputs in turns."""
    length = len(taps)
    half = length // 2
    wrapped = turned(values, 1 - half, values.shape[-1] + half - 1)
    phases = torch.stack([taps[1::2], taps[::2]]).unsqueeze(1)
    both = F.conv1d(wrapped.unsqueeze(1), phases)
    return turned(both.transpose(1, 2).flatten(1), half - 1 - moved)
