"""Parameters that are still as they were initialised.

What it finds:    norms whose weights are all 1 and biases that are all 0; tables that look like draws of one
                  of the framework's own initialisers; in a training checkpoint, parameters and rows of them
                  whose gradients the optimizer never saw.
Why it matters:   what was never trained was never learned: it is a part that is not used, was frozen by
                  mistake, or was added and forgotten.
Proof:            none, it is ``suspected``. Draws are judged by Kolmogorov-Smirnov, mean, mean square,
                  largest number, and what neighbouring rows and columns and the angles between them say,
                  against laws with known parameters, at the level of 1 %: about one in a hundred untouched
                  tensors is missed. A tensor that training hardly moved passes too, so a high p-value is
                  no proof.
Swap safety:      nothing is saved by it alone: a frozen random layer may well be used.
Source:           the documentation of ``torch.nn.init``; Stephens (1974) and Schott (2005) for the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from paramaudit.bare.initialisers import laws
from paramaudit.bare.offers import Offer, told
from paramaudit.bare.stored import Stored
from paramaudit.numerics.goodness import fits, sampled

NAME = "untrained"

LEVEL = 0.01
"""A draw is called consistent with a law from this p-value on."""

LEAST = 512
"""Numbers that a tensor needs to speak for itself: fewer are consistent with too much."""

LEAST_BESIDE = 16
"""Numbers of a bias beside a weight that is consistent with initialisation."""


def find(held: Mapping[str, Stored]) -> Iterator[Offer]:
    """A finding for every parameter that looks untouched."""
    drawn: set[str] = set()
    later: list[Stored] = []
    for stored in (s for s in held.values() if s.numbers):
        if (constant := _constant(stored)) is not None:
            yield constant
        elif stored.tensor.numel() >= LEAST:
            offer = _drawn(stored, held)
            if offer is not None:
                drawn.add(stored.name)
                yield offer
        else:
            later.append(stored)
    for stored in later:
        weight = stored.name.replace("bias", "weight") if stored.last.startswith("bias") else ""
        if weight in drawn and stored.tensor.numel() >= LEAST_BESIDE:
            yield from (offer for offer in [_drawn(stored, held)] if offer is not None)


def _constant(stored: Stored) -> Offer | None:
    """A norm's weight of ones, a bias of zeros."""
    if stored.tensor.dim() != 1 or stored.tensor.numel() < 2 or stored.last not in ("weight", "bias"):
        return None
    value = 1.0 if stored.last == "weight" else 0.0
    if not bool((stored.tensor == value).all()):
        return None
    reason = f"all {stored.tensor.numel():,} numbers are exactly {value:g}, as initialised; this is no proof"
    return _told(stored, reason, {"initialiser": "ones" if value else "zeros"})


def _drawn(stored: Stored, held: Mapping[str, Stored]) -> Offer | None:
    table = sampled(_written(stored.rows))
    if table.shape[0] == 0 or not bool(table.any()):
        return None
    rounding = float(torch.finfo(stored.tensor.dtype).eps) / 2
    judged = [(fits(table, law, rounding), name) for name, law in laws(stored, held)]
    p_value, name = max(judged, default=(0.0, ""))
    if p_value < LEVEL:
        return None
    reason = f"consistent with initialisation by {name}, p = {p_value:.2g}; this is no proof"
    return _told(stored, reason, {"initialiser": name}, p_value)


def _written(table: Tensor) -> Tensor:
    """Without one row of zeros, such as that of a padding index."""
    empty = ~table.any(1)
    return table[~empty] if int(empty.sum()) == 1 and len(table) > 1 else table


def _told(stored: Stored, reason: str, arguments: Mapping[str, str], p_value: float | None = None) -> Offer:
    numbers = stored.tensor.numel()
    names, counts = (stored.name,), (numbers, numbers)
    return told(NAME, stored.path, names, reason, counts, p_value=p_value, arguments={**arguments})
