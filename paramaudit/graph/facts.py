"""What holds at each node: which are constant, which are written, what reaches an output."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph.program import output_node
from paramaudit.graph.shapes import shape

_RESHAPES = ("view", "reshape", "unflatten", "flatten", "unsqueeze", "squeeze", "_unsafe_view", "view_copy")
VIEWS = frozenset(f"aten::{call}" for call in _RESHAPES)
SAME = frozenset(
    ("aten::alias", "aten::clone", "aten::contiguous", "aten::detach", "aten::lift_fresh_copy", "aten::neg")
)
_RANDOM = ("rand", "bernoulli", "multinomial", "normal", "dropout", "poisson", "exponential", "uniform")


def name(node: fx.Node) -> str:
    """The operator's schema name such as ``aten::linear``; "" for anything that is no aten call."""
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    if schema is not None:
        return str(schema.name)
    return "getitem" if node.op == "call_function" and node.target is operator.getitem else ""


def argument(node: fx.Node, index: int, key: str, default: Any = None) -> Any:
    """An argument by position or keyword."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(key, default)


def writes(node: fx.Node) -> bool:
    """Whether a call changes one of its arguments in place."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def is_impure(node: fx.Node) -> bool:
    """Nodes that must stay: writes into buffers, assertions, inputs and outputs."""
    return node.op in ("placeholder", "output") or writes(node) or "assert" in name(node)


def is_random(node: fx.Node) -> bool:
    """Whether the call draws random numbers (dropout in eval mode draws none)."""
    call = name(node)
    if call.endswith("dropout"):
        return argument(node, 2, "train") is not False
    return any(word in call for word in _RANDOM)


def is_identity(node: fx.Node) -> bool:
    """Calls that return their first argument unchanged: eval dropout, copies, casts to the same dtype."""
    call = name(node)
    if call.endswith("dropout"):
        return argument(node, 2, "train") is False
    if call in SAME - {"aten::neg"}:
        return True
    source = node.args[0] if node.args else None
    if call in ("aten::to", "aten::_to_copy", "aten::type_as") and isinstance(source, fx.Node):
        mine, other = node.meta.get("val"), source.meta.get("val")
        return isinstance(mine, Tensor) and isinstance(other, Tensor) and mine.dtype == other.dtype
    return False


def constants(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no input and no symbolic size, and draw nothing at random."""
    written = {a for node in graph.nodes if writes(node) for a in node.all_input_nodes}
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "get_attr":
            if node not in written and isinstance(node.meta.get("val"), Tensor):
                found.add(node)
        elif node.op == "call_function" and not is_impure(node) and not is_random(node):
            if isinstance(node.meta.get("val"), torch.SymInt):
                continue
            if all(i in found for i in node.all_input_nodes) and _static(node):
                found.add(node)
    return found


def _static(node: fx.Node) -> bool:
    dims = shape(node)
    return dims is None or all(isinstance(s, int) for s in dims)


def live(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that an output, or a node with an effect, depends on."""
    stack = [node for node in graph.nodes if is_impure(node)]
    seen: set[fx.Node] = set()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.all_input_nodes)
    return seen


def written_outputs(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that the program returns."""
    return set(output_node(graph).all_input_nodes)


def dead_with(removed: Iterable[fx.Node], kept: Iterable[fx.Node] = ()) -> set[fx.Node]:
    """Nodes that nobody reads any more once ``removed`` are gone; ``kept`` stay in any case."""
    gone = set(removed)
    stay = set(kept)
    stack = [i for node in gone for i in node.all_input_nodes]
    while stack:
        node = stack.pop()
        if node in gone or node in stay or is_impure(node):
            continue
        if all(user in gone for user in node.users):
            gone.add(node)
            stack.extend(node.all_input_nodes)
    return gone
