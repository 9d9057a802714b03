"""Sub-graphs that are a function of one variable, piecewise linear by their operators.

A node belongs to such a part when every call between it and the source acts on the last dimension alone,
with stored or constant numbers, and is affine or an activation made of straight pieces. The source has a
last dimension of 1; its leading dimensions repeat the function. A source that is constant (a grid of
times) says which interval the function is needed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine import Region
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import same, shape
from paramaudit.graph.sites import between
from paramaudit.numerics import piecewise
from paramaudit.numerics.piecewise import Bend, Domain, Lines
from paramaudit.records import Curve

_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_PRODUCTS = {"aten::linear": 0, "aten::matmul": 0, "aten::mm": 0, "aten::addmm": 1}
_PAIRS = frozenset(f"aten::{call}" for call in ("add", "sub", "rsub", "mul", "div", "maximum", "minimum"))
_RELU = Bend((0.0,), (0.0, 1.0))


@dataclass(frozen=True)
class Part:
    """A function of one variable from ``source`` to ``end``; ``region`` holds the nodes it may pass."""

    region: Region
    source: fx.Node
    end: fx.Node

    @property
    def nodes(self) -> list[fx.Node]:
        """The calls from the source (excluded) to the end (included)."""
        return between(self.region, self.source, self.end)


def parts(module: fx.GraphModule) -> Iterator[Part]:
    """Every part that bends somewhere, in graph order, with the ends that are worth a look."""
    constant = facts.constants(module.graph)
    unsafe = facts.stale(module.graph)
    for source in module.graph.nodes:
        if source in unsafe or not source.users or not _may_start(source):
            continue
        inside = _inside(source, constant, unsafe)
        if not any(_bends(node) for node in inside):
            continue
        region = Region(source, dict.fromkeys(inside, ((),)))
        ends: dict[fx.Node, None] = {}
        for last in inside:
            if last is not source and any(user not in inside for user in last.users):
                ends.update(dict.fromkeys(_waists(region, source, last)))
        for end in ends:
            part = Part(region, source, end)
            if any(_bends(node) for node in part.nodes):
                yield part


def domain_of(module: fx.GraphModule, part: Part) -> Domain:
    """The interval that a constant source covers; None for any other source."""
    if part.source not in facts.constants(module.graph):
        return None
    values = [evaluate(module, [part.source], {}, dtype=d)[0] for d in (None, torch.float64)]
    ends = [float(bound(v.to(torch.float64))) for bound in (torch.min, torch.max) for v in values]
    low, high = min(ends), max(ends)
    if not low < high:
        msg = "the source is one number"
        raise ValueError(msg)
    return low, high


def propagated(module: fx.GraphModule, part: Part, domain: Domain, dtype: torch.dtype) -> Curve:
    """The exact function from the part's source to its end.

    Raises:
        ValueError: it has too many knots to be kept, or a number is not finite.
    """
    walk = _Walk(module, part.source, domain)
    nodes = part.nodes
    last_use = {source: node for node in nodes for source in node.all_input_nodes}
    for node in nodes:
        walk.step(node)
        for source in node.all_input_nodes:
            if last_use[source] is node and source is not part.end:
                walk.states.pop(source, None)
    return piecewise.curve(walk.lines(part.end), dtype)


def _may_start(node: fx.Node) -> bool:
    dims, value = shape(node), node.meta.get("val")
    return (
        isinstance(value, Tensor)
        and value.dtype in _DTYPES
        and dims is not None
        and len(dims) > 1
        and same(dims[-1], 1)
        and node.op in ("placeholder", "call_function", "call_module", "get_attr")
    )


def _inside(source: fx.Node, constant: Set[fx.Node], unsafe: Set[fx.Node]) -> dict[fx.Node, None]:
    """The nodes that are functions of the source alone, in graph order."""
    found: dict[fx.Node, None] = {source: None}
    queue = sorted(source.users)
    while queue:
        node = queue.pop(0)
        if node in found or node in unsafe or not _acts(node, found, constant):
            continue
        found[node] = None
        queue = sorted({*queue, *node.users})
    return found


def _waists(region: Region, source: fx.Node, last: fx.Node) -> list[fx.Node]:
    """``last``, and nodes before it that everything passes and that are narrower, latest first."""
    nodes = between(region, source, last)
    ends, least = [last], _width(last)
    for node in reversed(nodes[:-1]):
        index = nodes.index(node)
        before = {source, *nodes[:index]}
        passed = not any(i in before for later in nodes[index + 1 :] for i in later.all_input_nodes)
        if passed and _width(node) < least:
            ends.append(node)
            least = _width(node)
    return ends


def _width(node: fx.Node) -> int:
    return int((shape(node) or (0,))[-1])


def _bends(node: fx.Node) -> bool:
    call = facts.name(node)
    return call in _BENDS or call in ("aten::maximum", "aten::minimum")


def _acts(node: fx.Node, inside: Mapping[fx.Node, None], constant: Set[fx.Node]) -> bool:
    """Whether a call is a function of nodes inside along the last dimension, with constants beside."""
    value, dims, call = node.meta.get("val"), shape(node), facts.name(node)
    data = [i for i in node.all_input_nodes if i in inside]
    if not isinstance(value, Tensor) or not dims or not isinstance(dims[-1], int) or dims[-1] == 0:
        return False
    if value.dtype != data[0].meta["val"].dtype:
        return False
    if any(i not in inside and i not in constant for i in node.all_input_nodes):
        return call in facts.VIEWS and node.args[0] in inside and _keeps_last(node)
    if call in _PRODUCTS:
        return _is_product(node, call, inside)
    if call in _PAIRS:
        return facts.bound(node).get("rounding_mode") is None and _broadcasts(node, inside)
    if call in _BENDS:
        return node.args[0] in inside and len(data) == 1 and _bend_of(node, None) is not None
    if call in facts.VIEWS or facts.is_identity(node):
        return node.args[0] in inside and _keeps_last(node)
    if call == "aten::neg":
        return True
    if call == "aten::cat":
        axis = facts.argument(node, 1, "dim", 0)
        return len(data) == len(set(node.all_input_nodes)) and axis in (-1, len(dims) - 1)
    return False


def _keeps_last(node: fx.Node) -> bool:
    """Whether a reshape only merges or splits leading dimensions."""
    source = node.args[0]
    before, after = (shape(source) if isinstance(source, fx.Node) else None), shape(node)
    return bool(before) and bool(after) and same((before or ())[-1], (after or ())[-1])


def _is_product(node: fx.Node, call: str, inside: Mapping[fx.Node, None]) -> bool:
    place = _PRODUCTS[call]
    data, weight = node.args[place], node.args[place + 1]
    beside = facts.bound(node).get("bias" if call == "aten::linear" else "self")
    rank = len(shape(weight) or ()) if isinstance(weight, fx.Node) else 0
    if data not in inside or weight in inside or rank != 2:
        return False
    if call == "aten::addmm":
        return isinstance(beside, fx.Node) and beside not in inside and _along_last(beside, node)
    return call != "aten::linear" or beside not in inside


def _broadcasts(node: fx.Node, inside: Mapping[fx.Node, None]) -> bool:
    """Whether the other operand of an elementwise call is a number, a row of constants, or data as well."""
    operands, dims = node.args[:2], shape(node) or ()
    data = [a for a in operands if isinstance(a, fx.Node) and a in inside]
    if len(data) == 2 and facts.name(node) in ("aten::mul", "aten::div"):
        return False
    if facts.name(node) == "aten::div" and operands[0] not in inside:
        return False
    for operand in operands:
        if isinstance(operand, fx.Node) and operand in inside:
            mine = shape(operand) or ()
            if len(mine) != len(dims) or not all(same(a, b) for a, b in zip(mine[:-1], dims, strict=False)):
                return False
        elif isinstance(operand, fx.Node):
            if not _along_last(operand, node):
                return False
        elif not isinstance(operand, int | float):
            return False
    return True


def _along_last(operand: fx.Node, node: fx.Node) -> bool:
    """Whether a constant varies along the last dimension only."""
    mine, dims = shape(operand), shape(node) or ()
    return mine is not None and len(mine) <= len(dims) and all(same(length, 1) for length in mine[:-1])


class _Walk:
    """What is known of each node, as lines or as lines and an activation that is still to be applied."""

    def __init__(self, module: fx.GraphModule, source: fx.Node, domain: Domain) -> None:
        self.module = module
        self.states: dict[fx.Node, Lines | tuple[Lines, Bend]] = {source: piecewise.identity(domain)}

    def step(self, node: fx.Node) -> None:
        call = facts.name(node)
        if call in _PRODUCTS:
            self.states[node] = self._product(node, call)
        elif call in _BENDS:
            self.states[node] = (self.lines(node.args[0]), self._bend(node))
        elif call in _PAIRS:
            self.states[node] = self._pair(node, call)
        elif call == "aten::neg":
            self.states[node] = piecewise.scaled(self.lines(node.args[0]), -torch.ones(1).double(), None)
        elif call == "aten::cat":
            given: Any = node.args[0]
            self.states[node] = piecewise.joined([self.lines(n) for n in given])
        else:
            self.states[node] = self.states[_node(node.args[0])]

    def lines(self, given: object) -> Lines:
        """The lines of a node inside."""
        node = _node(given)
        state = self.states[node]
        if isinstance(state, tuple):
            state = piecewise.bent(*state)
            self.states[node] = state
        return state

    def constant(self, value: object) -> Tensor:
        """A constant operand in float64."""
        if isinstance(value, fx.Node):
            result: Tensor = evaluate(self.module, [value], {}, dtype=torch.float64)[0]
            return result.to("cpu", torch.float64)
        return torch.tensor(float(str(value)), dtype=torch.float64)

    def row(self, value: object) -> Tensor:
        """A constant operand as a row, of one number or one for each channel."""
        return self.constant(value).reshape(-1)

    def _bend(self, node: fx.Node) -> Bend:
        bend = _bend_of(node, self.row)
        if bend is None:
            msg = f"{node.name} has no straight pieces"
            raise ValueError(msg)
        return bend

    def _product(self, node: fx.Node, call: str) -> Lines:
        given, place = facts.bound(node), _PRODUCTS[call]
        weight = self.constant(node.args[place + 1])
        weight = weight if call == "aten::linear" else weight.T
        bias = given.get("bias") if call == "aten::linear" else None
        shift = self.row(bias) if bias is not None else None
        if call == "aten::addmm":
            weight = weight * float(given["alpha"])
            shift = (self.row(given["self"]) * float(given["beta"])).expand(len(weight))
        state = self.states[_node(node.args[place])]
        if isinstance(state, tuple):
            return piecewise.bent(*state, weight.contiguous(), shift)
        return piecewise.affine(state, weight, shift)

    def _pair(self, node: fx.Node, call: str) -> Lines:
        first, second = node.args[:2]
        data = [isinstance(a, fx.Node) and a in self.states for a in (first, second)]
        if call in ("aten::maximum", "aten::minimum"):
            return self._extreme(node, call, data)
        if call in ("aten::mul", "aten::div"):
            gain = self.row(second if data[0] else first)
            return piecewise.scaled(
                self.lines(first if data[0] else second), 1 / gain if call == "aten::div" else gain, None
            )
        factor = float(facts.bound(node).get("alpha") or 1.0) * (1.0 if call == "aten::add" else -1.0)
        if call == "aten::rsub":
            first, second, data = second, first, data[::-1]
        if all(data):
            return piecewise.added(self.lines(first), self.lines(second), factor)
        if data[0]:
            return piecewise.scaled(self.lines(first), None, factor * self.row(second))
        return piecewise.scaled(self.lines(second), torch.full((1,), factor).double(), self.row(first))

    def _extreme(self, node: fx.Node, call: str, data: list[bool]) -> Lines:
        """``max(a, b) = b + relu(a - b)`` and ``min(a, b) = b - relu(b - a)``."""
        first, second = (node.args[0], node.args[1]) if data[0] else (node.args[1], node.args[0])
        sign = 1.0 if call == "aten::maximum" else -1.0
        mine = self.lines(first)
        other = (
            self.lines(second)
            if all(data)
            else piecewise.scaled(mine, 0 * self.row(second), self.row(second))
        )
        apart = piecewise.added(mine, other, -1.0)
        signed = piecewise.scaled(apart, torch.full((1,), sign).double(), None)
        return piecewise.added(other, piecewise.bent(signed, _RELU), sign)


def _node(value: object) -> fx.Node:
    """The node that an argument is.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, fx.Node):
        msg = f"{value!r} is no node"
        raise TypeError(msg)
    return value


def _limits(low: object, high: object) -> Bend | None:
    low, high = (None if isinstance(v, float) and abs(v) == float("inf") else v for v in (low, high))
    if any(not isinstance(v, int | float) for v in (low, high) if v is not None):
        return None
    if isinstance(low, int | float) and isinstance(high, int | float):
        if low >= high:
            return None
        return Bend((float(low), float(high)), (0.0, 1.0, 0.0), float(low))
    if isinstance(low, int | float):
        return Bend((float(low),), (0.0, 1.0), float(low))
    return Bend((float(high),), (1.0, 0.0), float(high)) if isinstance(high, int | float) else None


Row = Callable[[object], Tensor]


def _bend_of(node: fx.Node, row: Row | None) -> Bend | None:
    """The activation of a call; None where it has no straight pieces. Without ``row`` only that is told."""
    return _BENDS[facts.name(node)](node, facts.bound(node), row)


def _prelu(node: fx.Node, given: Mapping[str, Any], row: Row | None) -> Bend | None:
    weight, dims = given["weight"], shape(node) or ()
    count = (shape(weight) or (0,))[-1] if isinstance(weight, fx.Node) else 0
    if len(shape(weight) or ()) > 1 or (count != 1 and len(dims) != 2):
        return None
    return Bend((0.0,), (torch.ones(1) if row is None else row(weight), 1.0))


def _leaky(_node: fx.Node, given: Mapping[str, Any], _row: Row | None) -> Bend | None:
    slope = given["negative_slope"]
    return Bend((0.0,), (float(slope), 1.0)) if isinstance(slope, int | float) else None


_BENDS: dict[str, Callable[[fx.Node, Mapping[str, Any], Row | None], Bend | None]] = {
    "aten::relu": lambda _n, _g, _r: _RELU,
    "aten::relu6": lambda _n, _g, _r: _limits(0.0, 6.0),
    "aten::abs": lambda _n, _g, _r: Bend((0.0,), (-1.0, 1.0)),
    "aten::hardsigmoid": lambda _n, _g, _r: Bend((-3.0, 3.0), (0.0, 1 / 6, 0.0)),
    "aten::leaky_relu": _leaky,
    "aten::prelu": _prelu,
    "aten::hardtanh": lambda _n, g, _r: _limits(g["min_val"], g["max_val"]),
    "aten::clamp": lambda _n, g, _r: _limits(g.get("min"), g.get("max")),
    "aten::clamp_min": lambda _n, g, _r: _limits(g["min"], None),
    "aten::clamp_max": lambda _n, g, _r: _limits(None, g["max"]),
}
