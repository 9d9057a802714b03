"""Affine after affine with nothing between.

What it finds:    linear layers, products with stored matrices, residual sums x + W x, concatenations, views
                  and convolutions in a row, the middle read by nobody else. Matrices are merged along
                  whole regions that are affine by their operators; this file holds the convolutions.
Why it matters:   the composition of affine maps is one affine map; it is offered where it is smaller.
Proof:            W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2), and likewise for kernels with the polyphase
                  product. The product is computed in float64 and every number rounded once.
Swap safety:      the same function for inference, not the same training. A second convolution must not
                  pad: its zeros would stand for middle values that were never computed, and the border
                  would differ. No groups, no dilation, no transposed convolution.
Source:           Oppenheim, Schafer: Discrete-Time Signal Processing (2010), section 2.4.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.convolutions import settings
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.surgery import Draft


def find(draft: Draft) -> Iterator[Match]:
    """Pairs of convolutions that are smaller as one."""
    for node in draft.graph.nodes:
        outer = _plain(node)
        first = node.args[0] if outer else None
        if outer is None or not isinstance(first, fx.Node) or facts.name(first) != facts.name(node):
            continue
        inner = _plain(first)
        if len(first.users) != 1 or inner is None or any(outer[1]):
            continue
        stored = [facts.argument(n, i, k) for n in (first, node) for i, k in ((1, "weight"), (2, "bias"))]
        source = first.args[0]
        if not draft.alone(*stored) or not isinstance(source, fx.Node):
            continue
        old = sum(draft.float64(n).numel() for n in stored if n is not None)
        weight, bias = _compose(draft, first, node, inner[0])
        if weight.numel() + (bias.numel() if bias is not None else 0) >= old:
            continue
        yield Match(
            module_path(node),
            (node,),
            (source,),
            partial(_build, node=node, first=first, steps=(inner, outer)),
            "two convolutions with nothing between are one",
            tensors=tuple(n for n in stored if n is not None),
            arguments={"kernel": list(weight.shape[2:])},
            requires=("the second convolution does not pad",),
        )


def _plain(node: fx.Node) -> tuple[list[int], list[int]] | None:
    """Stride and padding, or None for a convolution that is not plain."""
    found = settings(node)
    if found is None or found.groups != 1 or set(found.dilation) != {1}:
        return None
    return list(found.stride), list(found.padding)


def _compose(
    draft: Draft, first: fx.Node, second: fx.Node, stride: list[int]
) -> tuple[Tensor, Tensor | None]:
    inner, outer = (
        draft.float64(facts.argument(first, 1, "weight")),
        draft.float64(facts.argument(second, 1, "weight")),
    )
    sizes = [a + s * (b - 1) for a, b, s in zip(inner.shape[2:], outer.shape[2:], stride, strict=True)]
    weight = torch.zeros(outer.shape[0], inner.shape[1], *sizes, dtype=torch.float64)
    for place_of in product(*(range(n) for n in outer.shape[2:])):
        taps: list[int] = [int(str(t)) for t in place_of]
        block = torch.einsum("om,mi...->oi...", _tap(outer, taps), inner)
        place = [slice(t * s, t * s + n) for t, s, n in zip(taps, stride, inner.shape[2:], strict=True)]
        weight[(slice(None), slice(None), *place)] += block
    biases = [facts.argument(n, 2, "bias") for n in (first, second)]
    if biases[0] is None and biases[1] is None:
        return weight, None
    bias = torch.zeros(len(outer), dtype=torch.float64)
    if biases[0] is not None:
        bias = outer.flatten(2).sum(-1) @ draft.float64(biases[0])
    return weight, bias + draft.float64(biases[1]) if biases[1] is not None else bias


def _tap(kernel: Tensor, taps: list[int]) -> Tensor:
    """One tap of a kernel, ``(out, in)``."""
    for tap in taps:
        kernel = kernel.select(2, tap)
    return kernel


def _build(
    draft: Draft, node: fx.Node, first: fx.Node, steps: tuple[tuple[list[int], list[int]], ...]
) -> list[fx.Node]:
    (stride, padding), (outer_stride, _) = steps
    weight, bias = _compose(draft, first, node, stride)
    operands = [facts.argument(n, i, k) for n in (first, node) for i, k in ((1, "weight"), (2, "bias"))]
    made, dtype = draft.keys([n for n in operands if n is not None]), node.meta["val"].dtype
    weight_node = facts.argument(node, 1, "weight")
    new_weight = draft.number(str(weight_node.target), weight, dtype, made, node)
    new_bias = None
    if bias is not None:
        new_bias = draft.number(sibling(weight_node, "bias"), bias, dtype, made, node)
    strides = [a * b for a, b in zip(stride, outer_stride, strict=True)]
    return [draft.again(node, first.args[0], new_weight, new_bias, strides, padding)]


REWRITE = Rewrite("linear-chain", find)
