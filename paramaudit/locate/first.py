"""The first node, in the original's order, whose value differs by more than rounding on one input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program, module_path, placeholders
from paramaudit.graph.run import call, cast
from paramaudit.locate.align import Aligned
from paramaudit.records import Located

_SLACK = 64.0
"""A difference counts from this multiple of the original's own rounding on, as in the attack."""


def first_difference(
    first: Program, second: Program, found: Aligned, inputs: Sequence[Any]
) -> tuple[Located | None, str]:
    """Run both in float64, and the original in its own dtype, in step, until two aligned nodes differ.

    Args:
        first: the original.
        second: the other one.
        found: the nodes that stand for each other, see :func:`paramaudit.locate.align.align`.
        inputs: the flat inputs, in the order of the contract.

    Returns:
        The place, or None with the reason why there is none.
    """
    if any(facts.is_random(node) for side in (first, second) for node in facts.live(side.graph)):
        return None, "random numbers are drawn"
    passed = facts.constants(first.graph) | facts.stale(first.graph)  # what is overwritten is not compared
    unsteady = facts.stale(second.graph)
    pairs = {
        a: b for a, b in found.items() if a.op == "call_function" and a not in passed and b not in unsteady
    }
    if not pairs:
        return None, "no part of the one can be told to be a part of the other: the architectures differ"
    exact = _Stream(first, inputs, torch.float64, pairs)
    plain = _Stream(first, inputs, None, pairs)
    other = _Stream(second, inputs, torch.float64, pairs.values())
    try:
        for node in sorted(pairs):
            values = (exact.value(node), plain.value(node), other.value(pairs[node]))
            place = _compare(node, *values)
            if place is not None:
                return place, ""
    except (RuntimeError, IndexError, ValueError) as error:
        return None, f"one of the two does not run on this input: {' '.join(str(error).split())[:200]}"
    return None, "the parts that stand for each other agree on this input"


def _compare(node: fx.Node, exact: Any, plain: Any, other: Any) -> Located | None:
    if not isinstance(exact, Tensor) or not isinstance(other, Tensor) or not exact.numel():
        return None
    if exact.shape != other.shape:
        return Located(module_path(node), node.name, float("inf"), 0.0)
    error, rounding = _apart(other, exact), _apart(plain, exact)
    floats = plain.is_floating_point() or plain.is_complex()
    size = float(exact.abs().nan_to_num(0.0, 0.0).max()) if floats else 0.0
    eps = torch.finfo(plain.dtype).eps if floats else 0.0
    if error <= _SLACK * max(rounding, eps * size):
        return None
    return Located(module_path(node), node.name, error, rounding)


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; infinite where only one of them is finite."""
    x, y = (t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (a, b))
    same = (x == y) | (torch.isnan(x) & torch.isnan(y))
    off = (x - y).abs().masked_fill(same, 0.0)
    return float(off.nan_to_num(nan=float("inf"), posinf=float("inf")).max())


class _Stream:
    """A run that goes on as values are asked for, in graph order; a value is forgotten once it is read."""

    def __init__(
        self, program: Program, inputs: Sequence[Any], dtype: torch.dtype | None, wanted: Iterable[fx.Node]
    ) -> None:
        self._module, self._dtype = program.module, dtype
        given = zip(placeholders(program.graph), inputs, strict=True)
        written = {source for node in program.graph.nodes for source in facts.written(node)}
        self._written = written
        self._values: dict[fx.Node, Any] = {
            node: value.clone() if node in written and isinstance(value, Tensor) else value
            for node, value in ((node, cast(leaf, dtype)) for node, leaf in given)
        }
        self._uses: Counter[fx.Node] = Counter(list(wanted))
        needed = _needed(program.graph, self._uses)
        for node in needed:
            self._uses.update(set(node.all_input_nodes))
        self._order = iter(sorted(needed - self._values.keys()))

    def value(self, node: fx.Node) -> Any:
        with torch.no_grad():
            while node not in self._values:
                self._step(next(self._order))
        value = self._values[node]
        self._used(node)
        return value

    def _step(self, node: fx.Node) -> None:
        value = call(node, self._module, self._values.__getitem__, self._dtype)
        self._values[node] = value.clone() if node.op == "get_attr" and node in self._written else value
        for used in set(node.all_input_nodes):
            self._used(used)

    def _used(self, node: fx.Node) -> None:
        self._uses[node] -= 1
        if not self._uses[node]:
            self._values.pop(node, None)


def _needed(graph: fx.Graph, wanted: Iterable[fx.Node]) -> set[fx.Node]:
    """The nodes that lead to the wanted ones, and those that write memory."""
    stack = [*wanted, *(node for node in graph.nodes if facts.writes(node))]
    seen: set[fx.Node] = set()
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(node.all_input_nodes)
    return seen
