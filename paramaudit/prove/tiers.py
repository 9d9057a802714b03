"""The one decision that all provers share: which tier a gap earns beside the rounding that was seen."""

from __future__ import annotations

import math

import torch

from paramaudit.numerics.storage import dtype_name
from paramaudit.prove.rounding import PER
from paramaudit.records import Evidence, Measured, Tier

BOUNDED_UP_TO = 2.0**-7
"""A gap of at most this part of the map's norm is ``bounded``; above it the maps differ."""


def earned(gap: float, seen: float, size: float, noise: float) -> Tier:
    """``rounding``, ``bounded``, or ``refuted`` where the gap is too large for either.

    Args:
        gap: an upper bound on how far the two are apart.
        seen: the rounding that the original was observed to make.
        size: the original's own size, in the same terms.
        noise: unit roundoff of the original's dtype.
    """
    if trusted(seen, size, noise) and gap <= seen:
        return Tier.ROUNDING
    return Tier.BOUNDED if gap <= BOUNDED_UP_TO * size else Tier.REFUTED


def trusted(seen: float, size: float, noise: float) -> bool:
    """Whether what was seen can be rounding: it is no large part of the original."""
    return seen <= math.sqrt(noise) * size


def graded(
    gap: Measured, seen: Measured, size: float, dtype: torch.dtype, noise: float, words: tuple[str, str, str]
) -> Evidence | None:
    """The evidence for a gap that earns a tier, in words; None for one that earns none.

    Args:
        gap: as for :func:`earned`, likewise ``seen``, ``size`` and ``noise``.
        seen: the witness.
        size: the original's size.
        dtype: the original's.
        noise: its unit roundoff.
        words: for which inputs, what ``size`` is, and what the original is, e.g.
            ``("input x", "the map's norm", "map")``.
    """
    inputs, whole, thing = words
    name = dtype_name(dtype)
    tier = earned(gap.value, seen.value, size, noise)
    if tier is Tier.REFUTED:
        return None
    reason = f"for every {inputs} the two differ by at most {gap.value:.1e} {PER}"
    if tier is Tier.ROUNDING:
        reason += (
            f"; the original itself was seen to be off by {seen.value:.1e} {PER} through rounding in {name}"
        )
        return Evidence(tier, reason, gap=gap, witness=seen)
    reason += (
        f", {gap.value / size:.1e} of {whole}; more than the rounding seen in the original, "
        f"{seen.value:.1e} {PER}"
    )
    if not trusted(seen.value, size, noise):
        reason += f", which is too large a part of the {thing} to be rounding in {name}"
    return Evidence(tier, reason, gap=gap, witness=seen)
