"""Do two programs also train alike? Vector-Jacobian products of both, against random cotangents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph import facts
from paramaudit.graph.program import Program, aligned, output_leaves, placeholders
from paramaudit.graph.run import call, cast, evaluate
from paramaudit.records import Gradients, Tier

SLACK = 64.0
"""Gradients differ when they are further apart than so many times the original's own error."""

_SCALES = (None, 1.0, 4.0)
"""The example inputs as they are, and noise of their spread and of four times that."""

_DROPOUT = "aten::dropout"
Get = Callable[[fx.Node], Any]


@dataclass(frozen=True)
class Judged:
    """``gradients`` is None where they cannot be compared, with the reason."""

    gradients: Gradients | None
    reason: str = ""


@dataclass(frozen=True)
class _Case:
    """Inputs and cotangents of one comparison, in the original's dtypes; ``seed`` draws dropout's masks."""

    inputs: Sequence[Any]
    cotangents: Mapping[str, Tensor]
    seed: int


def compare_gradients(original: Program, refactored: Program, seed: int = 0) -> Judged:
    """Compare gradients of shared parameters that stay trainable, and of the inputs.

    Dropout draws the same masks on both sides. A parameter is shared when both hold the same numbers under
    its name: a merged one has other gradients by nature, and is listed as unmatched.

    Args:
        original: the program before; its error in its own dtype is the yardstick.
        refactored: the other one, with the same interface.
        seed: draws inputs, cotangents and masks.
    """
    problem = _other_draws(original, refactored)
    if problem:
        return Judged(None, problem)
    shared, unmatched = _shared(original, refactored)
    worst, error, count, reason = 0.0, 0.0, 0, ""
    for at, scale in enumerate(_SCALES):
        case = _case(original, scale, seed + at)
        true, mine, theirs = (
            _products(program, original, case, shared, dtype)
            for program, dtype in (
                (original, torch.float64),
                (original, None),
                (refactored, torch.float64),
            )
        )
        for name, exact in true.items():
            size = float(exact.abs().max()) if exact.numel() else 0.0
            own, apart = (_apart(other[name], exact) for other in (mine, theirs))
            eps = torch.finfo(mine[name].dtype).eps
            count += 1
            if not apart <= SLACK * max(own, eps * size):
                reason = reason or f"the gradient of {name!r} differs by {apart:.2g} of {size:.2g}"
            worst, error = max(worst, apart / (size or 1.0)), max(error, own / (size or 1.0))
    tier = Tier.REFUTED if reason else Tier.TESTED
    return Judged(Gradients(count, worst, error, tier, unmatched), reason)


def _apart(a: Tensor, b: Tensor) -> float:
    off = (a.to(torch.float64) - b.to(torch.float64)).abs()
    return float(off.nan_to_num(float("inf")).max()) if off.numel() else 0.0


def _other_draws(original: Program, refactored: Program) -> str:
    """Why the random draws of the two cannot be made alike; empty when they can."""
    found: list[list[tuple[object, str]]] = []
    for program in (original, refactored):
        draws = _draws(program)
        other = [n for n in draws if facts.name(n) != _DROPOUT]
        if other:
            what = facts.name(other[0]).removeprefix("aten::")
            return f"gradients cannot be compared: {what} draws random numbers of its own"
        found.append([(facts.bound(n)["p"], str(n.meta["val"].dim())) for n in draws])
    same = found[0] == found[1]
    return "" if same else "gradients cannot be compared: the two draw other random numbers"


def _draws(program: Program) -> list[fx.Node]:
    alive = facts.live(program.graph)
    return [node for node in program.graph.nodes if node in alive and facts.is_random(node)]


def _shared(original: Program, refactored: Program) -> tuple[frozenset[str], tuple[str, ...]]:
    """Trainable parameters that both hold, and all others of either side."""
    mine, theirs = original.parameters, refactored.parameters
    ours, groups = _together(mine), _together(theirs)
    alike = {
        name
        for name in mine.keys() & theirs.keys()
        if mine[name].requires_grad
        and theirs[name].requires_grad
        and mine[name].dtype == theirs[name].dtype
        and torch.equal(mine[name], theirs[name])
        and ours[name] == groups[name]
    }
    trained = {n for side in (mine, theirs) for n, tensor in side.items() if tensor.requires_grad}
    return frozenset(alike), tuple(sorted(trained - alike))


def _together(parameters: Mapping[str, Tensor]) -> dict[str, frozenset[str]]:
    """For every name all names of the same memory."""
    groups: dict[int, set[str]] = {}
    for name, tensor in parameters.items():
        groups.setdefault(_memory(tensor), set()).add(name)
    return {name: frozenset(groups[_memory(tensor)]) for name, tensor in parameters.items()}


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr()) or id(tensor)


def _case(program: Program, scale: float | None, seed: int) -> _Case:
    generator = torch.Generator().manual_seed(seed)
    inputs: list[Any] = []
    for value in pytree.tree_leaves((tuple(program.args), dict(program.kwargs))):
        if scale is not None and isinstance(value, Tensor) and value.is_floating_point():
            spread = float(value.to(torch.float64).std()) if value.numel() > 1 else 1.0
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            inputs.append((scale * (spread or 1.0) * noise).to(value.dtype))
        else:
            inputs.append(value)
    with torch.no_grad():
        outputs = _outputs(
            program, program, dict(zip(placeholders(program.graph), inputs, strict=True)), seed
        )
    cotangents = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
        for name, value in outputs.items()
        if isinstance(value, Tensor) and value.is_floating_point()
    }
    return _Case(inputs, cotangents, seed)


def _products(
    program: Program, like: Program, case: _Case, shared: frozenset[str], dtype: torch.dtype | None
) -> dict[str, Tensor]:
    """The gradient of ``sum <output, cotangent>`` by every shared parameter and every input, by name."""
    leaves: dict[str, Tensor] = {}
    by_memory: dict[int, Tensor] = {}
    for name in sorted(shared):
        stored = program.parameters[name]
        made = by_memory.setdefault(_memory(stored), _leaf(stored, dtype))
        leaves[name] = made
    known: dict[fx.Node, Any] = {
        node: leaves[str(node.target)]
        for node in program.graph.nodes
        if node.op == "get_attr" and str(node.target) in leaves
    }
    names = [spec.name for spec in like.contract.inputs]
    for node, name, value in zip(placeholders(program.graph), names, case.inputs, strict=True):
        real = isinstance(value, Tensor) and value.is_floating_point()
        known[node] = _leaf(value, dtype) if real else value
        if real:
            leaves[f"input {name}"] = known[node]
    outputs = _outputs(program, like, known, case.seed, dtype)
    total = torch.zeros((), dtype=torch.float64)
    for name, cotangent in case.cotangents.items():
        if outputs[name].requires_grad:
            total = total + (outputs[name] * cast(cotangent, dtype)).sum().to(torch.float64)
    if not total.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), found, strict=True)
    return {name: torch.zeros_like(leaf) if g is None else g for (name, leaf), g in pairs}


def _leaf(value: Tensor, dtype: torch.dtype | None) -> Tensor:
    copy: Tensor = cast(value.detach(), dtype).clone()
    return copy.requires_grad_()


def _outputs(
    program: Program, like: Program, known: Mapping[fx.Node, Any], seed: int, dtype: torch.dtype | None = None
) -> dict[str, Any]:
    """The outputs by the names of ``like``, dropout with masks that depend on the seed and its place."""
    place = {node: i for i, node in enumerate(_draws(program))}

    def step(node: fx.Node, module: fx.GraphModule, get: Get, kind: torch.dtype | None) -> Any:
        if node not in place:
            return call(node, module, get, kind)
        given = facts.bound(node)
        value, rate = get(given["input"]), float(given["p"])
        generator = torch.Generator().manual_seed(1_000_003 * (seed + 1) + place[node])
        kept = torch.rand(value.shape, generator=generator, dtype=torch.float64) >= rate
        return value * kept.to(value.dtype) / (1 - rate) if rate < 1 else value * 0.0

    leaves = output_leaves(program.graph)
    nodes = [leaf for leaf in leaves if isinstance(leaf, fx.Node)]
    grad = torch.is_grad_enabled()
    values = evaluate(program.module, nodes, known, dtype=dtype, step=step, gradients=grad)
    found = dict(zip(nodes, values, strict=True))
    flat = [found[leaf] if isinstance(leaf, fx.Node) else leaf for leaf in leaves]
    return dict(zip(like.contract.outputs, aligned(like, program, flat), strict=True))
