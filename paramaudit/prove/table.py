"""The prover of tables: is every stored number the computed one, rounded to the dtype of the table?"""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.storage import dtype_name, told_exactly
from paramaudit.prove.tiers import BOUNDED_UP_TO
from paramaudit.records import Evidence, Measured, Table, Tier


def judge_table(view: Table, computed: Tensor) -> Evidence:
    """Evidence for computing a table in place of storing it.

    A lookup makes no rounding error behind which a gap could hide, so there is no ``rounding`` here: the
    numbers are the same to the last bit, signs of zeros included, and that is ``exact``; or the largest
    difference is stated.

    Args:
        view: the stored table.
        computed: what the layer returns in the dtype of the table.
    """
    if computed.shape != view.values.shape:
        shapes = f"{tuple(computed.shape)} and {tuple(view.values.shape)}"
        return Evidence(Tier.REFUTED, f"the computed and the stored table have shapes {shapes}")
    stored, made = view.values.detach().cpu().to(view.dtype), computed.detach().cpu().to(view.dtype)
    if not torch.equal(stored.to(view.values.dtype), view.values.detach().cpu()):
        return Evidence(Tier.REFUTED, f"the table has numbers that {dtype_name(view.dtype)} does not hold")
    if not bool(stored.isfinite().all()) or not bool(made.isfinite().all()):
        return Evidence(Tier.REFUTED, "numbers that are NaN or infinite are not compared")
    name = dtype_name(view.dtype)
    if same_bits(stored, made):
        reason = f"each of the {stored.numel()} stored numbers is the computed one rounded to {name}"
        return Evidence(Tier.EXACT, reason, gap=Measured(0.0, "max", "entry"))
    apart = (stored.double() - made.double()).abs()
    value, size = float(apart.max()), float(stored.double().abs().max())
    count = int((apart > 0).sum())
    gap = Measured(value, "max", "entry")
    of = f"{count} of the {stored.numel()} stored numbers"
    reason = f"{of} differ from the computed ones, by at most {value:.1e}"
    if value > BOUNDED_UP_TO * size:
        return Evidence(Tier.REFUTED, reason, gap=gap)
    if value == 0.0:
        reason = f"the stored numbers are the computed ones but for the sign of zeros in {name}"
    return Evidence(Tier.BOUNDED, reason + told_exactly(stored, made), gap=gap)


def same_bits(stored: Tensor, made: Tensor) -> bool:
    """Whether two tensors of one dtype hold the same numbers; 0.0 and -0.0 are two."""
    return torch.equal(stored, made) and torch.equal(stored.signbit(), made.signbit())
