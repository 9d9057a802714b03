"""What a proof needs beyond the dtypes and shapes of the inputs, in words."""

from __future__ import annotations

from collections.abc import Container, Iterable

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program

EVAL = "eval mode"
_NORMS = ("aten::batch_norm", "aten::instance_norm")


def of_mode(nodes: Iterable[fx.Node]) -> tuple[str, ...]:
    """``eval mode`` where one of these calls would do something else in train mode."""
    return (EVAL,) if any(_differs_in_training(node) for node in nodes) else ()


def of_mode_between(inputs: Iterable[fx.Node], ends: Iterable[fx.Node]) -> tuple[str, ...]:
    """``eval mode`` where a call from ``inputs`` to ``ends`` would do something else in train mode."""
    known = set(inputs)
    return of_mode(node for node in _behind(ends, known) if node not in known)


def of_attention(program: Program) -> tuple[str, ...]:
    """What attention weights that sum to 1 need: a program in eval mode does not tell a dropout of theirs."""
    return (f"{EVAL}, or no attention dropout",) if program.contract.mode == "eval" else ()


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
    return {str(node.target) for node in _behind(sources) if node.op == "placeholder"}


def _behind(ends: Iterable[fx.Node], stops: Container[fx.Node] = ()) -> set[fx.Node]:
    """``ends`` and every node that they are computed from, up to ``stops``."""
    seen: set[fx.Node] = set()
    stack = list(ends)
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.all_input_nodes if node not in stops else ())
    return seen
