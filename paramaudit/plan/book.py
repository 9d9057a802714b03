"""The findings made so far, with stable ids and nesting."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from paramaudit.records import Evidence, Finding, Json, Skipped, Tier, Traces, WorstCase


@dataclass(frozen=True)
class Choice:
    """What a user lets a plan do."""

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow: frozenset[Tier] = frozenset()
    seed: int = 0

    def wants(self, operator: str, path: str) -> bool:
        """Whether an operator is looked for at a path (``operator`` or ``path:operator``)."""
        names = {operator, f"{path}:{operator}"}
        return not names & set(self.ignore) and (not self.select or bool(names & set(self.select)))

    def applies(self, tier: Tier) -> bool:
        """Whether evidence of a tier is enough to swap."""
        return tier.safe or tier in self.allow


@dataclass
class Book:
    """Findings and skips in the order in which they were made."""

    findings: list[Finding] = field(default_factory=list)
    skipped: dict[tuple[str, str], Skipped] = field(default_factory=dict)
    refused: set[tuple[str, ...]] = field(default_factory=set)
    spent: dict[str, float] = field(default_factory=dict)
    """Seconds that each operator took to look, whatever it said."""

    def skip(self, entry: Skipped) -> None:
        """Note something that was left, once."""
        self.skipped.setdefault((entry.path, entry.reason), entry)

    def add(
        self,
        operator: str,
        path: str,
        tensors: tuple[str, ...],
        evidence: Evidence,
        counts: tuple[int, int],
        *,
        arguments: Mapping[str, Json] | None = None,
        indices: int = 0,
        applied: bool,
        part_of: str | None = None,
        absorbs: bool = False,
        requires: tuple[str, ...] = (),
        worst_case: WorstCase | None = None,
        traces: Traces | None = None,
    ) -> str:
        """Add a finding; one that ``absorbs`` takes in earlier ones about a subset of its tensors."""
        key = self._id(operator, path, tensors)
        finding = Finding(
            id=key,
            path=path,
            tensors=tensors,
            operator=operator,
            arguments=dict(arguments or {}),
            tier=evidence.tier,
            reason=evidence.reason,
            parameters_before=counts[0],
            parameters_after=counts[1],
            indices_after=indices,
            applied_by_default=applied,
            part_of=part_of,
            gap=evidence.gap,
            witness=evidence.witness,
            p_value=evidence.p_value,
            requires=tuple(dict.fromkeys(requires)),
            worst_case=worst_case,
            traces=replace(traces or Traces(), witness_input=evidence.witness_input),
        )
        if absorbs and applied and tensors:
            mine = set(tensors)
            self.findings = [replace(f, part_of=key) if self._within(f, mine) else f for f in self.findings]
        self.findings.append(finding)
        return key

    def settle(self, named: Collection[str]) -> None:
        """Drop near misses about numbers that one of the ``named`` operators holds by now."""
        held = {t for f in self.findings if f.applied_by_default and f.operator in named for t in f.tensors}
        self.findings = [
            f
            for f in self.findings
            if f.applied_by_default or f.tier is not Tier.BOUNDED or not f.tensors or not held >= {*f.tensors}
        ]

    @staticmethod
    def _within(finding: Finding, tensors: Collection[str]) -> bool:
        mine = set(finding.tensors)
        return finding.applied_by_default and finding.part_of is None and bool(mine) and mine <= set(tensors)

    def _id(self, operator: str, path: str, tensors: tuple[str, ...]) -> str:
        """Path and operator, and a few letters of a hash over the tensor names; stable across runs."""
        letters = hashlib.sha256("\n".join((path, operator, *tensors)).encode()).hexdigest()[:6]
        key = f"{path or '.'}:{operator}:{letters}"
        taken = {f.id for f in self.findings}
        count = 2
        unique = key
        while unique in taken:
            unique, count = f"{key}-{count}", count + 1
        return unique


Progress = Callable[[str], None]
