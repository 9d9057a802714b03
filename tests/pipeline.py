"""Run the pipeline on a module in memory, and compare what it leaves with the module itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from paramaudit.audit import Options, Scan, scan_loaded
from paramaudit.graph.program import Program
from paramaudit.records import Finding, Loaded, Tier


def load(module: nn.Module, *inputs: Any, kwargs: Mapping[str, Any] | None = None) -> Loaded:
    """A module with its example inputs, as a factory returns it."""
    return Loaded("model.py:build", "factory", module=module, args=inputs, kwargs=dict(kwargs or {}))


def scan(module: nn.Module, *inputs: Any, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Scan:
    """The audit of a module; ``options`` are those of :class:`paramaudit.audit.Options`."""
    return scan_loaded(load(module, *inputs, kwargs=kwargs), Options(**options), _quiet)


def _quiet(_stage: str) -> None:
    return None


def seeded(build: Callable[..., nn.Module], *args: Any, seed: int = 0, **kwargs: Any) -> nn.Module:
    """A module in float64 and eval mode whose parameters are all random, norms' and biases' included."""
    generator = torch.Generator().manual_seed(seed)
    module = build(*args, **kwargs).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator, dtype=torch.float64))
            elif name.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
    return module


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def found(result: Scan, operator: str | None = None) -> list[Finding]:
    """Applied findings that stand on their own, of one operator or all."""
    return [
        f
        for f in result.audit.findings
        if f.applied_by_default and f.part_of is None and operator in (None, f.operator)
    ]


def names(result: Scan) -> list[str]:
    """The operators of everything that was applied, sorted, parts of others included."""
    return sorted(f.operator for f in result.audit.findings if f.applied_by_default)


def skipped(result: Scan) -> str:
    """Every reason for leaving something, in one line."""
    return "; ".join(entry.reason for entry in result.audit.skipped)


def after(result: Scan) -> int:
    """Parameters that the plan leaves."""
    return result.audit.totals.parameters_after


def size(module: nn.Module) -> int:
    """Parameters of a module, each object once."""
    return sum(p.numel() * (2 if p.is_complex() else 1) for p in module.parameters())


def offered(result: Scan, *tensors: str) -> set[str]:
    """The operators of all findings, refuted ones included, about these tensors (all when none is named)."""
    return {f.operator for f in result.audit.findings if not tensors or set(tensors) & set(f.tensors)}


def untouched(result: Scan, module: nn.Module) -> bool:
    """Whether nothing is applied, nothing is even offered and refuted, and every parameter stays."""
    return not offered(result) and after(result) == size(module)


def apart(expected: Any, got: Program, *inputs: Any, kwargs: Mapping[str, Any] | None = None) -> float:
    """The largest difference between returned values and a program's, relative to the largest value."""
    returned = pytree.tree_leaves(expected)
    returned = [value.detach() if isinstance(value, Tensor) else value for value in returned]
    leaves = list(got.call(*copy.deepcopy(inputs), **copy.deepcopy(dict(kwargs or {}))).values())
    assert len(returned) == len(leaves)
    worst = 0.0
    leaves = [value.detach() if isinstance(value, Tensor) else value for value in leaves]
    for mine, other in zip(returned, leaves, strict=True):
        if not isinstance(mine, Tensor):
            assert mine == other
            continue
        assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
        if mine.numel():
            kind = torch.complex128 if mine.is_complex() else torch.float64
            off = (mine.to(kind) - other.to(kind)).abs().max()
            worst = max(worst, float(off / mine.to(kind).abs().max().clamp_min(1e-30)))
    return worst


def assert_same(
    result: Scan,
    module: nn.Module,
    *inputs: Any,
    kwargs: Mapping[str, Any] | None = None,
    within: float = 1e-10,
) -> None:
    """The module called directly, the captured program and what the plan leaves all agree."""
    with torch.no_grad():
        expected = copy.deepcopy(module)(*copy.deepcopy(inputs), **copy.deepcopy(dict(kwargs or {})))
    for program in (result.original, result.refactored):
        assert apart(expected, program, *inputs, kwargs=kwargs) <= within


def safe(result: Scan) -> bool:
    """Whether everything that was applied is exact or rounding."""
    return all(f.tier in (Tier.EXACT, Tier.ROUNDING) for f in result.audit.findings if f.applied_by_default)
