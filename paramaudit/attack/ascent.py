"""Search for inputs by gradients: up the difference of two programs, and to the bends inside of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.attack.draw import Kind
from paramaudit.attack.runs import FAILURES, is_real
from paramaudit.graph import facts
from paramaudit.graph.program import Program, aligned, output_leaves
from paramaudit.graph.run import evaluate, given

_UNDIFFERENTIABLE = (*FAILURES, NotImplementedError)
_BENDS = frozenset(
    f"aten::{name}"
    for name in (
        "relu",
        "relu6",
        "hardtanh",
        "clamp",
        "clamp_min",
        "threshold",
        "leaky_relu",
        "hardswish",
        "elu",
    )
)
_COMPARES = frozenset(f"aten::{name}" for name in ("gt", "lt", "ge", "le", "greater", "less"))
_BEYOND = (1.0 - 1e-3, 1.0 + 1e-3, 2.0)
_UNITS = 4


@dataclass(frozen=True)
class Pair:
    """Two programs with outputs in the same order."""

    original: Program
    refactored: Program

    def slope(self, inputs: Sequence[Any]) -> tuple[float, list[Tensor | None]] | None:
        """The squared distance of the outputs in float64 and its gradient for every input.

        None where there is no gradient: the programs are equal here, or do not differentiate.
        """
        try:
            with torch.random.fork_rng(devices=[]):
                leaves = [_leaf(v) for v in inputs]
                mine = _outputs(self.original, leaves)
                theirs = aligned(self.original, self.refactored, _outputs(self.refactored, leaves))
                apart = _squares(mine, theirs)
                if apart is None or not apart.requires_grad:
                    return None
                size = float(apart.detach())
                return (size, _gradient(apart, leaves)) if 0.0 < size < math.inf else None
        except _UNDIFFERENTIABLE:
            return None


def climb(
    pair: Pair,
    start: Sequence[Any],
    kinds: Sequence[Kind],
    steps: int,
    reach: float,
    generator: torch.Generator,
) -> Iterator[list[Any]]:
    """Inputs ever further up the difference, inside a box of ``reach`` spreads about the example's mean.

    Where there is no gradient to follow a random step is taken instead.
    """
    at = list(start)
    for step in range(steps):
        found = pair.slope(at)
        slopes = found[1] if found is not None else [None] * len(at)
        size = reach / 2 ** (step % 4)
        at = [_stepped(v, g, k, size, reach, generator) for v, g, k in zip(at, slopes, kinds, strict=True)]
        yield at


def kinks(programs: Sequence[Program], start: Sequence[Any], most: int) -> Iterator[list[Any]]:
    """Inputs on which a unit of some bend is just off, just on and well on, which was off or on so far.

    One Newton step along the unit's gradient from the start; a unit right behind an affine map of the input
    is met exactly.
    """
    for program in programs:
        found = _bends(program)
        for node in found[:: max(1, len(found) * _UNITS // most)]:
            for walk in _walks(program, node, start, _UNITS):
                yield from walk


def _bends(program: Program) -> list[fx.Node]:
    return [n for n in program.graph.nodes if facts.name(n) in _BENDS | _COMPARES and _real_source(n)]


def _real_source(node: fx.Node) -> bool:
    value = node.all_input_nodes[0].meta.get("val") if node.all_input_nodes else None
    return isinstance(value, Tensor) and value.is_floating_point()


def _walks(program: Program, node: fx.Node, start: Sequence[Any], most: int) -> Iterator[list[list[Any]]]:
    """For a few units of one bend the inputs around their threshold."""
    source = node.all_input_nodes[0]
    limits = [v for v in node.args[1:] if isinstance(v, int | float) and not isinstance(v, bool)]
    limit = float(limits[0]) if limits and facts.name(node) in _COMPARES else 0.0
    for unit in range(most):
        leaves = [_leaf(v) for v in start]
        try:
            known = given(program, leaves, torch.float64)
            known = {n: v * 1 if is_real(v) else v for n, v in known.items()}
            [value] = evaluate(program.module, [source], known, dtype=torch.float64, gradients=True)
            row = value.reshape(value.shape[0], -1)[0] if value.dim() > 1 else value.reshape(-1)
            if unit >= len(row) or not row.requires_grad:
                return
            # those furthest below or above their threshold are the ones that no ordinary input has switched
            order = (row.detach() - limit).abs().argsort(descending=True)
            chosen = row[order[unit]]
            slopes = _gradient(chosen, leaves)
        except _UNDIFFERENTIABLE:
            return
        missing = limit - float(chosen.detach())
        square = sum(float(g.square().sum()) for g in slopes if g is not None)
        if square > 0 and missing:
            yield [_moved(start, slopes, missing * far / square) for far in _BEYOND]


def _moved(start: Sequence[Any], slopes: Sequence[Tensor | None], by: float) -> list[Any]:
    return [
        v if g is None else (v.to(torch.float64) + by * g).to(v.dtype)
        for v, g in zip(start, slopes, strict=True)
    ]


def _leaf(value: Any) -> Any:
    return value.to(torch.float64).clone().requires_grad_() if is_real(value) else value


def _outputs(program: Program, leaves: Sequence[Any]) -> list[Any]:
    torch.default_generator.manual_seed(0)
    known = given(program, leaves, torch.float64)
    known = {n: v * 1 if is_real(v) else v for n, v in known.items()}  # a leaf may not be written
    flat = output_leaves(program.graph)
    nodes = [leaf for leaf in flat if isinstance(leaf, fx.Node)]
    found = evaluate(program.module, nodes, known, dtype=torch.float64, gradients=True)
    values = dict(zip(nodes, found, strict=True))
    return [values[leaf] if isinstance(leaf, fx.Node) else None for leaf in flat]


def _squares(mine: Sequence[Any], theirs: Sequence[Any]) -> Tensor | None:
    """The sum over outputs of squared relative distances."""
    total: Tensor | None = None
    for a, b in zip(mine, theirs, strict=True):
        if not is_real(a) or not is_real(b) or a.shape != b.shape or not a.numel():
            continue
        size = a.detach().square().sum().clamp_min(torch.finfo(torch.float64).tiny)
        part = (a - b).square().sum() / size
        total = part if total is None else total + part
    return total


def _gradient(value: Tensor, leaves: Sequence[Any]) -> list[Tensor | None]:
    real = [v for v in leaves if is_real(v)]
    found = iter(torch.autograd.grad(value, real, allow_unused=True))
    return [next(found) if is_real(v) else None for v in leaves]


def _stepped(
    value: Any, slope: Tensor | None, kind: Kind, size: float, reach: float, generator: torch.Generator
) -> Any:
    if not is_real(value):
        return value
    if slope is None or not bool(slope.isfinite().all()) or not bool(slope.any()):
        step = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    else:
        step = slope.sign()
    low, high = kind.mean - reach * kind.spread, kind.mean + reach * kind.spread
    return (value.to(torch.float64) + size * kind.spread * step).clamp(low, high).to(value.dtype)
