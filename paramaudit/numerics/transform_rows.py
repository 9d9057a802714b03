"""Rows of a fast transform: the layer that computes them, and which rows of which transform a matrix has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.numerics.bins import EDGES, common_gain
from paramaudit.numerics.layers import parameter, plus, widened
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias
from paramaudit.records import Json, Matrix

ROWS_AT_ONCE = 512
ALIKE = 1.25
"""Outer columns that leave so many times the least of a few rows may still be the true ones."""

COLUMNS = ("1", "sqrt(2)", "2")
"""By what outer columns may be multiplied: names of :data:`EDGES`."""
SCIPY_NORMS = {"1": "backward", "1/(2n)": "forward", "1/sqrt(2n)": "ortho"}
"""What scipy calls the gains of its cosine and sine transforms."""


@dataclass(frozen=True)
class Transform:
    """A square transform as it is without factors.

    Attributes:
        size: n.
        apply: ``(..., n)`` to ``(..., n)``, affine by its graph.
        points: what stands for n in usual gains (:func:`scales`).
        power: the squared length of a row, once outer columns are multiplied by sqrt(2).
        outer_rows: rows of twice that.
        outer_columns: columns that must be multiplied by sqrt(2) so that rows are orthogonal.
        norms: names of gains under which it is known.
        labels: what to call it, beside its size.
    """

    size: int
    apply: Callable[[Tensor], Tensor]
    points: int
    power: float
    outer_rows: tuple[int, ...] = ()
    outer_columns: tuple[int, ...] = ()
    norms: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Json] = field(default_factory=dict)

    def weighted(self, values: Tensor, factor: float, places: tuple[int, ...]) -> Tensor:
        """The same numbers with those at the first or the last place, or both, multiplied."""
        if factor == 1.0 or not places:
            return values
        first, last = int(0 in places), int(self.size - 1 in places)
        ones = torch.ones(self.size - first - last, dtype=values.dtype, device=values.device)
        return values * F.pad(ones, (first, last), value=factor)


def scales(points: int) -> dict[str, float]:
    """The usual multiples of a transform by name."""
    inverse = {"1/(2n)": 0.5 / points, "1/n": 1 / points, "1/(4n)": 0.25 / points}
    root = points**-0.5
    roots = {"1/sqrt(2n)": 0.5**0.5 * root, "1/sqrt(n)": root, "1/sqrt(4n)": 0.5 * root}
    return {"1": 1.0, "1/2": 0.5} | inverse | roots


class TransformRows(nn.Module):
    """Some rows of a transform, with factors; ``(..., n)`` to ``(..., m)``.

    Args:
        transform: the transform.
        span: first and end row; not used when ``rows`` are given.
        scale: a name of :func:`scales`, perhaps after a minus sign.
        outer: names of :data:`EDGES` for the outer rows and for the outer columns.
        gains: ``(1,)`` or ``(m,)`` when they are stored; ``(2, 1)`` for two parts of one, which are added.
        rows: ``(m,)`` int64, when they are not a range.
        signs: ``(m,)`` int64, when rows have signs of their own.
        bias: ``(m,)`` or None.
    """

    rows: Tensor | None
    signs: Tensor | None

    def __init__(
        self,
        transform: Transform,
        span: tuple[int, int],
        scale: str = "1",
        outer: tuple[str, str] = ("1", "1"),
        gains: Tensor | None = None,
        rows: Tensor | None = None,
        signs: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.transform, self.span, self.scale, self.outer = transform, span, scale, outer
        self.gains, self.bias = parameter(gains), parameter(bias)
        self.register_buffer("rows", rows)
        self.register_buffer("signs", signs)
        factor = scales(transform.points)[scale.removeprefix("-")]
        self.factor = -factor if scale.startswith("-") else factor

    def arguments(self) -> dict[str, Json]:
        """Everything that was recognised; rows as first and last, ``norm`` as numpy and scipy call it."""
        stores = {"gains": self.gains, "rows": self.rows, "signs": self.signs}
        outer: dict[str, Json] = {}
        if self.transform.outer_rows:
            outer["outer_row"] = self.outer[0]
        if self.transform.outer_columns:
            outer["outer_column"] = self.outer[1]
        return {
            "n": self.transform.size,
            **self.transform.labels,
            "rows": "listed" if self.rows is not None else [self.span[0], self.span[1] - 1],
            "norm": self._norm(),
            "scale": self.scale,
            **outer,
            "stores": [key for key, value in stores.items() if value is not None],
            "bias": self.bias is not None,
        }

    def _norm(self) -> str | None:
        """The name of a known normalisation, when it is one up to signs."""
        name = self.transform.norms.get(self.scale.removeprefix("-"))
        if self.gains is not None or name is None:
            return None
        shown = range(*self.span) if self.rows is None else self.rows.tolist()
        row = "1/sqrt(2)" if any(edge in shown for edge in self.transform.outer_rows) else "1"
        ortho = row, "sqrt(2)" if self.transform.outer_columns else "1"
        return name if self.outer == (ortho if name == "ortho" else ("1", "1")) else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Transform, pick, scale."""
        transform, (row, column) = self.transform, self.outer
        wide = transform.weighted(widened(inputs), EDGES[column], transform.outer_columns)
        outputs = transform.weighted(transform.apply(wide), EDGES[row], transform.outer_rows)
        if self.rows is not None:
            outputs = outputs.index_select(-1, self.rows)
        elif self.span != (0, transform.size):
            outputs = outputs[..., self.span[0] : self.span[1]]
        outputs = outputs * self.factor
        if self.gains is not None:
            gains = self.gains.to(wide.dtype)
            outputs = outputs * (gains.sum(0) if gains.dim() == 2 else gains)
        if self.signs is not None:
            outputs = outputs * self.signs
        return plus(outputs, self.bias, inputs.dtype)


def nearest(view: Matrix, transforms: Sequence[Transform]) -> TransformRows | None:
    """The transform on a few rows, the rows on all, then tidy gains, signs and order.

    Args:
        view: the matrix.
        transforms: those of its width, the simplest first.
    """
    weight = view.weight
    count, size = weight.shape
    if not 2 <= count <= size:
        return None
    some = weight[torch.linspace(0, count - 1, min(8, count)).long()]
    some = some / some.norm(dim=1, keepdim=True)
    if _far(some, transforms):
        return None
    choices = [(t, column) for t in transforms for column in (COLUMNS if t.outer_columns else COLUMNS[:1])]
    beside = [float(_one_hot(some, *choice)[2].median()) for choice in choices]
    if not min(beside) <= NOISY:  # nor when it is NaN
        return None
    least = min(beside)
    transform, column = choices[beside.index(least)]
    bins, along, left = _all_one_hot(weight, transform, column)
    alike = [c for (t, c), b in zip(choices, beside, strict=True) if t is transform and b <= ALIKE * least]
    if len(alike) > 1:  # a few rows say little of one column among noise
        nearer = _outer_column(weight, transform, alike, bins, along)
        if nearer != column:
            column, (bins, along, left) = nearer, _all_one_hot(weight, transform, nearer)
    if not float(left.norm()) <= NOISY * float(weight.norm()) or len(set(bins.tolist())) < count:
        return None
    off = float(left.norm()) / (count * (size - 1)) ** 0.5
    row, scaling = _scaling(view, transform, bins, along, off)
    span = (int(bins[0]), int(bins[0]) + count)
    rows = None if torch.equal(bins, torch.arange(*span)) else bins
    return TransformRows(transform, span, outer=(row, column), rows=rows, bias=kept_bias(view), **scaling)


def _far(some: Tensor, transforms: Sequence[Transform]) -> bool:
    """Whether two rows are so far from every row of every transform that no look at more is needed."""
    two = some[:: max(1, len(some) - 1)][:2]
    return all(
        float(_one_hot(two, t, column)[2].min()) > 2 * NOISY
        for t in transforms
        for column in (COLUMNS if t.outer_columns else COLUMNS[:1])
    )


def _all_one_hot(weight: Tensor, transform: Transform, column: str) -> tuple[Tensor, Tensor, Tensor]:
    """What :func:`_one_hot` says of any number of rows, some at a time."""
    found = [_one_hot(part, transform, column) for part in torch.split(weight, ROWS_AT_ONCE)]
    bins, along, left = (torch.cat(parts) for parts in zip(*found, strict=True))
    return bins, along, left


def _one_hot(rows: Tensor, transform: Transform, column: str) -> tuple[Tensor, Tensor, Tensor]:
    """The largest coefficient of each row ``(m, n)``: where and how large; and the length of the others.

    Coefficients are those of the orthonormal rows.
    """
    weighted = transform.weighted(rows, 2.0 / EDGES[column], transform.outer_columns)
    plain = transform.weighted(transform.apply(weighted), 0.5**0.5, transform.outer_rows)
    coefficients = plain * transform.power**-0.5
    bins = coefficients.abs().argmax(1, keepdim=True)
    along = coefficients.gather(1, bins)[:, 0]
    return bins[:, 0], along, coefficients.scatter(1, bins, 0.0).norm(dim=1)


def _outer_column(
    weight: Tensor, transform: Transform, names: Sequence[str], bins: Tensor, along: Tensor
) -> str:
    """By which of some factors the outer columns are multiplied, least squares over all rows."""
    inner = ~torch.isin(bins, torch.tensor(transform.outer_rows, dtype=bins.dtype))
    places = list(transform.outer_columns)
    table = transform.apply(torch.eye(transform.size, dtype=weight.dtype)[places])[:, bins[inner]]
    meant = table * along[inner] * transform.power**-0.5
    factor = float((weight[inner][:, places].T * meant).sum() / meant.square().sum())
    return min(names, key=lambda name: abs(EDGES[name] - factor))


def _scaling(
    view: Matrix, transform: Transform, bins: Tensor, along: Tensor, off: float
) -> tuple[str, dict[str, Any]]:
    """The outer rows' weight, and scale, gains and signs as arguments of the layer."""
    edge = torch.isin(bins, torch.tensor(transform.outer_rows, dtype=bins.dtype))
    norms = (transform.power * (1 + edge.double())).sqrt()
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
    # all numbers may be rounded the same way, but by no more than one unit
    slack = SIGMAS * off / float(norms.norm()) + max(view.noise, 2.0**-48) * common
    usual = [name for name, value in scales(transform.points).items() if abs(common - value) <= slack]
    stored_gain = None if usual else torch.tensor([common], dtype=torch.float64)
    return row, {"signs": own, "scale": minus + (usual[0] if usual else "1"), "gains": stored_gain}
