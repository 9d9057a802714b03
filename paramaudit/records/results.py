"""Certificates and costs; the fields of a record are those of its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paramaudit.records.contract import Contract
from paramaudit.records.evidence import IN_MEMORY, Json, Measured, Tier, Traces, WorstCase
from paramaudit.records.located import ChangedNumbers, Located


@dataclass(frozen=True)
class OutputError:
    """One output compared; errors are largest absolute differences against float64."""

    name: str
    max_abs: float
    original_error: float
    refactored_error: float


@dataclass(frozen=True)
class SwapProof:
    """The evidence of one applied swap, and what it needs beyond the inputs' dtypes and shapes."""

    id: str
    tier: Tier
    gap: Measured | None
    witness: Measured | None
    requires: tuple[str, ...] = ()
    worst_case: WorstCase | None = None
    traces: Traces = field(default=Traces(), compare=False, repr=False, metadata=IN_MEMORY)


@dataclass(frozen=True)
class OutputBound:
    """How far an output may be off over all inputs, or why that is ``unknown``."""

    output: str
    value: float | None = None
    per: str | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class EndToEnd:
    """The gaps of all swaps, carried through the rest of the network to its outputs."""

    tier: Tier
    bounds: tuple[OutputBound, ...]
    reason: str


@dataclass(frozen=True)
class Gradients:
    """Vector-Jacobian products compared in float64.

    ``worst`` is the largest difference and ``original_error`` the original's own largest error in its dtype,
    both relative to the largest entry of the gradient. ``unmatched`` are parameters of which the other
    model holds no equal; they are compared with nothing.
    """

    checked: int
    worst: float
    original_error: float
    tier: Tier
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Recheck:
    """Whether a recorded certificate still holds, and what differs when it does not."""

    file: str
    holds: bool
    reasons: tuple[str, ...]
    equivalent: bool | None
    tier: Tier
    gap: Measured | None


@dataclass(frozen=True)
class Attack:
    """How the pair was attacked.

    ``restarts`` climbs of ``steps`` steps, ``inputs`` in all, of which ``ties`` rest on a discrete choice
    that rounding decides. ``worst`` is the largest distance of the outputs in float64. The refactored side
    may be ``factor`` times less accurate than the original.
    """

    restarts: int
    steps: int
    worst: float
    ties: int
    factor: float = 64.0
    inputs: int = 0


@dataclass(frozen=True)
class Certificate:
    """Equivalence of two models. ``equivalent`` is None when it cannot be certified.

    ``targets`` are the two names and ``options`` the settings with which it can be made again, ``witnesses``
    is the file of witness inputs beside it, and ``recheck`` says whether an earlier one still holds.
    ``differences`` are stored numbers that changed; ``located`` is the first place where it shows, and
    ``not_located`` why there is none when the two differ.
    """

    equivalent: bool | None
    tier: Tier
    gap: Measured | None
    outputs: tuple[OutputError, ...]
    swaps: tuple[SwapProof, ...]
    attack: Attack
    counterexample: str | None
    contract: Contract
    original: str
    refactored: str
    versions: Mapping[str, str]
    reason: str = ""
    targets: tuple[str, str] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    witnesses: str | None = None
    end_to_end: EndToEnd | None = None
    gradients: Gradients | None = None
    recheck: Recheck | None = None
    differences: tuple[ChangedNumbers, ...] = ()
    located: Located | None = None
    not_located: str = ""

    @property
    def keeps(self) -> bool:
        """Whether the refactored model is kept: it is equivalent, or fitted as the user asked for."""
        return self.equivalent is True or (self.equivalent is None and self.tier is Tier.FITTED)


@dataclass(frozen=True)
class Flops:
    """``total`` is None when anything is uncounted. 1 multiply-add = 2 FLOPs."""

    total: int | None
    uncounted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one forward pass; ``low`` and ``high`` are the quartiles."""

    median: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class DeviceCost:
    """Cost on one device; ``unavailable`` says why there are no numbers."""

    latency_ms: Latency | None
    peak_bytes: int | None = None
    unavailable: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a model costs."""

    parameters: int
    buffers: int
    bytes: int
    file_bytes: int | None
    flops: Flops
    devices: Mapping[str, DeviceCost]


@dataclass(frozen=True)
class PartSpeed:
    """A part of a model timed before and after, in turn.

    ``ratios`` are original time / refactored time by batch size, above 1 where the refactored one is
    faster; ``pays_from`` is the batch size from which on it is, None when it is not at the largest.
    """

    path: str
    device: str
    ratios: Mapping[str, float]
    pays_from: int | None


@dataclass(frozen=True)
class Comparison:
    """Two costs side by side; ``latency`` is original time / refactored time per device."""

    original: Cost
    refactored: Cost
    latency: Mapping[str, float]
    parts: tuple[PartSpeed, ...] = ()
