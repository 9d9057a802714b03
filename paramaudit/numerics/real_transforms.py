"""The cosine, sine and Hartley transforms as they are known by name, alone or under scales and orders."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from paramaudit.numerics import trigonometric
from paramaudit.numerics.gains import exact_gains
from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.hidden_rows import Family, Hidden, hidden, likely
from paramaudit.numerics.noise import left_over
from paramaudit.numerics.relabel import (
    alternating,
    backwards,
    cosines_by_constant,
    cosines_by_square,
    hartley_columns,
    sines_between,
)
from paramaudit.numerics.residual import settles
from paramaudit.numerics.storage import FLOATS
from paramaudit.numerics.transform_rows import SCIPY_NORMS, Transform, TransformRows, nearest
from paramaudit.records import Matrix

HARTLEY_NORMS = {"1": "backward", "1/n": "forward", "1/sqrt(n)": "ortho"}


def cosine(size: int, kind: int) -> Transform:
    """``scipy.fft.dct(x, kind)``; in type 1, n - 1 takes the place of n in usual gains."""
    points = size - (kind == 1)
    rows = {1: (0, size - 1), 2: (0,)}.get(kind, ())
    columns = {1: (0, size - 1), 3: (0,)}.get(kind, ())
    apply = trigonometric.COSINES[kind - 1]
    return Transform(size, apply, points, 2.0 * points, rows, columns, SCIPY_NORMS, {"type": kind})


def sine(size: int, kind: int) -> Transform:
    """``scipy.fft.dst(x, kind)``; in type 1, n + 1 takes the place of n in usual gains."""
    points = size + (kind == 1)
    rows = (size - 1,) if kind == 2 else ()
    columns = (size - 1,) if kind == 3 else ()
    apply = trigonometric.SINES[kind - 1]
    return Transform(size, apply, points, 2.0 * points, rows, columns, SCIPY_NORMS, {"type": kind})


def hartley(size: int, sign: int = 1) -> Transform:
    """``sum_t x[t] (cos(2 pi k t / n) + sign sin(2 pi k t / n))`` for k = 0 ... n - 1."""
    apply = partial(trigonometric.hartley, sign)
    return Transform(size, apply, size, float(size), norms=HARTLEY_NORMS, labels={"sign": sign})


def fitted(view: Matrix, name: str, plain: TransformRows | None) -> TransformRows | Gauged | None:
    """The plain rows where they fit; else the transform under a gauge, where it has this name.

    Under signs and orders of both sides some of these transforms are one another (a sine transform of type
    4 is the cosine one backwards, with alternating signs); the name is that of the one that stores least.
    """
    left = 2.0
    if plain is not None:
        residual = _residual(view, plain)
        left = left_over(residual, view.weight)
        if left <= _near(view):
            return _in_full(view, plain, residual)
    found = view.once(_behind_a_gauge)
    if found is None or found.name != name or found.left > 0.5 * left:
        return plain
    return found.layer


def _behind_a_gauge(view: Matrix) -> Hidden | None:
    """What the matrix is under scales and orders; None where one of the transforms fits without any."""
    if not likely(view):
        return None
    families = _families(view.weight.shape[1])
    plain = nearest(view, [family.transform for family in families])
    if plain is not None:
        residual = _residual(view, plain)
        if left_over(residual, view.weight) <= _near(view) or settles(residual, view.weight):
            return None
    return hidden(view, families)


def _in_full(view: Matrix, plain: TransformRows, residual: Tensor) -> TransformRows:
    """The layer with a gain in two parts, where the numbers are roundings of no usual one.

    A short dtype rounds a gain by more than many numbers leave in doubt.
    """
    if view.dtype not in FLOATS or (plain.gains is not None and len(plain.gains) > 1):
        return plain
    held, table = (_no_dust(numbers).reshape(1, -1) for numbers in (view.weight, view.weight - residual))
    low, high = (float(one) for one in exact_gains(held, table, view.noise))
    if low > high or low <= 1.0 <= high:
        return plain
    gains = torch.ones(1, dtype=torch.float64) if plain.gains is None else plain.gains.detach()
    total = plain.factor * (low + high) / 2 * gains
    main = total.to(view.dtype).to(torch.float64)
    parts = torch.stack([main, total - main])
    return TransformRows(
        plain.transform, plain.span, "1", plain.outer, parts, plain.rows, plain.signs, plain.bias
    )


def _no_dust(numbers: Tensor) -> Tensor:
    """The same numbers, those that are zero but for the rounding of a fast transform being zero."""
    return numbers.masked_fill(numbers.abs() <= 2.0**-40 * numbers.abs().max(), 0.0)


def _near(view: Matrix) -> float:
    """What rounding leaves at most."""
    return 256 * max(view.noise, 2.0**-50)


def _residual(view: Matrix, plain: TransformRows) -> Tensor:
    """What a layer leaves over, ``(m, n)``."""
    with torch.no_grad():
        table: Tensor = plain(torch.eye(view.weight.shape[1], dtype=torch.float64)).T
        if plain.bias is not None:
            table = table - plain.bias[:, None]
    return view.weight - table


def _families(size: int) -> list[Family]:
    """How the columns of each are found; of two that store the same the first is named."""
    dct = {kind: cosine(size, kind) for kind in (2, 4, 3, 1)}
    dst = {kind: sine(size, kind) for kind in (2, 4, 3, 1)}
    return [
        Family("dct", dct[2], cosines_by_constant),
        Family("dst", dst[2], cosines_by_constant, alternating),
        Family("dct", dct[3], cosines_by_constant, across=dct[2]),
        Family("dst", dst[3], cosines_by_constant, alternating, dst[2]),
        Family("dct", dct[4], cosines_by_square),
        Family("dst", dst[4], cosines_by_square, backwards),
        Family("dct", dct[1], cosines_by_constant),
        Family("dst", dst[1], sines_between),
        Family("hartley", hartley(size), hartley_columns),
    ]
