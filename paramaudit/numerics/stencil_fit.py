"""Which textbook stencil a small array of weights is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from paramaudit.numerics.gains import SNAP, gain, plain
from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.stencils import (
    LAPLACIAN_OF_GAUSSIAN,
    LAPLACIANS,
    centred,
    gaussian,
    joined,
    kernel,
    laplacian_of_gaussian,
    line,
    outer,
)
from paramaudit.numerics.tables import snapped

MOST_TAPS = 256
"""Of more weights along one dimension, a kernel is no stencil."""

_FAR = NOISY / 4
_MOST_BINOMIAL = 33
_MOST_POINTS = 9


@dataclass(frozen=True)
class Named:
    """A stencil's name, its weights, and what it leaves of the array that it was fitted to."""

    kind: str
    weights: Tensor
    missed: float


def nearest(values: Tensor, noise: float) -> Named | None:
    """The stencil that is an array ``(*taps)`` in float64 up to a gain; None when none is near.

    Of those that leave the same, but for rounding, one whose gain is plain comes first.

    Args:
        values: finite numbers, not all zero.
        noise: unit roundoff of the dtype in which they are stored.
    """
    if not _even_or_odd(values):
        return None
    found = [named for named in _candidates(values, noise) if named.missed <= _FAR]
    if not found:
        return None
    least = min(named.missed for named in found)
    tied = [named for named in found if named.missed <= _alike(least, noise)]
    return min(tied, key=lambda named: (_plainness(gain(values, named.weights), noise), named.missed))


def _alike(least: float, noise: float) -> float:
    """What leaves no more than this leaves as much as ``least``, but for rounding."""
    return max(1.01 * least, noise, 1e-14)


def _plainness(value: float, noise: float) -> int:
    known = plain(value, noise)
    return 2 if known is None else int(known != 1)


def _even_or_odd(values: Tensor) -> bool:
    """Whether each flip leaves the array about as it is, up to its sign: every stencil is so."""
    for axis in range(values.dim()):
        flipped = values.flip(axis)
        if min(left_over(values - flipped, values), left_over(values + flipped, values)) > _FAR:
            return False
    return True


def _candidates(values: Tensor, noise: float) -> Iterator[Named]:
    """Products of one stencil along each dimension; else Laplacians."""
    shape = tuple(values.shape)
    factors = _factors(values)
    if left_over(values - _projected(values, outer(factors)), values) <= _FAR:
        found = [_lines(factor, noise) for factor in factors]
        for i in range(max(map(len, found)) if all(found) else 0):
            kinds = [tied[min(i, len(tied) - 1)] for tied in found]
            yield _named(joined(kinds, shape), values)
    elif shape == (3, 3):
        yield from (_named(kind, values) for kind in LAPLACIANS)
    elif len(shape) > 1 and min(shape) > 3:
        places = [centred(taps) for taps in shape]
        for width in _widths(values, lambda width: laplacian_of_gaussian(places, width), noise):
            yield _named(f"{LAPLACIAN_OF_GAUSSIAN} {width}", values)


def _named(kind: str, values: Tensor) -> Named:
    weights = kernel(kind, tuple(values.shape))
    return Named(kind, weights, left_over(values - _projected(values, weights), values))


def _projected(values: Tensor, weights: Tensor) -> Tensor:
    return gain(values, weights) * weights


def _factors(values: Tensor) -> list[Tensor]:
    """The unit vectors along each dimension whose product is nearest to an array that is nearly one."""
    found = []
    for axis in range(values.dim()):
        rows = values.movedim(axis, 0).flatten(1) if values.dim() > 1 else values[:, None]
        found.append(torch.linalg.svd(rows, full_matrices=False).U[:, 0])
    return found


def _lines(values: Tensor, noise: float) -> list[str]:
    """The stencils along one dimension that leave least of a vector: one, or several that leave the same."""
    missed = {kind: _missed(kind, values) for kind in _kinds(values)}
    if min(missed.values(), default=1.0) > _alike(0.0, noise):
        missed |= {kind: _missed(kind, values) for kind in _gaussians(values, noise)}
    near = min(_FAR, _alike(min(missed.values(), default=1.0), noise))
    return [kind for kind, left in missed.items() if left <= near]


def _missed(kind: str, values: Tensor) -> float:
    return left_over(values - _projected(values, line(kind, len(values))), values)


def _kinds(values: Tensor) -> Iterator[str]:
    """Every stencil without a width that so many weights may be, of the symmetry that they have."""
    taps = len(values)
    few, odd = taps <= _MOST_BINOMIAL, taps % 2 == 1 and taps <= _MOST_POINTS
    if taps == 1:
        yield "one"
    elif _even(values):
        yield from ("box", "ones")
        yield from ("triangle",) if taps > 2 else ()
        yield from ("binomial",) if taps > 2 and few else ()
        yield from ("binomial curvature",) if taps > 3 and few else ()
        yield from ("second difference",) if taps > 2 and odd else ()
        yield from ("scharr",) if taps == 3 else ()
    else:
        yield from ("difference",) if taps == 2 else ()
        yield from ("central difference",) if taps > 2 and odd else ()
        yield from ("binomial difference",) if taps > 3 and few else ()


def _even(values: Tensor) -> bool:
    return left_over(values - values.flip(0), values) <= _FAR


def _gaussians(values: Tensor, noise: float) -> Iterator[str]:
    """A Gaussian, or what its derivatives are, where the weights are enough to tell."""
    names = {"gaussian": 3, "gaussian curvature": 5} if _even(values) else {"gaussian slope": 4}
    for name, least in names.items():
        if len(values) >= least:
            yield from _gaussian(name, values, noise)


def _gaussian(name: str, values: Tensor, noise: float) -> Iterator[str]:
    place = centred(len(values))

    def made(width: float) -> Tensor:
        return gaussian(name, place, width)

    for width in _widths(values, made, noise):
        left = _missed(f"{name} {width}", values)
        # four weights or so have a width in any case: there it must be a short number to the last digit
        if len(values) > 5 or left <= _alike(4 * noise, noise):
            yield f"{name} {width}"


def _widths(values: Tensor, made: Callable[[float], Tensor], noise: float) -> Iterator[str]:
    """The width that leaves least, as a number of at most three digits; nothing when it is not one."""

    def missed(width: float) -> float:
        weights = made(width)
        size = float(weights.square().sum())
        return left_over(values - _projected(values, weights), values) if 0 < size < math.inf else 1.0

    widest = math.log10(max(8.0, 2.0 * max(values.shape)))
    grid = torch.logspace(math.log10(0.25), widest, 48, dtype=torch.float64)
    errors = [missed(width) for width in grid.tolist()]
    best = min(range(len(errors)), key=errors.__getitem__)
    if errors[best] > 0.5:
        return
    low, high = float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)])
    width = float(minimize_scalar(missed, bounds=(low, high), method="bounded", options={"xatol": 1e-9}).x)
    least = missed(width)
    for digits in (1, 2, 3):
        short = snapped(width, max(SNAP * noise, 1e-3), digits)
        if short is not None and (digits == 3 or missed(short) <= max(1.5 * least, noise)):
            yield f"{short:g}"
            return


def single_channel(weight: Tensor) -> Tensor | None:
    """The filters ``(rows, *taps)`` of a kernel each of whose rows has weights in one channel only.

    Row ``r`` has them in channel ``r`` modulo the number of channels. None for any other kernel: one row is
    looked at before all are.
    """
    rows, channels = weight.shape[:2]
    if channels == 1:
        return weight[:, 0]
    if rows % channels or bool(weight[0, 1:].any()):
        return None
    own = torch.arange(rows) % channels
    filters = weight[torch.arange(rows), own]
    return filters if int(weight.count_nonzero()) == int(filters.count_nonzero()) else None


def assigned(filters: Tensor, noise: float, most: int) -> Sequence[Named] | None:
    """The stencil of every filter ``(rows, *taps)``; None when one has none, or there are more than ``most``.

    A stencil that was found is looked for in all rows at once.
    """
    flat = filters.flatten(1)
    sizes = torch.linalg.vector_norm(flat, dim=1)
    if not bool((sizes > 0).all()):
        return None
    found: dict[int, Named] = {}
    for _ in range(most):
        row = next((r for r in range(len(filters)) if r not in found), None)
        if row is None:
            return [found[r] for r in range(len(filters))]
        named = nearest(filters[row], noise)
        if named is None:
            return None
        weights = named.weights.flatten()
        along = (flat @ weights / weights.square().sum())[:, None] * weights
        left = torch.linalg.vector_norm(flat - along, dim=1) / sizes
        same = (left <= _alike(2 * named.missed, noise)).nonzero()[:, 0].tolist()
        found |= {r: named for r in [row, *same] if r not in found}
    return None
