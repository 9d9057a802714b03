"""Tables in which one number, one row or one column is repeated.

What it finds:    tensors whose entries are all the same number, whose rows are all the same row, or each of
                  whose rows holds one number only.
Why it matters:   one number, one row or one column is enough.
Proof:            every number was compared; they are the same bits.
Swap safety:      exact. The copies can no longer be trained apart.
Source:           broadcasting, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from paramaudit.bare.offers import Offer, saving
from paramaudit.bare.stored import Stored, bits
from paramaudit.records import Evidence, Tier

NAME = "constant-table"


def _same(rows: Tensor) -> bool:
    """Whether all rows are the first; the second one nearly always tells."""
    return torch.equal(rows[1], rows[0]) and bool((rows == rows[:1]).all())


def find(stored: Stored) -> Iterator[Offer]:
    """The fewest numbers that repeat to one tensor."""
    if stored.tensor.numel() < 2:
        return
    if not bool(stored.rows[0, 0]) and not bool(stored.tensor.any()):  # zeros have their own name
        return
    table = bits(stored.rows)  # 0.0 == -0.0, but 1 / x tells them apart
    same_rows = len(table) > 1 and _same(table)
    same_columns = table.shape[1] > 1 and _same(table.T)
    if (same_rows and same_columns) or (same_columns and len(table) == 1):
        value = float(stored.rows[0, 0])
        reason = f"all {table.numel():,} numbers are {value:g}"
        yield saving(NAME, stored, Evidence(Tier.EXACT, reason), 1, arguments={"value": value})
    elif same_rows:
        reason = f"all {len(table):,} rows are the same {table.shape[1]:,} numbers"
        yield saving(
            NAME, stored, Evidence(Tier.EXACT, reason), table.shape[1], arguments={"repeated": "row"}
        )
    elif same_columns:
        reason = f"each of the {len(table):,} rows is one number {table.shape[1]:,} times"
        yield saving(NAME, stored, Evidence(Tier.EXACT, reason), len(table), arguments={"repeated": "column"})
