"""Biases of keys and values that attention cancels or passes on.

What it finds:    the bias of an attention's key projection, which adds the same number to all scores of a
                  query, and the bias of its value projection, which passes through to the output projection.
Why it matters:   a softmax does not change when a constant is added to all its scores, so key biases are
                  dead; weights that sum to 1 carry a value bias unchanged, so it folds into the next bias.
Proof:            softmax(s + c 1) = softmax(s);  A (V + 1 b^T) = A V + 1 b^T where the rows of A sum to 1.
Swap safety:      only views may stand between the bias and the attention: rotary positions, norms or an
                  extra learned key make the bias alive. Values only without attention dropout.
Source:           Vaswani et al. (2017), section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine import Region
from paramaudit.graph.clauses import of_attention
from paramaudit.graph.emit import spread
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import Read, moves, reads
from paramaudit.graph.replay import replayed
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import same, shape
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten
_ATTENTION = "aten::scaled_dot_product_attention"
_SOFTMAX = ("aten::softmax", "aten::_softmax")
_INNER = (_ATTENTION, "aten::bmm", "aten::matmul", "aten::baddbmm", "aten::mul", "aten::div", *_SOFTMAX)


def find(draft: Draft) -> Iterator[Match]:
    """Linear layers whose bias, or part of it, only reaches keys or values."""
    constant, unsafe = facts.constants(draft.graph), facts.stale(draft.graph)
    for node in list(draft.graph.nodes):
        bias = facts.argument(node, 2, "bias") if facts.name(node) == "aten::linear" else None
        if bias is None or not draft.alone(bias):
            continue
        followed = reads(draft.module, node, constant, unsafe)
        if followed is None:
            continue
        region, found = followed
        keys = {i for r in found if _is_key(region, r) for i in r.features}
        values = {r: _output(draft, r, constant) for r in found if _is_value(region, r)}
        moved = {r: out for r, out in values.items() if out is not None}
        others = {i for r in found if not _is_key(region, r) and r not in moved for i in r.features}
        carried = {i for r in moved for i in r.features}
        dead = (keys | carried) - others
        if not dead or (carried & others) or (carried & keys):
            continue
        outputs = tuple(dict.fromkeys(out for out in moved.values() if out is not None))
        source = node.args[0]
        if not isinstance(source, fx.Node):
            continue
        followers = [r.consumer for r in found if _is_key(region, r) or r in moved]
        # everything else that reads the layer must go on reading the same numbers
        kept = tuple(r.operand for r in found if not _is_key(region, r) and r not in moved)
        read_keys = [r.consumer for r in found if _is_key(region, r)]
        carrying = {r.consumer for r in moved}
        olds = tuple(sorted({*outputs, *_observed(read_keys, carrying), *kept}))
        yield Match(
            module_path(followers[0]) if followers else module_path(node),
            olds,
            (source, *_data(olds, node, constant)),
            partial(_build, node=node, dead=frozenset(dead), moved=moved, olds=olds),
            "a softmax ignores what is added to all its scores"
            if not moved
            else "attention weights sum to 1",
            tensors=(bias,),
            arguments={"keys": len(keys - others), "values": len(carried)},
            requires=of_attention(draft.program)
            if any(facts.name(n) == _ATTENTION for n in carrying)
            else (),
        )


def _is_key(region: Region, read: Read) -> bool:
    """Whether a read is the key operand of an attention, with the key positions in the batch."""
    consumer, dims = read.consumer, region.layouts[read.operand]
    if facts.name(consumer) == _ATTENTION:
        second = consumer.args[1] is read.operand and consumer.args[0] is not read.operand
        return second and consumer.args[2] is not read.operand and not any(a.feature for a in dims[-2])
    if facts.name(consumer) in ("aten::bmm", "aten::matmul") and consumer.args[1] is read.operand:
        return not any(a.feature for a in dims[-1]) and _only_softmax(consumer)
    return False


def _only_softmax(score: fx.Node) -> bool:
    """Whether a score is read by nothing but softmaxes over its last axis."""
    for user in score.users:
        if facts.name(user) in _SOFTMAX:
            rank = len(shape(user) or ())
            if facts.argument(user, 1, "dim") % rank != rank - 1:
                return False
        elif not (facts.is_identity(user) and _only_softmax(user)):
            return False
    return bool(score.users)


def _is_value(region: Region, read: Read) -> bool:
    """Whether a read is the value operand of an attention, with the key positions in the batch."""
    consumer, dims = read.consumer, region.layouts[read.operand]
    if facts.name(consumer) in ("aten::bmm", "aten::matmul"):
        weights = consumer.args[0]
        second = consumer.args[1] is read.operand and weights is not read.operand
        return second and _sums_to_one(weights) and not any(a.feature for a in dims[-2])
    return (
        facts.name(consumer) == _ATTENTION
        and consumer.args[2] is read.operand
        and consumer.args[0] is not read.operand
        and consumer.args[1] is not read.operand
        and not facts.argument(consumer, 4, "dropout_p", 0.0)
        and facts.argument(consumer, 3, "attn_mask") is None
        and not any(a.feature for a in dims[-2])
    )


def _sums_to_one(node: Any) -> bool:
    """Whether the rows of a tensor are those of a softmax over its last axis."""
    while isinstance(node, fx.Node) and facts.name(node) not in _SOFTMAX:
        source = node.args[0] if node.args else None
        views = facts.is_identity(node) or facts.name(node) in facts.VIEWS
        sizes = [shape(n) or () for n in (node, source) if isinstance(n, fx.Node)]
        if not views or len(sizes) < 2 or not all(sizes) or not same(sizes[0][-1], sizes[1][-1]):
            return False
        node = source
    rank = len(shape(node) or ()) if isinstance(node, fx.Node) else 0
    return bool(rank) and facts.argument(node, 1, "dim") % rank == rank - 1


def _output(draft: Draft, read: Read, constant: set[fx.Node]) -> fx.Node | None:
    """The one linear layer that reads the attention's output through views, with a bias of its own."""
    node = read.consumer
    while True:
        if len(node.users) != 1:
            return None
        user = next(iter(node.users))
        if facts.name(user) == "aten::linear" and user.args[0] is node:
            weight, bias = facts.argument(user, 1, "weight"), facts.argument(user, 2, "bias")
            return user if bias is not None and draft.alone(weight, bias) and weight in constant else None
        if not moves(user) or facts.name(user) == "getitem":
            return None
        node = user


def _observed(followers: list[fx.Node], carrying: set[fx.Node]) -> set[fx.Node]:
    """Nodes after the keys whose value must not change: softmaxes, and attentions that carry no value on."""
    found: set[fx.Node] = set()
    stack = [node for node in followers if node not in carrying]
    while stack:
        node = stack.pop()
        if facts.name(node) in (_ATTENTION, *_SOFTMAX):
            found.add(node)
        else:
            stack.extend(node.users)
    return found


def _data(olds: tuple[fx.Node, ...], stop: fx.Node, constant: set[fx.Node]) -> tuple[fx.Node, ...]:
    """Tensors that the observed nodes read besides the layer: other projections."""
    found: list[fx.Node] = []
    stack, seen = list(olds), set[fx.Node]()
    while stack:
        node = stack.pop()
        if node in seen or node in constant or node is stop:
            continue
        seen.add(node)
        if node in olds or moves(node) or facts.name(node) in _INNER:
            stack.extend(
                i for i in node.all_input_nodes if isinstance(i.meta.get("val"), Tensor | list | tuple)
            )
        else:
            found.append(node)
    return tuple(sorted(found))


def _build(
    draft: Draft,
    node: fx.Node,
    dead: frozenset[int],
    moved: dict[Read, fx.Node],
    olds: tuple[fx.Node, ...],
) -> list[fx.Node]:
    bias_node = facts.argument(node, 2, "bias")
    bias = draft.float64(bias_node)
    carried = {out: _carry(draft, node, bias, read, out) for read, out in moved.items()}
    with draft.graph.inserting_before(node):
        narrow = _without(draft, node, bias_node, bias, dead)
        plain = draft.call(_aten.linear.default, node.args[0], node.args[1], narrow, path_of=node)
    done = {node: plain}
    for out in sorted(carried):
        done[out] = _projected(draft, out, carried[out], done)
    return [replayed(draft, old, done) for old in olds]


def _without(
    draft: Draft, node: fx.Node, bias_node: fx.Node, bias: Tensor, dead: frozenset[int]
) -> fx.Node | None:
    """The bias with its dead entries as zeros that are not stored."""
    live = [i for i in range(len(bias)) if i not in dead]
    if not live:
        return None
    dtype, made = node.meta["val"].dtype, draft.keys([bias_node])
    stored = draft.number(str(bias_node.target), bias[live], dtype, made, node)
    return spread(draft, stored, live, len(bias), node)


def _carry(draft: Draft, node: fx.Node, bias: Tensor, read: Read, out: fx.Node) -> Tensor:
    """The value bias as the output projection sees it, ``(in,)``."""
    symbols = {
        s: 1
        for n in (node, read.consumer, out)
        for length in shape(n) or ()
        if not isinstance(length, int)
        for s in length.free_symbols
    }
    kept = torch.zeros_like(bias)
    rows = sorted(read.features)
    kept[rows] = bias[rows]
    dims = [s if isinstance(s, int) else int(s.subs(symbols)) for s in shape(node) or ()]
    (value,) = evaluate(
        draft.module, [read.operand], {node: kept.expand(dims)}, dtype=torch.float64, sizes=symbols
    )
    dims = [s if isinstance(s, int) else int(s.subs(symbols)) for s in shape(read.consumer) or ()]
    attended = value[..., :1, :].expand(dims)
    source: Any = out.args[0]
    known = {read.consumer: attended}
    (vector,) = evaluate(draft.module, [source], known, dtype=torch.float64, sizes=symbols)
    result: Tensor = vector.reshape(-1, vector.shape[-1])[0]
    return result


def _projected(draft: Draft, out: fx.Node, carried: Tensor, done: dict[fx.Node, fx.Node]) -> fx.Node:
    """An output projection whose bias takes in the values' bias that it is given."""
    weight, bias_node = facts.argument(out, 1, "weight"), facts.argument(out, 2, "bias")
    value = draft.float64(bias_node) + draft.float64(weight) @ carried
    data: Any = out.args[0]
    source = replayed(draft, data, done)
    with draft.graph.inserting_before(out):
        made, dtype = draft.keys([bias_node]), out.meta["val"].dtype
        bias = draft.number(str(bias_node.target), value, dtype, made, out)
        return draft.call(_aten.linear.default, source, weight, bias, path_of=out)


REWRITE = Rewrite("shift-invariant-bias", find, stage=1)
