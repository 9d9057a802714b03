"""ReLU pairs that add up to a linear map.

What it finds:    linear -> ReLU -> linear where the hidden units come in pairs with rows w and -c w whose
                  outputs are weighted so that relu(a) - relu(-a) = a, scaled, permuted, over several layers.
Why it matters:   the whole block is one linear layer.
Proof:            relu(t) = (t + |t|) / 2, so V relu(W x) = V W x / 2 + V |W x| / 2. For pairs (i, j) with
                  w_j = -c w_i + e the second term is ((V_i + c V_j) |a_i| + V_j r) / 2 with |r| <= |e x|:
                  it is bounded by norms, and the bound is compared with the block's observed rounding.
Swap safety:      every hidden unit must have a partner; one that has none keeps the block.
Source:           Shang, Sohn, Almeida, Lee: Concatenated Rectified Linear Units (2016), section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.probe import rows_runner
from paramaudit.graph.program import module_path
from paramaudit.graph.surgery import Draft
from paramaudit.records import PairedUnits

_aten = torch.ops.aten
_NEAR = 1e-3


def find(draft: Draft) -> Iterator[Match]:
    """Blocks linear -> ReLU -> linear with nothing else reading the middle."""
    for node in reversed(draft.graph.nodes):  # last layers first: wider inputs, larger rounding
        middle = _single(node.args[0]) if facts.name(node) == "aten::linear" else None
        hidden = (
            _single(middle.args[0]) if middle is not None and facts.name(middle) == "aten::relu" else None
        )
        if hidden is None or middle is None or facts.name(hidden) != "aten::linear":
            continue
        stored = [facts.argument(n, i, k) for n in (hidden, node) for i, k in ((1, "weight"), (2, "bias"))]
        source = hidden.args[0]
        if not isinstance(source, fx.Node) or any(n is not None and draft.tensor(n) is None for n in stored):
            continue
        if not draft.alone(*stored):
            continue
        if not _likely(draft, stored[:2]):
            continue
        first = _affine(draft, stored[:2])
        pairs = partners(first)
        if pairs is None:
            continue
        second = _affine(draft, stored[2:])
        old = sum(draft.float64(n).numel() for n in stored if n is not None)
        if len(second) * first.shape[1] >= old:
            continue
        yield Match(
            module_path(node),
            (node,),
            (source,),
            partial(_build, node=node, hidden=hidden, first=first, second=second),
            "its ReLU units come in pairs that add up to a linear map",
            tensors=tuple(n for n in stored if n is not None),
            arguments={"units": len(first)},
            claim=_claim(draft, node, source, (first, second), pairs),
        )


def _single(node: object) -> fx.Node | None:
    """A node with one reader, through calls that change nothing."""
    while isinstance(node, fx.Node) and len(node.users) == 1:
        if not facts.is_identity(node):
            return node
        node = node.args[0]
    return None


def _affine(draft: Draft, stored: list[fx.Node | None]) -> Tensor:
    """``[W | b]``, ``(out, in + 1)``."""
    weight = draft.float64(stored[0]) if stored[0] is not None else torch.zeros(0)
    bias = draft.float64(stored[1])[:, None] if stored[1] is not None else weight.new_zeros(len(weight), 1)
    return torch.cat([weight, bias], 1)


def _likely(draft: Draft, stored: list[fx.Node | None]) -> bool:
    """Whether a few rows ``[w | b]`` each have an opposite one, in the dtype of the weight."""
    weight, bias = (draft.tensor(node) if node is not None else None for node in stored)
    if weight is None or weight.dim() != 2 or not weight.is_floating_point():
        return True
    wide = weight.detach().float()
    shift = wide.new_zeros(len(wide)) if bias is None else bias.detach().float()
    lengths = torch.sqrt(torch.linalg.vector_norm(wide, dim=1).square() + shift.square())
    cosines = (wide[:8] @ wide.T + shift[:8, None] * shift) / (lengths[:8, None] * lengths)
    # NaN where a length is no number or zero: that is looked at in full
    return not bool((cosines.min(dim=1).values > 10 * _NEAR - 1).any())


def partners(rows: Tensor) -> tuple[Tensor, Tensor] | None:
    """Indices ``(i, j)`` of opposite rows such that every row has one partner; None when one has none."""
    norms = rows.norm(dim=1)
    if len(rows) % 2 or len(rows) > 8192 or not bool((norms > 0).all()) or not bool(norms.isfinite().all()):
        return None
    sample = (rows[:8] / norms[:8, None]) @ rows.T / norms
    if bool((sample.min(dim=1).values > _NEAR - 1).any()):
        return None
    unit = (rows / norms[:, None]).to(torch.float32)
    cosine = unit @ unit.T
    best = cosine.argmin(dim=1)
    if bool((cosine.min(dim=1).values > _NEAR - 1).any()):
        return None
    index = torch.arange(len(rows))
    if not bool((best[best] == index).all()):
        return None
    first = index[index < best]
    return first, best[first]


def _claim(
    draft: Draft, node: fx.Node, source: fx.Node, block: tuple[Tensor, Tensor], pairs: tuple[Tensor, Tensor]
) -> PairedUnits:
    dtype = source.meta["val"].dtype
    widths = (block[0].shape[1] - 1, len(block[1]))
    return PairedUnits(*block, pairs, rows_runner(draft.module, source, node, widths, dtype), dtype)


def _build(draft: Draft, node: fx.Node, hidden: fx.Node, first: Tensor, second: Tensor) -> list[fx.Node]:
    inner = second[:, :-1] @ first / 2
    operands = [facts.argument(n, i, k) for n in (hidden, node) for i, k in ((1, "weight"), (2, "bias"))]
    made, dtype = draft.keys([n for n in operands if n is not None]), node.meta["val"].dtype
    name = str(operands[2].target)
    weight = draft.number(name, inner[:, :-1], dtype, made, node)
    shift = inner[:, -1] + second[:, -1]
    bias = None
    if bool(shift.any()):
        bias = draft.number(sibling(operands[2], "bias"), shift, dtype, made, node)
    return [draft.call(_aten.linear.default, hidden.args[0], weight, bias, path_of=node)]


REWRITE = Rewrite("paired-relu", find)
