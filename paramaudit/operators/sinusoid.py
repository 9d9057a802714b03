"""A table of sines and cosines of the position, with frequencies that fall geometrically.

What it finds:    Position tables: sine and cosine of each frequency interleaved or in two blocks, in
                  either order; only one of them, once, in two equal blocks or twice in a row (the caches
                  of rotary positions); two-dimensional ones for a grid; with rows or a column of zeros,
                  another first position, base, time scale or amplitude. A table of one dimension is
                  recognised as the frequencies themselves. ``recipe`` says in which precision and order
                  it was computed: a table of 1,500 positions computed in float32 is off from the formula
                  by 8e-5.
Why it matters:   rows x columns numbers are none, or the amplitude.
Proof:            The layer computes the table in the recipe that reproduces the stored numbers; they must
                  be the same to the last bit in the table's dtype, or the largest difference is stated.
Swap safety:      Exact where it was proven: numbers are computed on the CPU and then moved, so that a GPU
                  changes nothing. Recipes with sines in float64 give the same bits on other machines;
                  sines in float32 are the work of a processor's own vector instructions, and another
                  processor or version of torch may round some of them otherwise (by a unit in the last
                  place). A swapped table is computed at each call and is not trained any more.
Source:           Vaswani et al., Attention Is All You Need (2017), 3.5; Su et al., RoFormer (2021),
                  3.2.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from paramaudit.numerics.layers import parameter
from paramaudit.numerics.sinusoid_fit import Guess, guesses, looks_like_waves
from paramaudit.numerics.sinusoid_rows import FEWEST_ROWS, blank_rows, body, grids, zero_columns
from paramaudit.numerics.sinusoids import (
    PAIRED,
    RATES,
    RECIPES,
    Law,
    Recipe,
    laid_out,
    rates,
    waves,
)
from paramaudit.numerics.tables import MACHINE, Computed, close, gained, line, snapped, stored_table
from paramaudit.records import Example, Json, Operator, Table

_SAMPLE = 48


class Sinusoid(Computed):
    """A position table ``(rows, columns)``.

    Args:
        shape: rows and columns.
        guess: layout, frequencies and first position; of each half of the columns where there is a grid.
        recipe: how the angles are computed.
        gain: the amplitude ``()``, None for 1.
        blank: the first row of zeros and the first row after them; positions do not count leading ones.
        grid: rows and columns of a grid and whether the position in the row comes first; None for a sequence.
        zeros: columns of zeros at the end.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        guess: Guess,
        recipe: Recipe,
        gain: Tensor | None = None,
        blank: tuple[int, int] = (0, 0),
        grid: tuple[int, int, bool] | None = None,
        zeros: int = 0,
    ) -> None:
        super().__init__()
        self.rows, self.columns = shape
        self.guess, self.recipe, self.blank, self.grid, self.zeros = guess, recipe, blank, grid, zeros
        self.gain = parameter(gain)

    def arguments(self) -> dict[str, Json]:
        """The formula in words and numbers."""
        law = self.guess.law
        return {
            "rows": self.rows,
            "columns": self.columns,
            "layout": self.guess.layout,
            "base": law.base,
            "divisor": law.divisor,
            "time_scale": law.scale,
            "first_position": self.guess.first,
            "grid": None if self.grid is None else list(self.grid[:2]),
            "zero_rows": list(range(*self.blank)),
            "zero_columns": self.zeros,
            "amplitude": 1.0 if self.gain is None else float(self.gain.detach()),
            "recipe": self.recipe.words,
        }

    @property
    def requires(self) -> tuple[str, ...]:
        """What the bits need beyond arithmetic that rounds correctly."""
        return (MACHINE,) if self.recipe.native else ()

    def at(self, rows: Tensor) -> Tensor:
        """The rows of these numbers, none of them blank, without zero columns, before they are rounded."""
        places = rows - (self.blank[1] if self.blank[0] == 0 else 0)
        columns = self.columns - self.zeros
        if self.grid is None:
            return gained(self._sequence(places, columns), self.gain)
        _, width, row_first = self.grid
        pair = [self._sequence(p, columns // 2) for p in (places % width, places // width)]
        return gained(torch.cat(pair if row_first else pair[::-1], dim=1), self.gain)

    def _sequence(self, places: Tensor, columns: int) -> Tensor:
        sine, cosine = waves(self.guess.law, self.recipe, places + self.guess.first)
        return laid_out(self.guess.layout, sine, cosine, columns)

    def forward(self) -> Tensor:
        """The whole table."""
        start, stop = self.blank
        rows = torch.cat([torch.arange(start), torch.arange(stop, self.rows)])
        table = self.at(rows)
        if stop > start:
            table = torch.cat([table[:start], table.new_zeros(stop - start, table.shape[1]), table[start:]])
        if self.zeros:
            table = torch.nn.functional.pad(table, (0, self.zeros))
        return self.finished(table)


class Frequencies(Computed):
    """The frequencies ``(n,)`` of rotary positions.

    Args:
        law: base and divisor.
        rule: how they are computed, a name of ``numerics.sinusoids.RATES``.
    """

    def __init__(self, law: Law, rule: str) -> None:
        super().__init__()
        self.law, self.rule = law, rule

    @property
    def requires(self) -> tuple[str, ...]:
        """What the bits need beyond arithmetic that rounds correctly."""
        return (MACHINE,) if self.rule.endswith("in float32") else ()

    def arguments(self) -> dict[str, Json]:
        """The formula."""
        return {
            "frequencies": self.law.count,
            "base": self.law.base,
            "divisor": self.law.divisor,
            "recipe": self.rule,
        }

    def forward(self) -> Tensor:
        """All of them."""
        return self.finished(rates(self.law, self.rule))


def propose(view: Table) -> Sinusoid | Frequencies | None:
    """The layout, law and recipe that fit best, when any do."""
    if view.values.dim() == 1:
        return _frequencies(view)
    if view.values.dim() != 2 or view.values.shape[0] < FEWEST_ROWS or view.values.shape[1] < 4:
        return None
    if not view.values.is_floating_point() or not _worth(view):
        return None
    best: Sinusoid | None = None
    least = math.inf
    allowed = max(1e-3, 4 * view.noise) * float(view.values[-1].double().abs().max())
    for layer in _candidates(view):
        gaps = _gaps(layer, view)
        if not float(gaps.max()):
            return layer
        if float(gaps.max()) <= allowed and float(gaps.mean()) < least:
            best, least = layer, float(gaps.mean())
    return best


def _worth(view: Table) -> bool:
    """A look at four rows: most tables are seen not to be waves."""
    middle = view.values.shape[0] // 2 - 2
    few = view.values[middle : middle + 4].double()
    if not bool(few.isfinite().all()) or float(few.abs().max()) == 0.0:
        return False
    few = few[:, : few.shape[1] - zero_columns(few)]
    half = few.shape[1] // 2
    return looks_like_waves(few, view.noise) or (
        few.shape[1] % 4 == 0
        and all(looks_like_waves(h, view.noise, PAIRED) for h in (few[:, :half], few[:, half:]))
    )


def _candidates(view: Table) -> Iterator[Sinusoid]:
    """Every guess in every recipe, portable ones first."""
    blank = blank_rows(view.values)
    if blank is None or not bool(view.values.isfinite().all()):
        return
    if blank == (0, 1):  # sines begin with a row of zeros, too
        yield from _sequences(view, (0, 0))
    yield from _sequences(view, blank)
    if blank[0] == 0:
        yield from _gridded(view, blank)


def _sequences(view: Table, blank: tuple[int, int]) -> Iterator[Sinusoid]:
    rest, zeros = body(view.values, blank)
    for guess in guesses(rest, view.noise):
        if blank[0] > 0:  # positions count the blank rows and those before them
            guess = Guess(guess.layout, guess.law, guess.first - blank[1], guess.unit)
        for recipe in RECIPES:
            yield _with_gain(Sinusoid(_shape(view), guess, recipe, None, blank, None, zeros), view)


def _gridded(view: Table, blank: tuple[int, int]) -> Iterator[Sinusoid]:
    rest, zeros = body(view.values, blank)
    for grid, fast in grids(rest):
        for guess in guesses(fast, view.noise):
            for recipe in RECIPES:
                yield _with_gain(Sinusoid(_shape(view), guess, recipe, None, blank, grid, zeros), view)


def _shape(view: Table) -> tuple[int, int]:
    return view.values.shape[0], view.values.shape[1]


def _sampled(layer: Sinusoid, view: Table) -> tuple[Tensor, Tensor]:
    """Some rows of the table, and which."""
    rows = torch.cat([torch.arange(layer.blank[0]), torch.arange(layer.blank[1], layer.rows)])
    rows = rows[torch.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).round().long()]
    return view.values[rows, : layer.columns - layer.zeros].double(), rows


def _with_gain(layer: Sinusoid, view: Table) -> Sinusoid:
    """The amplitude is read off the entry where the wave is largest, which a cosine of 0 makes exact."""
    if not layer.guess.unit:
        stored, rows = _sampled(layer, view)
        wave = layer.at(rows).double()
        at = int(wave.abs().argmax())
        gain = stored.reshape(-1)[at] / wave.reshape(-1)[at]
        if abs(float(wave.reshape(-1)[at])) < 1:
            gain = (stored * wave).sum() / wave.square().sum()
        layer.gain = parameter(gain.to(view.dtype).to(torch.float64))
    return layer


def _gaps(layer: Sinusoid, view: Table) -> Tensor:
    """The differences: of some rows, and of all where those are the same, or nearly."""
    stored, rows = _sampled(layer, view)
    with torch.no_grad():
        gaps = (layer.at(rows).to(view.dtype).double() - stored).abs()
        if int((gaps > 0).sum()) <= 1:
            gaps = (layer.forward().to(view.dtype).double() - view.values.double()).abs()
    return gaps


def _frequencies(view: Table) -> Frequencies | None:
    """A geometric sequence from 1 downwards, by one of the rules that libraries use."""
    values = line(view.values)
    if values is None or abs(float(values[0]) - 1) > view.noise or not bool((values > 0).all()):
        return None
    slope = float((values[-1] / values[0]).log()) / (len(values) - 1)
    for divisor in (float(len(values)), len(values) - 1.0) if slope < 0 else ():
        base = snapped(math.exp(-slope * divisor), 1e-5 + 16 * view.noise)
        law = Law(len(values), base or 1.0, divisor)
        if base is None or not close(values, rates(law, "power in float64"), view.noise):
            continue
        for rule in RATES:
            if torch.equal(rates(law, rule).to(view.dtype).double(), values):
                return Frequencies(law, rule)
        return Frequencies(law, "power in float64")
    return None


# --- examples -----------------------------------------------------------------------------------


def _angles(rows: int, columns: int, base: float = 10000.0) -> np.ndarray:
    """``pos / base^(2i / d)``, section 3.5 of the first source, in float64."""
    return np.arange(rows)[:, None] / base ** (2 * np.arange(columns // 2) / columns)


def _interleaved(angles: np.ndarray) -> np.ndarray:
    table = np.empty((angles.shape[0], 2 * angles.shape[1]))
    table[:, 0::2], table[:, 1::2] = np.sin(angles), np.cos(angles)
    return table


def _halves(angles: np.ndarray) -> np.ndarray:
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def _single_precision() -> Table:
    """Logarithmic timescales over half - 1 steps, every step in float32."""
    step = math.log(10000) / (32 - 1)
    angles = torch.arange(200.0)[:, None] * torch.exp(-step * torch.arange(32))[None, :]
    return Table(torch.cat([angles.sin(), angles.cos()], dim=1))


def _grid() -> Table:
    """A row of zeros, then a grid of 5 x 7: the place in the row, and the row."""
    rows, columns = np.divmod(np.arange(35), 7)
    omega = 1 / 10000 ** (np.arange(8) / 8)
    table = np.concatenate([_halves(np.outer(p, omega)) for p in (columns, rows)], axis=1)
    return stored_table(np.concatenate([np.zeros((1, 32)), table]))


def _rotary() -> Table:
    """The cosines of a rotary cache, both halves alike."""
    cosines = np.cos(_angles(64, 32, 500000.0))
    return stored_table(np.concatenate([cosines, cosines], axis=1))


def _padded() -> Table:
    """Row 1 belongs to the padding token."""
    table = _halves(_angles(40, 16))
    table[1] = 0
    return stored_table(table)


def _one_frequency_off() -> Table:
    angles = _angles(64, 16)
    angles[:, 3] *= 1.01
    return stored_table(_interleaved(angles))


def _two_bases() -> Table:
    angles = _angles(64, 16)
    angles[:, 4:] = _angles(64, 16, 10100.0)[:, 4:]
    return stored_table(_interleaved(angles))


def _chirp() -> Table:
    places = np.arange(64) * (1 + 1e-3 * np.arange(64))
    return stored_table(_halves(places[:, None] * _angles(2, 16)[1]))


def _walks() -> Table:
    steps = np.random.default_rng(0).standard_normal((200, 16))
    return stored_table(np.cos(0.05 * steps.cumsum(axis=0)))


OPERATOR = Operator(
    "sinusoid",
    propose,
    finds=(
        Example("interleaved", lambda: stored_table(_interleaved(_angles(64, 32)))),
        Example("halves, base 100", lambda: stored_table(_halves(_angles(50, 12, 100.0)))),
        Example("logarithmic timescales in float32", _single_precision),
        Example("a grid after a row of zeros", _grid),
        Example("rotary cosines, base 500000", _rotary),
        Example("padding row", _padded),
        Example("positions from 2 on, scaled by 16", lambda: stored_table(16 * _halves(_angles(60, 16))[2:])),
        Example("frequencies", lambda: stored_table(1 / 10000 ** (np.arange(32) / 32))),
        Example(
            "interleaved in bfloat16", lambda: stored_table(_interleaved(_angles(64, 16)), torch.bfloat16)
        ),
    ),
    ignores=(
        Example("one frequency off by 1 %", _one_frequency_off),
        Example("two bases 1 % apart", _two_bases),
        Example("chirps", _chirp),
        Example("cosines of random walks", _walks),
        Example("learned table", lambda: stored_table(np.random.default_rng(1).standard_normal((64, 16)))),
    ),
    view=Table,
)
