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


def find(stored: Stored) -> Iterator[Offer]:
    """What the zeros of one tensor come to, at most one saving and one remark."""
    total = stored.tensor.numel()
    table = stored.rows == 0
    zeros = int(table.sum())
    if zeros == total:
        yield saving(NAME, stored, _exact(f"all {total:,} numbers are zero"), 0)
        return
    if not zeros:
        return
    rows, columns = table.all(1), table.all(0)
    first, last, edges = _edges(rows), _edges(columns), 0
    if any((*first, *last)) and stored.tensor.dim() > 1:
        height, width = len(rows) - sum(first), len(columns) - sum(last)
        edges = total - height * width
        reason = f"the outer {sum(first)} rows and {sum(last)} columns of {_shape(table)} are zero"
        arguments: dict[str, Json] = {"rows": [*first], "columns": [*last]}
        yield saving(NAME, stored, _exact(reason), height * width, arguments=arguments)
    if zeros - edges >= max(1, SHARE * total):
        yield _scattered(stored, rows, columns, zeros)


def _scattered(stored: Stored, rows: Tensor, columns: Tensor, zeros: int) -> Offer:
    """All the zeros, with the fewest places that say where they are."""
    table = len(rows), len(columns)
    whole = int(rows.sum()), int(columns.sum())
    outside = (table[0] - whole[0]) * (table[1] - whole[1])
    if stored.tensor.dim() > 1 and table[0] * table[1] - outside == zeros and max(whole):
        what = f"{whole[0]:,} rows and {whole[1]:,} columns of {table[0]:,} x {table[1]:,} are zero"
        indices = sum(whole)
    else:
        what = f"{zeros:,} of {stored.tensor.numel():,} numbers are zero"
        indices = min(zeros, stored.tensor.numel() - zeros)
    total = stored.tensor.numel()
    reason = f"{what}; leaving them out takes {indices:,} indices that say where they are, so none is saved"
    arguments = {"zeros": zeros, "rows": whole[0], "columns": whole[1]}
    counts = (total, total - zeros)
    return told(
        NAME,
        stored.path,
        (stored.name,),
        reason,
        counts,
        tier=Tier.EXACT,
        indices=indices,
        arguments={**arguments},
    )


def _exact(reason: str) -> Evidence:
    return Evidence(Tier.EXACT, reason)


def _edges(empty: Tensor) -> tuple[int, int]:
    """How many of the first and of the last are empty; not all of them are."""
    full = torch.nonzero(~empty).flatten()
    return int(full[0]), len(empty) - 1 - int(full[-1])


def _shape(table: Tensor) -> str:
    return " x ".join(f"{size:,}" for size in table.shape)
