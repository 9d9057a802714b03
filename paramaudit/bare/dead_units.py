"""Hidden units that nothing goes into and nothing comes out of.

What it finds:    units whose row in one weight and whose column in the next are both zero, or smaller than
                  rounding beside those of the other units: weight decay leaves norms down to 1e-33.
Why it matters:   row, column and bias can go.
Proof:            none: that one weight feeds the next is read off their names and sizes, so it is only
                  ``suspected``. With the model itself (``--factory``) the graph decides.
Swap safety:      to be checked with the model.
Source:           Frankle and Carbin, The Lottery Ticket Hypothesis (2019), for what pruning leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from paramaudit.bare.offers import Offer, told
from paramaudit.bare.stored import Stored

NAME = "dead-units"


def find(held: Mapping[str, Stored]) -> Iterator[Offer]:
    """A finding for every two consecutive weights with dead units between them."""
    weights = [s for s in held.values() if s.tensor.dim() > 1 and s.last.startswith("weight")]
    for first, second in pairwise(weights):
        if second.tensor.shape[1] != len(first.tensor) or len(first.tensor) < 2:
            continue
        if not (_may_be_dead(first.tensor, 0) and _may_be_dead(second.tensor, 1)):
            continue
        into = _norms(first.tensor, 0)
        out = _norms(second.tensor, 1)
        dead = _dead(into, first.tensor.dtype) & _dead(out, second.tensor.dtype)
        count = int(dead.sum())
        if 0 < count < len(dead):
            yield _offer(held, first, second, count, max(float(into[dead].max()), float(out[dead].max())))


def _may_be_dead(weight: Tensor, axis: int) -> bool:
    """Whether the largest entry of some slice is so small that its norm may be; without float64."""
    table = weight.transpose(0, axis).flatten(1)
    largest = torch.linalg.vector_norm(table, ord=torch.inf, dim=1)
    most = float(largest.max()) * table.shape[1] ** 0.5
    return bool(float(largest.min()) <= torch.finfo(weight.dtype).eps * most)


def _norms(weight: Tensor, axis: int) -> Tensor:
    """The Euclidean norm of every slice along an axis, scaled so that 1e-33 does not vanish."""
    table = weight.transpose(0, axis).reshape(weight.shape[axis], -1)
    norms: Tensor = torch.linalg.vector_norm(table, dim=1, dtype=torch.float64)
    return norms


def _dead(norms: Tensor, dtype: torch.dtype) -> Tensor:
    """Below the rounding of what the usual unit contributes."""
    return norms.le(float(torch.finfo(dtype).eps) / 2 * float(norms.max()) / len(norms) ** 0.5)


def _offer(held: Mapping[str, Stored], first: Stored, second: Stored, count: int, largest: float) -> Offer:
    bias = held.get(f"{first.path}.bias".lstrip("."))
    parts = [
        first,
        second,
        *([bias] if bias is not None and bias.tensor.shape == first.tensor.shape[:1] else []),
    ]
    before = sum(part.tensor.numel() for part in parts)
    units = len(first.tensor)
    per = sum(part.tensor.numel() for part in parts) // units
    reason = (
        f"{count:,} of {units:,} units between {first.name} and {second.name} have rows and columns of norm "
        f"at most {largest:.1e}; that one feeds the other is read off their names alone"
    )
    names = tuple(part.name for part in parts)
    counts = (before, before - count * per)
    return told(NAME, first.path, names, reason, counts, arguments={"units": count, "of": units})
