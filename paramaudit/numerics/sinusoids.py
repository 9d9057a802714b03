"""Tables of sines and cosines whose frequencies fall geometrically, in the ways that libraries compute them.

Row t and frequency k hold the sine and the cosine of ``a (t + t0) b^(-k/m)``. Libraries compute that in
float64, or in float32 in one order or another, which moves the far rows by up to 1e-4: which way it was is
part of what a table is. Steps in float64 come first, since they give the same bits on every machine.

Source: Vaswani et al., Attention Is All You Need (2017), 3.5; Su et al., RoFormer (2021), 3.2.2; Goldberg,
    What every computer scientist should know about floating-point arithmetic (1991).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.storage import dtype_name

_WIDE, _NARROW = torch.float64, torch.float32


@dataclass(frozen=True)
class Recipe:
    """How angles are computed: the frequencies, then the dtypes of their product and of its sine."""

    rates: str
    product: torch.dtype
    wave: torch.dtype

    @property
    def words(self) -> str:
        """What is computed how."""
        product, wave = (dtype_name(d) for d in (self.product, self.wave))
        return f"frequencies by {self.rates}, angles in {product}, sines in {wave}"

    @property
    def native(self) -> bool:
        """Whether float32 functions are asked for, which processors round in their own ways."""
        return self.wave is _NARROW or self.rates.endswith("in float32")


@dataclass(frozen=True)
class Law:
    """The frequencies ``scale * base^(-k / divisor)`` for k = 0 .. count - 1."""

    count: int
    base: float
    divisor: float
    scale: float = 1.0


def _power(law: Law) -> Tensor:
    return law.base ** (-torch.arange(law.count, dtype=_WIDE) / law.divisor)


def _rounded(law: Law) -> Tensor:
    return _power(law).to(_NARROW)


def _exponential(law: Law) -> Tensor:
    return torch.exp(torch.arange(law.count, dtype=_NARROW) * -(math.log(law.base) / law.divisor))


def _divided(law: Law) -> Tensor:
    """The wavelengths, in float32: the row is divided by them."""
    return torch.pow(law.base, torch.arange(law.count, dtype=_NARROW) / law.divisor)


def _reciprocal(law: Law) -> Tensor:
    return 1.0 / _divided(law)


def _negative(law: Law) -> Tensor:
    return torch.pow(law.base, -torch.arange(law.count, dtype=_NARROW) / law.divisor)


RATES: dict[str, Callable[[Law], Tensor]] = {
    "power in float64": _power,
    "power in float64, rounded": _rounded,
    "exponential in float32": _exponential,
    "reciprocal power in float32": _reciprocal,
    "power in float32": _negative,
    "division in float32": _divided,
}

RECIPES = (
    Recipe("power in float64", _WIDE, _WIDE),
    *(Recipe(name, _NARROW, wave) for wave in (_WIDE, _NARROW) for name in list(RATES)[1:]),
)
"""Simplest and most portable first."""


def rates(law: Law, name: str) -> Tensor:
    """The frequencies ``(count,)``, without the scale."""
    found = RATES[name](law)
    return 1.0 / found if name == "division in float32" else found


def waves(law: Law, recipe: Recipe, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The sines and the cosines, ``(rows, count)`` each, in the recipe's last dtype.

    Args:
        law: the frequencies.
        recipe: how they are computed.
        rows: t, ``(rows,)``, whole numbers or halves.
    """
    place = rows.to(recipe.product).unsqueeze(1) * law.scale
    steps = RATES[recipe.rates](law).to(recipe.product).unsqueeze(0)
    angles = place / steps if recipe.rates == "division in float32" else place * steps
    angles = angles.to(recipe.wave)
    return angles.sin(), angles.cos()


# --- layouts ------------------------------------------------------------------------------------

PAIRED = ("interleaved", "interleaved, cosine first", "halves", "halves, cosine first")
"""Sine and cosine of each frequency, side by side or in two blocks."""

SINGLE = tuple(f"{name}{how}" for name in ("sine", "cosine") for how in (" twice", " repeated", ""))
"""Only one of the two: each frequency once, in two equal blocks, or twice in a row."""


def counted(layout: str, columns: int) -> int:
    """How many frequencies a layout of so many columns has."""
    return columns if layout in ("sine", "cosine") else (columns + 1) // 2


def laid_out(layout: str, sine: Tensor, cosine: Tensor, columns: int) -> Tensor:
    """The table ``(rows, columns)`` of sines and cosines ``(rows, count)``."""
    if layout in PAIRED:
        first, second = (cosine, sine) if layout.endswith("cosine first") else (sine, cosine)
        if layout.startswith("halves"):
            return torch.cat([first, second[:, : columns - first.shape[1]]], dim=1)
        return torch.stack([first, second], dim=2).flatten(1)[:, :columns]
    name, _, how = layout.partition(" ")
    only = sine if name == "sine" else cosine
    if how == "twice":
        return torch.cat([only, only], dim=1)
    return only.repeat_interleave(2, dim=1) if how == "repeated" else only


def pairs(layout: str, table: Tensor) -> tuple[Tensor, Tensor]:
    """The sines and cosines ``(rows, columns // 2)`` of a table in one of the layouts of :data:`PAIRED`.

    The last frequency of an odd number of columns has no partner and is left out.
    """
    columns = table.shape[1]
    pair = (table[:, : columns // 2], table[:, (columns + 1) // 2 :])
    if layout.startswith("interleaved"):
        pair = (table[:, 0 : columns - columns % 2 : 2], table[:, 1::2])
    return (pair[1], pair[0]) if layout.endswith("cosine first") else pair


def single(layout: str, table: Tensor) -> Tensor:
    """The waves ``(rows, count)`` of a table in one of the layouts of :data:`SINGLE`, each once."""
    return table[:, ::2] if layout.endswith("repeated") else table[:, : counted(layout, table.shape[1])]
