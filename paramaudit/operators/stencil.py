"""A convolution along time that is a textbook stencil.

What it finds:    A convolution over one channel, or over every channel with the same kernel, whose rows are
                  box means, binomial or Gaussian smoothers, triangles (linear interpolation), first and
                  central differences, or second differences, each of any sign and gain; at any stride. A
                  Gaussian's width is read off and taken when it is a number of three digits. Convolutions of
                  images are not looked at.
Why it matters:   channels times taps are none, or a gain a row.
Proof:            A convolution over one channel is one matrix times every frame. That matrix is compared
                  with the stencil as any matrix is: the gap is bounded for all inputs and compared with the
                  convolution's own rounding.
Swap safety:      Exact at any length of signal. Nothing trainable remains unless a gain is stored.
Source:           Jaehne, Digital Image Processing (2005), 11.4 (box and binomial) and 12.3 (differences).
                  Lindeberg, Scale-space for discrete signals, IEEE Trans. PAMI 12 (1990).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.ndimage
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.frames import Framed, frame_matrix
from paramaudit.numerics.layers import parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.records import Example, Json, Kernel, Operator

MOST_TAPS = 33
SNAP = 16
"""A gain is one, and a Gaussian's width a short number, when they are to so many roundings."""


class Stencil(nn.Module):
    """Textbook stencils of a frame, ``(..., taps)`` to ``(..., m)``.

    Args:
        kinds: the name of every row's stencil, see :func:`taps_of`.
        taps: how many numbers a frame has.
        gains: ``(m,)`` or None.
        bias: ``(m,)`` or None.
    """

    def __init__(
        self, kinds: tuple[str, ...], taps: int, gains: Tensor | None = None, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.kinds, self.taps = kinds, taps
        self.gains, self.bias = parameter(gains), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The stencils, and whether gains are stored."""
        return {
            "stencils": list(self.kinds),
            "taps": self.taps,
            "gains": self.gains is not None,
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Add up the numbers of a frame with the stencils' weights."""
        rows = []
        for kind in self.kinds:
            terms = [w * inputs[..., i] for i, w in enumerate(taps_of(kind, self.taps)) if w]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            rows.append(total)
        outputs = torch.stack(rows, dim=-1)
        return plus(outputs if self.gains is None else outputs * self.gains, self.bias, inputs.dtype)


def taps_of(kind: str, taps: int) -> list[float]:
    """The weights of a stencil: a name, for a Gaussian with its width as in ``gaussian 1.5``.

    Smoothers sum to one, but a triangle's largest weight is one, as interpolation has it. Differences are per
    sample.
    """
    middle = (taps - 1) / 2
    if kind == "box":
        return [1 / taps] * taps
    if kind == "binomial":
        return [math.comb(taps - 1, i) / 2 ** (taps - 1) for i in range(taps)]
    if kind == "triangle":
        half = (taps + 1) // 2
        return [1 - abs(i - middle) / half for i in range(taps)]
    if kind.startswith("gaussian "):
        width = float(kind.split()[1])
        raw = [math.exp(-(((i - middle) / width) ** 2) / 2) for i in range(taps)]
        return [w / sum(raw) for w in raw]
    known = {
        "difference": [-1.0, 1.0],
        "central difference": [-0.5, 0.0, 0.5],
        "second difference": [1.0, -2.0, 1.0],
    }
    return known[kind]


def propose(view: Kernel) -> Framed | None:
    """The stencil of every row."""
    matrix = frame_matrix(view)
    taps = view.weight.shape[2]
    if matrix is None or not 2 <= taps <= MOST_TAPS or not usable(matrix):
        return None
    found = [_nearest(row, matrix.noise) for row in matrix.weight]
    kinds = tuple(kind for kind, _ in found if kind)
    if len(kinds) < len(found):
        return None
    gains = torch.tensor([gain for _, gain in found], dtype=matrix.weight.dtype)
    plain = bool(((gains - 1).abs() <= SNAP * matrix.noise).all())
    layer = Stencil(kinds, taps, None if plain else gains, kept_bias(matrix))
    return Framed(layer, taps, view.stride, view.padding)


def _nearest(row: Tensor, noise: float) -> tuple[str, float]:
    """The stencil that leaves least of a row, and its gain; no name when none is near."""
    best: tuple[float, str, float] = (NOISY / 4, "", 0.0)
    for kind in _kinds(row, noise):
        taps = torch.tensor(taps_of(kind, len(row)), dtype=row.dtype)
        gain = float(row @ taps / (taps @ taps))
        best = min(best, (left_over(row - gain * taps, row), kind, gain))
    return best[1], best[2]


def _kinds(row: Tensor, noise: float) -> Iterator[str]:
    taps = len(row)
    yield "box"
    if taps == 2:
        yield "difference"
    if taps == 3:
        yield from ("central difference", "second difference")
    if taps >= 3:
        yield from ("binomial", "triangle")
        width = _width(row, noise)
        if width:
            yield f"gaussian {width}"


def _width(row: Tensor, noise: float) -> str:
    """The width of a Gaussian from its logarithm, as a number of at most three digits; else nothing."""
    place = torch.arange(len(row), dtype=row.dtype) - (len(row) - 1) / 2
    sign = row / row[len(row) // 2]
    if not bool((sign > 0).all()):
        return ""
    # weights far out are small, and their logarithms as exact as those of the others
    design = torch.stack([torch.ones_like(place), place.square()], 1)
    slope = float(torch.linalg.lstsq(design, sign.log()[:, None]).solution[1, 0])
    if slope >= 0:
        return ""
    width = math.sqrt(-0.5 / slope)
    short = f"{width:.3g}"
    return short if abs(float(short) / width - 1) <= max(SNAP * noise, 1e-3) else ""


def _kernel(*rows: NDArray[np.float64], channels: int = 1, stride: int = 1) -> Kernel:
    """These rows for every channel, as a checkpoint in float32 holds them."""
    weight = stored(np.tile(np.stack(rows), (channels, 1))).weight
    padding = (weight.shape[1] - 1) // 2
    return Kernel(weight[:, None], None, stride, padding, groups=channels, dtype=torch.float32)


def _gaussian(width: float, taps: int) -> NDArray[np.float64]:
    """What scipy's filter answers to an impulse."""
    impulse = np.zeros(taps)
    impulse[taps // 2] = 1
    radius = taps // 2
    return np.asarray(scipy.ndimage.gaussian_filter1d(impulse, width, mode="constant", radius=radius))


def _binomial(taps: int) -> NDArray[np.float64]:
    return np.asarray(scipy.special.binom(taps - 1, np.arange(taps)) / 2.0 ** (taps - 1))


OPERATOR = Operator(
    "stencil",
    propose,
    finds=(
        Example("box mean, stride 2", lambda: _kernel(np.full(9, 1 / 9), channels=4, stride=2)),
        Example("binomial of 5", lambda: _kernel(_binomial(5))),
        Example("Gaussian of width 1.5", lambda: _kernel(_gaussian(1.5, 13), channels=3)),
        Example("linear interpolation", lambda: _kernel(np.interp(np.arange(-3, 4), [-4, 0, 4], [0, 1, 0]))),
        Example("gradients", lambda: _kernel(np.array([-1.0, 0, 1]), np.array([1.0, -2, 1]), channels=8)),
    ),
    ignores=(
        Example("a binomial, one weight 1 % off", lambda: _kernel(_binomial(5) * [1, 1, 1, 1.01, 1])),
        Example("a window of Hann", lambda: _kernel(np.hanning(11)[1:-1])),
        Example("random", lambda: _kernel(np.random.default_rng(0).standard_normal(7))),
    ),
    view=Kernel,
)
