"""The last results of a folder as one."""

from __future__ import annotations

from dataclasses import dataclass

from paramaudit.records.findings import Audit
from paramaudit.records.results import Certificate, Comparison


@dataclass(frozen=True)
class Report:
    """What was kept of a model's audit, certificate and comparison; ``notes`` say what is missing and why."""

    audit: Audit | None
    certificate: Certificate | None
    comparison: Comparison | None
    notes: tuple[str, ...] = ()
