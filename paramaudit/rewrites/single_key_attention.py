"""Attention over a single key.

What it finds:    scaled dot-product attention, whole or written out, whose key length is static 1.
Why it matters:   the softmax of one score is 1, so queries and keys are dead and the output is the value.
Proof:            softmax(s) = 1 for one finite s, hence softmax(q k / sqrt(d)) v = v.
Swap safety:      only where the key length is a fact of the graph, not of the example inputs; not under
                  attention dropout, not with a mask (a masked single key is NaN), not where the scores are
                  made with numbers that are NaN or infinite.
Source:           Vaswani et al., Attention Is All You Need (2017), section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import of_attention, of_mode, of_sizes
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import not_finite
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.records import Skipped


def find(draft: Draft) -> Iterator[Match | Skipped]:
    """Attention calls with one static key, and products of a constant-one weight with a value."""
    for node in draft.graph.nodes:
        call = facts.name(node)
        if call == "aten::scaled_dot_product_attention":
            yield from _fused(draft, node)
        elif call in ("aten::bmm", "aten::matmul"):
            yield from _written_out(draft, node)
        elif call in ("aten::softmax", "aten::_softmax") and _feeds_product(node):
            yield from _across_batch(draft, node, (shape(node) or (0,))[facts.argument(node, 1, "dim")])


def _fused(draft: Draft, node: fx.Node) -> Iterator[Match | Skipped]:
    parts: Any = node.args[:3]
    query, key, value = parts
    if not all(isinstance(part, fx.Node) for part in (query, key, value)):
        return
    sizes, path = shape(key) or (), module_path(node)
    if not isinstance(sizes[-2], int):
        yield from _across_batch(draft, node, sizes[-2])
        return
    if sizes[-2] != 1:
        return
    if facts.argument(node, 3, "attn_mask") is not None:
        yield Skipped(path, "attention over one key with a mask: a masked single key is NaN")
        return
    if facts.argument(node, 4, "dropout_p", 0.0):
        yield Skipped(path, "attention over one key under attention dropout: the weight is not always 1")
        return
    if str((shape(value) or ())[:-2]) != str((shape(node) or ())[:-2]):
        return  # grouped heads: the value is repeated, which needs its own rule
    bad = [n for part in (query, key) for n in not_finite(draft.module, part, draft.program.buffers)]
    if bad:
        reason = f"attention over one key, but {bad[0]} holds NaN or infinite numbers and reaches its score"
        yield Skipped(path, reason)
        return
    yield Match(
        path,
        (node,),
        (query, key, value),
        lambda new: [_spread(new, value, node, query)],
        "attention over one key returns its value",
        tensors=_stored_before(node),
        requires=(*of_sizes(draft.program, key), *of_attention(draft.program)),
    )


def _feeds_product(node: fx.Node) -> bool:
    """Whether a softmax's weights multiply something, as in attention that is written out."""
    products = ("aten::bmm", "aten::matmul")
    return any(
        (facts.name(user) in products and user.args[0] is node)
        or (facts.name(user).endswith("dropout") and _feeds_product(user))
        for user in node.users
    )


def _across_batch(draft: Draft, node: fx.Node, keys: object) -> Iterator[Skipped]:
    """A refusal where the key length is the batch: a batch of 1 only looks like a single key."""
    named = {str(s): n for p in draft.program.contract.inputs for s, n in _symbols(draft, p.name, p.shape)}
    if named.get(str(keys)) == "batch":
        yield Skipped(module_path(node), "attends across the batch: the key length is the batch size, not 1")


def _written_out(draft: Draft, node: fx.Node) -> Iterator[Match]:
    weight, value = node.args[:2]
    passed: list[fx.Node] = []
    while isinstance(weight, fx.Node) and facts.is_identity(weight):
        passed.append(weight)
        weight = weight.args[0]
    if not isinstance(weight, fx.Node) or not isinstance(value, fx.Node):
        return
    sizes = shape(weight)
    if facts.name(weight) not in ("aten::ones", "aten::ones_like") or sizes is None or sizes[-1] != 1:
        return
    if str((shape(value) or ())[:-2]) != str((shape(node) or ())[:-2]):
        return
    yield Match(
        module_path(node),
        (node,),
        tuple(dict.fromkeys((value, *_sized_by(weight)))),
        lambda new: [_spread(new, value, node, weight)],
        "attention over one key returns its value",
        tensors=_stored_before(node),
        requires=(*of_sizes(draft.program, value), *of_mode(passed)),
    )


def _spread(draft: Draft, value: fx.Node, like: fx.Node, query: fx.Node) -> fx.Node:
    """The value once for every query (a row of ``query``, the tensor or the weights)."""
    rows = (shape(like) or ())[-2]
    if rows == 1:
        return draft.call(torch.ops.aten.alias.default, value, path_of=like)
    count = draft.length(rows, like)
    if count is None:
        count = draft.call(torch.ops.aten.sym_size.int, query, -2, path_of=like)
    keep = [-1] * (len(shape(like) or ()) - 2)
    return draft.call(torch.ops.aten.expand.default, value, [*keep, count, -1], path_of=like)


def _sized_by(weight: fx.Node) -> list[fx.Node]:
    """The tensors that a constant-one weight takes its sizes from."""
    found: list[fx.Node] = []
    stack = list(weight.all_input_nodes)
    while stack:
        node = stack.pop()
        if isinstance(node.meta.get("val"), Tensor):
            found.append(node)
        else:
            stack.extend(node.all_input_nodes)
    return found


def _stored_before(node: fx.Node) -> tuple[fx.Node, ...]:
    """The projections that feed an attention: stored numbers reached through the same module."""
    path, seen, stack = module_path(node), set[fx.Node](), [node]
    while stack:
        current = stack.pop()
        if current in seen:
            continue
        seen.add(current)
        if current.op == "get_attr" or module_path(current) == path:
            stack.extend(current.all_input_nodes)
    return tuple(sorted(n for n in seen if n.op == "get_attr"))


def _symbols(draft: Draft, name: str, sizes: tuple[str | int, ...]) -> Iterator[tuple[str, str]]:
    for node in draft.graph.nodes:
        if node.op == "placeholder" and str(node.target) == name:
            for size, label in zip(shape(node) or (), sizes, strict=True):
                if isinstance(label, str):
                    yield str(size), label


REWRITE = Rewrite("single-key-attention", find)
