"""Which findings speak about which module."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from paramaudit.records import Finding

REMOVALS = frozenset(
    {
        *("unused", "constant", "constant-input", "zero", "duplicate", "dead-units"),
        *("single-key-attention", "single-step-recurrence", "singleton-softmax"),
        *("batch-norm-fold", "norm-affine-fold", "scale-fold", "shift-invariant-bias", "bias-before-norm"),
    }
)
"""Rewrites after which numbers are gone, or sit in a neighbour: what they leave at 0 was redundant."""

MERGES = frozenset({"linear-chain", "paired-relu", "parallel-branches", "low-rank"})
"""Rewrites that leave the same function in fewer numbers, still without a name."""


@dataclass(frozen=True)
class About:
    """The findings about one module, in the order of the audit.

    ``safe`` lists what the default plan applies at, below or across the module; ``own`` those of them
    that touch its own tensors; ``open`` everything else that was found at or below it.
    """

    safe: tuple[Finding, ...] = ()
    own: tuple[Finding, ...] = ()
    open: tuple[Finding, ...] = ()


def is_naming(operator: str) -> bool:
    """True for an operator that names an algorithm, false for a rewrite or a generic merge."""
    return operator not in REMOVALS and operator not in MERGES


def is_safe(finding: Finding) -> bool:
    """True when the default plan applies the finding."""
    return finding.tier.safe and finding.applied_by_default


def gather(paths: Collection[str], findings: Sequence[Finding]) -> Mapping[str, About]:
    """The evidence about each module path.

    A finding speaks about every module at or above its path, and about every module that holds one of
    its tensors: a chain found in a container speaks about the layers that it merges.
    """
    safe: dict[str, list[Finding]] = {path: [] for path in paths}
    own: dict[str, list[Finding]] = {path: [] for path in paths}
    others: dict[str, list[Finding]] = {path: [] for path in paths}
    for finding in findings:
        owners = {owner(tensor, paths) for tensor in finding.tensors} or {finding.path}
        touched = {above for at in {finding.path, *owners} for above in lineage(at)}
        for path in touched & safe.keys():
            (safe if is_safe(finding) else others)[path].append(finding)
            if is_safe(finding) and path in owners:
                own[path].append(finding)
    return {path: About(tuple(safe[path]), tuple(own[path]), tuple(others[path])) for path in paths}


def lineage(path: str) -> Iterator[str]:
    """A module path and all paths above it, innermost first, the root "" last."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def owner(tensor: str, paths: Collection[str]) -> str:
    """The innermost listed module that holds a state-dict key."""
    return next((path for path in lineage(tensor.rpartition(".")[0]) if path in paths), "")


def operators(findings: Sequence[Finding]) -> str:
    """The operators of some findings, each once, for a sentence."""
    return ", ".join(dict.fromkeys(finding.operator for finding in findings))
