"""Numbers that are exactly zero.

What it finds:    tensors of nothing but zeros, rows and columns of zeros, and single zeros.
Why it matters:   a tensor of zeros need not be stored; neither need rows or columns at its edges, which
                  are put back by a shape. Zeros anywhere else can only be left out when their places are
                  stored instead, so that nothing is counted as saved for them.
Proof:            every number was looked at; none is a small one.
Swap safety:      exact. Where training goes on, zeros may become something else: a bias that starts at zero
                  is needed by the trainer, not by the model.
Source:           compressed sparse rows: Golub and Van Loan, Matrix Computations, 11.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from paramaudit.bare.offers import Offer, saving, told
from paramaudit.bare.stored import Stored
from paramaudit.records import Evidence, Json, Tier

NAME = "zero"

SHARE = 1e-3
"""Single zeros are told from this share of a tensor on."""

MEANT = 0.01
"""Rows and columns at an edge are one finding from this share of a tensor on, and half of its zeros."""

LISTED = 32
"""Up to so many rows and columns are listed."""


def find(stored: Stored) -> Iterator[Offer]:
    """What the zeros of one tensor come to, at most one saving and one remark."""
    total = stored.tensor.numel()
    zeros = total - int(torch.count_nonzero(stored.rows))
    if zeros == total:
        yield saving(NAME, stored, Evidence(Tier.EXACT, f"all {total:,} numbers are zero"), 0)
        return
    if not zeros:
        return
    table = stored.rows == 0
    rows, columns = table.all(1), table.all(0)
    first, last, edges = _edges(rows), _edges(columns), 0
    if any((*first, *last)) and stored.tensor.dim() > 1:
        height, width = len(rows) - sum(first), len(columns) - sum(last)
        edges = total - height * width
        if edges < max(MEANT * total, zeros / 2):  # zeros that happen to lie at an edge
            edges = 0
        else:
            reason = f"the outer {sum(first)} rows and {sum(last)} columns of {_shape(table)} are zero"
            arguments: dict[str, Json] = {"rows": [*first], "columns": [*last]}
            yield saving(NAME, stored, Evidence(Tier.EXACT, reason), height * width, arguments=arguments)
    if zeros - edges >= max(1, SHARE * total):
        yield _scattered(stored, (rows, columns), zeros - edges, total - edges)


def _scattered(stored: Stored, empty: tuple[Tensor, Tensor], zeros: int, total: int) -> Offer:
    """The zeros that are not at an edge, with the fewest places that say where they are."""
    which = [torch.nonzero(side).flatten().tolist() for side in empty]
    words = [
        f"{len(at):,} whole {name}{'s' * (len(at) > 1)}"
        for at, name in zip(which, ("row", "column"), strict=True)
        if at
    ]
    whole = [len(side) for side in empty]
    outside = (whole[0] - len(which[0])) * (whole[1] - len(which[1]))
    slices = stored.tensor.dim() > 1 and whole[0] * whole[1] - outside == zeros
    indices = sum(map(len, which)) if slices else min(zeros, total - zeros)
    among = f" ({' and '.join(words)} among them)" if words and stored.tensor.dim() > 1 else ""
    reason = (
        f"{zeros:,} of {total:,} numbers are zero{among}; leaving them out takes {indices:,} "
        f"{'index that says' if indices == 1 else 'indices that say'} where they are, so none is saved"
    )
    arguments: dict[str, Json] = {"zeros": zeros, "rows": len(which[0]), "columns": len(which[1])}
    for name, at in zip(("which_rows", "which_columns"), which, strict=True):
        if 0 < len(at) <= LISTED:
            arguments[name] = at
    counts = (total, total - zeros)
    names = (stored.name,)
    exact = Tier.EXACT
    return told(NAME, stored.path, names, reason, counts, tier=exact, indices=indices, arguments=arguments)


def _edges(empty: Tensor) -> tuple[int, int]:
    """How many of the first and of the last are empty; not all of them are."""
    full = torch.nonzero(~empty).flatten()
    return int(full[0]), len(empty) - 1 - int(full[-1])


def _shape(table: Tensor) -> str:
    return " x ".join(f"{size:,}" for size in table.shape)
