"""The prover of identities: an equality that a rewrite names is checked in float64 before it is believed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paramaudit.records import Evidence, Tier

TOLERANCE = 1e-9
"""Two ways to compute one real-number function in float64 differ by far less; two functions by far more."""


def judge_identity(identity: str, originals: Sequence[Tensor], candidates: Sequence[Tensor]) -> Evidence:
    """Evidence for an algebraic identity whose side conditions are facts of the graph.

    Args:
        identity: the equality in words.
        originals: values of the original on some inputs, computed in float64.
        candidates: values of the candidate on the same inputs, with its numbers before rounding.

    Returns:
        ``exact`` when the values agree to float64, ``refuted`` otherwise.
    """
    for original, candidate in zip(originals, candidates, strict=True):
        if original.shape != candidate.shape:
            return Evidence(Tier.REFUTED, f"{identity}, but the shapes differ")
        if not bool(torch.isfinite(original).all()):
            return Evidence(Tier.REFUTED, "the original is not finite here, so nothing can be compared")
        if not original.numel():
            continue
        apart = float((original - candidate).abs().max())
        size = float(original.abs().max())
        if not apart <= TOLERANCE * max(size, 1e-6):
            return Evidence(Tier.REFUTED, f"{identity}, but the values differ by {apart:.1e} of {size:.1e}")
    return Evidence(Tier.EXACT, identity)
