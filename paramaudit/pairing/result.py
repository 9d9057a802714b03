"""What pairing two programs found."""

from __future__ import annotations

from dataclasses import dataclass, field

from paramaudit.records import Evidence, Measured, Tier


@dataclass(frozen=True)
class Difference:
    """One place where two paired programs hold different affine maps, from ``anchor`` to ``original``."""

    original: str
    evidence: Evidence
    anchor: str = ""


@dataclass
class Pairing:
    """The result: ``unpaired`` names outputs (and why) that could not be paired."""

    differences: list[Difference] = field(default_factory=list)
    unpaired: dict[str, str] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """The weakest evidence used."""
        tiers = [d.evidence.tier for d in self.differences]
        return max(tiers, key=lambda tier: tier.rank, default=Tier.EXACT)

    @property
    def gap(self) -> Measured | None:
        """The largest gap used."""
        gaps = [d.evidence.gap for d in self.differences if d.evidence.gap is not None]
        return max(gaps, key=lambda gap: gap.value, default=None)
