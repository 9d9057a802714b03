"""Claims that were judged; the fields of a record are those of its document."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from paramaudit.records.evidence import Json


class Ruling(StrEnum):
    """How a claim stands. ``partly``: some of what it says holds; ``depends``: on what it leaves open."""

    RIGHT = "right"
    WRONG = "wrong"
    PARTLY = "partly"
    DEPENDS = "depends"


@dataclass(frozen=True)
class Judged:
    """One claim: as stated, as measured, and why the two do or do not agree."""

    id: str
    statement: str
    stated: Json
    measured: Json
    verdict: Ruling
    reason: str


@dataclass(frozen=True)
class Judgement:
    """All claims about one target, in the order of their file."""

    target: str
    claims: tuple[Judged, ...]

    @property
    def holds(self) -> bool:
        """Whether every claim is right."""
        return all(claim.verdict is Ruling.RIGHT for claim in self.claims)
