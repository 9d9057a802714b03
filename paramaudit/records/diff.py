"""Two audits side by side; the fields of a record are those of its document."""

from __future__ import annotations

from dataclasses import dataclass

from paramaudit.records.evidence import Tier
from paramaudit.records.findings import ModelInfo


@dataclass(frozen=True)
class ModuleChange:
    """A module path that differs: ``change`` is "added", "removed", "type" or "parameters".

    The parameters include everything below the path, the own ones do not; where a path is missing on one
    side, its type there is None and its numbers are 0. ``source`` is the ``file:line`` that builds it, as it
    is now or, for what was removed, as it was.
    """

    path: str
    change: str
    type_before: str | None
    type_after: str | None
    parameters_before: int
    parameters_after: int
    own_before: int
    own_after: int
    source: str | None


@dataclass(frozen=True)
class WasteChange:
    """A finding that saves another number of parameters than before: "new", "gone", "grown" or "shrunk"."""

    id: str
    path: str
    operator: str
    tier: Tier
    change: str
    saved_before: int
    saved_after: int
    reason: str
    source: str | None


@dataclass(frozen=True)
class Diff:
    """What changed from one model to another.

    ``unchanged`` counts the module paths that did not; ``waste_before`` and ``waste_after`` are what the
    default plan would remove from each model.
    """

    original: ModelInfo
    refactored: ModelInfo
    modules: tuple[ModuleChange, ...]
    unchanged: int
    waste: tuple[WasteChange, ...]
    waste_before: int
    waste_after: int
