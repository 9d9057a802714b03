"""Hidden units that say the same whatever comes in, or that nobody listens to.

What it finds:    units of a linear or convolutional layer whose incoming weights are all zero, whose batch
                  norm scales them by zero, or whose outgoing weights are all zero, through any elementwise
                  activation, batch norm, depthwise convolution, pooling and flattening.
Why it matters:   pruning and weight decay leave them; row, column and bias can go.
Proof:            with w_i = 0 unit i is act(b_i) for every input, so V_i act(b_i) belongs in the next bias;
                  with V_i = 0 it adds nothing.
Swap safety:      exact zeros only, and only of layers with a bias: without one it may be a transform, whose
                  rows of zeros belong to it. A constant unit before a padded convolution stays unless it
                  is 0: at the border the padding's zeros stand in its place. In a checkpoint without its
                  model, where names and sizes alone tell what feeds what, they are only ``suspected``.
Source:           Frankle, Carbin: The Lottery Ticket Hypothesis (2019), for what pruning leaves; Liu et al.:
                  Learning Efficient Convolutional Networks through Network Slimming (2017), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from paramaudit.graph import facts
from paramaudit.graph.convolutions import normalises_by_stored, settings, stored_affine
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.graph.units import POINTWISE, Hidden, Place, hidden, per_channel

_aten = torch.ops.aten


@dataclass(frozen=True)
class Values:
    """What is known of units: which are constant, and their values, each ``(units,)``."""

    known: Tensor
    value: Tensor


def find(draft: Draft) -> Iterator[Match]:
    """Layers with units that can go."""
    for node in draft.graph.nodes:
        found = hidden(draft, node)
        source = node.args[0] if found is not None else None
        if found is None or not isinstance(source, fx.Node) or not _may_be_dead(draft, found):
            continue
        if facts.argument(node, 2, "bias") is None:
            continue  # a transform has rows of zeros too (sin 0), and is known by all of its rows
        values = _values(draft, found)
        dead = _dead(draft, found, values)
        if bool(dead.all()):
            dead[0] = False  # a layer without units is no layer
        count = int(dead.sum())
        stored = _stored(draft, found)
        if not count or _saved(draft, found, count) <= 0:
            continue
        yield Match(
            module_path(node),
            found.readers,
            (source,),
            partial(_build, found=found, values=values, keep=(~dead).nonzero()[:, 0]),
            "units without incoming weights are constant, those without outgoing ones are unread",
            tensors=stored,
            arguments={"units": count, "of": found.units},
        )


def _may_be_dead(draft: Draft, found: Hidden) -> bool:
    """A quick look at few numbers: where none of them is zero, no unit is dead."""
    first = draft.tensor(facts.argument(found.producer, 1, "weight"))
    looked = [] if first is None else [first.flatten(1)[:, 0]]
    for node in (*found.places, *found.readers):
        weight = draft.tensor(facts.argument(node, 1, "weight"))
        if weight is not None and node is not found.producer:
            looked.append(weight[0] if node in found.readers else weight)
    return any(bool((tensor == 0).any()) for tensor in looked)


def _stored(draft: Draft, found: Hidden) -> tuple[fx.Node, ...]:
    nodes = [n for node in (*found.places, *found.readers) for n in node.all_input_nodes]
    return tuple(
        n for n in dict.fromkeys(nodes) if n.op == "get_attr" and str(n.target) not in draft.program.buffers
    )


def _saved(draft: Draft, found: Hidden, count: int) -> int:
    """Numbers that go with ``count`` units, less the biases that readers would get."""
    saved = 0
    for node in (*found.places, *found.readers):
        for stored in node.all_input_nodes:
            if stored.op == "get_attr" and str(stored.target) not in draft.program.buffers:
                whole = node in found.readers and stored is facts.argument(node, 2, "bias")
                saved += 0 if whole else draft.float64(stored).numel() // found.units * count
        if node in found.readers and facts.argument(node, 2, "bias") is None:
            saved -= len(draft.float64(facts.argument(node, 1, "weight")))
        if normalises_by_stored(draft, node) and None in node.args[1:3]:
            saved -= 2 * (found.units - count)  # written as a scale and a shift
    return saved


# --- what is known of a unit ----------------------------------------------------------------------


def _values(draft: Draft, found: Hidden) -> dict[fx.Node, Values]:
    values: dict[fx.Node, Values] = {}
    for node in found.places:
        if node is found.producer:
            weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
            rows = draft.float64(weight).flatten(1)
            shift = rows.new_zeros(len(rows)) if bias is None else draft.float64(bias)
            values[node] = Values((rows == 0).all(1), shift)
        else:
            values[node] = _next(draft, node, values, found)
    return values


def _next(draft: Draft, node: fx.Node, values: Mapping[fx.Node, Values], found: Hidden) -> Values:
    before = [values[n] for n in node.all_input_nodes if n in values]
    known, value = before[0].known, before[0].value
    if facts.name(node) in POINTWISE:
        target: Any = node.target
        args, kwargs = map_arg((node.args, node.kwargs), lambda n: values[n].value)
        value = target(*args, **kwargs)
        return Values(torch.stack([b.known for b in before]).all(0) & value.isfinite(), value)
    if not per_channel(draft, node, found.units):
        return before[0]
    steps = settings(node)
    if steps is None:
        scale, shift = stored_affine(draft, node)
        return Values(known | (scale == 0), torch.where(known, value, 0.0) * scale + shift)
    taps, bias = draft.float64(facts.argument(node, 1, "weight")).flatten(1), facts.argument(node, 2, "bias")
    whole = known & (value == 0) if any(steps.padding) else known
    value = torch.where(whole, value, 0.0) * taps.sum(1)
    value = value if bias is None else value + draft.float64(bias)
    return Values(whole | (taps == 0).all(1), value)


def _dead(draft: Draft, found: Hidden, values: Mapping[fx.Node, Values]) -> Tensor:
    dead = torch.ones(found.units, dtype=torch.bool)
    for reader in found.readers:
        operand: Any = reader.args[0]
        seen, steps = values[operand], settings(reader)
        unread = (_columns(draft, reader, found.units) == 0).all(2).all(0)
        folds = seen.known & (seen.value == 0) if steps is not None and any(steps.padding) else seen.known
        dead &= unread | folds
    return dead


def _columns(draft: Draft, reader: fx.Node, units: int) -> Tensor:
    """A reader's weights by unit, ``(out, units, all that it has for one)``."""
    weight = draft.float64(facts.argument(reader, 1, "weight"))
    return weight.reshape(len(weight), units, -1)


# --- without them -----------------------------------------------------------------------------------


def _build(draft: Draft, found: Hidden, values: Mapping[fx.Node, Values], keep: Tensor) -> list[fx.Node]:
    done: dict[fx.Node, fx.Node] = {}
    for node, place in found.places.items():
        with draft.graph.inserting_before(node):
            if node is found.producer:
                done[node] = _cut(draft, node, node.args[0], keep)
            elif normalises_by_stored(draft, node):
                done[node] = _scaled(draft, node, done, keep)
            elif settings(node) is not None:
                done[node] = _cut(draft, node, done[node.all_input_nodes[0]], keep, len(keep))
            else:
                args = _resized(node, place, len(keep))
                args, kwargs = map_arg((args, node.kwargs), lambda n: done.get(n, n))
                done[node] = draft.call(_function(node), *args, path_of=node, **kwargs)
    return [_reader(draft, reader, done, values, keep) for reader in found.readers]


def _function(node: fx.Node) -> Any:
    """A view may not fit the strides of fewer units."""
    return _aten.reshape.default if node.target is _aten.view.default else node.target


def _resized(node: fx.Node, place: Place, units: int) -> tuple[Any, ...]:
    """The arguments of a call for fewer units: a reshape names their dimension's size."""
    if facts.name(node) not in ("aten::view", "aten::reshape"):
        return node.args
    given: Any = node.args[1]
    sizes = list(given)
    sizes[place.axis] = units * place.period
    return (node.args[0], sizes)


def _cut(draft: Draft, node: fx.Node, source: Any, keep: Tensor, groups: int | None = None) -> fx.Node:
    weight_node, bias_node = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    target: Any = node.target
    dtype, made = node.meta["val"].dtype, draft.keys([weight_node])
    weight = draft.number(str(weight_node.target), draft.float64(weight_node)[keep], dtype, made, node)
    bias = None
    if bias_node is not None:
        made = draft.keys([bias_node])
        bias = draft.number(str(bias_node.target), draft.float64(bias_node)[keep], dtype, made, node)
    rest = node.args[3:] if groups is None else (*node.args[3:6], groups)
    return draft.call(target, source, weight, bias, *rest, path_of=node)


def _scaled(draft: Draft, node: fx.Node, done: Mapping[fx.Node, fx.Node], keep: Tensor) -> fx.Node:
    """A batch norm by stored statistics as a scale and a shift of the channels that stay."""
    source: Any = node.args[0]
    scale, shift = stored_affine(draft, node)
    rank = len(shape(node) or ()) - 2
    stored = [n for n in node.args[1:5] if isinstance(n, fx.Node)]
    made, dtype = draft.keys(stored), node.meta["val"].dtype
    names = [sibling(stored[-1], name) for name in ("weight", "bias")]
    numbers = [
        draft.number(name, value[keep].reshape(-1, *([1] * rank)), dtype, made, node)
        for name, value in zip(names, (scale, shift), strict=True)
    ]
    product = draft.call(_aten.mul.Tensor, done[source], numbers[0], path_of=node)
    return draft.call(_aten.add.Tensor, product, numbers[1], path_of=node)


def _reader(
    draft: Draft,
    node: fx.Node,
    done: Mapping[fx.Node, fx.Node],
    values: Mapping[fx.Node, Values],
    keep: Tensor,
) -> fx.Node:
    source: Any = node.args[0]
    weight_node, bias_node = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    seen, whole = values[source], draft.float64(weight_node)
    columns = _columns(draft, node, len(seen.known))
    gone = torch.ones(len(seen.known), dtype=torch.bool)
    gone[keep] = False
    constant = torch.where(gone & seen.known, seen.value, 0.0)
    shift = columns.sum(2) @ constant
    made, dtype = draft.keys([n for n in (weight_node, bias_node) if n is not None]), node.meta["val"].dtype
    narrow = columns[:, keep].reshape(len(whole), -1, *whole.shape[2:])
    with draft.graph.inserting_before(node):
        weight = draft.number(str(weight_node.target), narrow, dtype, made, node)
        bias = bias_node
        if bool((shift != 0).any()):
            name = sibling(weight_node, "bias") if bias_node is None else str(bias_node.target)
            value = shift if bias_node is None else shift + draft.float64(bias_node)
            bias = draft.number(name, value, dtype, made, node)
        return draft.again(node, done[source], weight, bias, *node.args[3:])


REWRITE = Rewrite("dead-units", find)
