"""The scale and shift of a normalisation that linear layers read next.

What it finds:    layer norms and RMS norms whose every reader is a linear layer on the same features.
Why it matters:   2 d numbers per norm are already expressible in the linear layer's numbers.
Proof:            W (g * n + h) + b = (W diag(g)) n + (W h + b).
Swap safety:      every reader must be a linear layer of its own; a residual or a shared layer keeps it.
Source:           Ba, Kiros, Hinton: Layer Normalization (2016), equation 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.emit import sibling
from paramaudit.graph.layout import is_feature
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import reads
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten
_NORMS = ("aten::layer_norm", "aten::rms_norm")


def find(draft: Draft) -> Iterator[Match]:
    """Norms with a scale or shift, read by linear layers only."""
    constant, unsafe = facts.constants(draft.graph), facts.stale(draft.graph)
    for node in draft.graph.nodes:
        if facts.name(node) not in _NORMS or len(facts.argument(node, 1, "normalized_shape")) != 1:
            continue
        scale, shift = _affine(node)
        source = node.args[0]
        if (
            (scale is None and shift is None)
            or not draft.alone(scale, shift)
            or not isinstance(source, fx.Node)
        ):
            continue
        readers = _linears(draft, node, constant, unsafe)
        if not readers:
            continue
        added = sum(
            int(draft.float64(facts.argument(r, 1, "weight")).shape[0])
            for r in readers
            if shift is not None and facts.argument(r, 2, "bias") is None
        )
        saved = sum(draft.float64(n).numel() for n in (scale, shift) if n is not None)
        if added >= saved:
            continue
        yield Match(
            module_path(node),
            tuple(readers),
            (source,),
            partial(_build, norm=node, readers=tuple(readers)),
            "its scale and shift fold into the linear layers that read it",
            tensors=tuple(n for n in (scale, shift) if n is not None),
        )


def _affine(node: fx.Node) -> tuple[fx.Node | None, fx.Node | None]:
    scale = facts.argument(node, 2, "weight")
    shift = facts.argument(node, 3, "bias") if facts.name(node) == "aten::layer_norm" else None
    return scale, shift


def _linears(draft: Draft, node: fx.Node, constant: set[fx.Node], unsafe: set[fx.Node]) -> list[fx.Node]:
    """The readers, when all of them are linear layers over all features in order."""
    followed = reads(draft.module, node, constant, unsafe)
    if followed is None:
        return []
    region, found = followed
    for read in found:
        consumer = read.consumer
        dims = region.layouts[read.operand]
        whole = dims[-1] == region.layouts[node][-1] and all(not is_feature(d) or not d for d in dims[:-1])
        if facts.name(consumer) != "aten::linear" or consumer.args[0] is not read.operand or not whole:
            return []
        if not draft.alone(facts.argument(consumer, 1, "weight"), facts.argument(consumer, 2, "bias")):
            return []
    return sorted({read.consumer for read in found})


def _build(draft: Draft, norm: fx.Node, readers: tuple[fx.Node, ...]) -> list[fx.Node]:
    scale, shift = _affine(norm)
    with draft.graph.inserting_before(norm):
        args = (None, None) if facts.name(norm) == "aten::layer_norm" else (None,)
        rest = norm.args[2 + len(args) :]
        plain = draft.again(norm, *norm.args[:2], *args, *rest)
    moved: dict[fx.Node, fx.Node] = {norm: plain}
    return [_reader(draft, reader, scale, shift, moved) for reader in readers]


def _reader(
    draft: Draft, node: fx.Node, scale: fx.Node | None, shift: fx.Node | None, moved: dict[fx.Node, fx.Node]
) -> fx.Node:
    weight_node, bias_node = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    weight = draft.float64(weight_node)
    bias = draft.float64(bias_node) if bias_node is not None else None
    if shift is not None:
        bias = weight @ draft.float64(shift) + (bias if bias is not None else 0.0)
    if scale is not None:
        weight = weight * draft.float64(scale)
    made = draft.keys([n for n in (weight_node, bias_node, scale, shift) if n is not None])
    dtype = node.meta["val"].dtype
    names = [str(weight_node.target), sibling(weight_node, "bias")]
    if bias_node is not None:
        names[1] = str(bias_node.target)
    with draft.graph.inserting_before(node):
        data: Any = node.args[0]
        source = draft.follow(data, moved)
        new_weight = draft.number(names[0], weight, dtype, made, node)
        new_bias = draft.number(names[1], bias, dtype, made, node) if bias is not None else None
        return draft.call(_aten.linear.default, source, new_weight, new_bias, path_of=node)


REWRITE = Rewrite("norm-affine-fold", find, stage=1)
