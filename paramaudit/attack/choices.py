"""Discrete choices of a program, and which of its outputs rest on one that rounding alone decides.

A comparison, an argmax or a rounding is undecided on an input when its argument is nearer to the threshold
than the program's own rounding error there. What depends on it may come out either way in any
implementation, so it is a tie and no counterexample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.attack.runs import is_real
from paramaudit.graph import facts
from paramaudit.graph.program import Program, output_leaves
from paramaudit.graph.run import Step, call, cast, evaluate, given

_DECIDES = frozenset(
    f"aten::{name}"
    for name in (
        *("argmax", "argmin", "argsort", "sort", "topk", "kthvalue", "median", "nanmedian", "mode"),
        *("gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "isclose", "heaviside", "not_equal"),
        *("greater_equal", "less_equal", "sign", "sgn", "signbit", "round", "floor", "ceil", "trunc", "fix"),
        *("frac", "fmod", "remainder", "floor_divide", "bucketize", "searchsorted", "histc", "nonzero"),
        *("unique", "_unique2", "unique_consecutive", "bincount", "any", "all", "logical_not", "bernoulli"),
        *(
            "logical_and",
            "logical_or",
            "logical_xor",
            "isin",
            "count_nonzero",
            "fake_quantize_per_tensor_affine",
        ),
    )
)
_BOTH = frozenset(("aten::max", "aten::min", "aten::cummax", "aten::cummin", "aten::aminmax"))
_CASTS = frozenset(("aten::to", "aten::_to_copy", "aten::type_as"))
_DIVISIONS = frozenset(("aten::div", "aten::divide"))
_TRIALS = 8


@dataclass(frozen=True)
class Undecided:
    """Which output elements rest on a tie: ``(*output)`` masks by name; ``tied`` when any choice is one."""

    tied: bool
    masks: Mapping[str, Tensor]


def choices(program: Program) -> list[fx.Node]:
    """The calls that turn numbers into a decision, in graph order."""
    return [node for node in program.graph.nodes if _decides(node)]


def undecided(
    program: Program,
    inputs: Sequence[Any],
    typical: Sequence[Any],
    allowed: Mapping[str, float],
    *,
    within: float,
    seed: int,
) -> Undecided:
    """What changes when every choice is made again with its arguments off by the program's own rounding.

    Args:
        program: the program in whose choices ties are sought.
        inputs: flat inputs.
        typical: flat inputs of the same sizes and scale; a rounding error of zero on ``inputs`` alone may
            be luck.
        allowed: change of each output below which it counts as unchanged.
        within: how many rounding errors the arguments are moved by.
        seed: of the directions in which they are moved.
    """
    nodes = choices(program)
    exact: dict[fx.Node, Any] = {}
    truth = run_with(program, inputs, _keeping(set(nodes), exact))
    off = _rounding(program, inputs, exact)
    usual: dict[fx.Node, Any] = {}
    run_with(program, typical, _keeping(set(nodes), usual))
    for node, error in _rounding(program, typical, usual).items():
        off[node] = max(off.get(node, 0.0), error)
    masks = {
        name: torch.zeros_like(v, dtype=torch.bool) for name, v in truth.items() if isinstance(v, Tensor)
    }
    tied = False
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_TRIALS if any(off.values()) else 0):
        flipped: dict[fx.Node, Any] = {}
        again = run_with(program, inputs, _moving(set(nodes), off, within, generator, flipped))
        tied = tied or any(not _alike(flipped[node], exact[node]) for node in flipped)
        for name, mask in masks.items():
            mask |= _changed(truth[name], again[name], allowed.get(name, 0.0))
    return Undecided(tied, masks)


def _decides(node: fx.Node) -> bool:
    name = facts.name(node)
    sources = [n.meta.get("val") for n in node.all_input_nodes]
    if not any(isinstance(v, Tensor) and v.is_floating_point() for v in sources):
        return False
    if name in _CASTS:
        value = node.meta.get("val")
        return isinstance(value, Tensor) and not (value.is_floating_point() or value.is_complex())
    if name in _DIVISIONS:
        return node.kwargs.get("rounding_mode") is not None
    if name in _BOTH:
        return isinstance(node.meta.get("val"), tuple | list)
    return name in _DECIDES


def run_with(program: Program, inputs: Sequence[Any], step: Step) -> dict[str, Any]:
    """Outputs in float64, each node computed by ``step``."""
    known = given(program, inputs, torch.float64)
    flat = output_leaves(program.graph)
    nodes = [leaf for leaf in flat if isinstance(leaf, fx.Node)]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = evaluate(program.module, nodes, known, dtype=torch.float64, step=step)
    values = dict(zip(nodes, found, strict=True))
    names = program.contract.outputs
    return {n: values[leaf] for n, leaf in zip(names, flat, strict=True) if isinstance(leaf, fx.Node)}


def _keeping(nodes: set[fx.Node], kept: dict[fx.Node, Any]) -> Any:
    """A step that keeps what the choices come out as, and the tensors that they were made on."""

    def step(node: fx.Node, module: fx.GraphModule, get: Callable[[fx.Node], Any], dtype: Any) -> Any:
        value = call(node, module, get, dtype)
        if node in nodes:
            kept[node] = value
            kept.update({n: get(n) for n in node.all_input_nodes if n not in nodes})
        return value

    return step


def _moving(
    nodes: set[fx.Node],
    off: Mapping[fx.Node, float],
    within: float,
    generator: torch.Generator,
    made: dict[fx.Node, Any],
) -> Any:
    """A step that moves the arguments of every choice by up to ``within`` rounding errors."""

    def moved(node: fx.Node, value: Any) -> Any:
        if not is_real(value) or not off.get(node):
            return value
        draw = torch.rand(value.shape, generator=generator, dtype=torch.float64) - 0.5
        return value + within * off[node] * (draw + 0.5 * draw.sign()).to(value)

    def step(node: fx.Node, module: fx.GraphModule, get: Callable[[fx.Node], Any], dtype: Any) -> Any:
        if node not in nodes:
            return call(node, module, get, dtype)
        value = call(node, module, lambda n: moved(n, get(n)), dtype)
        if isinstance(value, tuple | list) and len(value) == 2:  # values and places: the values do not jump
            value = (call(node, module, get, dtype)[0], value[1])
        made[node] = value
        return value

    return step


def _rounding(program: Program, inputs: Sequence[Any], exact: Mapping[fx.Node, Any]) -> dict[fx.Node, float]:
    """The rounding error of each choice's arguments in the program's dtype, earlier choices held."""
    nodes = choices(program)
    sources = list(dict.fromkeys(n for node in nodes for n in node.all_input_nodes if n not in nodes))
    rough, scale = rough_dtype(program)
    known: dict[fx.Node, Any] = given(program, inputs, rough)
    known.update({node: _as_stored(node, exact[node], rough) for node in nodes})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = evaluate(program.module, sources, known, dtype=rough)
    off: dict[fx.Node, float] = {}
    for node, value in zip(sources, found, strict=True):
        true = exact[node]
        if node.op == "placeholder":
            continue  # an input is what it is
        if is_real(value) and is_real(true) and true.numel():
            apart = (value.to(torch.float64) - true).abs()
            off[node] = scale * float(torch.where(apart.isfinite(), apart, 0.0).max())
    return off


def rough_dtype(program: Program) -> tuple[torch.dtype | None, float]:
    """The dtype in which rounding shows, and the factor from its errors to those of the program's own dtype.

    A program in float64 is its own reference; its rounding is that of float32, scaled by the epsilons.
    """
    if float64_outputs(program):
        return torch.float32, torch.finfo(torch.float64).eps / torch.finfo(torch.float32).eps
    return None, 1.0


def float64_outputs(program: Program) -> bool:
    """Whether a program computes in float64 by itself."""
    stored = (*program.parameters.values(), *program.buffers.values())
    leaves = pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))
    real = [t.dtype for t in (*stored, *leaves) if is_real(t)]
    return bool(real) and all(dtype is torch.float64 for dtype in real)


def _as_stored(node: fx.Node, value: Any, rough: torch.dtype | None) -> Any:
    """A choice made in float64 as the program would hold it."""
    if rough is not None:
        return pytree.tree_map(lambda v: cast(v, rough), value)
    like = node.meta.get("val")
    if isinstance(value, tuple | list) and isinstance(like, tuple | list):
        return type(value)(_as(v, w) for v, w in zip(value, like, strict=True))
    return _as(value, like)


def _as(value: Any, like: Any) -> Any:
    return value.to(like.dtype) if isinstance(value, Tensor) and isinstance(like, Tensor) else value


def _alike(a: Any, b: Any) -> bool:
    """Whether two decisions are the same; of values with places, the places."""
    if isinstance(a, tuple | list):
        return len(a) == len(b) and _alike(a[-1], b[-1])
    return not isinstance(a, Tensor) or (a.shape == b.shape and torch.equal(a, b))


def _changed(before: Tensor, after: Tensor, allowed: float) -> Tensor:
    if before.shape != after.shape:
        return torch.ones_like(before, dtype=torch.bool)
    if not (before.is_floating_point() or before.is_complex()):
        return before != after
    same = (before == after) | (before.isnan() & after.isnan())
    return ~same & ~((before - after).abs() <= allowed)
