"""What a model costs, held against budgets and a baseline."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from paramaudit import __version__
from paramaudit.baseline import short_name
from paramaudit.budgets import Limits
from paramaudit.errors import InputError, NotAuditableError, OptionError
from paramaudit.graph.program import Program
from paramaudit.measure import Counts, cost, count, count_by_module, flops_by_module
from paramaudit.records import (
    Audit,
    Baseline,
    BaselineTotals,
    Budget,
    Check,
    DeviceCost,
    Growth,
    Loaded,
    ModuleUse,
)


@dataclass(frozen=True)
class Usage:
    """What a model costs, as far as its limits ask for it.

    ``modules``, ``flops`` and ``removable`` hold each module's own share by its path.
    """

    counts: Counts
    modules: Mapping[str, int]
    flops: Mapping[str, int] | None = None
    latency: Mapping[str, DeviceCost] = field(default_factory=dict)
    waste: Fraction | None = None
    removable: Mapping[str, int] | None = None

    @property
    def flops_total(self) -> int | None:
        """FLOPs of one pass, None where no budget asks for them."""
        return None if self.flops is None else sum(self.flops.values())


def measure(loaded: Loaded, limits: Limits, program: Program | None, audit: Audit | None) -> Usage:
    """Measure what the limits ask for, and count in any case.

    Args:
        loaded: the model, or the bare tensors of a checkpoint.
        limits: say whether FLOPs and latency are wanted.
        program: the captured model, needed for those two.
        audit: its audit, needed for waste.

    Raises:
        NotAuditableError: there is a budget for FLOPs, and an operator's cannot be counted.
        InputError: the parameters have no size yet, or the model does not run on its inputs.
    """
    held = next(x for x in (loaded.module, loaded.exported, loaded.tensors, {}) if x is not None)
    if isinstance(held, nn.Module) and any(is_lazy(p) for p in held.parameters()):
        raise InputError(f"{loaded.target} has lazy parameters, which get their size from a first pass")
    latency: Mapping[str, DeviceCost] = {}
    if program is not None and limits.latency:
        devices = tuple(limits.latency)
        latency = cost(program.module, program.args, program.kwargs, devices=devices).devices
    return Usage(
        counts=count(held),
        modules=count_by_module(held),
        flops=None if program is None or limits.flops is None else _flops(program),
        latency=latency,
        waste=None if audit is None else _waste(audit),
        removable=None if audit is None else _removable(audit),
    )


def judge(loaded: Loaded, usage: Usage, limits: Limits, before: Baseline | None, device: str) -> Check:
    """Hold what was measured against the limits and the baseline.

    Args:
        loaded: the model.
        usage: what it costs.
        limits: what it may cost.
        before: what it did cost, if there is a baseline.
        device: the one that was asked for; the budget of another one may go unmeasured.

    Raises:
        OptionError: the device asked for is not there, and has a budget.
    """
    budgets = _budgets(usage, limits, device)
    growth = () if before is None else _growth(usage, before, limits.threshold)
    passed = all(budget.passed is not False for budget in budgets) and all(g.passed for g in growth)
    return Check(
        target=loaded.target,
        passed=passed,
        informational=limits.informational,
        threshold=float(limits.threshold),
        budgets=budgets,
        baseline=growth,
        modules=_modules(usage, before),
    )


def baseline(loaded: Loaded, usage: Usage) -> Baseline:
    """The baseline that the model is from now on held to."""
    counts = usage.counts
    return Baseline(
        target=short_name(loaded.target),
        format=loaded.format,
        sha256=loaded.sha256,
        totals=BaselineTotals(
            counts.parameters, counts.buffers + counts.constants, counts.bytes, usage.flops_total
        ),
        modules=dict(usage.modules),
        versions={"paramaudit": __version__, "torch": str(torch.__version__)},
    )


def _budgets(usage: Usage, limits: Limits, device: str) -> tuple[Budget, ...]:
    counts = usage.counts
    exact: tuple[tuple[str, str, int | Fraction | None, int | Fraction | None], ...] = (
        ("parameters", "", limits.parameters, counts.parameters),
        ("bytes", "B", limits.bytes, counts.bytes),
        ("flops", "", limits.flops, usage.flops_total),
        ("waste", "%", limits.waste, usage.waste),
    )
    found = [
        Budget(name, unit, _number(limit), _number(actual), actual <= limit)
        for name, unit, limit, actual in exact
        if limit is not None and actual is not None
    ]
    for where, limit in limits.latency.items():
        found.append(_time(where, limit, usage.latency[where], needed=where == device))
    return tuple(found)


def _time(device: str, limit: Fraction, spent: DeviceCost, *, needed: bool) -> Budget:
    name = f"latency.{device}"
    if spent.latency_ms is None:
        why_not = spent.unavailable or "not measured"
        if needed:
            raise OptionError(f"max-latency: {device}: {why_not}")
        return Budget(name, "ms", float(limit), None, None, why_not)
    median = spent.latency_ms.median
    return Budget(name, "ms", float(limit), median, median <= limit)


def _growth(usage: Usage, before: Baseline, threshold: Fraction) -> tuple[Growth, ...]:
    pairs = [
        ("parameters", "", before.totals.parameters, usage.counts.parameters),
        ("bytes", "B", before.totals.bytes, usage.counts.bytes),
    ]
    if before.totals.flops is not None and usage.flops_total is not None:
        pairs.append(("flops", "", before.totals.flops, usage.flops_total))
    found = []
    for name, unit, old, new in pairs:
        limit = int(old * (1 + threshold / 100))
        found.append(Growth(name, unit, old, limit, new, new <= limit))
    return tuple(found)


def _modules(usage: Usage, before: Baseline | None) -> tuple[ModuleUse, ...]:
    """Every module that costs or did cost anything; those that are gone come last."""
    known = (usage.modules, usage.flops or {}, usage.removable or {}, before.modules if before else {})
    return tuple(
        ModuleUse(
            path=path,
            parameters=usage.modules.get(path, 0),
            before=None if before is None else before.modules.get(path, 0),
            flops=None if usage.flops is None else usage.flops.get(path, 0),
            removable=None if usage.removable is None else usage.removable.get(path, 0),
        )
        for path in dict.fromkeys(path for part in known for path in part)
    )


def _flops(program: Program) -> Mapping[str, int]:
    """FLOPs of every module without its children; they sum to the total.

    Raises:
        NotAuditableError: an operator's cannot be counted, so no budget can be judged.
    """
    inclusive = flops_by_module(program.module, program.args, program.kwargs)
    if inclusive[""].total is None:
        names = ", ".join(inclusive[""].uncounted)
        raise NotAuditableError(f"max-flops cannot be judged: not counted are {names}")
    own: dict[str, int] = defaultdict(int)
    for path, flops in inclusive.items():
        total = flops.total or 0
        own[path] += total
        if path:
            own[path.rpartition(".")[0]] -= total
    return {path: total for path, total in own.items() if total}


def _waste(audit: Audit) -> Fraction:
    totals = audit.totals
    saved = totals.parameters_before - totals.parameters_after
    return Fraction(100 * saved, totals.parameters_before) if totals.parameters_before else Fraction(0)


def _removable(audit: Audit) -> Mapping[str, int]:
    found: dict[str, int] = defaultdict(int)
    for finding in audit.findings:
        if finding.applied_by_default and finding.part_of is None:
            found[finding.path] += finding.parameters_before - finding.parameters_after
    return {path: saved for path, saved in found.items() if saved > 0}


def _number(value: int | Fraction) -> float:
    """A whole number stays one."""
    return value if isinstance(value, int) else float(value)
