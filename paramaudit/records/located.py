"""Where two models differ: which stored numbers, and the first place where it shows."""

from __future__ import annotations

from dataclasses import dataclass

from paramaudit.records.evidence import Measured, Tier


@dataclass(frozen=True)
class ChangedNumbers:
    """Stored numbers of the original that are others in the copy, taken together where one call reads them.

    ``gap`` bounds from above what the change alone can do to the map that the numbers are; ``relative`` is
    the gap over a lower bound on the original map's own norm, None when that is zero. ``reason`` says what
    kind of loss it is, as far as that was checked number by number.
    """

    path: str
    tensors: tuple[str, ...]
    tier: Tier
    gap: Measured | None
    relative: float | None
    reason: str


@dataclass(frozen=True)
class Located:
    """The first node, in the original's order, whose values differ by more than rounding on one input.

    ``error`` is the largest absolute difference of the two in float64; ``rounding`` is that of the original
    in its own dtype from the original in float64.
    """

    path: str
    node: str
    error: float
    rounding: float
