"""A convolution whose kernel is a textbook stencil.

What it finds:    Convolutions along time and of images, transposed ones too, at any stride, dilation and
                  padding, each of whose filters reads one channel (depthwise, one channel, or every channel
                  itself) by a stencil of any sign and gain: box, binomial, Gaussian (its width a number of
                  three digits), triangle (linear interpolation), differences and their smoothed kinds, a
                  product of those along each axis, Sobel, Prewitt and Scharr, Laplacians, the Laplacian of
                  a Gaussian. A transposed convolution by a triangle or by ones is bilinear, or nearest,
                  upsampling.
Why it matters:   rows times channels times weights are none, one gain, or a gain a row. As fast as before:
                  the convolution stays, its weights are computed.
Proof:            Stride, padding and so on are those of the convolution itself, which stays; only its
                  numbers are compared. One window of the input is one matrix, group by group: its gap is
                  bounded for all inputs and compared with the convolution's own rounding.
Swap safety:      Exact for every size of image. Nothing trainable remains unless a gain is stored; a gain
                  that is a whole number, or one over one, is part of the formula. A bias stays as it is.
Source:           Jaehne, Digital Image Processing (2005), 11.4 (box and binomial) and 12.3 (differences).
                  Lindeberg, Scale-space for discrete signals, IEEE Trans. PAMI 12 (1990). Long, Shelhamer
                  and Darrell, Fully convolutional networks, CVPR 2015 (bilinear upsampling).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import scipy.ndimage
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.numerics.gains import exact_gains, gain, plain
from paramaudit.numerics.layers import parameter
from paramaudit.numerics.stencil_fit import MOST_TAPS, Named, assigned, single_channel
from paramaudit.numerics.stencils import kernel
from paramaudit.numerics.tables import Computed, gained
from paramaudit.records import Example, Json, Kernel, Operator

MOST_KINDS = 16
"""So many different stencils, signs of gains included, are named by their formulas at most."""

Weighted = tuple[str, float]
"""A stencil and its plain gain."""


class Stencil(Computed):
    """The weights of a convolution each of whose filters is a stencil in one channel.

    Args:
        filters: for every row of the kernel its stencil, see :func:`paramaudit.numerics.stencils.kernel`, and
            a plain factor.
        channels: the second dimension of the kernel; row ``r`` has its weights in channel ``r`` modulo that.
        taps: weights along each dimension.
        gains: one for all ``(1,)``, or one a row ``(rows,)``; None for ones.
        upsampling: what the transposed convolution does, for a person to read.
    """

    def __init__(
        self,
        filters: Sequence[Weighted],
        channels: int,
        taps: Sequence[int],
        gains: Tensor | None = None,
        upsampling: str = "",
    ) -> None:
        super().__init__()
        self.filters, self.channels, self.taps = tuple(filters), channels, tuple(taps)
        self.upsampling = upsampling
        self.gains = parameter(gains)

    def arguments(self) -> dict[str, Json]:
        """The stencils and their gains, each once, and how many gains are stored."""
        each = dict.fromkeys(self.filters)
        said: dict[str, Json] = {
            "stencils": [kind for kind, _ in each],
            "factors": [factor for _, factor in each],
            "taps": list(self.taps) if len(self.taps) > 1 else self.taps[0],
            "gains": 0 if self.gains is None else self.gains.numel(),
        }
        return said | ({"upsampling": self.upsampling} if self.upsampling else {})

    def forward(self) -> Tensor:
        """The kernel ``(rows, channels, *taps)``."""
        rows, ones = len(self.filters), [1] * len(self.taps)
        known = {f: f[1] * kernel(f[0], self.taps) for f in dict.fromkeys(self.filters)}
        if len(known) == 1:
            weights = known[self.filters[0]].expand(rows, *self.taps)
        else:
            weights = torch.stack([known[f] for f in self.filters])
        weights = gained(weights, None if self.gains is None else self.gains.reshape(-1, *ones))[:, None]
        if self.channels > 1:
            own = torch.eye(self.channels, dtype=torch.float64).repeat(rows // self.channels, 1)
            weights = weights * own.reshape(rows, self.channels, *ones) + 0.0  # no negative zeros
        return self.finished(weights.contiguous())


def propose(view: Kernel) -> Stencil | None:
    """The stencil of every row, with its gain in the formula where it is plain, and stored where not."""
    taps = tuple(view.weight.shape[2:])
    if not taps or max(taps) == 1 or max(taps) > MOST_TAPS or not view.weight.numel():
        return None
    filters = single_channel(view.weight)
    if filters is None or not bool(filters.isfinite().all()):
        return None
    named = assigned(filters, view.noise, MOST_KINDS)
    if named is None:
        return None
    upsampling = _upsampling(view, [one.kind for one in named])
    found = [gain(row, one.weights) for row, one in zip(filters, named, strict=True)]
    factors = [plain(value, view.noise) for value in found]
    exact = [(one.kind, factor) for one, factor in zip(named, factors, strict=True) if factor is not None]
    if len(exact) == len(named) and len(set(exact)) <= MOST_KINDS:
        return Stencil(exact, view.weight.shape[1], taps, upsampling=upsampling)
    return _with_gains(view, filters, named, found, upsampling)


def _with_gains(
    view: Kernel, filters: Tensor, named: Sequence[Named], found: Sequence[float], upsampling: str
) -> Stencil:
    """One gain for all rows where one will do; gains that give the stored bits where there are such."""
    rows, shape = [(one.kind, 1.0) for one in named], view.weight.shape
    weights = torch.stack([one.weights for one in named]).flatten(1)
    low, high = exact_gains(filters.flatten(1), weights, view.noise)
    fitted = torch.tensor(found, dtype=torch.float64)
    gains = torch.where(low < high, (low + high) / 2, fitted)
    if float(low.max()) < float(high.min()):
        gains = (low.max() + high.min()).reshape(1) / 2
    elif bool(((fitted - fitted[0]).abs() <= 4 * view.noise * fitted.abs()).all()):
        gains = fitted[:1]
    return Stencil(rows, shape[1], shape[2:], gains, upsampling)


def _upsampling(view: Kernel, kinds: Sequence[str]) -> str:
    """The name of the interpolation that a transposed convolution is, with its factors; "" for none."""
    taps = view.weight.shape[2:]
    if not view.transposed or len(set(kinds)) != 1:
        return ""
    steps = [view.stride] * len(taps) if isinstance(view.stride, int) else view.stride
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(taps)]
    by = " x ".join(map(str, steps))
    if kinds[0] == "triangle" and all((n + 1) // 2 == s for n, s in zip(taps, steps, strict=True)):
        return f"{linear}, {by}"
    return f"nearest, {by}" if kinds[0] in ("ones", "box") and tuple(taps) == tuple(steps) else ""


# --- examples -----------------------------------------------------------------------------------


def _kernel(
    *filters: NDArray[np.float64],
    channels: int = 1,
    full: bool = False,
    stride: int = 1,
    transposed: bool = False,
) -> Kernel:
    """These filters for every channel, as a checkpoint in float32 holds them."""
    each = torch.from_numpy(np.stack(filters * channels)).to(torch.float32).to(torch.float64)
    weight, groups = each[:, None], channels
    if full:
        weight, groups = torch.zeros(channels, channels, *each.shape[1:], dtype=torch.float64), 1
        weight[range(channels), range(channels)] = each
    padding = 0 if transposed else (each.shape[-1] - 1) // 2
    return Kernel(weight, None, stride, padding, groups=groups, transposed=transposed)


def _answer(apply: Callable[[NDArray[np.float64]], object], *shape: int) -> NDArray[np.float64]:
    """What a filter of scipy answers to an impulse, read as a kernel."""
    impulse = np.zeros(shape)
    impulse[tuple(n // 2 for n in shape)] = 1
    return np.asarray(apply(impulse), dtype=np.float64)


def _gaussian(width: float, taps: int) -> NDArray[np.float64]:
    radius = taps // 2
    return _answer(lambda x: scipy.ndimage.gaussian_filter1d(x, width, mode="constant", radius=radius), taps)


def _blur(rows: float, columns: float, taps: int) -> NDArray[np.float64]:
    radius = taps // 2
    return _answer(
        lambda x: scipy.ndimage.gaussian_filter(x, (rows, columns), mode="constant", radius=radius),
        taps,
        taps,
    )


def _edge(name: str, axis: int) -> NDArray[np.float64]:
    filters: dict[str, Callable[..., object]] = {
        "sobel": scipy.ndimage.sobel,
        "prewitt": scipy.ndimage.prewitt,
    }
    return _answer(lambda x: filters[name](x, axis, mode="constant"), 3, 3)


def _scharr() -> NDArray[np.float64]:
    return np.outer([3.0, 10, 3], [-1.0, 0, 1])


def _log(width: float, taps: int) -> NDArray[np.float64]:
    radius = taps // 2
    return _answer(
        lambda x: scipy.ndimage.gaussian_laplace(x, width, mode="constant", radius=radius), taps, taps
    )


def _binomial(taps: int) -> NDArray[np.float64]:
    return np.asarray(scipy.special.binom(taps - 1, np.arange(taps)) / 2.0 ** (taps - 1))


def _bilinear(size: int) -> NDArray[np.float64]:
    """The initial weights of Long et al."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(size) - centre) / factor
    return np.outer(line, line)


def _nudged(weights: NDArray[np.float64], place: tuple[int, ...]) -> NDArray[np.float64]:
    changed = weights.copy()
    changed[place] *= 1.01
    return changed


def _gabor(size: int) -> NDArray[np.float64]:
    x = np.arange(size) - (size - 1) / 2
    return np.outer(np.exp(-((x / 2.3) ** 2)), np.exp(-((x / 2.1) ** 2)) * np.cos(1.1 * x + 0.3))


def _random(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape)


def _uneven() -> NDArray[np.float64]:
    line = 1 - np.abs(np.arange(4) - 1) / 2
    return np.outer(line, line)


def _scaled(weights: NDArray[np.float64]) -> Kernel:
    """A filter for every channel, each with a gain of its own."""
    gains = np.exp(0.3 * _random(6))
    view = _kernel(*(g * weights for g in gains))
    return replace(view, groups=6)


def _two_channels() -> Kernel:
    """A smoother that also reads its neighbour's channel a little."""
    view = _kernel(_blur(1.0, 1.0, 5), channels=3, full=True)
    weight = view.weight.clone()
    weight[2, 1, 2, 2] = 1e-3
    return replace(view, weight=weight)


OPERATOR = Operator(
    "stencil",
    propose,
    finds=(
        Example("box mean, stride 2", lambda: _kernel(np.full(9, 1 / 9), channels=4, stride=2)),
        Example("binomial of 5", lambda: _kernel(_binomial(5))),
        Example("Gaussian of width 1.5", lambda: _kernel(_gaussian(1.5, 13), channels=3)),
        Example("linear interpolation", lambda: _kernel(np.interp(np.arange(-3, 4), [-4, 0, 4], [0, 1, 0]))),
        Example("gradients", lambda: _kernel(np.array([-1.0, 0, 1]), np.array([1.0, -2, 1]), channels=8)),
        Example("blur of images", lambda: _kernel(_blur(1.2, 1.2, 7), channels=3)),
        Example("blur, wider along columns", lambda: _kernel(_blur(0.8, 2.5, 9), channels=2, full=True)),
        Example("box of images", lambda: _kernel(np.full((3, 5), 1 / 15), channels=4)),
        Example("Sobel pair", lambda: _kernel(_edge("sobel", 1), _edge("sobel", 0))),
        Example("Prewitt, a quarter", lambda: _kernel(_edge("prewitt", 0) / 4, channels=6)),
        Example("Scharr pair, any gain", lambda: _kernel(0.3 * _scharr(), 0.3 * _scharr().T, channels=3)),
        Example(
            "Laplacian", lambda: _kernel(_answer(lambda x: scipy.ndimage.laplace(x, mode="constant"), 3, 3))
        ),
        Example(
            "Laplacian of 9 points", lambda: _kernel(np.array([[1.0, 4, 1], [4, -20, 4], [1, 4, 1]]) / 6)
        ),
        Example("Laplacian of a Gaussian", lambda: _kernel(_log(1.4, 9))),
        Example("binomial, a gain a channel", lambda: _scaled(np.outer(_binomial(5), _binomial(5)))),
        Example(
            "bilinear upsampling",
            lambda: _kernel(_bilinear(4), channels=5, full=True, stride=2, transposed=True),
        ),
        Example(
            "nearest upsampling", lambda: _kernel(np.ones((3, 3)), channels=4, stride=3, transposed=True)
        ),
    ),
    ignores=(
        Example("a binomial, one weight 1 % off", lambda: _kernel(_binomial(5) * [1, 1, 1, 1.01, 1])),
        Example("a window of Hann", lambda: _kernel(np.hanning(11)[1:-1])),
        Example("random", lambda: _kernel(_random(7))),
        Example(
            "a blur, one weight 1 % off", lambda: _kernel(_nudged(_blur(1.2, 1.2, 5), (1, 3)), channels=3)
        ),
        Example("Sobel with 2.02", lambda: _kernel(_nudged(_edge("sobel", 1), (1, 0)))),
        Example("a learned Gabor", lambda: _kernel(_gabor(7))),
        Example("random, of rank one", lambda: _kernel(np.outer(_random(5), _random(5)))),
        Example(
            "a window of Hann, of images", lambda: _kernel(np.outer(np.hanning(9), np.hanning(9))[1:-1, 1:-1])
        ),
        Example(
            "bilinear, off centre",
            lambda: _kernel(_uneven(), channels=2, full=True, stride=2, transposed=True),
        ),
        Example("channels that leak", _two_channels),
    ),
    view=Kernel,
)
