"""The gauge of an operator: order, scale and sign of its rows and columns, around a core that has none.

A recogniser that finds ``W = diag(r) P core Q diag(c)`` says so with one layer, :class:`Gauged`; what is
trivial of it is neither stored nor computed. Scales that agree are one number, orders with a closed form
are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.orders import Order
from paramaudit.records import Json


@dataclass(frozen=True)
class Scaling:
    """Scales of rows and columns, complex where the core is: as few of them as the numbers allow.

    Attributes:
        name: of a usual gain, perhaps after a minus sign.
        factor: its value.
        rows: ``(m,)`` when rows differ, ``(1,)`` for a common gain that is not usual, else None.
        columns: ``(n,)`` when columns differ, else None.
    """

    name: str = "1"
    factor: float = 1.0
    rows: Tensor | None = None
    columns: Tensor | None = None


class Gauged(nn.Module):
    """A core operator with its rows and columns reordered and scaled; ``(..., n)`` to ``(..., m)``.

    Complex numbers pass through, and complex scales are stored as pairs of real numbers.

    Args:
        core: maps ``(..., k)`` to ``(..., l)``; affine by its graph.
        scaling: the scales.
        rows: output i is the core's output ``rows[i]``; None is all of them as they are.
        columns: the column of the core that an input belongs to, likewise.
        bias: ``(m,)`` or None.
        aliases: other names of orders, where they are known under these.
    """

    row_places: Tensor | None
    column_places: Tensor | None

    def __init__(
        self,
        core: nn.Module,
        scaling: Scaling,
        rows: Order | None = None,
        columns: Order | None = None,
        bias: Tensor | None = None,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.core, self.rows, self.columns = core, rows, columns
        self.scale, self._factor, self.aliases = scaling.name, scaling.factor, dict(aliases or {})
        self.row_scale, self.column_scale = _pairs(scaling.rows), _pairs(scaling.columns)
        self.bias = parameter(bias)
        listed = None if rows is None or rows.places is None else rows.places.clone()
        self.register_buffer("row_places", listed)
        # where each of the core's inputs is found
        listed = None if columns is None or columns.places is None else columns.places.argsort()
        self.register_buffer("column_places", listed)

    def arguments(self) -> dict[str, Json]:
        """What the core says of itself, the orders, the scales, and what is stored."""
        said: Mapping[str, Json] = getattr(self.core, "arguments", dict)()
        named: dict[str, Json] = {}
        for what, order in (("rows", self.rows), ("columns", self.columns)):
            if order is not None:
                named |= order.said(what)
        named = {k: self.aliases.get(v, v) if isinstance(v, str) else v for k, v in named.items()}
        stores = {
            "gains": self.row_scale,
            "rows": self.row_places,
            "column_gains": self.column_scale,
            "columns": self.column_places,
        }
        own = said.get("stores")
        inner = own if isinstance(own, list) else []
        kept = [key for key, value in stores.items() if value is not None]
        if self.row_scale is not None or "scale" not in said:
            named["row_scale"] = _kind(self.row_scale)
        if "scale" not in said:
            named["scale"] = self.scale
        return {
            **said,
            **named,
            "column_scale": _kind(self.column_scale),
            "stores": [*inner, *(key for key in kept if key not in inner)],
            "bias": self.bias is not None or said.get("bias", False),
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Scale, reorder, core, reorder, scale."""
        return plus(self.gauged(widened(inputs)), self.bias, inputs.dtype)

    def gauged(self, wide: Tensor) -> Tensor:
        """The same without the bias, for real or complex numbers of at least single precision."""
        if self.column_scale is not None:
            wide = wide * _numbers(self.column_scale, wide)
        if self.columns is not None and not self.columns.natural:
            index = self.column_places
            wide = wide.index_select(
                -1, self.columns.index(wide.device).argsort() if index is None else index
            )
        outputs: Tensor = self.core(wide)
        if self.rows is not None and not self.rows.natural:
            index = self.rows.index(wide.device) if self.row_places is None else self.row_places
            outputs = outputs.index_select(-1, index)
        if self._factor != 1.0:
            outputs = outputs * self._factor
        if self.row_scale is not None:
            outputs = outputs * _numbers(self.row_scale, outputs)
        return outputs


def _pairs(values: Tensor | None) -> nn.Parameter | None:
    """Numbers to be stored: complex ones ``(k, 2)``, unless all are real."""
    if values is None or not values.is_complex():
        return parameter(values)
    return parameter(torch.view_as_real(values) if bool((values.imag != 0).any()) else values.real)


def _numbers(values: Tensor, like: Tensor) -> Tensor:
    """Stored numbers as they are multiplied with."""
    wide = values.to(like.real.dtype if like.is_complex() else like.dtype)
    return torch.view_as_complex(wide) if wide.dim() == 2 else wide


def _kind(values: Tensor | None) -> str:
    """What stored scales are, in one word."""
    if values is None:
        return "1"
    if values.dim() == 1 and bool((values.detach().abs() == 1).all()):
        return "signs"
    return "common" if len(values) == 1 else "stored"


def tidied(
    rows: Tensor,
    columns: Tensor,
    slack: tuple[Tensor, Tensor],
    usual: Mapping[str, float],
) -> Scaling:
    """Scales with everything trivial taken out of them, within the noise.

    Args:
        rows: ``(m,)``, real or complex.
        columns: ``(n,)``; only the products of the two mean anything.
        slack: how far each row's and each column's scale may be off a clean one, relative to its size.
        usual: names of gains.
    """
    columns, rows = _balanced(columns, rows, slack[1])
    own = _common(columns, slack[1])
    if own is not None:
        rows, columns_left = rows * own, None
    else:
        columns_left = columns
    common = _common(rows, slack[0])
    if common is None:
        return Scaling(rows=_signed(rows, slack[0]), columns=_whole(columns_left, slack[1]))
    if columns_left is not None and not _only_signs(columns_left, slack[1]):
        return Scaling(columns=columns_left * common)
    columns_left = _whole(columns_left, slack[1])
    near = float((slack[0] / len(rows) ** 0.5).max()) + 4 * 2.0**-50
    for name, value in usual.items():
        for sign, minus in ((1.0, ""), (-1.0, "-")):
            if abs(complex(common) - sign * value) <= near * value:
                return Scaling(minus + name, sign * value, columns=columns_left)
    return Scaling(rows=common.reshape(1), columns=columns_left)


def _balanced(columns: Tensor, rows: Tensor, slack: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of geometric mean 1, and +1 or real at their largest; what is taken off goes to the rows."""
    size = columns.abs().log().mean().exp()
    place = int(slack.argmin())
    turn = columns[place] / columns[place].abs()
    return columns / (size * turn), rows * (size * turn)


def _common(values: Tensor, slack: Tensor) -> Tensor | None:
    """The one value of all, or None where they differ."""
    weight = 1 / slack.square().clamp_min(1e-60)
    mean = (values * weight).sum() / weight.sum()
    if bool(((values - mean).abs() <= slack * mean.abs()).all()):
        return values[0] if bool((values == values[0]).all()) else mean
    return None


def _only_signs(values: Tensor, slack: Tensor) -> bool:
    """Whether real values are +1 and -1."""
    near = values.real if values.is_complex() else values
    return bool(((values - near.sign()).abs() <= slack).all())


def _whole(values: Tensor | None, slack: Tensor) -> Tensor | None:
    """Values that are +1 and -1 made exactly so."""
    if values is None or not _only_signs(values, slack):
        return values
    return (values.real if values.is_complex() else values).sign()


def _signed(values: Tensor, slack: Tensor) -> Tensor:
    """Values of one size and two signs made exactly so."""
    real = values.real if values.is_complex() else values
    size = _common(values.abs(), slack)
    if size is None or not bool(((values - real.sign() * size).abs() <= slack * size).all()):
        return values
    return real.sign() * (1.0 if abs(float(size) - 1) <= float(slack.max()) else size)
