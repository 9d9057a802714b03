"""Matrices with one large number in every row and column: seen in a few rows, and which number it is."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MOST_UNSURE = 0.25
"""A larger part of rows without a column of their own is not one large number a row."""


def one_a_row(weight: Tensor) -> bool:
    """Whether most of what a few rows of ``(m, n)`` hold is one number each; NaN is not."""
    rows = len(weight)
    some = weight[torch.linspace(0, rows - 1, min(8, rows)).long()].square()
    whole = float(some.sum())
    return whole - float(some.amax(1).sum()) <= 0.5 * whole


def own_columns(weight: Tensor) -> Tensor | None:
    """The column ``(n,)`` of each row of a square matrix, all different, in which it is largest.

    Rows whose own number is below the noise take what others leave, so that together they hold the most.

    Returns:
        None where too many rows are largest in the same columns.
    """
    sizes = weight.abs()
    largest, order = sizes.max(dim=1)
    if int(order.bincount(minlength=len(order)).max()) == 1:
        return order
    heaviest = torch.full_like(largest, -1.0).scatter_reduce(0, order, largest, "amax")
    unsure = (largest < heaviest[order]).nonzero()[:, 0]
    taken = torch.zeros(len(order), dtype=torch.bool)
    taken[order] = True
    free = (~taken).nonzero()[:, 0]
    if len(unsure) != len(free) or len(unsure) > MOST_UNSURE * len(order):
        return None
    rows, columns = linear_sum_assignment(sizes[unsure[:, None], free].numpy(), maximize=True)
    order[unsure[torch.from_numpy(rows)]] = free[torch.from_numpy(columns)]
    return order
