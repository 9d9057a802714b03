"""Window functions by formula, so that a layer that uses one stores none of its numbers.

Each is known by a name: periodic as it is used for spectra, or with ``-symmetric`` as it is used for
filter design. The largest value of the formula is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

COSINE_SUMS = {
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
}

LONGER_SUMS = {
    "nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackmanharris": (0.35875, 0.48829, 0.14128, 0.01168),
    "flattop": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
"""Windows that are seldom used for spectra of learned layers, and that no transform is searched with."""

WINDOWS = (
    "rectangular",
    *COSINE_SUMS,
    *(f"{name}-symmetric" for name in COSINE_SUMS),
    "sine",
    "sine-symmetric",
    "sine-centred",
)
"""All names, simplest first."""

Span = tuple[int, int]
"""First sample and length of a window that is shorter than its frame."""


def window(name: str, size: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """The window ``(size,)`` of that name.

    ``sine`` is ``sin(pi t / n)``, ``sine-symmetric`` has ``n - 1`` in place of ``n``, and
    ``sine-centred`` is ``sin(pi (t + 1/2) / n)``, the one of lapped transforms.

    Raises:
        KeyError: for a name that is not in :data:`WINDOWS`.

    Source:
        Harris, On the use of windows for harmonic analysis with the DFT, Proc. IEEE 66 (1978).
    """
    if name == "rectangular":
        return torch.ones(size, dtype=dtype, device=device)
    base, _, kind = name.partition("-")
    length = max(1, size - 1) if kind == "symmetric" else size
    # in float64 where there is one: float32 angles would cost two digits
    wide = torch.float32 if torch.device(device).type == "mps" else torch.float64
    time = torch.arange(size, dtype=wide, device=device)
    if base == "sine":
        return torch.sin((time + 0.5 if kind == "centred" else time) * (math.pi / length)).to(dtype)
    return cosine_sum(COSINE_SUMS[base], time * (2 * math.pi / length)).to(dtype)


def cosine_sum(amounts: Sequence[float], angles: Tensor) -> Tensor:
    """``a0 - a1 cos(t) + a2 cos(2 t) - ...`` at some angles."""
    result = torch.zeros_like(angles)
    for order, amount in enumerate(amounts):
        result = result + (-1) ** order * amount * torch.cos(angles * order)
    return result


def placed(
    name: str, size: int, span: Span | None, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """The window ``(size,)`` that is zero outside of ``span``; None is all of the frame."""
    if span is None:
        return window(name, size, dtype, device)
    first, length = span
    return F.pad(window(name, length, dtype, device), (first, size - first - length))


def spans(heard: Tensor) -> list[tuple[str, Span]]:
    """Where windows may lie, with their names, that are heard at the samples that are true in ``(n,)``.

    None when that is all of the frame, but for the first or last sample, where many windows are zero.
    """
    places = heard.nonzero()[:, 0]
    size = len(heard)
    if not len(places):
        return []
    first, end = int(places[0]), int(places[-1]) + 1
    if first <= 1 and end >= size - 1:
        return []
    found: dict[tuple[str, Span], None] = {}
    for name in WINDOWS:
        ends = window(name, 8, torch.float64)[[0, -1]].abs() < 1e-12
        stop = min(end + int(ends[1]), size)
        # at the first sample of the frame all sines are zero, whatever the window is
        starts = (0, first) if first == 1 else (first - int(ends[0]),)
        found.update({(name, (start, stop - start)): None for start in starts if start >= 0})
    return list(found)
