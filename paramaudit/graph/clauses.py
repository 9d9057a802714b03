"""What a proof needs beyond the dtypes and shapes of the inputs, in words."""

from __future__ import annotations

from collections.abc import Iterable

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program

EVAL = "eval mode"
_NORMS = ("aten::batch_norm", "aten::instance_norm")


def of_mode(nodes: Iterable[fx.Node]) -> tuple[str, ...]:
    """``eval mode`` where one of these calls would do something else in train mode."""
    return (EVAL,) if any(_differs_in_training(node) for node in nodes) else ()


def _differs_in_training(node: fx.Node) -> bool:
    call = facts.name(node)
    if "dropout" in call and "attention" not in call:
        return facts.bound(node).get("train") is False
    return call in _NORMS and facts.bound(node).get("training") is False


def of_sizes(program: Program, *sources: fx.Node, size: int = 1) -> tuple[str, ...]:
    """Which dimensions of the inputs behind ``sources`` are fixed to ``size``."""
    names = _inputs_behind(sources)
    fixed = {(i.name, d): n for i in program.contract.inputs for d, n in enumerate(i.shape) if n == size}
    return tuple(f"{name} dimension {d} is {n}" for (name, d), n in fixed.items() if name in names)


def of_held_sizes(program: Program, *sources: fx.Node) -> tuple[str, ...]:
    """Which dimensions of the inputs behind ``sources`` were fixed on demand, and to what."""
    names = _inputs_behind(sources)
    shapes = {spec.name: spec.shape for spec in program.contract.inputs}
    asked = [s for s in program.contract.specialised if s.why.startswith("--static") and s.input in names]
    return tuple(f"{s.input} dimension {s.dimension} is {shapes[s.input][s.dimension]}" for s in asked)


def of_outputs(program: Program) -> tuple[str, ...]:
    """Which outputs alone are read, where not all are."""
    read = program.contract.read
    if not read:
        return ()
    return (
        f"only output {read[0]} is read" if len(read) == 1 else f"only outputs {', '.join(read)} are read",
    )


def _inputs_behind(sources: Iterable[fx.Node]) -> set[str]:
    """The names of the inputs that some nodes are computed from."""
    seen: set[fx.Node] = set()
    stack = list(sources)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.all_input_nodes)
    return {str(node.target) for node in seen if node.op == "placeholder"}
