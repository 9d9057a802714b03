"""Numbers that are stored twice.

What it finds:    parameters with the same numbers in different storages, and the two bias vectors of
                  LSTM, GRU and RNN layers, which are only ever added.
Why it matters:   one copy is enough.
Proof:            equal numbers are interchangeable;  (x W + b) + (h U + c) = x W + h U + (b + c).
Swap safety:      exact for inference; copies that were meant to be trained apart are one afterwards.
                  Constant tensors (all zeros, all ones) are no evidence of copying and are left.
Source:           the layers' own definitions, torch.nn.LSTM and torch.nn.GRU.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten
_RECURRENT = ("aten::lstm", "aten::gru", "aten::rnn_tanh", "aten::rnn_relu")


def find(draft: Draft) -> Iterator[Match]:
    """Equal parameters, then pairs of recurrent biases."""
    yield from _equal(draft)
    for node in draft.graph.nodes:
        if facts.name(node) in _RECURRENT and _has_bias_pairs(node):
            yield from _bias_pairs(draft, node)


def _equal(draft: Draft) -> Iterator[Match]:
    groups: dict[tuple[object, ...], list[fx.Node]] = defaultdict(list)
    for node in draft.graph.nodes:
        tensor = draft.tensor(node)
        if tensor is None or str(node.target) in draft.program.buffers or not tensor.is_floating_point():
            continue
        if tensor.numel() > 1:
            ends = tensor.reshape(-1)[[0, tensor.numel() // 2, -1]].tolist()
            groups[(tuple(tensor.shape), tensor.dtype, *ends)].append(node)
    for nodes in groups.values():
        first = nodes[0]
        kept = draft.float64(first) if len(nodes) > 1 else None
        for other in nodes[1:]:
            a, b = draft.tensor(first), draft.tensor(other)
            if a is None or b is None or kept is None or a.data_ptr() == b.data_ptr():
                continue
            # 0.0 == -0.0, but 1 / x tells them apart
            same = torch.equal(a, b) and torch.equal(a.signbit(), b.signbit())
            if same and bool((kept != kept.reshape(-1)[0]).any()):
                yield Match(
                    module_path(next(iter(other.users))),
                    (other,),
                    (),
                    partial(_same, first=first, other=other),
                    f"the same numbers as {first.target}",
                    tensors=(other,),
                    arguments={"of": str(first.target)},
                )


def _same(draft: Draft, first: fx.Node, other: fx.Node) -> list[fx.Node]:
    with draft.graph.inserting_after(max(first, other)):
        return [draft.call(_aten.alias.default, first, path_of=first)]


def _has_bias_pairs(node: fx.Node) -> bool:
    """Whether each layer and direction stores two matrices and two biases (a packed call differs)."""
    if not str(node.target).endswith(".input") or len(node.args) < 9:
        return False
    weights, biases, layers, bidirectional = (node.args[i] for i in (2, 3, 4, 7))
    groups = int(str(layers)) * (2 if bidirectional else 1)
    return bool(biases) and isinstance(weights, list | tuple) and len(weights) == 4 * groups


def _bias_pairs(draft: Draft, node: fx.Node) -> Iterator[Match]:
    weights: Any = node.args[2]
    biases = [w for i, w in enumerate(weights) if i % 4 >= 2]
    if not draft.alone(*biases):
        return
    source = node.args[0]
    readers = sorted(u for u in node.users if facts.name(u) == "getitem" and u.users)
    if not isinstance(source, fx.Node) or not readers:
        return
    state = node.args[1]
    states = [s for s in (state if isinstance(state, list | tuple) else [state]) if isinstance(s, fx.Node)]
    yield Match(
        module_path(node),
        tuple(readers),
        (source, *states),
        partial(_merge, node=node, readers=readers),
        "its two bias vectors are only ever added",
        tensors=tuple(biases),
        arguments={"bias": "recurrent"},
    )


def _merge(draft: Draft, node: fx.Node, readers: list[fx.Node]) -> list[fx.Node]:
    given: Any = node.args[2]
    weights = list(given)
    dtype = weights[0].meta["val"].dtype
    with draft.graph.inserting_before(node):
        for i in range(2, len(weights), 4):
            pair = [w for w in weights[i : i + 2] if isinstance(w, fx.Node)]
            first, second = (draft.float64(w) for w in pair)
            gates = len(first) if facts.name(node) != "aten::gru" else 2 * len(first) // 3
            merged = torch.cat([first[:gates] + second[:gates], first[gates:]])
            made = draft.keys(pair)
            weights[i] = draft.number(str(pair[0].target), merged, dtype, made, node)
            weights[i + 1] = _rest(draft, pair[1], second, gates, node)
        new = draft.again(node, *node.args[:2], weights, *node.args[3:])
        return [draft.again(r, new, r.args[1]) for r in readers]


def _rest(draft: Draft, bias: fx.Node, value: Tensor, gates: int, node: fx.Node) -> fx.Node:
    """What stays of the second vector: zeros that are not stored, and a gated part of a GRU's."""
    device, dtype = bias.meta["val"].device, bias.meta["val"].dtype
    zeros = draft.call(_aten.zeros.default, [gates], dtype=dtype, device=device, path_of=node)
    if gates == len(value):
        return zeros
    gated = draft.number(str(bias.target), value[gates:], dtype, draft.keys([bias]), node)
    return draft.call(_aten.cat.default, [zeros, gated], path_of=node)


REWRITE = Rewrite("duplicate", find, stage=1)
