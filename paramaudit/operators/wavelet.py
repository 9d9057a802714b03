"""A linear map that is a discrete wavelet transform of a period.

What it finds:    The matrix of a periodised wavelet transform: any discrete wavelet of PyWavelets
                  (orthogonal or biorthogonal), any number of levels, bands in any order; or of its inverse.
                  Filters may run backwards, and each band may have its own sign and start at its own sample
                  (``shifts``, relative to ``pywt.wavedec`` or ``waverec`` in mode "periodization"). Gains
                  1 and sqrt(2) or 1/sqrt(2) a level are computed, another is stored as one number or, where
                  bands differ, one a band.
Why it matters:   n^2 numbers are none, and a product costs O(n) for each tap.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Bands are found by rows that repeat, moved on; the wavelet is the one whose bands
                  leave least. Wavelets with the same filters go by the first name: ``haar`` for ``db1``.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored; the
                  filters are constants of the wavelet. Half precision is convolved in float32. Below some
                  2000 points a dense product is quicker.
Source:           Mallat, A Wavelet Tour of Signal Processing, 3rd edition (2009), 7.3 and 7.5 (periodic
                  wavelets). Filters: PyWavelets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.bands import Band, found_bands
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import SIGMAS, kept_bias, stored, usable
from paramaudit.numerics.periodic import doubled, halved, turned
from paramaudit.numerics.wavelet_fit import Fit, nearest
from paramaudit.numerics.wavelets import bank
from paramaudit.records import Example, Json, Matrix, Operator

SCALES = {"1": 0.0, "2^(level/2)": 0.5, "2^(-level/2)": -0.5}
"""What bands are multiplied by: exponents of two for each level."""


@dataclass(frozen=True)
class Part:
    """One band of outputs: after ``level`` halvings the low or, for a ``detail``, the high half.

    Its first output reads the input from ``shift`` samples later than the plain transform does.
    """

    level: int
    detail: bool
    shift: int = 0
    sign: int = 1

    @property
    def name(self) -> str:
        """As textbooks write it: d1 are the finest details, a3 is what is left after three levels."""
        return f"{'d' if self.detail else 'a'}{self.level}"


class Wavelet(nn.Module):
    """A periodised wavelet transform of the last dimension, ``(..., n)`` to ``(..., n)``.

    Args:
        size: n.
        wavelet: a name that PyWavelets knows.
        parts: the bands in the order of the outputs or, of the inverse, of the inputs.
        inverse: whether it puts bands together.
        backwards: whether the filters are those of the wavelet backwards in time.
        scale: a name of :data:`SCALES`.
        gains: ``(1,)`` or ``(bands,)`` when they are stored.
        bias: ``(n,)`` or None.
    """

    def __init__(
        self,
        size: int,
        wavelet: str,
        parts: Sequence[Part],
        inverse: bool = False,
        backwards: bool = False,
        scale: str = "1",
        gains: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.size, self.wavelet, self.parts = size, wavelet, tuple(parts)
        self.inverse, self.backwards, self.scale = inverse, backwards, scale
        self.gains, self.bias = parameter(gains), parameter(bias)
        plain = bank(wavelet, inverse)
        self._bank = plain.reversed() if backwards else plain

    def arguments(self) -> dict[str, Json]:
        """Everything that was recognised; ``shifts`` and ``signs`` in the order of the bands."""
        return {
            "n": self.size,
            "wavelet": self.wavelet,
            "level": len(self.parts) - 1,
            "order": [part.name for part in self.parts],
            "inverse": self.inverse,
            "backwards": self.backwards,
            "shifts": [part.shift for part in self.parts],
            "signs": [part.sign for part in self.parts],
            "scale": self.scale,
            "stores": [] if self.gains is None else ["gains"],
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Split level by level, or put together level by level."""
        wide = widened(inputs)
        flat = wide.reshape(-1, self.size)
        outputs = (self._joined(flat) if self.inverse else self._split(flat)).reshape(wide.shape)
        if self.gains is not None and len(self.gains) == 1:
            outputs = outputs * self.gains.to(wide.dtype)
        return plus(outputs, self.bias, inputs.dtype)

    def _split(self, inputs: Tensor) -> Tensor:
        """``(b, n)`` to all bands; what two bands need of a coarser level is computed once."""
        low, high = self._taps(inputs)
        coarser = {(0, 0): inputs}

        def approximation(level: int, shift: int) -> Tensor:
            if (level, shift) not in coarser:
                before, moved = shift % 2 ** (level - 1), shift // 2 ** (level - 1)
                coarser[level, shift] = halved(approximation(level - 1, before), low, moved)
            return coarser[level, shift]

        bands = []
        for place, part in enumerate(self.parts):
            level, shift, moved = _steps(part)
            source = approximation(level, shift)
            band = halved(source, high, moved) if part.detail else turned(source, moved)
            bands.append(self._scaled(band, place))
        return torch.cat(bands, dim=-1)

    def _joined(self, inputs: Tensor) -> Tensor:
        """All bands to ``(b, n)``: the transpose of the steps of :meth:`_split`, backwards."""
        low, high = self._taps(inputs)
        waiting: list[dict[int, Tensor]] = [{} for _ in self.parts]

        def add(level: int, shift: int, values: Tensor) -> None:
            waiting[level][shift] = waiting[level][shift] + values if shift in waiting[level] else values

        first = 0
        for place, part in enumerate(self.parts):
            end = first + (self.size >> part.level)
            band = self._scaled(inputs[..., first:end], place)
            level, shift, moved = _steps(part)
            add(level, shift, doubled(band, high, moved) if part.detail else turned(band, -moved))
            first = end
        for level in range(len(waiting) - 1, 0, -1):
            half = 2 ** (level - 1)
            for shift, values in waiting[level].items():
                add(level - 1, shift % half, doubled(values, low, shift // half))
        return waiting[0][0]

    def _taps(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Both filters ``(taps,)``, made of plain numbers."""

        def made(numbers: Sequence[float]) -> Tensor:
            return torch.cat([torch.full((1,), x, dtype=like.dtype, device=like.device) for x in numbers])

        return made(self._bank.low), made(self._bank.high)

    def _scaled(self, band: Tensor, place: int) -> Tensor:
        part = self.parts[place]
        factor = part.sign * 2.0 ** (SCALES[self.scale] * part.level)
        band = band if factor == 1.0 else band * factor
        if self.gains is None or len(self.gains) == 1:
            return band
        return band * self.gains[place].to(band.dtype)


def _steps(part: Part) -> tuple[int, int, int]:
    """The level a band is made of, the shift of the input there, and by how many places it is moved after."""
    level = part.level - part.detail
    return level, part.shift % 2**level, part.shift // 2**level


def propose(view: Matrix) -> Wavelet | None:
    """The transform or the inverse whose bands leave least of the matrix."""
    weight = view.weight
    if weight.shape[0] != weight.shape[1] or weight.shape[0] < 4:
        return None
    for inverse in (False, True):
        bands = found_bands(weight.T if inverse else weight)
        found = nearest(bands, inverse, view.noise) if bands and usable(view) else None
        if found is not None:
            return _layer(view, bands, found, inverse)
    return None


def _layer(view: Matrix, bands: Sequence[Band], found: Fit, inverse: bool) -> Wavelet:
    """The layer with clean arguments wherever the numbers are clean within the noise."""
    parts = [
        Part(band.level, band.detail, shift, 1 if gain > 0 else -1)
        for band, shift, gain in zip(bands, found.shifts, found.gains.tolist(), strict=True)
    ]
    size, scaling = view.weight.shape[0], _scaling(view, found, bands)
    return Wavelet(size, found.bank.wavelet, parts, inverse, found.backwards, bias=kept_bias(view), **scaling)


def _scaling(view: Matrix, found: Fit, bands: Sequence[Band]) -> dict[str, Any]:
    """The usual scale within the noise, else one gain, else one for each band."""
    sizes = found.gains.abs()
    levels = torch.tensor([float(band.level) for band in bands], dtype=torch.float64)
    deviation = found.left / view.weight.numel() ** 0.5
    tolerance = SIGMAS * deviation / found.norms + 4 * max(view.noise, 2.0**-50) * sizes
    scaled = {name: 2.0 ** (power * levels) for name, power in SCALES.items()}
    for name, factors in scaled.items():
        if bool(((sizes - factors).abs() <= tolerance).all()):
            return {"scale": name}
    for name, factors in scaled.items():
        weights = (found.norms * factors).square()
        mean = float((sizes / factors * weights).sum() / weights.sum())
        if bool(((sizes - mean * factors).abs() <= tolerance).all()):
            return {"scale": name, "gains": torch.tensor([mean], dtype=torch.float64)}
    return {"gains": sizes}


def _matrix(size: int, wavelet: str, level: int) -> NDArray[np.float64]:
    """Textbook steps: each halves the last approximation, filters starting where PyWavelets has them."""
    used = bank(wavelet, inverse=False)
    rest, details = np.eye(size), []
    for _ in range(level):
        lag = np.arange(len(used.low)) - len(used.low) // 2
        where = (np.arange(0, len(rest), 2)[:, None] - lag) % len(rest)
        details.append(np.einsum("j,kjn->kn", used.high, rest[where]))
        rest = np.einsum("j,kjn->kn", used.low, rest[where])
    return np.concatenate([rest, *details[::-1]])


def _bands(size: int, wavelet: str, level: int) -> list[NDArray[np.float64]]:
    """The approximation, then details from coarse to fine."""
    cuts = [size >> step for step in range(level, 0, -1)]
    return np.split(_matrix(size, wavelet, level), cuts)


def _finest_first(size: int) -> Matrix:
    """The approximation last, every second band negative."""
    bands = _bands(size, "coif1", 3)[::-1]
    return stored(np.concatenate([band * (-1) ** place for place, band in enumerate(bands)]))


def _averages(size: int) -> Matrix:
    """Haar with means of two and half differences, down to one mean."""
    level = size.bit_length() - 1
    steps = [level, *range(level, 0, -1)]
    bands = _bands(size, "haar", level)
    return stored(np.concatenate([band * 2 ** (-step / 2) for band, step in zip(bands, steps, strict=True)]))


def _backwards(size: int) -> Matrix:
    """Time turned round, each band starting somewhere, any gain, a bias."""
    rng = np.random.default_rng(size)
    bands = [
        np.roll(band[:, ::-1], 3 * place, axis=1)[::-1] for place, band in enumerate(_bands(size, "db3", 2))
    ]
    return stored(0.377 * np.concatenate(bands), rng.standard_normal(size))


def _own_gains(size: int) -> Matrix:
    bands = zip((0.3, -1.7, 0.9), _bands(size, "sym4", 2), strict=True)
    return stored(np.concatenate([gain * band for gain, band in bands]))


def _unknown(size: int) -> Matrix:
    """Four orthonormal taps with a sum of sqrt(2), but not the angle that makes them Daubechies'."""
    angle = 0.6
    c, s = np.cos(angle), np.sin(angle)
    low = np.array([1 - c + s, 1 + c + s, 1 + c - s, 1 - c - s]) / np.sqrt(8)
    high = low[::-1] * [1, -1, 1, -1]
    rows = [
        np.bincount((2 * k + np.arange(4)) % size, taps, size)
        for taps in (low, high)
        for k in range(size // 2)
    ]
    return stored(np.stack(rows))


def _two_wavelets(size: int) -> Matrix:
    """The second level has filters of another wavelet, equally long."""
    low, high = np.split(_matrix(size, "db4", 1), 2)
    return stored(np.concatenate([_matrix(size // 2, "sym4", 1) @ low, high]))


def _packet(size: int) -> Matrix:
    """Both halves split again."""
    low, high = np.split(_matrix(size, "db2", 1), 2)
    return stored(np.concatenate([_matrix(size // 2, "db2", 1) @ part for part in (low, high)]))


def _one_row(size: int) -> Matrix:
    rows = _matrix(size, "db4", 2)
    rows[5] = -rows[5]
    return stored(rows)


def _noisy(size: int) -> Matrix:
    rng = np.random.default_rng(3)
    return stored(_matrix(size, "db4", 3) * rng.normal(1, 0.01, (size, size)))


OPERATOR = Operator(
    "wavelet",
    propose,
    finds=(
        Example("db4, three levels of 64", lambda: stored(_matrix(64, "db4", 3))),
        Example("inverse, db2, two levels of 40", lambda: stored(_matrix(40, "db2", 2).T)),
        Example("bior2.2, two levels of 48", lambda: stored(_matrix(48, "bior2.2", 2))),
        Example("bior3.1, one level of 32, transposed", lambda: stored(_matrix(32, "bior3.1", 1).T)),
        Example("more taps than samples", lambda: stored(_matrix(24, "db15", 3))),
        Example("coif1, finest first", lambda: _finest_first(56)),
        Example("Haar averages of 32", lambda: _averages(32)),
        Example("backwards, own shifts, any gain, bias", lambda: _backwards(44)),
        Example("a gain for every band", lambda: _own_gains(36)),
        Example("eight points", lambda: stored(_matrix(8, "haar", 1))),
    ),
    ignores=(
        Example("orthonormal taps of no known wavelet", lambda: _unknown(64)),
        Example("db4, then sym4", lambda: _two_wavelets(64)),
        Example("both halves split again", lambda: _packet(64)),
        Example("one row with the other sign", lambda: _one_row(64)),
        Example("1 % noise", lambda: _noisy(64)),
    ),
)
