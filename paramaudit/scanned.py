"""An audit together with what it speaks about."""

from __future__ import annotations

from dataclasses import dataclass

from paramaudit.errors import without_graph
from paramaudit.graph.program import Program
from paramaudit.records import Audit, Plan


@dataclass(frozen=True)
class Scan:
    """An audit with the programs it speaks about: the original and what the plan leaves.

    ``fitted`` is the latter with fitted layers swapped in, where a user allowed any. Where stored numbers
    alone were audited there are no programs, and ``stored`` are the numbers' names.
    """

    audit: Audit
    plan: Plan
    original: Program | None
    refactored: Program | None
    fitted: Program | None = None
    stored: tuple[str, ...] = ()

    @property
    def programs(self) -> tuple[Program, Program]:
        """The original and what the plan leaves.

        Raises:
            NotAuditableError: stored numbers alone were audited.
        """
        if self.original is None or self.refactored is None:
            raise without_graph(self.audit.model.target)
        return self.original, self.refactored

    @property
    def names(self) -> tuple[str, ...]:
        """The state-dict keys of all parameters."""
        return self.stored if self.original is None else tuple(self.original.parameters)
