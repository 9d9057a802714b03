"""What a check against budgets and a baseline came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """One limit; ``actual`` and ``passed`` are None where it cannot be measured here, for ``why_not``.

    ``name`` is "parameters", "bytes", "flops", "latency.DEVICE" or "waste"; ``unit`` is "", "B", "ms" or "%".
    """

    name: str
    unit: str
    limit: float
    actual: float | None
    passed: bool | None
    why_not: str | None = None


@dataclass(frozen=True)
class Growth:
    """One total beside the baseline's; ``limit`` is the baseline and what is tolerated on top."""

    name: str
    unit: str
    before: int
    limit: int
    actual: int
    passed: bool


@dataclass(frozen=True)
class ModuleUse:
    """What a module itself costs, without its children; None is not measured.

    ``before`` is its parameters in the baseline, ``removable`` those that the default plan removes.
    """

    path: str
    parameters: int
    before: int | None = None
    flops: int | None = None
    removable: int | None = None


@dataclass(frozen=True)
class Check:
    """Budgets and baseline held against a model; ``threshold`` is in per cent."""

    target: str
    passed: bool
    informational: bool
    threshold: float
    budgets: tuple[Budget, ...]
    baseline: tuple[Growth, ...]
    modules: tuple[ModuleUse, ...]

    @property
    def fails(self) -> bool:
        """Whether whoever asked is to be stopped."""
        return not self.passed and not self.informational


@dataclass(frozen=True)
class BaselineTotals:
    """Whole-model figures of a baseline; ``flops`` is None where no budget asked for them."""

    parameters: int
    buffers: int
    bytes: int
    flops: int | None = None


@dataclass(frozen=True)
class Baseline:
    """A model as it was when its cost was accepted.

    ``modules`` holds each module's own parameters by its path, the root as ""; ``sha256`` is that of the
    model's file, None for a factory.
    """

    target: str
    format: str
    sha256: str | None
    totals: BaselineTotals
    modules: Mapping[str, int]
    versions: Mapping[str, str]
