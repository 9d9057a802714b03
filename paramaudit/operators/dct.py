"""A linear map that is (part of) a discrete cosine transform.

What it finds:    A matrix whose rows are different rows of the discrete cosine transform of type 1, 2, 3 or
                  4 of any size: all of them, a range, a subset, in any order. A common gain or one a row,
                  signs of rows, and the outer rows and columns weighted as in the plain, the orthonormal, a
                  transposed or an inverse transform (type 3 is the inverse and the transpose of type 2; 1
                  and 4 are their own). Usual normalisations are computed; another gain is stored as one
                  number or, where rows differ, m. Half a bin beside type 2 is type 4.
Why it matters:   m n numbers are none, and a product costs O(n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Type and rows are where the orthonormal transform of a row is one-hot; the outer
                  columns' weight is the one under which least is left beside that.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored. Half
                  precision is transformed in float32. Below some hundred points a dense product can win.
Source:           Britanak, Yip and Rao, Discrete Cosine and Sine Transforms (2007), chapters 2 and 4. By
                  real FFT: Makhoul, IEEE Trans. ASSP 28 (1980).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.fft
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.bins import EDGES, common_gain
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, stored
from paramaudit.records import Example, Json, Matrix, Operator

ROWS_AT_ONCE = 512
TYPES = ((2, "1"), (4, "1"), *((kind, column) for kind in (3, 1) for column in ("1", "sqrt(2)", "2")))
"""Types, and by what their outer columns may be multiplied relative to scipy's: names of :data:`EDGES`."""


def scales(size: int, kind: int) -> dict[str, float]:
    """The usual multiples of scipy's transform by name; in type 1, n - 1 takes the place of n."""
    points = size - (kind == 1)
    inverse = {"1/(2n)": 0.5 / points, "1/n": 1 / points, "1/(4n)": 0.25 / points}
    root = points**-0.5
    roots = {"1/sqrt(2n)": 0.5**0.5 * root, "1/sqrt(n)": root, "1/sqrt(4n)": 0.5 * root}
    return {"1": 1.0, "1/2": 0.5} | inverse | roots


class Dct(nn.Module):
    """Some rows of ``scipy.fft.dct(x, type)``, with factors; ``(..., n)`` to ``(..., m)``.

    Args:
        size: n.
        kind: the type, 1 to 4.
        span: first and end row; not used when ``rows`` are given.
        scale: a name of :func:`scales`, perhaps after a minus sign.
        outer: names of :data:`EDGES` for row 0 and column 0, in type 1 also for the last ones.
        gains: ``(1,)`` or ``(m,)`` when they are stored.
        rows: ``(m,)`` int64, when they are not a range.
        signs: ``(m,)`` int64, when rows have signs of their own.
        bias: ``(m,)`` or None.
    """

    rows: Tensor | None
    signs: Tensor | None

    def __init__(
        self,
        size: int,
        kind: int,
        span: tuple[int, int],
        scale: str = "1",
        outer: tuple[str, str] = ("1", "1"),
        gains: Tensor | None = None,
        rows: Tensor | None = None,
        signs: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.size, self.kind, self.span, self.scale, self.outer = size, kind, span, scale, outer
        self.gains, self.bias = parameter(gains), parameter(bias)
        self.register_buffer("rows", rows)
        self.register_buffer("signs", signs)
        factor = scales(size, kind)[scale.removeprefix("-")]
        self._factor = -factor if scale.startswith("-") else factor

    def arguments(self) -> dict[str, Json]:
        """Everything that was recognised; rows as first and last, ``norm`` as scipy calls it."""
        stores = {"gains": self.gains, "rows": self.rows, "signs": self.signs}
        return {
            "n": self.size,
            "type": self.kind,
            "rows": "listed" if self.rows is not None else [self.span[0], self.span[1] - 1],
            "norm": self._norm(),
            "scale": self.scale,
            "outer_row": self.outer[0],
            "outer_column": self.outer[1],
            "stores": [key for key, value in stores.items() if value is not None],
            "bias": self.bias is not None,
        }

    def _norm(self) -> str | None:
        """The name of a normalisation of scipy's, when it is one up to signs."""
        if self.gains is not None:
            return None
        shown = range(*self.span) if self.rows is None else self.rows.tolist()
        outer = {1: (0, self.size - 1), 2: (0,)}.get(self.kind, ())
        row = "1/sqrt(2)" if any(edge in shown for edge in outer) else "1"
        ortho = row, "sqrt(2)" if self.kind in (1, 3) else "1"
        norms = {("1", "1", "1"): "backward", ("1/(2n)", "1", "1"): "forward"}
        return (norms | {("1/sqrt(2n)", *ortho): "ortho"}).get((self.scale.removeprefix("-"), *self.outer))

    def forward(self, inputs: Tensor) -> Tensor:
        """Transform, pick, scale."""
        wide = self._weighted(widened(inputs), EDGES[self.outer[1]])
        outputs = self._weighted(TRANSFORMS[self.kind - 1](wide), EDGES[self.outer[0]])
        if self.rows is not None:
            outputs = outputs.index_select(-1, self.rows)
        elif self.span != (0, self.size):
            outputs = outputs[..., self.span[0] : self.span[1]]
        outputs = outputs * self._factor
        if self.gains is not None:
            outputs = outputs * self.gains.to(wide.dtype)
        if self.signs is not None:
            outputs = outputs * self.signs
        return plus(outputs, self.bias, inputs.dtype)

    def _weighted(self, values: Tensor, factor: float) -> Tensor:
        """The same numbers with the first, in type 1 also the last, multiplied."""
        if factor == 1.0:
            return values
        last = int(self.kind == 1)
        ones = torch.ones(self.size - 1 - last, dtype=values.dtype, device=values.device)
        return values * F.pad(ones, (1, last), value=factor)


def _turns(like: Tensor, count: int, step: float, first: float = 0.0) -> Tensor:
    """``exp(i step (first + t))``, t below ``count``; float64 angles, float32 ones would cost two digits."""
    wide = torch.float32 if like.device.type == "mps" else torch.float64
    angle = (torch.arange(count, dtype=wide, device=like.device) + first) * step
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype.to_complex())


def _woven(even: Tensor, odd: Tensor) -> Tensor:
    """``even`` and the reversed ``odd`` in turns; ``odd`` may be one shorter."""
    count = even.shape[-1] + odd.shape[-1]
    second = F.pad(odd.flip(-1), (0, even.shape[-1] - odd.shape[-1]))
    return torch.stack([even, second], dim=-1).flatten(-2)[..., :count]


def _type_1(x: Tensor) -> Tensor:
    """Continued evenly on both ends, x is periodic after 2 (n - 1) points."""
    outputs: Tensor = torch.fft.rfft(torch.cat([x, x[..., 1:-1].flip(-1)], dim=-1)).real
    return outputs


def _type_2(x: Tensor) -> Tensor:
    """Even points, then odd ones backwards: output k and n - k are real and imaginary part of bin k."""
    n = x.shape[-1]
    spectrum = torch.fft.rfft(torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1))
    spectrum = spectrum * (2 * _turns(x, n // 2 + 1, -math.pi / (2 * n)))
    return torch.cat([spectrum.real, -spectrum.imag[..., 1 : (n + 1) // 2].flip(-1)], dim=-1)


def _type_3(x: Tensor) -> Tensor:
    """The steps of type 2 backwards."""
    n = x.shape[-1]
    bins, step = n // 2 + 1, math.pi / (2 * n)
    backwards = F.pad(x[..., n - n // 2 :].flip(-1), (1, 0))
    # from n on, the turns are i times those from 0 on
    spectrum = x[..., :bins] * _turns(x, bins, step) - backwards * _turns(x, bins, step, n)
    points = torch.fft.irfft(spectrum, n, norm="forward")
    return _woven(points[..., : n - n // 2], points[..., n - n // 2 :])


def _type_4(x: Tensor) -> Tensor:
    """Bin j of the turned points is output 2 j, and minus output 2 n - 1 - 2 j."""
    n = x.shape[-1]
    spectrum = torch.fft.fft(x * _turns(x, n, -math.pi / (2 * n), 0.5))
    outputs = (spectrum * (2 * _turns(x, n, -math.pi / n))).real
    return _woven(outputs[..., : n - n // 2], -outputs[..., n - n // 2 :])


TRANSFORMS = (_type_1, _type_2, _type_3, _type_4)


def propose(view: Matrix) -> Dct | None:
    """The type on a few rows, the rows on all, then tidy gains, signs and order."""
    weight = view.weight
    count, size = weight.shape
    if size < 4 or not 2 <= count <= size:
        return None
    some = weight[torch.linspace(0, count - 1, min(8, count)).long()]
    some = some / some.norm(dim=1, keepdim=True)
    left, kind, column = min((float(_one_hot(some, *choice)[2].median()), *choice) for choice in TYPES)
    if not left <= NOISY:  # nor when it is NaN
        return None
    parts = [_one_hot(part, kind, column) for part in torch.split(weight, ROWS_AT_ONCE)]
    bins, along, beside = (torch.cat(found) for found in zip(*parts, strict=True))
    if not float(beside.norm()) <= NOISY * float(weight.norm()) or len(set(bins.tolist())) < count:
        return None
    off = float(beside.norm()) / (count * (size - 1)) ** 0.5
    row, scaling = _scaling(view, kind, bins, along, off)
    span = (int(bins[0]), int(bins[0]) + count)
    rows = None if torch.equal(bins, torch.arange(*span)) else bins
    return Dct(size, kind, span, outer=(row, column), rows=rows, bias=kept_bias(view), **scaling)


def _one_hot(rows: Tensor, kind: int, column: str) -> tuple[Tensor, Tensor, Tensor]:
    """The largest coefficient of each row ``(m, n)``: where and how large; and the length of the others."""
    weights = torch.ones(rows.shape[1], dtype=rows.dtype)
    if kind in (1, 3):
        weights[[0, -1] if kind == 1 else [0]] = EDGES["sqrt(2)"] / EDGES[column]
    coefficients = torch.from_numpy(scipy.fft.dct((rows * weights).numpy(), kind, norm="ortho"))
    bins = coefficients.abs().argmax(1, keepdim=True)
    along = coefficients.gather(1, bins)[:, 0]
    return bins[:, 0], along, coefficients.scatter_(1, bins, 0.0).norm(dim=1)


def _scaling(view: Matrix, kind: int, bins: Tensor, along: Tensor, off: float) -> tuple[str, dict[str, Any]]:
    """The outer rows' weight, and scale, gains and signs as arguments of the layer."""
    size = view.weight.shape[1]
    edge = ((bins == 0) & (kind < 3)) | ((bins == size - 1) & (kind == 1))
    norms = (2.0 * (size - (kind == 1)) * (1 + edge.double())).sqrt()
    gains = along / norms
    sizes = gains.abs()
    noise = 4 * max(view.noise, 2.0**-50)  # a fast transform rounds a little more than float64 does
    tolerance = SIGMAS * off / norms + noise * sizes
    common, row = common_gain(sizes, norms, tolerance, ~edge, edge)
    if common is None:
        return "1", {"gains": gains}
    signs = torch.where(gains < 0, -1, 1)
    overall = int(signs[0])
    own = None if bool((signs == overall).all()) else signs
    minus = "-" if own is None and overall < 0 else ""
    slack = SIGMAS * off / float(norms.norm()) + noise * common
    usual = [name for name, value in scales(size, kind).items() if abs(common - value) <= slack]
    stored_gain = None if usual else torch.tensor([common], dtype=torch.float64)
    return row, {"signs": own, "scale": minus + (usual[0] if usual else "1"), "gains": stored_gain}


def _matrix(size: int, kind: int, norm: str = "backward") -> NDArray[np.float64]:
    return np.asarray(scipy.fft.dct(np.eye(size), kind, norm=norm, axis=0), dtype=np.float64)


def _shuffled(size: int) -> Matrix:
    """Half the rows in any order, signs at random, a bias."""
    rng = np.random.default_rng(size)
    rows = _matrix(size, 2)[rng.permutation(size)[: size // 2]]
    return stored(rows * rng.choice([-1.0, 1.0], (len(rows), 1)), rng.standard_normal(len(rows)))


def _beside_bins(size: int, bins: float, shift: float) -> Matrix:
    """Cosines of all multiples of half a turn by n, off by ``bins`` bins and ``shift`` points."""
    return stored(np.cos(np.pi * np.outer(np.arange(size) + bins, np.arange(size) + shift) / size))


def _one_row(size: int) -> Matrix:
    rows = _matrix(size, 2, "ortho")
    rows[5] = np.random.default_rng(2).standard_normal(size) / size**0.5
    return stored(rows)


def _noisy(size: int) -> Matrix:
    return stored(_matrix(size, 2, "ortho") * np.random.default_rng(3).normal(1, 0.01, (size, size)))


OPERATOR = Operator(
    "dct",
    propose,
    finds=(
        Example("type 2 of 64", lambda: stored(_matrix(64, 2))),
        Example("type 2 of 45, orthonormal", lambda: stored(_matrix(45, 2, "ortho"))),
        Example("type 1 of 33", lambda: stored(_matrix(33, 1))),
        Example("type 1 of 40, orthonormal", lambda: stored(_matrix(40, 1, "ortho"))),
        Example("type 1 of 24, transposed", lambda: stored(_matrix(24, 1).T)),
        Example("type 3 of 51, orthonormal", lambda: stored(_matrix(51, 3, "ortho"))),
        Example("type 2 of 48, inverse", lambda: stored(scipy.fft.idct(np.eye(48), 2, axis=0))),
        Example("type 2 of 37, transposed", lambda: stored(_matrix(37, 2).T)),
        Example("type 4 of 96, orthonormal", lambda: stored(_matrix(96, 4, "ortho"))),
        Example("type 4 of 97, negative", lambda: stored(-_matrix(97, 4))),
        Example("rows 1 to 12 of 40", lambda: stored(_matrix(40, 2, "ortho")[1:13])),
        Example("any gain", lambda: stored(0.377 * _matrix(60, 2, "ortho"))),
        Example("half the rows, shuffled, own signs, bias", lambda: _shuffled(90)),
        Example("a gain for every row", lambda: stored(np.linspace(-2, 3, 52)[:, None] * _matrix(52, 2))),
        Example("eight points", lambda: stored(_matrix(8, 2, "ortho"))),
    ),
    ignores=(
        Example("sine transform, type 2", lambda: stored(scipy.fft.dst(np.eye(48), 2, axis=0))),
        Example("sine transform, type 4", lambda: stored(scipy.fft.dst(np.eye(48), 4, axis=0))),
        Example("a quarter of a bin beside type 2", lambda: _beside_bins(64, 0.25, 0.5)),
        Example("half a bin beside type 3", lambda: _beside_bins(64, 1.0, 0.0)),
        Example("49 points cut to 48", lambda: stored(_matrix(49, 2)[:48, :48])),
        Example("one row replaced", lambda: _one_row(64)),
        Example("1 % noise", lambda: _noisy(64)),
    ),
)
