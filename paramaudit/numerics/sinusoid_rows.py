"""What surrounds the waves of a position table: rows and columns of zeros, and grids."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

FEWEST_ROWS = 6


def zero_columns(rows: Tensor) -> int:
    """1 where an odd number of columns ends in one of zeros."""
    return int(rows.shape[1] % 2 == 1 and not bool(rows[:, -1].any()))


def blank_rows(values: Tensor) -> tuple[int, int] | None:
    """The only run of zero rows as (first, end); None when there are several."""
    rows = (~values.any(dim=1)).nonzero()[:, 0]
    if not len(rows):
        return 0, 0
    start, stop = int(rows[0]), int(rows[-1]) + 1
    return (start, stop) if stop - start == len(rows) and stop <= len(values) - FEWEST_ROWS else None


def grids(body: Tensor) -> Iterator[tuple[tuple[int, int, bool], Tensor]]:
    """The grid whose rows follow each other, and the half of the columns that repeats with them."""
    rows, columns = body.shape
    if columns % 2:
        return
    halves = (body[:, : columns // 2], body[:, columns // 2 :])
    for row_first in (True, False):
        fast, slow = halves if row_first else halves[::-1]
        again = (fast == fast[0]).all(dim=1).nonzero()[:, 0]
        width = int(again[1]) if len(again) > 1 else 0
        if width >= 4 and rows % width == 0 and torch.equal(slow[: width - 1], slow[1:width]):
            yield (rows // width, width, row_first), fast[:width]


def body(table: Tensor, blank: tuple[int, int]) -> tuple[Tensor, int]:
    """The rows after the blank ones without columns of zeros, in float64, and how many columns are zero."""
    rows = table[blank[1] :].double()
    zeros = zero_columns(rows[1:FEWEST_ROWS])
    return rows[:, : rows.shape[1] - zeros], zeros
