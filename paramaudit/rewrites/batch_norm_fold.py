"""A batch norm with stored statistics right after a convolution or linear layer.

What it finds:    conv -> batch norm and linear -> batch norm in eval mode, nothing between.
Why it matters:   the norm's scale and shift are a scale of the layer's output channels and a new bias.
Proof:            g (W x + b - m) / s + h = (g / s) W x + (g (b - m) / s + h), s = sqrt(v + eps).
Swap safety:      only directly next: with a ReLU between the fold is wrong. Not in train mode, where the
                  statistics are the batch's. A norm before a padded convolution is left alone.
Source:           Jacob et al., Quantization and Training of Neural Networks (2018), section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import EVAL
from paramaudit.graph.convolutions import normalises_by_stored, stored_affine
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.surgery import Draft

_LAYERS = ("aten::conv1d", "aten::conv2d", "aten::conv3d", "aten::linear")


def find(draft: Draft) -> Iterator[Match]:
    """Batch norms directly after a layer that nobody else reads."""
    for node in draft.graph.nodes:
        if not normalises_by_stored(draft, node):
            continue
        layer = node.args[0]
        if not isinstance(layer, fx.Node) or facts.name(layer) not in _LAYERS or len(layer.users) != 1:
            continue
        if facts.name(layer) == "aten::linear" and len(layer.meta["val"].shape) != 2:
            continue  # the channels of a batch norm are dimension 1, a linear layer's are the last
        weight, bias = facts.argument(layer, 1, "weight"), facts.argument(layer, 2, "bias")
        if not draft.alone(weight, bias):
            continue
        if bias is None and node.args[1] is None and node.args[2] is None:
            continue  # nothing stored would be saved
        source = layer.args[0]
        if isinstance(source, fx.Node):
            yield Match(
                module_path(node),
                (node,),
                (source,),
                partial(_build, norm=node, layer=layer),
                "its scale and shift fold into the layer before it",
                tensors=tuple(n for n in (*node.args[1:3], weight, bias) if isinstance(n, fx.Node)),
                requires=(EVAL,),
            )


def _build(draft: Draft, norm: fx.Node, layer: fx.Node) -> list[fx.Node]:
    scale, shift = stored_affine(draft, norm)
    weight_node, bias_node = facts.argument(layer, 1, "weight"), facts.argument(layer, 2, "bias")
    weight = draft.float64(weight_node)
    bias = shift if bias_node is None else shift + draft.float64(bias_node) * scale
    weight = weight * scale.reshape(-1, *([1] * (weight.dim() - 1)))
    stored = [n for n in (weight_node, bias_node, *norm.args[1:5]) if isinstance(n, fx.Node)]
    made, dtype = draft.keys(stored), layer.meta["val"].dtype
    name = str(weight_node.target)
    new_weight = draft.number(name, weight, dtype, made, layer)
    new_bias = draft.number(sibling(weight_node, "bias"), bias, dtype, made, layer)
    rest = layer.args[3:]
    return [draft.again(layer, layer.args[0], new_weight, new_bias, *rest)]


REWRITE = Rewrite("batch-norm-fold", find)
