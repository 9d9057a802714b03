"""An audit and its plan; the fields of a record are those of its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paramaudit.records.contract import Contract
from paramaudit.records.evidence import IN_MEMORY, Json, Measured, Tier, Traces, Verdict, WorstCase


@dataclass(frozen=True)
class Finding:
    """One thing found, proven or refuted. Fields are those of the audit document.

    ``requires`` lists what the proof needs beyond the dtypes and shapes of the inputs, in words.
    """

    id: str
    path: str
    tensors: tuple[str, ...]
    operator: str
    arguments: Mapping[str, Json]
    tier: Tier
    reason: str
    parameters_before: int
    parameters_after: int
    indices_after: int = 0
    applied_by_default: bool = False
    part_of: str | None = None
    gap: Measured | None = None
    witness: Measured | None = None
    p_value: float | None = None
    counterexample: str | None = None
    requires: tuple[str, ...] = ()
    worst_case: WorstCase | None = None
    traces: Traces = field(default=Traces(), compare=False, repr=False, metadata=IN_MEMORY)


@dataclass(frozen=True)
class RuleHit:
    """The rule that speaks about a module."""

    id: str
    cls: str
    operator: str | None


@dataclass(frozen=True)
class ModuleRow:
    """One module path with its counts and verdict; ``source`` is the ``file:line`` that builds it."""

    path: str
    type: str
    parameters: int
    own_parameters: int
    parameters_after: int
    rule: RuleHit | None
    verdict: Verdict
    reason: str
    source: str | None = None


@dataclass(frozen=True)
class Skipped:
    """Something that was looked at and left, with the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class Totals:
    """Read off the programs before and after, never by adding findings."""

    parameters_before: int
    parameters_after: int
    indices_after: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class ModelInfo:
    """The audited model."""

    target: str
    sha256: str
    format: str
    parameters: int
    buffers: int
    bytes: int
    exported: bool
    why_not: str | None = None


@dataclass(frozen=True)
class Audit:
    """The whole result of a scan; ``looked`` are the seconds that each operator spent looking."""

    model: ModelInfo
    contract: Contract | None
    modules: tuple[ModuleRow, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    totals: Totals
    seconds: Mapping[str, float] = field(default_factory=dict)
    looked: Mapping[str, float] = field(default_factory=dict)

    def source_of(self, path: str) -> str | None:
        """The ``file:line`` that builds a module, or the nearest one above it whose line is known."""
        known = {row.path: row.source for row in self.modules if row.source}
        while path and path not in known:
            path = path.rpartition(".")[0]
        return known.get(path)

    def to_frame(self) -> Any:
        """The modules as a pandas frame, see :func:`paramaudit.frames.modules`; findings have one as well."""
        from paramaudit import frames  # pandas takes a second to import

        return frames.modules(self)


@dataclass(frozen=True)
class Refusal:
    """A finding that the plan does not apply, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What would be applied; ``totals`` are of the safe part, ``beyond`` of that with what was fitted."""

    model: ModelInfo
    apply: tuple[str, ...]
    refused: tuple[Refusal, ...]
    totals: Totals
    beyond: Totals | None = None
