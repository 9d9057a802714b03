"""The weights of textbook stencils, along one dimension and of images, by their formulas.

Everything here is made of calls that a captured graph can hold: no table of numbers is stored anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

BY = " by "
"""Between the names of a product's factors, rows first: ``box by gaussian 1.5``."""

LAPLACIANS: Mapping[str, float] = {
    "laplacian 5-point": 0.0,
    "laplacian 9-point": 1 / 3,
    "laplacian oono-puri": 1 / 2,
    "laplacian 8-neighbour": 2 / 3,
}
"""The share of the diagonal neighbours in a 3 x 3 Laplacian."""

LAPLACIAN_OF_GAUSSIAN = "laplacian of gaussian"

_SMOOTHING = {"sobel": "binomial", "prewitt": "ones", "scharr": "scharr"}
"""What a gradient filter does across its difference."""

_OF_THREE = {
    ("binomial", "central difference"): "sobel",
    ("triangle", "central difference"): "sobel",
    ("ones", "central difference"): "prewitt",
    ("box", "central difference"): "prewitt",
    ("scharr", "central difference"): "scharr",
}
_OF_MORE = {("binomial", "binomial difference"): "sobel"}


def kernel(kind: str, shape: Sequence[int]) -> Tensor:
    """The weights of a stencil, ``shape``, in float64.

    Args:
        kind: a name as in :func:`line`, the same along every dimension; several of them with :data:`BY`
            between; ``sobel x``, ``prewitt y`` and so on; one of :data:`LAPLACIANS`; or
            ``laplacian of gaussian`` and its width.
        shape: how many weights there are along each dimension.
    """
    if kind in LAPLACIANS:
        return _laplacian(LAPLACIANS[kind])
    name, width = _with_width(kind)
    if name == LAPLACIAN_OF_GAUSSIAN:
        return laplacian_of_gaussian([centred(taps) for taps in shape], width)
    first, _, axis = kind.partition(" ")
    if first in _SMOOTHING and axis in ("x", "y"):
        return _gradient(_SMOOTHING[first], shape, across=axis == "y")
    factors = kind.split(BY)
    factors = factors * len(shape) if len(factors) == 1 else factors
    return outer([line(factor, taps) for factor, taps in zip(factors, shape, strict=True)])


def joined(kinds: Sequence[str], shape: Sequence[int]) -> str:
    """The name of a product of stencils along each dimension."""
    if len(set(kinds)) == 1:
        return kinds[0]
    if len(shape) == 2 and shape[0] == shape[1] and shape[0] % 2 == 1:
        known = _OF_THREE if shape[0] == 3 else _OF_MORE
        for axis, pair in (("x", (kinds[0], kinds[1])), ("y", (kinds[1], kinds[0]))):
            if pair in known:
                return f"{known[pair]} {axis}"
    return BY.join(kinds)


def outer(lines: Sequence[Tensor]) -> Tensor:
    """The product of a stencil along each dimension."""
    product = lines[0]
    for factor in lines[1:]:
        product = product[..., None] * factor
    return product


def line(kind: str, taps: int) -> Tensor:
    """The weights of a stencil along one dimension, ``(taps,)``, in float64.

    Smoothers sum to one, but a triangle's largest weight is one, as interpolation has it, and so are all
    weights of ``ones``. Differences are per sample. A Gaussian, its slope and its curvature have a width
    behind their name, in samples: ``gaussian 1.5``.
    """
    place = centred(taps)
    name, width = _with_width(kind)
    if name.startswith("gaussian"):
        return gaussian(name, place, width)
    if name == "triangle":
        return 1 - place.abs() / ((taps + 1) // 2)
    if name in ("box", "ones", "one"):
        return torch.full((taps,), 1 / taps if name == "box" else 1.0, dtype=torch.float64)
    return torch.stack([torch.full((), w, dtype=torch.float64) for w in _FEW[name](taps)])


def gaussian(name: str, place: Tensor, width: float) -> Tensor:
    """A sampled Gaussian of unit sum along the last dimension, or that times what its derivatives have."""
    bell = torch.exp(-((place / width) ** 2) / 2)
    bell = bell / bell.sum(-1, keepdim=True)
    if name == "gaussian slope":
        return place / width**2 * bell
    return ((place / width) ** 2 - 1) / width**2 * bell if name == "gaussian curvature" else bell


def laplacian_of_gaussian(places: Sequence[Tensor], width: float) -> Tensor:
    """The sum over all dimensions of a Gaussian's curvature along one, and its bells along the others."""
    bells = [gaussian("gaussian", place, width) for place in places]
    bends = [gaussian("gaussian curvature", place, width) for place in places]
    terms = [outer([*bells[:i], bend, *bells[i + 1 :]]) for i, bend in enumerate(bends)]
    return torch.stack(terms).sum(0)


def centred(taps: int) -> Tensor:
    """The places of so many weights about their middle, ``(taps,)``."""
    return torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2


def _with_width(kind: str) -> tuple[str, float]:
    name, _, last = kind.rpartition(" ")
    return (name, float(last)) if last[:1].isdigit() else (kind, math.nan)


def _laplacian(diagonal: float) -> Tensor:
    """The second differences along the axes, and a share of those along the diagonals, 3 x 3."""
    off = (torch.arange(3, dtype=torch.float64) - 1).abs()
    apart, corner = off[:, None] + off, off[:, None] * off
    around = (1 - diagonal) * (apart - 2 * corner) + diagonal / 2 * corner
    return around - (4 - 2 * diagonal) * (1 - apart + corner)


def _gradient(smoothing: str, shape: Sequence[int], *, across: bool) -> Tensor:
    """A difference along columns, or ``across`` along rows, smoothed the other way; in whole numbers."""
    taps = shape[0]
    whole = {"binomial": 2.0 ** (taps - 1), "scharr": 16.0}.get(smoothing, 1.0)
    lines = [whole * line(smoothing, taps), 2.0 ** (taps - 2) * line("binomial difference", taps)]
    return outer(lines[::-1] if across else lines)


def _binomial(taps: int) -> list[float]:
    return [math.comb(taps - 1, i) / 2 ** (taps - 1) for i in range(taps)]


def _binomial_difference(taps: int) -> list[float]:
    """The central difference of a binomial smoother."""
    smooth = [0.0, 0.0, *_binomial(taps - 2), 0.0, 0.0]
    return [(left - right) / 2 for left, right in zip(smooth, smooth[2:], strict=False)]


def _binomial_curvature(taps: int) -> list[float]:
    """The second difference of a binomial smoother."""
    smooth = [0.0, 0.0, *_binomial(taps - 2), 0.0, 0.0]
    slopes = [b - a for a, b in pairwise(smooth)]
    return [b - a for a, b in pairwise(slopes)]


def _central(taps: int) -> list[float]:
    """The first derivative, of the highest order that so many points allow."""
    half = taps // 2
    far = [_weight(half, k) / k for k in range(1, half + 1)]
    return [*(-w for w in reversed(far)), 0.0, *far]


def _second(taps: int) -> list[float]:
    """The second derivative, of the highest order that so many points allow."""
    half = taps // 2
    far = [2 * _weight(half, k) / k**2 for k in range(1, half + 1)]
    return [*reversed(far), -2 * math.fsum(far), *far]


def _weight(half: int, k: int) -> float:
    sign = -1 if k % 2 == 0 else 1
    return sign * math.factorial(half) ** 2 / (math.factorial(half - k) * math.factorial(half + k))


_FEW: Mapping[str, Callable[[int], list[float]]] = {
    "binomial": _binomial,
    "binomial difference": _binomial_difference,
    "binomial curvature": _binomial_curvature,
    "central difference": _central,
    "second difference": _second,
    "difference": lambda _: [-1.0, 1.0],
    "scharr": lambda _: [3 / 16, 10 / 16, 3 / 16],
}
