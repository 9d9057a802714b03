"""A linear map that is a mel filter bank: triangles, equally spaced on a scale of hearing.

What it finds:    A matrix from the n_fft/2 + 1 bins of a spectrum whose every row is a triangle that begins
                  at the top of the row before and ends at the top of the row after, with tops equally
                  spaced on the mel scale (HTK's or Slaney's) or the ERB scale: the banks of librosa and
                  torchaudio, at any sample rate and between any two frequencies, with height one or
                  with Slaney's norm of equal areas. A gain that all rows share is stored as one number, and
                  any others as one a row. Rows between two bins may be empty.
Why it matters:   m n numbers are none.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The feet of wide triangles give the scale and the sample rate, all entries then
                  the two end frequencies; round numbers are preferred where they fit as well. Tables
                  that were computed in float32 are off by more than that and then ``bounded``.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored. The
                  bank is computed in float64 with every call, so it saves storage and not time.
Source:           O'Shaughnessy, Speech Communication (1987). Slaney, Auditory Toolbox, Technical Report
                  1998-010. Glasberg and Moore, Hearing Research 47 (1990).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.numerics.auditory import SCALES, corners, feet, to_hertz, to_scale, triangles
from paramaudit.numerics.layers import Computed, parameter
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.numerics.refine import refine
from paramaudit.records import Example, Json, Matrix, Operator

RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that are looked for first; another one shows only on a logarithmic scale."""

TABLE = 2e-5
"""Entries of real tables are off by this part of the largest: they were computed in float32."""


@dataclass(frozen=True)
class Bank:
    """Triangles of height one: their scale, and sample rate and end frequencies in Hz."""

    scale: str
    rate: float
    low: float
    high: float

    def rows(self, count: int, bins: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """The triangles ``(count, bins)``, and the widths ``(count,)`` of the whole triangles in Hz."""
        # in float64 where there is one: differences of frequencies lose digits
        wide = torch.float32 if torch.device(device).type == "mps" else torch.float64
        low, high = (torch.full((), end, dtype=wide, device=device) for end in (self.low, self.high))
        points = corners(self.scale, count, low, high)
        return triangles(points, bins, self.rate), points[2:] - points[:-2]


SOFT = 1e-3
"""Noise beyond this part of the highest top is more than a table's own rounding."""

WHOLE = 1e-3
"""Ends that are this near to 0 and to half the sample rate, as parts of it, are tried there first."""

ODD = 0.01
"""What a bank leaves beyond this part is noise of the entries, and not of the table's own making."""

MOST_FITTED = 4
"""Of so many candidates the end frequencies are fitted."""


class FilterBank(Computed):
    """Triangular filters over the bins of a spectrum, ``(..., n)`` to ``(..., m)``.

    Args:
        rows: m.
        columns: n, the bins from 0 to Nyquist.
        bank: the triangles.
        norm: "none", or "slaney" for triangles of the same area.
        gains: ``(1,)`` or ``(m,)`` when they are stored.
        bias: ``(m,)`` or None.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        bank: Bank,
        norm: str = "none",
        gains: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.bank, self.norm = rows, columns, bank, norm
        self.gains, self.bias = parameter(gains), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Everything that was recognised; frequencies in Hz."""
        return {
            "n_fft": 2 * (self.columns - 1),
            "n_mels": self.rows,
            "sample_rate": self.bank.rate,
            "f_min": self.bank.low,
            "f_max": self.bank.high,
            "scale": self.bank.scale,
            "norm": self.norm,
            "stores": ["gains"] if self.gains is not None else [],
            "bias": self.bias is not None,
        }

    def matrix(self, device: torch.device) -> Tensor:
        """The triangles, times their gains."""
        weight, width = self.bank.rows(self.rows, self.columns, device)
        if self.norm == "slaney":
            weight = weight * (2 / width).unsqueeze(1)
        return weight if self.gains is None else weight * self.gains.unsqueeze(1)


def propose(view: Matrix) -> FilterBank | None:
    """Scale and sample rate by the feet of triangles, end frequencies by all entries, then the gains."""
    weight = view.weight
    count, bins = weight.shape
    if count < 4 or bins < 8:
        return None
    floor = _floor(weight)
    if not _looks_like(weight, floor) or not usable(view):
        return None
    alive = weight.masked_fill(weight.abs() <= floor, 0.0)
    signs = torch.where(alive.sum(1, keepdim=True) < 0, -1.0, 1.0).to(weight.dtype)
    upright = signs * alive
    heights = upright.amax(1, keepdim=True)
    highest = float(heights.max())
    if not highest > 0 or not float(upright.min()) >= -0.01 * highest:
        return None
    heights = heights.clamp_min(1e-4 * highest)
    shape = signs * weight / heights
    index, place = feet(upright / heights, max(2e-3, floor / highest))
    if len(index) < 4:
        return None
    best: tuple[float, FilterBank] | None = None
    # where feet are seen in the logarithmic part alone, several rates fit them: all entries tell
    near = _candidates(index, place, count, bins)
    for bank in sorted(near, key=lambda bank: _with_gains(bank, view)[1])[:MOST_FITTED]:
        for tried in _finished(bank, shape):
            layer, left = _with_gains(tried, view)
            # a later one must be better by more than chance
            if best is None or left < 0.5 * best[0]:
                best = left, layer
    most = NOISY if floor > SOFT * highest else 0.1
    return best[1] if best is not None and best[0] <= most else None


def _floor(weight: Tensor) -> float:
    """What noise reaches where most entries would be zero without it: five deviations."""
    some = _some(weight).abs()
    return 5 * float(some.median()) / 0.6745


def _some(weight: Tensor) -> Tensor:
    return weight[torch.linspace(0, len(weight) - 1, min(8, len(weight))).long()]


def _looks_like(weight: Tensor, floor: float) -> bool:
    """Whether sampled rows are mostly no more than ``floor``, and have one sign beyond."""
    some = _some(weight)
    some = some.masked_fill(some.abs() <= floor, 0.0)
    if not bool((some != 0).any()):
        return False
    tops = some.abs().amax(1, keepdim=True).clamp_min(1e-300)
    seen = some / tops
    alive = (seen.abs() > 0.01).double().mean(1)
    one_sign = (seen.amin(1) > -0.01) | (seen.amax(1) < 0.01)
    return float(alive.median()) <= 0.7 and float(one_sign.double().mean()) >= 0.7


def _candidates(index: Tensor, place: Tensor, count: int, bins: int) -> list[Bank]:
    """The scales and sample rates on which the feet are most nearly equally spaced, usual rates first."""
    found: list[tuple[float, Bank]] = []
    design = torch.stack([torch.ones_like(place), index.to(place.dtype)], dim=1)
    for scale in SCALES:
        for rate in (*RATES, *_own_rates(scale, design, place, bins)):
            per_bin = rate / (2 * (bins - 1))
            ends, off = _spaced(scale, design, place, per_bin)
            points = ends[0] + ends[1] * torch.tensor([0.0, count + 1], dtype=place.dtype)
            low, high = to_hertz(scale, points).tolist()
            if low <= high < rate and low >= -per_bin:
                found.append((off, Bank(scale, float(rate), max(low, 0.0), high)))
    least = min((off for off, _ in found), default=0.0)
    near = [(bank.rate not in RATES, off, bank) for off, bank in found if off <= 3 * least + 1e-3]
    return [bank for _, _, bank in sorted(near, key=lambda entry: entry[:2])]


def _spaced(scale: str, design: Tensor, place: Tensor, per_bin: float) -> tuple[Tensor, float]:
    """Start and step on the scale, and by how many bins the feet are off."""
    points = to_scale(scale, (place * per_bin).clamp_min(0.0))
    ends = torch.linalg.lstsq(design, points[:, None]).solution[:, 0]
    off = to_hertz(scale, design @ ends) / per_bin - place
    return ends, float(off.abs().mean())


def _own_rates(scale: str, design: Tensor, place: Tensor, bins: int) -> list[int]:
    """On the HTK scale, the whole sample rate on which the feet are most nearly equally spaced."""
    if scale != "htk":
        return []

    def off(rate: float) -> float:
        return _spaced(scale, design, place, rate / (2 * (bins - 1)))[1]

    rates = np.geomspace(1000, 400_000, 61)
    ratio = float(rates[1] / rates[0])
    best = float(min(rates, key=off))
    while ratio > 1 + 1e-7:
        ratio = ratio**0.5
        best = min((best / ratio, best, best * ratio), key=off)
    return [round(best)]


def _finished(bank: Bank, shape: Tensor) -> list[Bank]:
    """The bank with round end frequencies, and with those that fit all entries best."""
    count, bins = shape.shape
    unit = torch.full((shape.numel(),), TABLE, dtype=shape.dtype)

    def formula(ends: Tensor) -> Tensor:
        rows = triangles(corners(bank.scale, count, ends[0], ends[1]), bins, bank.rate)
        # rows are compared by shape alone, as their gains are not known yet
        return (rows / rows.detach().amax(1, keepdim=True).clamp_min(1e-9)).flatten()

    start = torch.tensor([bank.low, bank.high], dtype=shape.dtype)
    low, high = refine(formula, start, shape.flatten(), unit).values.tolist()
    low = max(low, 0.0)
    # half of an odd sample rate is no whole number
    near = replace(bank, low=round(2 * low) / 2, high=round(2 * high) / 2)
    nyquist = bank.rate / 2
    whole = replace(
        near,
        low=0.0 if low <= WHOLE * nyquist else near.low,
        high=nyquist if abs(high - nyquist) <= WHOLE * nyquist else near.high,
    )
    return [whole, near, replace(bank, low=low, high=high)]


def _with_gains(bank: Bank, view: Matrix) -> tuple[FilterBank, float]:
    """The layer with the fewest gains that fit, and what it leaves of the matrix."""
    count, bins = view.weight.shape
    rows, width = bank.rows(count, bins)
    power = rows.square().sum(1)
    gains = torch.where(power > 0, (rows * view.weight).sum(1) / power.clamp_min(1e-300), 0.0)
    left = left_over(view.weight - gains[:, None] * rows, view.weight)
    bias = kept_bias(view)
    for norm, heights in (("none", torch.ones_like(width)), ("slaney", 2 / width)):
        weighted = rows * heights[:, None]
        common = float((weighted * view.weight).sum() / weighted.square().sum())
        for gain in (1.0, common):
            off = left_over(view.weight - gain * weighted, view.weight)
            # noise is as large with a wrong factor as with the right one, but for a little
            if off <= (1.5 if left < ODD else 1.02) * left + 8 * view.noise:
                own = None if gain == 1.0 else torch.tensor([gain], dtype=torch.float64)
                return FilterBank(count, bins, bank, norm, own, bias), off
    return FilterBank(count, bins, bank, "none", gains, bias), left


def _mel(hertz: float, scale: str) -> float:
    """The textbook's formulas, scales in their usual units."""
    if scale == "htk":
        return float(2595 * np.log10(1 + hertz / 700))
    if scale == "erb":
        return float(21.4 * np.log10(1 + 0.00437 * hertz))
    return hertz * 3 / 200 if hertz < 1000 else float(15 + 27 * np.log(hertz / 1000) / np.log(6.4))


def _hertz(mel: float, scale: str) -> float:
    if scale == "htk":
        return float(700 * (10 ** (mel / 2595) - 1))
    if scale == "erb":
        return float((10 ** (mel / 21.4) - 1) / 0.00437)
    return mel * 200 / 3 if mel < 15 else float(1000 * 6.4 ** ((mel - 15) / 27))


def _table(
    rate: float, n_fft: int, count: int, scale: str, low: float = 0.0, high: float = 0.0, area: bool = False
) -> NDArray[np.float64]:
    """Triangles by the textbook, ``(count, n_fft // 2 + 1)``; up to Nyquist when ``high`` is 0."""
    ends = _mel(low, scale), _mel(high or rate / 2, scale)
    points = [_hertz(mel, scale) for mel in np.linspace(*ends, count + 2)]
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    rows = [np.interp(bins, points[row : row + 3], [0.0, 1.0, 0.0]) for row in range(count)]
    heights = [2 / (points[row + 2] - points[row]) if area else 1.0 for row in range(count)]
    table: NDArray[np.float64] = np.stack(rows) * np.array(heights)[:, None]
    return table


def _own_gains(count: int) -> Matrix:
    rng = np.random.default_rng(0)
    rows = _table(16000, 512, count, "htk", 100, 7000) * rng.uniform(0.5, 2.0, (count, 1))
    return stored(rows, rng.standard_normal(count))


def _other_scale() -> Matrix:
    """Tops equally spaced on a square root of the frequency."""
    points = np.linspace(5, 8000**0.5, 42) ** 2
    bins = np.fft.rfftfreq(512, 1 / 16000)
    return stored(np.stack([np.interp(bins, points[row : row + 3], [0.0, 1.0, 0.0]) for row in range(40)]))


def _one_wider() -> Matrix:
    """One triangle of forty is a hundredth wider than the others say."""
    rows = _table(16000, 1024, 40, "slaney")
    bins = np.arange(513.0)
    inside = bins[rows[30] > 0]
    rows[30] = np.interp(bins, [inside[0] - 1.5, inside.mean(), inside[-1] + 1.5], [0.0, 1.0, 0.0])
    return stored(rows)


def _bells() -> Matrix:
    """Gaussian bells in place of triangles."""
    points = np.array([_hertz(mel, "htk") for mel in np.linspace(0, _mel(8000, "htk"), 42)])
    bins = np.fft.rfftfreq(512, 1 / 16000)
    width = 0.42 * (points[2:] - points[:-2])[:, None]
    return stored(np.exp(-(((bins - points[1:-1, None]) / width) ** 2)))


OPERATOR = Operator(
    "filter-bank",
    propose,
    finds=(
        Example("Slaney's scale, 8 kHz", lambda: stored(_table(8000, 256, 40, "slaney"))),
        Example(
            "Slaney's scale and areas, 22.05 kHz",
            lambda: stored(_table(22050, 1024, 80, "slaney", area=True)),
        ),
        Example("HTK's scale, 16 kHz", lambda: stored(_table(16000, 512, 26, "htk", 20, 7600))),
        Example("HTK's scale, unusual rate", lambda: stored(_table(12345, 400, 20, "htk"))),
        Example("some rows empty", lambda: stored(_table(44100, 512, 96, "slaney"))),
        Example("ERB scale, 24 kHz, scaled", lambda: stored(0.37 * _table(24000, 512, 32, "erb", 50))),
        Example("a gain for every row, with a bias", lambda: _own_gains(30)),
    ),
    ignores=(
        Example("another scale", _other_scale),
        Example("one triangle wider", _one_wider),
        Example("bells", _bells),
    ),
)
