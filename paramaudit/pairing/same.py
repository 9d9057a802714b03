"""Whether two nodes or stored values are the same, looked at on their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from paramaudit.graph import facts
from paramaudit.graph.program import attribute

_COMMUTE = frozenset(f"aten::{call}" for call in ("add", "mul", "maximum", "minimum"))


def past_identities(node: fx.Node) -> fx.Node:
    """The node whose value this one hands on unchanged."""
    while facts.is_identity(node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def commutes(node: fx.Node) -> bool:
    """Whether a call of two operands rounds to the same numbers when they are exchanged."""
    return facts.name(node) in _COMMUTE and facts.bound(node).get("alpha", 1) == 1


def equal(x: Any, y: Any) -> bool:
    """Whether two stored values are the same numbers of the same type, or the same inner graphs."""
    if isinstance(x, fx.GraphModule) and isinstance(y, fx.GraphModule):
        return _same_graph(x, y)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        return False
    return x.dtype == y.dtype and x.device == y.device and torch.equal(x, y)


def _same_graph(x: fx.GraphModule, y: fx.GraphModule) -> bool:
    """Whether two inner graphs are the same, node by node in order."""
    if len(x.graph.nodes) != len(y.graph.nodes):
        return False
    numbers = [{node: f"%{i}" for i, node in enumerate(m.graph.nodes)} for m in (x, y)]
    for a, b in zip(x.graph.nodes, y.graph.nodes, strict=True):
        shown = [
            str(map_arg((n.args, n.kwargs), known.__getitem__))
            for n, known in zip((a, b), numbers, strict=True)
        ]
        if a.op != b.op or shown[0] != shown[1]:
            return False
        if a.op == "get_attr":
            if not equal(attribute(x, str(a.target)), attribute(y, str(b.target))):
                return False
        elif a.op != "placeholder" and a.target != b.target:
            return False
    return True


def word(node: fx.Node) -> str:
    """How a node is called in a reason."""
    return facts.name(node).removeprefix("aten::") or node.op
