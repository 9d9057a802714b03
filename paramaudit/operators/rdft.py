"""A linear map that is (part of) a real discrete Fourier transform of a windowed frame.

What it finds:    A matrix whose rows are cosines and sines of Fourier bins under a common window: any
                  bins in any order (real then imaginary, the other way round, in turns, or permuted), either
                  sign of the imaginary part, rows of zeros for the sine of DC and Nyquist, a common gain or
                  one a row. Known windows (rectangular, Hann, Hamming, Blackman, sine; periodic and
                  symmetric; as long as the frame or shorter) and usual normalisations are computed; any other
                  window is stored as n numbers, any other gain as 1 or, where rows differ, m.
Why it matters:   m n numbers are none, and a product costs O(n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Bins are found by a matched filter under each window; an unknown window is the
                  least-squares one.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain or window is
                  stored. Half precision is transformed in float32. Smaller is not always faster: below
                  some hundred points a dense product can win.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 8.5 and 10.1-10.2. Windows:
                  Harris, Proc. IEEE 66 (1978).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.fft
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.bins import EDGES, Layout, common_gain, common_signs, plain_order
from paramaudit.numerics.fourier import Waves, fit_gains, fit_window, match, window_of
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, left_over, spread, stored, usable
from paramaudit.numerics.storage import storage_noise
from paramaudit.numerics.windows import WINDOWS, Span, placed, spans
from paramaudit.records import Example, Json, Matrix, Operator

LITTLE = 0.01  # of the longest row; shorter ones may be the rounding of zeros, however few digits are stored


@dataclass(frozen=True)
class Taper:
    """A window ``(n,)`` with its name, or "stored", and the part of the frame that it covers (None: all)."""

    name: str
    taps: Tensor
    span: Span | None = None


def scales(size: int, taps: Tensor) -> dict[str, float]:
    """The usual normalisations of a transform of ``size`` points under a window, by name."""
    total, power = float(taps.sum()), float(taps.square().sum())
    return {
        "1": 1.0,
        "1/n": 1 / size,
        "2/n": 2 / size,
        "1/sqrt(n)": size**-0.5,
        "sqrt(2/n)": (2 / size) ** 0.5,
        "2": 2.0,
        "1/2": 0.5,
        "1/sum(window)": 1 / total,
        "2/sum(window)": 2 / total,
        "1/sqrt(sum(window^2))": power**-0.5,
    }


class RealDft(nn.Module):
    """Real and imaginary parts of a windowed frame's spectrum, ``(..., n)`` to ``(..., m)``.

    Args:
        size: n.
        layout: order of the rows and ranges of bins (:data:`~paramaudit.numerics.bins.Layout`); for the
            layout "rows" the ranges are not used.
        sign: the sign of the exponent.
        window_name: one of :data:`WINDOWS`, or "stored".
        scale: a name of :func:`scales`, perhaps after a minus sign.
        edges: a name of :data:`EDGES`.
        taps: ``(n,)``, the window when it is stored.
        gains: ``(1,)`` or ``(m,)`` when they are stored.
        rows: ``(m,)`` int64 for the layout "rows": bin, plus n//2 + 1 for the imaginary part.
        signs: ``(m,)`` int64, when rows have signs of their own.
        bias: ``(m,)`` or None.
        span: first sample and length of a window that is shorter than the frame.
    """

    rows: Tensor | None
    signs: Tensor | None

    def __init__(
        self,
        size: int,
        layout: Layout,
        sign: int = -1,
        window_name: str = "rectangular",
        scale: str = "1",
        edges: str = "1",
        taps: Tensor | None = None,
        gains: Tensor | None = None,
        rows: Tensor | None = None,
        signs: Tensor | None = None,
        bias: Tensor | None = None,
        span: Span | None = None,
    ) -> None:
        super().__init__()
        self.size, self.layout, self.sign = size, layout, sign
        self.window_name, self.span, self.scale, self.edges = window_name, span, scale, edges
        self.taps, self.gains, self.bias = parameter(taps), parameter(gains), parameter(bias)
        self.register_buffer("rows", rows)
        self.register_buffer("signs", signs)
        known = torch.ones(size) if taps is not None else placed(window_name, size, span, torch.float64)
        factor = scales(size, known)[scale.removeprefix("-")]
        self._factor = -factor if scale.startswith("-") else factor

    def arguments(self) -> dict[str, Json]:
        """Everything that was recognised; bins as first and last."""
        name, real, imaginary = self.layout
        named: dict[str, Json] = {"n": self.size, "layout": name}
        if name != "rows":
            named["real"] = [real[0], real[1] - 1] if real[1] > real[0] else None
            named["imaginary"] = [imaginary[0], imaginary[1] - 1] if imaginary[1] > imaginary[0] else None
        if self.span is not None:
            named |= {"window_first": self.span[0], "window_length": self.span[1]}
        stores = {"gains": self.gains, "signs": self.signs}
        return named | {
            "sign": self.sign,
            "window": self.window_name,
            "scale": self.scale,
            "edges": self.edges,
            "stores": [key for key, value in stores.items() if value is not None],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Window, transform, pick, scale."""
        wide = widened(inputs)
        if self.taps is not None:
            wide = wide * self.taps.to(wide.dtype)
        elif self.window_name != "rectangular" or self.span is not None:
            wide = wide * placed(self.window_name, self.size, self.span, wide.dtype, wide.device)
        spectrum = torch.fft.rfft(wide)
        real, imaginary = spectrum.real, spectrum.imag * -self.sign
        if self.edges != "1":
            bins = torch.arange(self.size // 2 + 1, device=wide.device)
            edge = (bins == 0) | (2 * bins == self.size)
            real = real * torch.where(edge, EDGES[self.edges], 1.0).to(wide.dtype)
        outputs = self._picked(real, imaginary) * self._factor
        if self.gains is not None:
            outputs = outputs * self.gains.to(wide.dtype)
        if self.signs is not None:
            outputs = outputs * self.signs
        return plus(outputs, self.bias, inputs.dtype)

    def _picked(self, real: Tensor, imaginary: Tensor) -> Tensor:
        """The asked rows in the asked order."""
        if self.rows is not None:
            return torch.cat([real, imaginary], dim=-1).index_select(-1, self.rows)
        name, first, second = self.layout
        parts = [real[..., first[0] : first[1]], imaginary[..., second[0] : second[1]]]
        if name == "interleaved":
            return torch.stack(parts, dim=-1).flatten(-2)
        return torch.cat(parts if name == "real-imaginary" else parts[::-1], dim=-1)


def propose(view: Matrix) -> RealDft | None:
    """Find the window on a few rows, the bins on all, then tidy gains, signs and order."""
    weight = view.weight
    rows, size = weight.shape
    if size < 4 or not _wavy(weight, view.noise) or not usable(view):
        return None
    taper = _window(weight, view.noise)
    if taper is None:
        return None
    found, residual = fit_gains(weight, match(weight, taper.taps), taper.taps)
    norms = weight.norm(dim=1)
    rounding = min(128 * view.noise, LITTLE)  # a sine of pi has more digits than a short format
    noise = torch.maximum(2 * residual.norm(dim=1).median(), rounding * norms.max())
    nothing = norms <= noise
    if bool(nothing.all()):
        return None
    found = replace(found, gains=found.gains.where(~nothing, 0.0))
    residual = residual.where(~nothing[:, None], weight)
    deviation = spread(residual, rows)
    if taper.name == "stored" or left_over(residual, weight) > 16 * view.noise:
        freely, free_taps, free = fit_window(weight, found, taper.taps)
        nearer = spread(free, rows + size) < 0.9 * deviation
        if taper.name == "stored" or (nearer and not storage_noise(weight, weight - residual)):
            taper, found, residual = Taper("stored", free_taps), freely, free
            deviation = spread(residual, rows + size)
    if left_over(residual, weight) > NOISY:
        return None
    layer = _tidied(view, found, nothing, taper, deviation)
    kept = sum(t.numel() for t in layer.parameters())
    return layer if kept < weight.numel() else None


def _some(weight: Tensor, count: int) -> Tensor:
    """Rows from all over the matrix that are not nearly zero."""
    rows = weight.shape[0]
    some = weight[torch.linspace(0, rows - 1, min(8 * count, rows)).long()]
    norms = some.norm(dim=1)
    some = some[norms > 0.01 * norms.max()]
    return some[torch.linspace(0, len(some) - 1, min(count, len(some))).long()] if len(some) else some


def _wavy(weight: Tensor, noise: float) -> bool:
    """Whether one of a few rows is like a wave under no window or Hann's, or starts or ends in zeros."""
    some = _some(weight, 6)
    if not len(some):
        return False
    loudest = some.abs().amax(0)
    if spans(loudest > 8 * noise * float(loudest.max())):
        return True
    tapers = (placed(name, weight.shape[1], None, torch.float64) for name in ("rectangular", "hann"))
    return any(float(match(some, taper).scores.max()) >= 0.35 for taper in tapers)


def _window(weight: Tensor, noise: float) -> Taper | None:
    """The window under which sampled rows look most like waves; None when they do not.

    A window that is not known is first taken for the mean loudness of the rows.
    """
    size = weight.shape[1]
    some = _some(weight, 24)
    if not len(some):
        return None
    loudest = some.abs().amax(0)
    short = spans(loudest > 8 * noise * float(loudest.max()))
    places = [*((name, None) for name in WINDOWS), *short]
    starts = [Taper(name, placed(name, size, span, torch.float64), span) for name, span in places]
    scored = [(float(match(some, start.taps).scores.median()), start) for start in starts]
    score = max(entry[0] for entry in scored)
    if score < 0.5:
        return None
    if score < 0.9:
        many = _some(weight, 512)
        loudness = (many / many.norm(dim=1, keepdim=True)).square().mean(0).sqrt()
        free = float(match(some, loudness).scores.median())
        if free > score and free > 0.7:
            return Taper("stored", loudness)
    if score < 0.7:
        return None
    near = [start for value, start in scored if value >= score - 0.05]
    for rows, slack in ((some, 0.03), (weight, 1e-9)):  # among noise a few rows cannot tell windows apart
        left = [float(fit_gains(rows, match(rows, start.taps), start.taps)[1].norm()) for start in near]
        near = [start for start, off in zip(near, left, strict=True) if off <= min(left) * (1 + slack)]
        if len(near) == 1:
            break
    return near[0]  # the simplest of those that fit as well


def _tidied(view: Matrix, found: Waves, nothing: Tensor, taper: Taper, deviation: float) -> RealDft:
    """The layer with clean arguments wherever the numbers are clean within the noise."""
    size = view.weight.shape[1]
    half = size // 2 + 1
    layout = plain_order(found.bins, found.sine, nothing, size)
    rows = None
    if layout is None:
        layout = ("rows", (0, 0), (0, 0))
        rows = torch.where(nothing, half, found.bins + half * found.sine)
    scaling = _scaling(view, found, nothing, taper, deviation)
    bias = kept_bias(view)
    return RealDft(size, layout, window_name=taper.name, rows=rows, bias=bias, span=taper.span, **scaling)


def _scaling(view: Matrix, found: Waves, nothing: Tensor, taper: Taper, deviation: float) -> dict[str, Any]:
    """Signs, gains and a window to be stored, as arguments of the layer that are not the usual ones."""
    size, name, taps = view.weight.shape[1], taper.name, taper.taps
    real = ~found.sine & ~nothing
    sizes = found.gains.abs()
    edge = real & ((found.bins == 0) | (2 * found.bins == size))
    tolerance = SIGMAS * deviation / found.norms + 4 * view.noise * sizes
    common, edges = common_gain(sizes, found.norms, tolerance, ~edge & ~nothing, edge)
    if common is None:
        # rows have their own gains, signs included; the sine rows of the transform carry a minus
        gains = torch.where(found.sine, -found.gains, found.gains)
        unit = float(sizes.max()) if name == "stored" else 1.0
        return {"gains": gains / unit, "taps": taps * unit if name == "stored" else None}
    signs = torch.where(found.gains < 0, -1, 1)
    overall, sign, own_signs = common_signs(signs, real, found.sine & ~nothing)
    scaling = {"sign": sign, "signs": own_signs, "edges": edges}
    minus = "-" if overall < 0 else ""
    if name == "stored":
        # fitted once more, now that the gains are clean: numbers of rows and window are no longer traded
        known = torch.where(edge, EDGES[edges], 1.0) * signs * ~nothing
        return scaling | {"taps": window_of(view.weight, found, known), "scale": f"{minus}1"}
    slack = SIGMAS * deviation / float((found.norms * ~nothing).norm()) + max(view.noise, 2.0**-50) * common
    usual = [key for key, value in scales(size, taps).items() if abs(common - value) <= slack]
    if usual:
        return scaling | {"scale": f"{minus}{usual[0]}"}
    return scaling | {"gains": torch.tensor([common * overall], dtype=torch.float64)}


def _bins(
    size: int, bins: NDArray[np.int64], taps: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and imaginary rows of ``sum_t w[t] x[t] exp(-2 pi i k t / n)``, each ``(len(bins), n)``."""
    time = np.arange(size)
    rows = np.exp(-2j * np.pi * (bins[:, None] * time[None, :] % size) / size) * taps
    return rows.real, rows.imag


def _blocks(size: int, first: int, last: int, taps: str = "boxcar", gain: float = 1.0) -> Matrix:
    real, imaginary = _bins(size, np.arange(first, last + 1), scipy.signal.get_window(taps, size))
    return stored(gain * np.concatenate([real, imaginary]))


def _in_turns(size: int) -> Matrix:
    """All bins, positive exponent, symmetric Hamming window, orthonormal scaling."""
    real, imaginary = _bins(size, np.arange(size // 2 + 1), scipy.signal.windows.hamming(size, sym=True))
    return stored(np.stack([real, -imaginary], axis=1).reshape(-1, size) / np.sqrt(size))


def _orthonormal(size: int) -> Matrix:
    """The real Fourier basis: DC and Nyquist at 1/sqrt(n), the others at sqrt(2/n), no rows of zeros."""
    half = size // 2
    real, imaginary = _bins(size, np.arange(half + 1), np.ones(size))
    scale = np.full((half + 1, 1), np.sqrt(2 / size))
    scale[[0, -1] if size % 2 == 0 else [0]] = np.sqrt(1 / size)
    kept = imaginary[1:half] if size % 2 == 0 else imaginary[1:]
    return stored(np.concatenate([real * scale, -kept * np.sqrt(2 / size)]))


def _shuffled(size: int) -> Matrix:
    """Some bins in any order, signs at random, a Blackman window, a bias."""
    rng = np.random.default_rng(size)
    real, imaginary = _bins(size, np.arange(3, size // 3), scipy.signal.windows.blackman(size, sym=False))
    rows = np.concatenate([real, imaginary])
    rows = rows[rng.permutation(len(rows))] * rng.choice([-1.0, 1.0], (len(rows), 1))
    return stored(rows, rng.standard_normal(len(rows)))


def _own_gains(size: int) -> Matrix:
    real, imaginary = _bins(size, np.arange(size // 2 + 1), np.sin(np.pi * (np.arange(size) + 0.5) / size))
    gains = np.random.default_rng(1).uniform(0.5, 2.0, (size // 2 + 1, 1))
    return stored(np.concatenate([imaginary * gains, real * gains]))


def _own_window(size: int) -> Matrix:
    """A Kaiser window, which has a parameter: stored."""
    real, imaginary = _bins(size, np.arange(size // 2 + 1), np.kaiser(size, 5.0))
    return stored(np.concatenate([real, imaginary]))


def _short_window(size: int) -> Matrix:
    """A Hann window of 3/4 of the frame, an eighth from its start."""
    window = np.zeros(size)
    window[size // 8 : size // 8 + 3 * size // 4] = scipy.signal.get_window("hann", 3 * size // 4)
    real, imaginary = _bins(size, np.arange(size // 2 + 1), window)
    return stored(np.concatenate([real, imaginary]))


def _between_bins(size: int) -> Matrix:
    """Frequencies a tenth of a bin off."""
    time = np.arange(size)
    rows = np.exp(-2j * np.pi * (np.arange(size // 2)[:, None] + 0.1) * time / size)
    return stored(np.concatenate([rows.real, rows.imag]))


def _one_row(size: int) -> Matrix:
    real, imaginary = _bins(size, np.arange(size // 2), np.hanning(size))
    real[5] = np.random.default_rng(2).standard_normal(size)
    return stored(np.concatenate([real, imaginary]))


def _gabor(size: int) -> Matrix:
    """Windows of their own for every row, as learned banks have them."""
    rng = np.random.default_rng(3)
    time = np.arange(size)
    centre, width = rng.uniform(0.3, 0.7, (size, 1)) * size, rng.uniform(0.1, 0.3, (size, 1)) * size
    phase = 2 * np.pi * rng.integers(1, size // 2, (size, 1)) * time / size
    return stored(np.exp(-(((time - centre) / width) ** 2)) * np.cos(phase))


OPERATOR = Operator(
    "rdft",
    propose,
    finds=(
        Example("all bins of 64", lambda: _blocks(64, 0, 32)),
        Example("Hann window, bins 1 to 24", lambda: _blocks(96, 1, 24, "hann")),
        Example("all bins of 97, scaled", lambda: _blocks(97, 0, 48, "hann", 2 / 97)),
        Example("any gain", lambda: _blocks(60, 2, 20, "boxcar", 0.377)),
        Example("in turns, symmetric Hamming window", lambda: _in_turns(48)),
        Example("orthonormal basis, even", lambda: _orthonormal(40)),
        Example("orthonormal basis, odd", lambda: _orthonormal(45)),
        Example("shuffled rows and signs, bias", lambda: _shuffled(90)),
        Example("a gain for every bin", lambda: _own_gains(52)),
        Example("Kaiser window", lambda: _own_window(64)),
        Example("a window shorter than the frame", lambda: _short_window(64)),
        Example("eight points", lambda: _blocks(8, 0, 4)),
    ),
    ignores=(
        Example("between the bins", lambda: _between_bins(64)),
        Example("one row replaced", lambda: _one_row(64)),
        Example("Gabor rows", lambda: _gabor(64)),
        Example("cosine transform", lambda: stored(scipy.fft.dct(np.eye(48), axis=0, norm="ortho"))),
    ),
)
