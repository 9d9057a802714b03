"""A scale or shift of channels right after a convolution.

What it finds:    convolutions whose result is multiplied or divided by a stored number for each channel
                  (or one for all), or has one added or subtracted, with nothing between. After a linear
                  layer the same is a ``linear-chain``.
Why it matters:   the scale belongs in the kernel, the shift in the bias.
Proof:            g (K * x + b) + h = (g K) * x + (g b + h), with the same padding.
Swap safety:      only directly next, only where nobody else reads the convolution, and only a number that is
                  the same at every place: a scale that varies over the image stays.
Source:           Jacob et al., Quantization and Training of Neural Networks (2018), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from functools import partial

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.convolutions import settings
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft

_CALLS = ("aten::mul", "aten::div", "aten::add", "aten::sub")


def find(draft: Draft) -> Iterator[Match]:
    """Sums and products of a convolution with what is stored."""
    constant = facts.constants(draft.graph)
    for node in draft.graph.nodes:
        taken = _taken(node, constant)
        if taken is None:
            continue
        layer, other = taken
        stored = [n for n in (facts.argument(layer, 1, "weight"), facts.argument(layer, 2, "bias")) if n]
        source, channels = layer.args[0], int((shape(layer) or (0, 0))[1])
        if len(layer.users) != 1 or not draft.alone(*stored) or not isinstance(source, fx.Node):
            continue
        freed = [n for n in facts.dead_with([node], kept=[layer]) if n.op == "get_attr"]
        gone = [n for n in freed if n not in stored and str(n.target) not in draft.program.buffers]
        grows = channels if facts.name(node) in _CALLS[2:] and len(stored) == 1 else 0
        if sum(draft.float64(n).numel() for n in gone) <= grows:
            continue
        yield Match(
            module_path(node),
            (node,),
            (source,),
            partial(_build, node=node, layer=layer, other=other),
            "a number for each channel folds into the convolution before it",
            tensors=tuple(sorted((*stored, *gone))),
        )


def _taken(node: fx.Node, constant: Set[fx.Node]) -> tuple[fx.Node, fx.Node] | None:
    """A convolution and the constant that acts on it; None for other calls."""
    if facts.name(node) not in _CALLS:
        return None
    given = facts.bound(node)
    layer, other = given["self"], given["other"]
    swapped = isinstance(layer, fx.Node) and layer in constant
    if swapped and facts.name(node) in ("aten::mul", "aten::add"):
        layer, other = other, layer
    if not isinstance(layer, fx.Node) or not isinstance(other, fx.Node) or other not in constant:
        return None
    plain = given.get("alpha", 1) == 1 and given.get("rounding_mode") is None
    if settings(layer) is None or not plain or not _per_channel(layer, node, other):
        return None
    return layer, other


def _per_channel(layer: fx.Node, node: fx.Node, other: fx.Node) -> bool:
    """Whether a constant is one number for each channel, or one for all, and the result is as the layer's."""
    mine, theirs, result = shape(layer) or (), shape(other), shape(node)
    kinds = {n.meta["val"].dtype for n in (layer, node, other)}
    if theirs is None or len(theirs) > len(mine) or len(kinds) != 1 or str(result) != str(mine):
        return False
    full = (*([1] * (len(mine) - len(theirs))), *theirs)
    return full[1] in (1, mine[1]) and all(s == 1 for i, s in enumerate(full) if i != 1)


def _build(draft: Draft, node: fx.Node, layer: fx.Node, other: fx.Node) -> list[fx.Node]:
    weight_node, bias_node = facts.argument(layer, 1, "weight"), facts.argument(layer, 2, "bias")
    weight = draft.float64(weight_node)
    bias = draft.float64(bias_node) if bias_node is not None else None
    (value,) = evaluate(draft.module, [other], {}, dtype=torch.float64)
    each = value.reshape(-1).expand(len(weight))
    weight, bias = _folded(facts.name(node), weight, bias, each)
    made = draft.keys([n for n in (weight_node, bias_node, other) if n is not None])
    dtype = layer.meta["val"].dtype
    new_weight = draft.number(str(weight_node.target), weight, dtype, made, layer)
    new_bias = None
    if bias is not None:
        name = str(bias_node.target) if bias_node is not None else sibling(weight_node, "bias")
        new_bias = draft.number(name, bias, dtype, made, layer)
    return [draft.again(layer, layer.args[0], new_weight, new_bias, *layer.args[3:])]


def _folded(call: str, weight: Tensor, bias: Tensor | None, each: Tensor) -> tuple[Tensor, Tensor | None]:
    if call in ("aten::add", "aten::sub"):
        shift = each if call == "aten::add" else -each
        return weight, shift.clone() if bias is None else bias + shift
    scale = each if call == "aten::mul" else 1 / each
    bias = None if bias is None else bias * scale
    return weight * scale.reshape(-1, *([1] * (weight.dim() - 1))), bias


REWRITE = Rewrite("scale-fold", find)
