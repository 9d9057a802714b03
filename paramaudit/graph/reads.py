"""Who reads which features of a tensor, followed through operators that only move numbers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine import Region, region
from paramaudit.graph.facts import written_outputs
from paramaudit.graph.program import attribute
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape, sizes_for

_MOVES = frozenset(
    f"aten::{call}"
    for call in (
        *("transpose", "permute", "t", "swapaxes", "select", "slice", "narrow", "split", "chunk"),
        *("split_with_sizes", "tensor_split", "unbind"),
    )
)


@dataclass(frozen=True)
class Read:
    """``consumer`` reads ``features`` (indices of the source's last dimension) through ``operand``."""

    consumer: fx.Node
    operand: fx.Node
    features: frozenset[int]


def moves(node: fx.Node) -> bool:
    """Whether a node only moves or drops numbers."""
    call = facts.name(node)
    return facts.is_identity(node) or call in facts.VIEWS or call in _MOVES or call == "getitem"


def reads(
    module: fx.GraphModule,
    source: fx.Node,
    constant: set[fx.Node],
    unsafe: set[fx.Node] | None = None,
) -> tuple[Region, list[Read]] | None:
    """Every consumer of ``source``'s features; None when they cannot be followed."""
    found = region(source, constant, unsafe=unsafe)
    if found is None:
        return None
    inside = {source}
    for node in list(found.layouts)[1:]:
        if moves(node) and node.args[0] in inside:
            inside.add(node)
    width = found.features(source)
    sizes = sizes_for(shape(source) or ())
    dims = [s if isinstance(s, int) else int(s.subs(sizes)) for s in shape(source) or ()]
    index = torch.arange(width, dtype=torch.float64).expand(dims)
    returned = written_outputs(module.graph)
    result: list[Read] = []
    for node in sorted(inside):
        outside = [user for user in node.users if user not in inside]
        if node in returned and module.graph.output_node() not in outside:
            outside.append(module.graph.output_node())
        if not outside:
            continue
        value = evaluate(module, [node], {source: index}, dtype=torch.float64, sizes=sizes)[0]
        if not isinstance(value, torch.Tensor):
            return None  # a list of pieces is read as a whole
        features = frozenset(torch.bincount(value.flatten().long()).nonzero()[:, 0].tolist())
        result.extend(Read(user, node, features) for user in outside)
    return found, result


def not_finite(module: fx.GraphModule, node: fx.Node, buffers: Container[str]) -> list[str]:
    """Names of the stored tensors behind a node that hold NaN or infinite numbers.

    Infinities in ``buffers`` are masks as a rule, so of those only NaN counts.
    """
    bad: list[str] = []
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        stack.extend(current.all_input_nodes)
        value = attribute(module, str(current.target)) if current.op == "get_attr" else None
        if isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex()):
            wrong = value.isnan() if current.target in buffers else ~value.isfinite()
            bad.extend([str(current.target)] if bool(wrong.any()) else [])
    return sorted(bad)
