"""Regions that are affine in one anchor, proven from the operators alone.

A node belongs to the region of an anchor when every operator between them is affine in the data, repeats
along the batch and mixes features only. This is the proof that a basis probe needs: ``relu(x) @ W.T`` agrees
with ``x @ W.T`` on a basis and at zero, yet it is in no region of ``x``.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine_ops import result as layout_of
from paramaudit.graph.layout import Dims, anchor_dims, dim_size, feature, fits, is_clean, is_feature
from paramaudit.graph.shapes import same, shape

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Region:
    """Nodes affine in ``anchor`` with their layouts, in graph order (the anchor first)."""

    anchor: fx.Node
    layouts: dict[fx.Node, Dims]

    def clean(self, node: fx.Node) -> bool:
        """Whether a node is ``(batch ..., features)`` in the anchor's batch order and real."""
        value = node.meta.get("val")
        return (
            node in self.layouts
            and isinstance(value, Tensor)
            and value.dtype == self.anchor.meta["val"].dtype
            and is_clean(self.layouts[node], self.layouts[self.anchor])
        )

    def features(self, node: fx.Node) -> int:
        """The number of features of a clean node."""
        return int(dim_size(self.layouts[node][-1]))


def region(
    anchor: fx.Node,
    constant: Set[fx.Node],
    layout: Dims | None = None,
    unsafe: Set[fx.Node] | None = None,
) -> Region | None:
    """The nodes that are affine in ``anchor``; None when it cannot be an anchor.

    ``layout`` says which of the anchor's dimensions are features; by default the last one. ``unsafe`` is
    what :func:`facts.stale` says of the graph, for callers that ask for many regions.
    """
    dims = shape(anchor)
    value = anchor.meta.get("val")
    if not dims or (layout is None and not isinstance(dims[-1], int)):
        return None
    if not isinstance(value, Tensor) or value.dtype not in _DTYPES:
        return None
    unsafe = facts.stale(anchor.graph) if unsafe is None else unsafe
    if anchor in unsafe:
        return None
    if anchor in constant:
        constant = constant - _after(anchor)
    start = layout or anchor_dims(dims)
    layouts: dict[fx.Node, Dims] = {anchor: start, **_zeros(anchor, start, unsafe)}
    queue = sorted({user for node in layouts for user in node.users})
    seen: set[fx.Node] = set()
    while queue:
        node = queue.pop(0)
        if node in seen or node in unsafe:
            continue
        if any(i not in layouts and i not in constant and not _symbol(i) for i in node.all_input_nodes):
            continue
        seen.add(node)
        result = layout_of(node, layouts, constant)
        if result is not None and _sound(node, result, value.dtype):
            layouts[node] = result
            queue = sorted({*queue, *(u for u in node.users if u not in seen)})
    return Region(anchor, dict(sorted(layouts.items(), key=lambda item: item[0])))


def _zeros(anchor: fx.Node, start: Dims, unsafe: Set[fx.Node]) -> dict[fx.Node, Dims]:
    """Zeros as large as the anchor's batch, such as a first state: affine with any features."""
    batch = [dim for dim in start if not is_feature(dim)]
    found: dict[fx.Node, Dims] = {}
    for node in facts.zeros(anchor.graph) if batch else ():
        sizes = shape(node) if node not in unsafe else None
        if not sizes or len(sizes) <= len(batch) or node.meta["val"].dtype != anchor.meta["val"].dtype:
            continue
        leads = all(same(dim_size(d), s) for d, s in zip(batch, sizes, strict=False))
        if leads and all(isinstance(s, int) for s in sizes[len(batch) :]):
            found[node] = (*batch, *(feature(s) for s in sizes[len(batch) :]))
    return found


def _sound(node: fx.Node, dims: Dims, dtype: torch.dtype) -> bool:
    """Whether a node holds numbers of the anchor's precision in the shape that its layout says.

    A cast to integers, or to another precision and back, is no affine map.
    """
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        return all(isinstance(v, Tensor) and v.dtype in (dtype, dtype.to_complex()) for v in value)
    sizes = shape(node)
    return (
        isinstance(value, Tensor)
        and value.dtype in (dtype, dtype.to_complex())
        and sizes is not None
        and fits(dims, sizes)
    )


def _after(anchor: fx.Node) -> set[fx.Node]:
    """Nodes that are computed from ``anchor``."""
    found: set[fx.Node] = set()
    stack = [anchor]
    while stack:
        new = [user for user in stack.pop().users if user not in found]
        found.update(new)
        stack.extend(new)
    return found


def _symbol(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)
