"""Columns of a linear layer that always see the same numbers.

What it finds:    a linear layer over a concatenation in which some parts are constant.
Why it matters:   those columns only ever add the same vector, which belongs in the bias.
Proof:            W [x; c] + b = W_x x + (W_c c + b).
Swap safety:      the part must be a stored constant repeated over the batch, by the graph.
Source:           Aho, Lam, Sethi, Ullman: Compilers (2006), section 8.5.4 (constant folding).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine import region
from paramaudit.graph.clauses import of_held_sizes
from paramaudit.graph.emit import sibling
from paramaudit.graph.layout import Dims, batch, feature, is_feature
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten


def find(draft: Draft) -> Iterator[Match]:
    """Linear layers over a concatenation with constant parts."""
    constant = facts.constants(draft.graph)
    repeated = _repeated(draft, constant)
    for node in draft.graph.nodes:
        joined = node.args[0] if facts.name(node) == "aten::linear" else None
        if not isinstance(joined, fx.Node) or facts.name(joined) != "aten::cat":
            continue
        parts: Any = joined.args[0]
        axis = facts.argument(joined, 1, "dim", 0)
        weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
        rank = len(shape(joined) or ())
        if axis % rank != rank - 1 or not draft.alone(weight, bias):
            continue
        fixed = [part for part in parts if part in repeated]
        if not fixed or len(fixed) == len(parts):
            continue
        moving = tuple(part for part in parts if part not in repeated)
        columns = sum(int((shape(part) or (0,))[-1]) for part in fixed)
        yield Match(
            module_path(node),
            (node,),
            (*moving, *_roots(joined, moving)),
            partial(_build, node=node, repeated=repeated),
            f"{columns} of its inputs are constant",
            tensors=tuple(n for n in (weight, bias) if n is not None),
            arguments={"columns": columns},
            requires=of_held_sizes(draft.program, *fixed),
        )


def _roots(joined: fx.Node, moving: tuple[fx.Node, ...]) -> tuple[fx.Node, ...]:
    """Tensors whose sizes the constant parts follow."""
    found: list[fx.Node] = []
    stack, seen = [n for n in joined.all_input_nodes if n not in moving], set[fx.Node]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "placeholder" or facts.name(node) == "aten::sym_size":
            found.extend(i for i in (node, *node.all_input_nodes) if isinstance(i.meta.get("val"), Tensor))
        else:
            stack.extend(node.all_input_nodes)
    return tuple(dict.fromkeys(found))


def _repeated(draft: Draft, constant: set[fx.Node]) -> set[fx.Node]:
    """Tensors that hold one stored vector, repeated over every leading dimension."""
    found: set[fx.Node] = set()
    for node in draft.graph.nodes:
        source = node.args[0] if facts.name(node) == "aten::expand" else None
        if not isinstance(source, fx.Node) or source not in constant:
            continue
        dims = _expanded(shape(source) or (), shape(node) or ())
        start = region(node, constant, dims)
        if start is None:
            continue
        for later, layout in start.layouts.items():
            if layout and is_feature(layout[-1]) and not any(a.feature for dim in layout[:-1] for a in dim):
                found.add(later)
    return found


def _expanded(before: tuple[Any, ...], after: tuple[Any, ...]) -> Dims:
    padded = (*([1] * (len(after) - len(before))), *before)
    return tuple(feature(new) if old == new else batch(new) for old, new in zip(padded, after, strict=True))


def _build(draft: Draft, node: fx.Node, repeated: set[fx.Node]) -> list[fx.Node]:
    joined: Any = node.args[0]
    weight_node, bias_node = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    weight = draft.float64(weight_node)
    bias = draft.float64(bias_node) if bias_node is not None else weight.new_zeros(len(weight))
    kept, moving, start = [], [], 0
    for part in joined.args[0]:
        width = int((shape(part) or (0,))[-1])
        block = weight[:, start : start + width]
        start += width
        if part in repeated:
            bias = bias + block @ _vector(draft, part)
        else:
            kept.append(block)
            moving.append(part)
    operands = [n for n in (weight_node, bias_node) if n is not None]
    made, dtype = draft.keys(operands), joined.meta["val"].dtype
    names = [str(weight_node.target), sibling(weight_node, "bias")]
    new_weight = draft.number(names[0], torch.cat(kept, 1), dtype, made, node)
    new_bias = draft.number(names[1], bias, dtype, made, node)
    source = moving[0] if len(moving) == 1 else draft.call(_aten.cat.default, moving, -1, path_of=node)
    return [draft.call(_aten.linear.default, source, new_weight, new_bias, path_of=node)]


def _vector(draft: Draft, part: fx.Node) -> Tensor:
    symbols = {
        s: 1 for length in shape(part) or () if not isinstance(length, int) for s in length.free_symbols
    }
    (value,) = evaluate(draft.module, [part], {}, dtype=torch.float64, sizes=symbols)
    width = int((shape(part) or (0,))[-1])
    vector: Tensor = value.reshape(-1, width)[0]
    return vector


REWRITE = Rewrite("constant-input", find)
