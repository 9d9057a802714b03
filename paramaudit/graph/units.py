"""Hidden units followed from the layer that makes them to the layers that read them, each on its own.

Between the two stand only calls that keep the units apart: elementwise functions, batch norms by stored
statistics, depthwise convolutions, pooling over positions, reshapes and transposes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.convolutions import normalises_by_stored, settings
from paramaudit.graph.shapes import same, shape
from paramaudit.graph.surgery import Draft

_CALLS = (
    *(
        "relu",
        "relu6",
        "hardtanh",
        "tanh",
        "sigmoid",
        "hardsigmoid",
        "hardswish",
        "log_sigmoid",
        "selu",
        "elu",
    ),
    *(
        "celu",
        "gelu",
        "silu",
        "mish",
        "leaky_relu",
        "softplus",
        "hardshrink",
        "softshrink",
        "threshold",
        "sin",
    ),
    *("cos", "atan", "erf", "abs", "clamp", "clamp_min", "clamp_max", "neg", "square", "mul", "add", "sub"),
)
POINTWISE = frozenset(f"aten::{call}" for call in _CALLS)
"""Elementwise functions that are finite for every finite number."""
POOLS = frozenset(
    f"aten::{kind}{rank}d" for kind in ("max_pool", "avg_pool", "adaptive_avg_pool") for rank in (1, 2, 3)
)
MEANS = ("aten::mean", "aten::amax", "aten::amin")
VIEWS = tuple(f"aten::{call}" for call in ("view", "reshape", "flatten", "unsqueeze", "squeeze"))


@dataclass(frozen=True)
class Place:
    """Where a tensor holds its units: unit u at ``u * period`` to ``(u + 1) * period`` along ``axis``."""

    axis: int
    period: int = 1


@dataclass(frozen=True)
class Hidden:
    """A layer, the calls after it with the place of its units, and the layers that read them."""

    places: Mapping[fx.Node, Place]
    readers: tuple[fx.Node, ...]
    units: int

    @property
    def producer(self) -> fx.Node:
        """The layer that makes the units."""
        return next(iter(self.places))


def hidden(draft: Draft, producer: fx.Node) -> Hidden | None:
    """The units that a linear layer or a convolution makes; None where somebody reads them in another way."""
    start = _made(draft, producer)
    if start is None:
        return None
    units = int((shape(producer) or ())[start.axis])
    places, readers = {producer: start}, set[fx.Node]()
    queue = sorted(producer.users)
    while queue:
        node = queue.pop(0)
        if node in places or node in readers:
            continue
        known = [n for n in node.all_input_nodes if isinstance(n.meta.get("val"), Tensor) and n in places]
        place = _after(draft, node, places, units) if known else None
        if place is not None:
            places[node] = place
            queue = sorted({*queue, *node.users})
        elif known and _reads(draft, node, places):
            readers.add(node)
        else:
            return None
    ordered = dict(sorted(places.items(), key=lambda item: item[0]))
    return Hidden(ordered, tuple(sorted(readers)), units) if readers else None


def _made(draft: Draft, node: fx.Node) -> Place | None:
    steps, sizes = settings(node), shape(node) or ()
    linear = facts.name(node) == "aten::linear"
    if not linear and (steps is None or steps.groups != 1):
        return None
    if not node.meta["val"].is_floating_point():
        return None
    if not draft.alone(facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")):
        return None
    return Place(len(sizes) - 1 if linear else 1)


def _reads(draft: Draft, node: fx.Node, places: Mapping[fx.Node, Place]) -> bool:
    """Whether a call is a layer with a weight of its own for each unit."""
    weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node) or source not in places or weight in places or bias in places:
        return False
    place, steps = places[source], settings(node)
    if facts.name(node) == "aten::linear":
        fits = place.axis == len(shape(source) or ()) - 1
    else:
        fits = steps is not None and steps.groups == 1 and place == Place(1)
    return fits and draft.alone(weight, bias)


def _after(draft: Draft, node: fx.Node, places: Mapping[fx.Node, Place], units: int) -> Place | None:
    """Where a call's result holds the units; None where they meet, or it is not understood."""
    source = next((n for n in node.all_input_nodes if n in places), None)
    mine = node.meta.get("val")
    if source is None or not isinstance(mine, Tensor) or facts.is_random(node) or facts.is_impure(node):
        return None
    call, place = facts.name(node), places[source]
    if source.meta["val"].dtype != mine.dtype:
        return None
    if facts.is_identity(node) and call not in VIEWS:
        return place
    if call in POINTWISE:
        return place if _elementwise(node, places) else None
    if node.args[0] is not source or any(n in places for n in node.all_input_nodes if n is not source):
        return None
    if call in VIEWS:
        return _viewed(source, node, place, units)
    if call in ("aten::transpose", "aten::permute"):
        return _moved(node, place)
    if call in MEANS:
        return _reduced(node, place)
    if call in POOLS:
        return place if _plain_pool(node, place) else None
    return place if place == Place(1) and per_channel(draft, node, units) else None


def per_channel(draft: Draft, node: fx.Node, units: int) -> bool:
    """Whether a call is a batch norm by stored statistics or a depthwise convolution, its numbers its own."""
    if normalises_by_stored(draft, node):
        return draft.alone(*(n for n in node.args[1:3] if isinstance(n, fx.Node)))
    steps = settings(node)
    weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    if steps is None or not draft.alone(weight, bias):
        return False
    return steps.groups == units and tuple(weight.meta["val"].shape[:2]) == (units, 1)


def _elementwise(node: fx.Node, places: Mapping[fx.Node, Place]) -> bool:
    """Whether all tensors of a call hold the units in one place, in the shape of the result."""
    inputs = node.all_input_nodes
    if not all(n in places and places[n] == places[inputs[0]] for n in inputs):
        return False
    mine = shape(node) or ()
    sizes = [shape(n) or () for n in inputs]
    return all(len(s) == len(mine) and all(map(same, s, mine)) for s in sizes)


def _viewed(source: fx.Node, node: fx.Node, place: Place, units: int) -> Place | None:
    """A reshape keeps the order of all numbers, so what counts is how many follow a dimension."""
    before, after = shape(source) or (), shape(node) or ()
    if facts.name(node) == "aten::squeeze" and facts.bound(node).get("dim") is None:
        return None  # it would drop a dimension of one unit that is left
    if not all(isinstance(n, int) for n in before[place.axis :]):
        return None
    inner = math.prod(before[place.axis + 1 :]) * place.period  # numbers in a row that belong to one unit
    for axis in range(len(after)):
        if not all(isinstance(n, int) for n in after[axis:]):
            continue
        behind = math.prod(after[axis + 1 :])
        if after[axis] * behind == units * inner and behind and inner % behind == 0:
            return Place(axis, inner // behind)
    return None


def _moved(node: fx.Node, place: Place) -> Place | None:
    given, rank = facts.bound(node), len(shape(node) or ())
    order = list(range(rank))
    if facts.name(node) == "aten::permute":
        order = [d % rank for d in given["dims"]]
    else:
        i, j = given["dim0"] % rank, given["dim1"] % rank
        order[i], order[j] = j, i
    return Place(order.index(place.axis), place.period)


def _reduced(node: fx.Node, place: Place) -> Place | None:
    source, given = node.args[0], facts.bound(node)
    rank = len(shape(source) or ()) if isinstance(source, fx.Node) else 0
    dims = given.get("dim")
    chosen = {d % rank for d in dims} if isinstance(dims, list | tuple) and dims and rank else set()
    if not chosen or place.axis in chosen or given.get("dtype") is not None:
        return None
    return (
        place
        if given.get("keepdim")
        else Place(place.axis - sum(d < place.axis for d in chosen), place.period)
    )


def _plain_pool(node: fx.Node, place: Place) -> bool:
    """Whether a pool takes the mean or the largest of real values only: no zeros from padding."""
    given = facts.bound(node)
    call, rank = facts.name(node), int(facts.name(node)[-2])
    batched = len(shape(node) or ()) == rank + 2  # without a batch dimension 1 is a position
    if place != Place(1) or not batched or given.get("divisor_override") is not None:
        return False
    if "adaptive" in call or "max" in call:
        return True
    return not any(given["padding"]) and not given["ceil_mode"]
