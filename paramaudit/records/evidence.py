"""How much was shown, and by what numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torch import Tensor

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class Tier(StrEnum):
    """How much was shown, strongest first; see :attr:`safe`."""

    EXACT = "exact"
    ROUNDING = "rounding"
    BOUNDED = "bounded"
    TESTED = "tested"
    FITTED = "fitted"
    SUSPECTED = "suspected"
    REFUTED = "refuted"

    @property
    def safe(self) -> bool:
        """True for the tiers that are applied without being asked for."""
        return self in (Tier.EXACT, Tier.ROUNDING)

    @property
    def rank(self) -> int:
        """0 for the strongest tier."""
        return list(Tier).index(self)


class Verdict(StrEnum):
    """What a module is, when rule and evidence are joined."""

    DL_REQUIRED = "dl-required"
    ML_REPLACEABLE = "ml-replaceable"
    REDUNDANT = "redundant"
    MIXED = "mixed"
    UNPROVEN = "unproven"


@dataclass(frozen=True)
class Measured:
    """A number with its norm and what it is relative to, e.g. ``3e-7, "spectral", "|[x;1]|"``."""

    value: float
    norm: str
    per: str


@dataclass(frozen=True)
class Evidence:
    """What the prover says about one candidate."""

    tier: Tier
    reason: str
    gap: Measured | None = None
    witness: Measured | None = None
    p_value: float | None = None
    counterexample: Tensor | None = field(default=None, compare=False, repr=False)
    witness_input: Tensor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class WorstCase:
    """Textbook bounds on the rounding error of each implementation, per ``|[x;1]|``: information only.

    None where no bound is known, or none exists because ``n u >= 1``. ``source`` says whose bounds they are.
    """

    original: float | None
    refactored: float | None
    source: str


IN_MEMORY: Mapping[str, bool] = {"document": False}
"""Marks a field that no document holds."""


@dataclass(frozen=True)
class Traces:
    """What a proof leaves behind in memory.

    ``witness_input`` is the input of the part on which the witness was observed, ``(in,)``. ``places`` are
    the graph nodes between which the part was swapped, ``(source, target)`` by name. ``rounded`` is True
    where the swap stores new numbers whose rounding no gap bounds.
    """

    witness_input: Tensor | None = None
    places: tuple[tuple[str, str], ...] = ()
    rounded: bool = False
