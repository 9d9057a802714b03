"""A recurrent layer that runs for a single step.

What it finds:    LSTM, GRU and RNN calls over a static length of 1 from a zero state.
Why it matters:   the state is zero, so recurrent weights never act; in an LSTM the forget gate multiplies
                  zero. 4H(I+H)+8H numbers become 3HI+3H in each LSTM layer and direction, 3H(I+H)+6H
                  become 3HI+4H in each GRU's (its recurrent candidate bias is gated and stays).
Proof:            put h = c = 0 in the cell equations.
Swap safety:      only where the length is a static 1 of the graph and the initial state is written as
                  zeros; not in train mode with dropout between layers; projected LSTMs are left.
Source:           Hochreiter, Schmidhuber (1997); Cho et al. (2014), equations 5-8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import EVAL, of_sizes
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.records import Json, Skipped

_ZEROS = ("aten::zeros", "aten::zeros_like", "aten::new_zeros")
_GATES = {"aten::lstm": 4, "aten::gru": 3, "aten::rnn_tanh": 1, "aten::rnn_relu": 1}
_aten = torch.ops.aten


@dataclass(frozen=True)
class _Call:
    """The arguments of one recurrent call."""

    node: fx.Node
    kind: str
    source: fx.Node
    weights: tuple[fx.Node, ...]
    biases: bool
    layers: int
    directions: int
    batch_first: bool
    dropout: float

    def group(self, layer: int, direction: int) -> tuple[fx.Node, ...]:
        size = 4 if self.biases else 2
        start = (layer * self.directions + direction) * size
        return self.weights[start : start + size]


def find(draft: Draft) -> Iterator[Match | Skipped]:
    """Outputs of recurrent calls over one step."""
    for node in list(draft.graph.nodes):
        kind = facts.name(node)
        if kind not in _GATES:
            continue
        call = _read(node, kind)
        if isinstance(call, Skipped):
            yield call
        elif call is not None:
            sequence = next((u for u in node.users if facts.name(u) == "getitem" and u.args[1] == 0), None)
            others = [u for u in node.users if u is not sequence and u.users]
            if others:
                yield Skipped(
                    module_path(node), "one-step recurrence whose final state is read; left as it is"
                )
            elif sequence is not None:
                yield _match(draft, call, sequence)


def _read(node: fx.Node, kind: str) -> _Call | Skipped | None:
    source, state, weights = node.args[:3]
    if not isinstance(source, fx.Node) or not isinstance(weights, list | tuple) or len(node.args) < 9:
        return None  # a packed sequence has another signature
    biases, layers, dropout, train, bidirectional, batch_first = node.args[3:9]
    sizes = shape(source)
    if sizes is None or len(sizes) != 3 or sizes[1 if batch_first else 0] != 1:
        return None
    path = module_path(node)
    states = state if isinstance(state, list | tuple) else [state]
    if not all(_is_zero(s) for s in states):
        return Skipped(path, "one-step recurrence, but its initial state is not zero")
    if train and dropout and int(str(layers)) > 1:
        return Skipped(path, "one-step recurrence in train mode with dropout between layers")
    directions = 2 if bidirectional else 1
    expected = int(str(layers)) * directions * (4 if biases else 2)
    if len(weights) != expected:
        return Skipped(path, "one-step recurrence with a projection; left as it is")
    nodes = tuple(w for w in weights if isinstance(w, fx.Node) and w.op == "get_attr")
    if len(nodes) != expected:
        return Skipped(path, "one-step recurrence whose weights are computed; left as it is")
    rate = float(str(dropout))
    count = int(str(layers))
    return _Call(node, kind, source, nodes, bool(biases), count, directions, bool(batch_first), rate)


def _is_zero(state: object) -> bool:
    node = state
    while isinstance(node, fx.Node) and (facts.is_identity(node) or facts.name(node) in facts.VIEWS):
        node = node.args[0]
    if not isinstance(node, fx.Node):
        return False
    if facts.name(node) == "aten::full":
        return bool(node.args[1] == 0)
    return facts.name(node) in _ZEROS


def _match(draft: Draft, call: _Call, sequence: fx.Node) -> Match:
    arguments: dict[str, Json] = {
        "cell": call.kind.removeprefix("aten::"),
        "layers": call.layers,
        "directions": call.directions,
    }
    return Match(
        module_path(call.node),
        (sequence,),
        (call.source,),
        lambda new: [_build(new, call, sequence)],
        "the recurrent state is zero at the only step",
        tensors=call.weights,
        arguments=arguments,
        requires=(*of_sizes(draft.program, call.source), *_undropped(call)),
    )


def _undropped(call: _Call) -> tuple[str, ...]:
    """Between layers, a dropout that evaluation switches off would act in training."""
    return (EVAL,) if call.dropout and call.layers > 1 else ()


def _build(draft: Draft, call: _Call, like: fx.Node) -> fx.Node:
    value = call.source
    for layer in range(call.layers):
        outputs = [
            _cell(draft, call, draft_group, value, like)
            for draft_group in (call.group(layer, d) for d in range(call.directions))
        ]
        value = outputs[0]
        if len(outputs) > 1:
            value = draft.call(_aten.cat.default, outputs, -1, path_of=like)
    return value


def _cell(draft: Draft, call: _Call, group: tuple[fx.Node, ...], source: fx.Node, like: fx.Node) -> fx.Node:
    tensors = [draft.float64(node) for node in group]
    weight = tensors[0]
    width = len(weight) // _GATES[call.kind]
    both = tensors[2] + tensors[3] if call.biases else None
    rows = {"aten::lstm": [0, 2, 3], "aten::gru": [0, 1, 2]}.get(call.kind, [0])
    keep = torch.cat([torch.arange(r * width, (r + 1) * width) for r in rows])
    made, dtype = draft.keys(group), source.meta["val"].dtype
    names = [str(node.target) for node in group]
    if call.kind == "aten::gru" and both is not None:
        # the candidate's recurrent bias is multiplied by the reset gate, so it stays apart
        both = torch.cat([both[: 2 * width], tensors[2][2 * width :]])
    weights = draft.number(names[0], weight[keep], dtype, made, like)
    bias = draft.number(names[2], both[keep], dtype, made, like) if both is not None else None
    gates = draft.call(_aten.linear.default, source, weights, bias, path_of=like)
    if len(rows) == 1:
        function = _aten.tanh.default if call.kind == "aten::rnn_tanh" else _aten.relu.default
        return draft.call(function, gates, path_of=like)
    parts = [
        draft.call(_aten.slice.Tensor, gates, -1, i * width, (i + 1) * width, path_of=like) for i in range(3)
    ]
    if call.kind == "aten::lstm":
        return _lstm(draft, parts, like)
    hidden = draft.number(names[3], tensors[3][2 * width :], dtype, made, like) if call.biases else None
    return _gru(draft, parts, hidden, like)


def _lstm(draft: Draft, parts: list[fx.Node], like: fx.Node) -> fx.Node:
    """The LSTM cell: h = sigmoid(o) tanh(sigmoid(i) tanh(g))."""
    write = draft.call(_aten.sigmoid.default, parts[0], path_of=like)
    cell = draft.call(_aten.tanh.default, parts[1], path_of=like)
    state = draft.call(_aten.mul.Tensor, write, cell, path_of=like)
    read = draft.call(_aten.sigmoid.default, parts[2], path_of=like)
    return draft.call(
        _aten.mul.Tensor, read, draft.call(_aten.tanh.default, state, path_of=like), path_of=like
    )


def _gru(draft: Draft, parts: list[fx.Node], hidden: fx.Node | None, like: fx.Node) -> fx.Node:
    """The GRU cell: h = (1 - z) tanh(n + r b), written as (1 - sigmoid(z)) = sigmoid(-z)."""
    candidate = parts[2]
    if hidden is not None:
        reset = draft.call(_aten.sigmoid.default, parts[0], path_of=like)
        gated = draft.call(_aten.mul.Tensor, reset, hidden, path_of=like)
        candidate = draft.call(_aten.add.Tensor, candidate, gated, path_of=like)
    new = draft.call(_aten.tanh.default, candidate, path_of=like)
    keep = draft.call(_aten.neg.default, parts[1], path_of=like)
    return draft.call(
        _aten.mul.Tensor, draft.call(_aten.sigmoid.default, keep, path_of=like), new, path_of=like
    )


REWRITE = Rewrite("single-step-recurrence", find)
