"""What holds at each node: which are constant, which are written, what reaches an output."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph.program import attribute, output_node
from paramaudit.graph.shapes import shape

_RESHAPES = ("view", "reshape", "unflatten", "flatten", "unsqueeze", "squeeze", "_unsafe_view", "view_copy")
VIEWS = frozenset(f"aten::{call}" for call in _RESHAPES)
SAME = frozenset(
    ("aten::alias", "aten::clone", "aten::contiguous", "aten::detach", "aten::lift_fresh_copy", "aten::neg")
)
_DROPOUTS = ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout")
_UNCERTAIN = ("empty", "dropout", "rand", "rrelu", "fractional_max_pool")
_aten = torch.ops.aten
_ZEROS = (_aten.zeros.default, _aten.new_zeros.default, _aten.zeros_like.default)
_FILLED = {_aten.full.default: 1, _aten.new_full.default: 2, _aten.full_like.default: 1}
_MAY_RETURN_IT = frozenset(
    f"aten::{call}"
    for call in (
        *("type_as", "data", "einsum", "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_tensors"),
        *("meshgrid", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "pixel_shuffle"),
    )
)


def name(node: fx.Node) -> str:
    """The operator's schema name such as ``aten::linear``; "" for anything that is no aten call."""
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    if schema is not None:
        return str(schema.name)
    return "getitem" if node.op == "call_function" and node.target is operator.getitem else ""


def zeros(graph: fx.Graph) -> list[fx.Node]:
    """The calls that return a new tensor of zeros."""
    found = [n for target in _ZEROS for n in graph.find_nodes(op="call_function", target=target, sort=False)]
    for target, place in _FILLED.items():
        full = graph.find_nodes(op="call_function", target=target, sort=False)
        found += [node for node in full if argument(node, place, "fill_value") == 0]
    return found


def argument(node: fx.Node, index: int, key: str, default: Any = None) -> Any:
    """An argument by position or keyword."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(key, default)


def bound(node: fx.Node) -> dict[str, Any]:
    """Every argument of an aten call by its name in the schema, defaults filled in."""
    schema = getattr(node.target, "_schema", None)
    values: dict[str, Any] = {}
    for index, argument_ in enumerate(schema.arguments if schema is not None else ()):
        if index < len(node.args):
            values[argument_.name] = node.args[index]
        else:
            default = argument_.default_value if argument_.has_default_value() else None
            values[argument_.name] = node.kwargs.get(argument_.name, default)
    return values


def inner(node: fx.Node) -> Iterator[fx.Graph]:
    """The graphs that a call runs, such as a block under ``torch.no_grad``."""
    owner = node.graph.owning_module
    for source in node.all_input_nodes:
        if source.op == "get_attr" and owner is not None:
            value = attribute(owner, str(source.target))
            if isinstance(value, fx.GraphModule):
                yield value.graph


def written(node: fx.Node) -> list[fx.Node]:
    """The arguments that a call changes in place."""
    if node.op != "call_function":
        return []
    names = _written_names(node.target)
    if names is None:
        changes = any(written(n) for graph in inner(node) for n in graph.nodes)
        return list(node.all_input_nodes) if changes else []
    if not names:
        return []
    given = bound(node)
    if "running_mean" in names and not given.get("training", given.get("use_input_stats")):
        return []
    return [n for name in names for n in _nodes(given[name])]


@cache
def _written_names(target: Any) -> tuple[str, ...] | None:
    """The names of the arguments that an operator writes; None when it has no schema to say so."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        return None
    if schema.name in ("aten::batch_norm", "aten::instance_norm"):  # in training, which no schema says
        return ("running_mean", "running_var")
    return tuple(a.name for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)


def writes(node: fx.Node) -> bool:
    """Whether a call changes one of its arguments in place."""
    return bool(written(node))


def aliases(node: fx.Node) -> list[fx.Node]:
    """The arguments whose memory a call's result may be."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return list(node.all_input_nodes)
    if schema.name in _MAY_RETURN_IT or "dropout" in schema.name:
        return list(node.all_input_nodes)
    names = [a.name for a in schema.arguments if a.alias_info is not None]
    return [n for name in names for n in _nodes(bound(node)[name])] if names else []


def memory(graph: fx.Graph) -> dict[fx.Node, fx.Node]:
    """For every node the one that stands for all nodes that may share memory with it."""
    parent: dict[fx.Node, fx.Node] = {node: node for node in graph.nodes}

    def root(node: fx.Node) -> fx.Node:
        while parent[node] is not node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    stored: dict[int, fx.Node] = {}
    for node in graph.nodes:
        sources = aliases(node) if node.op in ("call_function", "call_module") else []
        if node.op == "get_attr" and graph.owning_module is not None:
            value = attribute(graph.owning_module, str(node.target))
            if isinstance(value, Tensor):
                sources = [stored.setdefault(value.untyped_storage()._cdata, node)]
        for source in sources:
            parent[root(node)] = root(source)
    return {node: root(node) for node in graph.nodes}


def stale(graph: fx.Graph) -> set[fx.Node]:
    """Nodes whose value does not last: the memory that they may be in is written by some call."""
    suspects = (node for node in graph.nodes if _written_names(node.target) != ())
    changed = [source for node in suspects for source in written(node)]
    if not changed:
        return set()
    places = memory(graph)
    dirty = {places[node] for node in changed}
    return {node for node in graph.nodes if places[node] in dirty}


def _nodes(value: Any) -> list[fx.Node]:
    found = value if isinstance(value, list | tuple) else [value]
    return [n for n in found if isinstance(n, fx.Node)]


def is_impure(node: fx.Node) -> bool:
    """Nodes that must stay: writes into buffers, assertions, inputs and outputs."""
    return node.op in ("placeholder", "output") or writes(node) or "assert" in name(node)


def is_random(node: fx.Node) -> bool:
    """Whether the call draws random numbers (dropout in eval mode draws none) or reads unset memory."""
    if node.op != "call_function":
        return False
    call = name(node).removeprefix("aten::")
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded not in tags and not any(word in call for word in _UNCERTAIN):
        return any(is_random(n) for graph in inner(node) for n in graph.nodes) if not call else False
    given = bound(node)
    if "dropout_p" in given:  # attention
        return bool(given["dropout_p"])
    if "train" in given:  # dropout layers, recurrent layers
        return given["train"] is not False and given.get("dropout", 1.0) != 0
    return not (call.startswith("rrelu") and given.get("training") is False)


def is_identity(node: fx.Node) -> bool:
    """Calls that return their first argument unchanged: eval dropout, copies, casts to the same dtype."""
    call = name(node)
    source = node.args[0] if node.args else None
    mine = node.meta.get("val")
    if not isinstance(mine, Tensor) or not isinstance(source, fx.Node):
        return False
    if call in _DROPOUTS:
        return argument(node, 2, "train") is False
    if call in SAME - {"aten::neg"}:
        return True
    if call in ("aten::to", "aten::_to_copy", "aten::type_as"):
        other = source.meta.get("val")
        return isinstance(other, Tensor) and mine.dtype == other.dtype
    return False


def constants(graph: fx.Graph) -> set[fx.Node]:
    """Nodes that depend on no input and no symbolic size, draw nothing at random and are never written."""
    unsafe = stale(graph)
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node in unsafe:
            continue
        if node.op == "get_attr":
            if isinstance(node.meta.get("val"), Tensor):
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
