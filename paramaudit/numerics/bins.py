"""Rows of a Fourier transform put in plain words: their order, their signs, their common gain.

``nothing`` marks rows of zeros throughout: the sine of DC or Nyquist, present but empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

Layout = tuple[str, tuple[int, int], tuple[int, int]]
"""Name, first and end bin of the real part, first and end bin of the imaginary part."""


EDGES = {"1": 1.0, "1/sqrt(2)": 0.5**0.5, "1/2": 0.5, "sqrt(2)": 2.0**0.5, "2": 2.0}
"""What DC and Nyquist may be multiplied by, relative to the other bins."""


def common_gain(
    sizes: Tensor, norms: Tensor, tolerance: Tensor, plain: Tensor, edge: Tensor
) -> tuple[float | None, str]:
    """The one gain of all rows, and what DC and Nyquist are multiplied by; None when rows differ."""
    for name, factor in EDGES.items():
        if name != "1" and not (bool(edge.any()) and bool(plain.any())):
            break
        scaled = torch.where(edge, sizes / factor, sizes)
        used = plain | edge
        weight = norms.square() * used
        mean = float((scaled * weight).sum() / weight.sum())
        if bool(((scaled - mean).abs() <= tolerance)[used].all()):
            exact = scaled[used]
            return (float(exact[0]) if bool((exact == exact[0]).all()) else mean), name
    return None, "1"


def common_signs(signs: Tensor, real: Tensor, imaginary: Tensor) -> tuple[int, int, Tensor | None]:
    """Overall sign, sign of the exponent, and signs of rows (None where these two say it all)."""
    first = int(signs[real][0]) if bool(real.any()) else 0
    second = int(signs[imaginary][0]) if bool(imaginary.any()) else 0
    overall = first or 1
    sign = (second or -1) * overall
    expected = torch.where(imaginary, sign * overall, overall)
    if bool((expected == signs)[real | imaginary].all()):
        return overall, sign, None
    return 1, -1, torch.where(imaginary, -signs, torch.where(real, signs, 1))


def plain_order(bins: Tensor, sine: Tensor, nothing: Tensor, size: int) -> Layout | None:
    """The plain order that these rows are in, or None. A row of zeros is the sine of DC or Nyquist."""
    total = len(bins)
    like_sine = sine | nothing
    cosines = int((~like_sine).sum())
    counts = {
        "real-imaginary": (torch.arange(cosines), torch.arange(cosines, total)),
        "imaginary-real": (torch.arange(total - cosines, total), torch.arange(total - cosines)),
        "interleaved": (torch.arange(0, total, 2), torch.arange(1, total, 2)),
    }
    for name, (first, second) in counts.items():
        if bool(like_sine[first].any()) or not bool(like_sine[second].all()):
            continue
        real = _range(bins[first], nothing[first], size)
        imaginary = _range(bins[second], nothing[second], size)
        if real and imaginary and (name != "interleaved" or real == imaginary):
            return name, real, imaginary
    return None


def _range(bins: Tensor, nothing: Tensor, size: int) -> tuple[int, int] | None:
    """First and end of consecutive bins; rows of zeros must fall on DC or Nyquist. None otherwise."""
    if not len(bins):
        return 0, 0
    place = torch.arange(len(bins))
    if bool(nothing.all()):
        return (0, 1) if len(bins) == 1 else None
    starts = (bins - place)[~nothing]
    start = int(starts[0])
    end = start + len(bins)
    zeros = (place + start)[nothing]
    fits = start >= 0 and end <= size // 2 + 1 and bool((starts == start).all())
    return (start, end) if fits and bool(((zeros == 0) | (2 * zeros == size)).all()) else None
