"""Is a matrix constant along its diagonals but for scales of rows and columns? A look at a few entries."""

from __future__ import annotations

import torch
from torch import Tensor

SAMPLES = 3072
"""Hexagons that are drawn; the heaviest quarter of them is looked at, which noise changes least."""

FAINT = 1e-3
"""Products of three entries below this part of a usual one say nothing."""

ENOUGH = 48
"""Fewer that say anything say nothing."""

ALIKE = 0.2
"""The least mean agreement: 1 without noise, some 0.3 under a third of it, and by chance below 0.15."""


def scaled_diagonals_likely(weight: Tensor, wrapped: bool, mirrored: bool = False) -> bool:
    """Whether corners of hexagons say so: products of three and of the other three are equal, signs included.

    The six neighbours of an entry, some steps along its row, its column and its diagonal, are two in every
    row, column and diagonal that they touch, one of each three: all scales and diagonals cancel. Hexagons
    lie anywhere; where nearly all of them are empty, small ones around heavy entries, as a band has.

    Args:
        weight: ``(m, n)``, finite.
        wrapped: whether diagonals go round; then the matrix is square.
        mirrored: whether anti-diagonals are meant; not together with ``wrapped``.
    """
    rows, columns = weight.shape
    if min(rows, columns) < 5:
        return False
    draw = torch.Generator().manual_seed(0)
    largest = rows - 1 if wrapped else (min(rows, columns) - 1) // 2
    steps = torch.randint(1, largest + 1, (SAMPLES,), generator=draw)
    at, beside = torch.rand(2, SAMPLES, generator=draw, dtype=torch.float64)
    room = 0 if wrapped else 2 * steps
    first = (at * (rows - room)).long() + room // 2
    second = (beside * (columns - room)).long() + room // 2
    said = _agreement(weight, first, second, steps, mirrored)
    if said is None:
        some = torch.linspace(1, rows - 2, 4 * ENOUGH).long()
        heavy = weight[some, 1:-1].abs().argmax(1) + 1
        lags = some + heavy if mirrored else some - heavy
        if int(lags.max() - lags.min()) > max(8, columns // 4):
            return False  # that is no band
        said = _agreement(weight, some, heavy, torch.ones_like(some), mirrored)
    return said is not None and said >= ALIKE


def _agreement(weight: Tensor, row: Tensor, column: Tensor, step: Tensor, mirrored: bool) -> float | None:
    """The mean of one product over the other, the smaller by the larger; None where hardly any is there."""
    rows, columns = weight.shape
    turn = -1 if mirrored else 1

    def product(*steps: tuple[int, int]) -> Tensor:
        found = torch.ones(len(row), dtype=weight.dtype)
        for down, right in steps:
            found = found * (
                weight[(row + down * step) % rows, (column + turn * right * step) % columns] / usual
            )
        return found

    usual = float(weight[row, column].square().mean().sqrt())
    if usual == 0.0:
        return None
    one, other = product((0, 1), (1, 0), (-1, -1)), product((1, 1), (0, -1), (-1, 0))
    larger = torch.maximum(one.abs(), other.abs())
    heavy = larger.topk(len(larger) // 4).indices
    heavy = heavy[larger[heavy] > FAINT]
    if len(heavy) < ENOUGH:
        return None
    return float(((one / larger) * (other / larger))[heavy].mean())
