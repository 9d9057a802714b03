"""The walk from the outputs of two programs to their inputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from paramaudit.graph import probe
from paramaudit.graph.affine import Region
from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.run import evaluate
from paramaudit.pairing.result import Difference, Pairing
from paramaudit.pairing.same import commutes, equal, past_identities, word
from paramaudit.pairing.side import Side
from paramaudit.pairing.sizes import symbols_like, symbols_of
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Tier

_Pair = tuple[fx.Node, fx.Node]
_MOST_SWAPS = 8
"""How many exchanges of operands are tried one inside the other."""


class Walker:
    """Memory of one pairing run."""

    def __init__(self, first: Program, second: Program) -> None:
        self.result = Pairing()
        names = symbols_of(first)
        self.sides = (Side(first, names), Side(second, symbols_like(second, first, names)))
        self.known: dict[_Pair, str] = {}
        self._swaps = 0
        self.kept: tuple[dict[fx.Node, fx.Node], dict[fx.Node, fx.Node]] = ({}, {})
        for a, b in zip(placeholders(first.graph), placeholders(second.graph), strict=True):
            self.known[(a, b)] = ""

    def inputs(self) -> str:
        """Why the second does not take what the first takes; empty when it does."""
        for a, b in zip(*(placeholders(side.program.graph) for side in self.sides), strict=True):
            mine, theirs = self.sides[0].sizes(a), self.sides[1].sizes(b)
            if mine != theirs or "?" in mine:
                return f"input {a.target} may be {mine} in one and {theirs} in the other"
        given, needed = (set(side.program.contract.conditions) for side in self.sides)
        return f"one of the two is only for {min(needed - given)}" if needed - given else ""

    def effects(self) -> str:
        """Why the two leave other tensors behind, or stop on other inputs; empty when they do not."""
        mine, theirs = (side.writes for side in self.sides)
        if len(mine) != len(theirs):
            return f"one writes into {len(mine)} stored tensors or inputs, the other into {len(theirs)}"
        if any(side.reads_what_it_wrote() for side in self.sides):
            return "a tensor is read after it was written"
        for a, b in zip(mine, theirs, strict=True):
            reason = self.nodes(a, b)
            if reason:
                return f"other numbers are written: {reason}"
        held, checked = (side.checks for side in self.sides)
        if checked and len(held) != len(checked):
            return "the two stop on other inputs"
        for a, b in zip(held, checked, strict=False):
            reason = self.nodes(a, b)
            if reason:
                return f"the two stop on other inputs: {reason}"
        return ""

    def outputs(self, a: Any, b: Any) -> str:
        """Why two returned values differ; empty when they are paired."""
        if isinstance(a, fx.Node) and isinstance(b, fx.Node):
            return self.nodes(a, b)
        return "" if type(a) is type(b) and a == b else "another constant is returned"

    def nodes(self, a: fx.Node, b: fx.Node) -> str:
        """Why two nodes differ; empty when they are paired."""
        wanted = (past_identities(a), past_identities(b))
        stack = [wanted]
        while stack:
            current = stack[-1]
            ahead = self._undecided(*current) if current not in self.known else None
            if ahead is not None:
                stack.append(ahead)
                continue
            stack.pop()
            if current not in self.known:
                reason = self._same_call(*current)
                self.known[current] = self._affine(*current, reason) if reason else ""
        return self.known[wanted]

    def _undecided(self, a: fx.Node, b: fx.Node) -> _Pair | None:
        """The first pair of arguments that must be decided before these two can be."""
        for pair_ in self.arguments(a, b):
            if pair_ not in self.known:
                return pair_
            if self.known[pair_]:
                return None
        return None

    def arguments(self, a: fx.Node, b: fx.Node) -> list[_Pair]:
        """Tensor arguments of the same call, side by side; empty when it is not the same call."""
        if self.differ(a, b):
            return []
        mine, theirs = self.sides[0].inputs(a), self.sides[1].inputs(b)
        return [(past_identities(x), past_identities(y)) for x, y in zip(mine, theirs, strict=True)]

    def differ(self, a: fx.Node, b: fx.Node) -> str:
        """Why two nodes are not the same operator with the same plain arguments and output shape."""
        if "placeholder" in (a.op, b.op):
            return "another input" if a.op == b.op else "an input against a computed value"
        same = a.op == b.op == "get_attr" or (
            a.op == b.op == "call_function"
            and a.target == b.target
            and self.sides[0].text(a) == self.sides[1].text(b)
            and len(self.sides[0].inputs(a)) == len(self.sides[1].inputs(b))
        )
        if not same:
            return f"{word(a)} against {word(b)}"
        return "" if self.sides[0].draw(a) == self.sides[1].draw(b) else "other random numbers are drawn"

    def _same_call(self, a: fx.Node, b: fx.Node) -> str:
        if a.op == "get_attr" and b.op == "get_attr":
            return self._same_numbers(a, b)
        reason = self.differ(a, b)
        reason = reason or next((self.known[p] for p in self.arguments(a, b) if self.known[p]), "")
        if reason and self._same_swapped(a, b):
            return ""
        if reason and a in self.sides[0].constants and b in self.sides[1].constants:
            return self._same_values(a, b)
        return reason

    def _same_swapped(self, a: fx.Node, b: fx.Node) -> bool:
        """Whether two sums or products, which round alike in either order, have their operands exchanged."""
        pairs = self.arguments(a, b)
        if len(pairs) != 2 or not commutes(a):
            return False
        (x, y), (u, v) = pairs
        if self._swaps >= _MOST_SWAPS or self._unlike(x, v) or self._unlike(u, y):
            return False
        self._swaps += 1
        same = not (self.nodes(x, v) or self.nodes(u, y))
        self._swaps -= 1
        return same

    def _unlike(self, a: fx.Node, b: fx.Node) -> bool:
        """Whether it is plain that two nodes differ, looked at on their own."""
        if "placeholder" in (a.op, b.op):
            return (a, b) not in self.known
        return self.sides[0].sizes(a) != self.sides[1].sizes(b)

    def _same_numbers(self, a: fx.Node, b: fx.Node) -> str:
        x, y = (side.attribute(node) for side, node in zip(self.sides, (a, b), strict=True))
        if not equal(x, y):
            return f"{a.target} holds other numbers than {b.target}"
        mine, theirs = self.sides[0].kept(a), self.sides[1].kept(b)
        if mine is None and theirs is None:
            return ""
        if mine is None or theirs is None:
            return f"only one of {a.target} and {b.target} is written"
        there, back = self.kept
        alike = there.setdefault(mine, theirs) is theirs and back.setdefault(theirs, mine) is mine
        return "" if alike else f"{a.target} and {b.target} are not written alike"

    def _same_values(self, a: fx.Node, b: fx.Node) -> str:
        x, y = (
            evaluate(side.program.module, [node], {}, dtype=None)[0]
            for side, node in zip(self.sides, (a, b), strict=True)
        )
        return "" if equal(x, y) else f"{a.name} and {b.name} hold other constants"

    def _affine(self, a: fx.Node, b: fx.Node, reason: str) -> str:
        """The last resort: both nodes end affine maps of paired anchors, close enough to be proven."""
        shapes = (self.sides[0].sizes(a), self.sides[1].sizes(b))
        if shapes[0] != shapes[1] or "?" in shapes[0]:
            return reason
        for first in self.sides[0].regions(a):
            for second in self.sides[1].regions(b):
                if first.features(first.anchor) != second.features(second.anchor):
                    continue
                if first.features(a) != second.features(b) or self.nodes(first.anchor, second.anchor):
                    continue
                evidence = self._judge(first, a, second, b)
                if evidence.tier is not Tier.REFUTED:
                    self.result.differences.append(Difference(str(a.name), evidence, str(first.anchor.name)))
                    return ""
                return f"{reason}: {evidence.reason}"
        return reason

    def _judge(self, first: Region, a: fx.Node, second: Region, b: fx.Node) -> Evidence:
        mine, theirs = (side.program.module for side in self.sides)
        original = probe.matrix(mine, first, first.anchor, a)
        candidate = probe.matrix(theirs, second, second.anchor, b)
        run = probe.runner(mine, first, first.anchor, a, original.dtype)
        return judge(original, candidate, run, torch.Generator().manual_seed(0))
