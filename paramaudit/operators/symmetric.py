"""A table that is its own mirror image.

What it finds:    Numbers that are the same from both ends, or the same with opposite signs: filter taps
                  with linear phase, windows that no formula names, tables of distances. Tables of two
                  dimensions are mirrored in their rows, in their columns, or in both at once (turned by
                  180 degrees).
Why it matters:   Half of the numbers are enough.
Proof:            The mirrored half must have the bits of the numbers it stands for, or the largest
                  difference is stated.
Swap safety:      Exact where it was proven, on every device. The half stays trainable, but what was
                  symmetric stays so. The half is stored in the dtype in which the
                  model stores its numbers.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 5.7.3 (types 1 to 4).
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned
from paramaudit.numerics.tables import FEWEST, stored_table
from paramaudit.records import Example, Json, Operator, Table

_MIRRORS = (("rows", (0,)), ("columns", (1,)), ("both", (0, 1)))
_FEW = 8


class Symmetric(nn.Module):
    """A table ``(rows, columns)`` or ``(n,)`` of which the first half is stored.

    Args:
        half: the first ``ceil(n / 2)`` numbers, rows or columns; of all numbers in order, for ``both``.
        shape: of the whole table.
        mirror: ``rows``, ``columns`` or ``both``.
        odd: whether the other half has the opposite sign; the middle is then 0 and not stored.
    """

    def __init__(self, half: Tensor, shape: torch.Size, mirror: str, odd: bool) -> None:
        super().__init__()
        self.shape, self.mirror, self.odd = shape, mirror, odd
        self.kept = owned(half)

    def arguments(self) -> dict[str, Json]:
        """What is mirrored, and how."""
        return {"shape": list(self.shape), "mirror": self.mirror, "sign": -1 if self.odd else 1}

    def forward(self) -> Tensor:
        """Both halves."""
        axis = 1 if self.mirror == "columns" else 0
        size = self.shape.numel() if self.mirror == "both" else self.shape[axis]
        other = self.kept.narrow(axis, 0, size // 2).flip(axis)
        pieces = [self.kept, -other if self.odd else other]
        if self.odd and size % 2:
            pieces.insert(1, torch.zeros_like(self.kept.narrow(axis, 0, 1)))
        return torch.cat(pieces, dim=axis).reshape(self.shape)


def propose(view: Table) -> Symmetric | None:
    """The first mirror that the table has."""
    values = view.values
    if values.dim() not in (1, 2) or values.numel() < FEWEST or not values.is_floating_point():
        return None
    for mirror, axes in _MIRRORS[: 1 if values.dim() == 1 else 3]:
        if any(values.shape[axis] < 2 for axis in axes):
            continue
        sign = _sign(values, axes, view.noise)
        if sign:
            return Symmetric(_half(values, mirror, sign < 0), values.shape, mirror, sign < 0)
    return None


def _half(values: Tensor, mirror: str, odd: bool) -> Tensor:
    axis = 1 if mirror == "columns" else 0
    table = values.reshape(-1) if mirror == "both" else values
    size = table.shape[axis]
    return table.narrow(axis, 0, size // 2 if odd else (size + 1) // 2).to("cpu", torch.float64)


def _sign(values: Tensor, axes: tuple[int, ...], noise: float) -> int:
    """1 for a table that is the same mirrored, -1 for the opposite, 0 for neither; few places come first."""
    few = ends = values
    for axis, size in enumerate(values.shape):
        places = torch.linspace(0, size - 1, min(_FEW, size)).long()
        few = few.index_select(axis, places)
        ends = ends.index_select(axis, size - 1 - places if axis in axes else places)
    if not _alike(few.double(), ends.double(), noise):
        return 0
    whole = values.to("cpu", torch.float64)
    if not bool(whole.isfinite().all()) or bool((whole == whole.reshape(-1)[0]).all()):
        return 0
    return _alike(whole, whole.flip(axes), noise)


def _alike(values: Tensor, mirrored: Tensor, noise: float) -> int:
    tolerance = 2 * noise * float(values.abs().max())
    if not bool(values.any()):
        return 1
    for sign in (1, -1):
        if bool(((values - sign * mirrored).abs() <= tolerance).all()):
            return sign
    return 0


# --- examples -----------------------------------------------------------------------------------


def _half_band() -> np.ndarray:
    taps: np.ndarray = scipy.signal.remez(63, [0, 0.2, 0.3, 0.5], [1, 0])
    return np.asarray(0.5 * (taps + taps[::-1]))


def _differentiator() -> np.ndarray:
    taps: np.ndarray = scipy.signal.remez(31, [0.02, 0.4], [1], type="differentiator")
    return np.asarray(0.5 * (taps - taps[::-1]))


def _random(shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def _mirrored_columns() -> np.ndarray:
    table = _random((12, 7), 0)
    return np.asarray(table + table[:, ::-1])


def _turned() -> np.ndarray:
    table = _random((9, 5), 1)
    return np.asarray(table - table[::-1, ::-1])


def _one_off() -> np.ndarray:
    taps = _half_band()
    taps[5] *= 1.01
    return taps


def _noisy() -> np.ndarray:
    return _mirrored_columns() * (1 + 0.01 * _random((12, 7), 2))


OPERATOR = Operator(
    "symmetric",
    propose,
    finds=(
        Example("taps with linear phase", lambda: stored_table(_half_band())),
        Example("odd taps", lambda: stored_table(_differentiator())),
        Example("mirrored columns", lambda: stored_table(_mirrored_columns())),
        Example("turned, with the opposite sign", lambda: stored_table(_turned())),
    ),
    ignores=(
        Example("one number off by 1 %", lambda: stored_table(_one_off())),
        Example("1 % noise", lambda: stored_table(_noisy())),
        Example("random", lambda: stored_table(_random((16, 16), 3))),
        Example("constant", lambda: stored_table(np.ones(32))),
    ),
    view=Table,
)
