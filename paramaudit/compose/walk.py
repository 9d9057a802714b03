"""Carry the gaps of swaps through a program, node by node, to its outputs.

Two bounds for each node of the original program, both per ``R = |[x;1]|`` of the program's inputs with a 1
for every row of the batch: ``growth``, on the node's own value, and ``error``, on how far the value moves
when all swaps are made. A swap of the part from S to T with gap g adds, with r rows,
``g sqrt((growth(S) + error(S))^2 + r)``
at T, by the triangle inequality: the new part stands on the moved S, and the old part carries on what moved
before. Swaps inside of one another add up in the same way, so their order does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.compose.effects import Calls, Effect
from paramaudit.compose.sizes import times
from paramaudit.graph import facts
from paramaudit.graph.program import Program, module_path, placeholders
from paramaudit.graph.shapes import shape


@dataclass(frozen=True)
class Injection:
    """A gap that is made at ``target``: ``gap`` per ``|[source;1]|``; infinite when it is not known."""

    source: str
    target: str
    gap: float
    why: str = ""


class Walk:
    """The bounds of one program under some swaps."""

    def __init__(self, program: Program, swaps: Sequence[Injection]) -> None:
        self._constant = facts.constants(program.graph)
        self._calls = Calls(program.module, self._constant)
        self._inputs = set(placeholders(program.graph))
        self._known: dict[fx.Node, Effect | None] = {}
        self._growth: dict[fx.Node, float] = {}
        self.errors: dict[fx.Node, float] = {}
        self.reasons: dict[fx.Node, str] = {}
        by_name = {node.name: node for node in program.graph.nodes}
        at: dict[fx.Node, list[Injection]] = {}
        for swap in swaps:
            at.setdefault(by_name[swap.target], []).append(swap)
        for node in program.graph.nodes:
            self.errors[node] = self._error(node, at.get(node, ()), by_name)

    def _error(self, node: fx.Node, swaps: Sequence[Injection], by_name: Mapping[str, fx.Node]) -> float:
        total = self._carried(node)
        for swap in swaps:
            if swap.gap == math.inf:
                self.reasons.setdefault(node, swap.why)
                return math.inf
            source = by_name[swap.source]
            reach = self.growth(source) + self.errors[source]
            dims = shape(source)
            rows = times(dims[:-1]) if dims else math.inf
            if reach == math.inf or rows == math.inf:
                self.reasons.setdefault(node, f"how large {_place(source)} can get is not known")
            total += swap.gap * math.hypot(reach, math.sqrt(rows))
        return total

    def _carried(self, node: fx.Node) -> float:
        """The error that a node's arguments bring."""
        moved = [i for i in node.all_input_nodes if self.errors[i]]
        if not moved or isinstance(node.meta.get("val"), torch.SymInt):
            return 0.0
        for source in moved:
            if self.errors[source] == math.inf and source in self.reasons:
                self.reasons[node] = self.reasons[source]
        effect = self._effect(node)
        if effect is None:
            self.reasons.setdefault(node, f"no bound is known through {_place(node)}")
            return math.inf
        total = _combined(effect, self.errors)
        capped = min(total, 2 * effect.cap)
        if capped < math.inf:
            self.reasons.pop(node, None)
        else:
            self.reasons.setdefault(node, f"no bound is known through {_place(node)}")
        return capped

    def growth(self, node: fx.Node) -> float:
        """The bound on a node's own value."""
        stack = [node]
        while stack:
            current = stack[-1]
            if current in self._growth:
                stack.pop()
                continue
            effect = None if self._is_given(current) else self._effect(current)
            ahead = [] if effect is None else [n for n, factor in effect.parts if factor < math.inf]
            ahead = [n for n in ahead if n not in self._growth]
            if ahead and effect is not None and effect.cap == math.inf:
                stack.extend(ahead)
                continue
            stack.pop()
            self._growth[current] = self._grown(current, effect)
        return self._growth[node]

    def _is_given(self, node: fx.Node) -> bool:
        return node in self._inputs or node in self._constant

    def _grown(self, node: fx.Node, effect: Effect | None) -> float:
        value = node.meta.get("val")
        if node in self._inputs:
            return 1.0 if isinstance(value, Tensor) and value.is_floating_point() else math.inf
        if node in self._constant:
            number = self._calls.number(node)
            return float(number.norm()) * (1 + 1e-12) if number is not None else math.inf
        if effect is None:
            return math.inf
        if effect.cap < math.inf:
            return effect.cap
        return _combined(effect, self._growth) + effect.constant

    def _effect(self, node: fx.Node) -> Effect | None:
        if node not in self._known:
            self._known[node] = self._calls.effect(node)
        return self._known[node]


def _combined(effect: Effect, values: Mapping[fx.Node, float]) -> float:
    terms = [factor * values[n] for n, factor in effect.parts if values.get(n, math.inf)]
    return math.sqrt(sum(t * t for t in terms)) if effect.joined else sum(terms)


def _place(node: fx.Node) -> str:
    call = facts.name(node).removeprefix("aten::") or str(node.target)
    path = module_path(node)
    return f"{call} in {path}" if path else call
