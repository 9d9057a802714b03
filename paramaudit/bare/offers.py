"""What one piece of evidence says about stored numbers, before it is settled which of it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paramaudit.bare.stored import Stored
from paramaudit.records import Evidence, Json, Tier


@dataclass(frozen=True)
class Offer:
    """One finding to be.

    ``before`` and ``after`` are numbers of all its tensors. Where it can be taken, ``shrinks`` names the one
    tensor of which ``left`` numbers stay. ``sources`` are other tensors that it needs as they are;
    ``changes`` are those that take over what goes, so that nothing else may rely on their numbers.
    """

    operator: str
    path: str
    tensors: tuple[str, ...]
    evidence: Evidence
    before: int
    after: int
    indices: int = 0
    arguments: Mapping[str, Json] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    shrinks: str | None = None
    left: int = 0
    sources: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def saving(
    operator: str,
    stored: Stored,
    evidence: Evidence,
    left: int,
    *,
    indices: int = 0,
    arguments: Mapping[str, Json] | None = None,
    sources: tuple[str, ...] = (),
) -> Offer:
    """An offer about one tensor of which ``left`` numbers are enough."""
    name, before = stored.name, stored.tensor.numel()
    return Offer(
        operator,
        stored.path,
        (name,),
        evidence,
        before,
        min(left, before),
        indices,
        arguments or {},
        shrinks=name,
        left=min(left, stored.numbers),
        sources=sources,
    )


def told(
    operator: str,
    path: str,
    tensors: tuple[str, ...],
    reason: str,
    counts: tuple[int, int],
    *,
    tier: Tier = Tier.SUSPECTED,
    indices: int = 0,
    p_value: float | None = None,
    arguments: Mapping[str, Json] | None = None,
) -> Offer:
    """An offer that only says something: nothing is saved by it."""
    evidence = Evidence(tier, reason, p_value=p_value)
    return Offer(operator, path, tensors, evidence, *counts, indices, arguments or {})
