"""Pair two programs node by node: where they do the same, and where only an affine map differs.

Two outputs are paired when they are the same call of paired arguments and equal numbers. Where that fails,
the affine maps that end there are read as matrices and given to the prover; their anchors must be paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from paramaudit.graph import facts, probe
from paramaudit.graph.affine import Region, region
from paramaudit.graph.affine_ops import HANDLERS
from paramaudit.graph.program import Program, aligned, attribute, output_leaves, placeholders
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape, size
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Measured, Tier

_Pair = tuple[fx.Node, fx.Node]
_PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format)


@dataclass(frozen=True)
class Difference:
    """One place where two paired programs hold different affine maps."""

    original: str
    evidence: Evidence


@dataclass
class Pairing:
    """The result: ``unpaired`` names outputs (and why) that could not be paired."""

    differences: list[Difference] = field(default_factory=list)
    unpaired: dict[str, str] = field(default_factory=dict)

    @property
    def tier(self) -> Tier:
        """The weakest evidence used."""
        tiers = [d.evidence.tier for d in self.differences]
        return max(tiers, key=lambda tier: tier.rank, default=Tier.EXACT)

    @property
    def gap(self) -> Measured | None:
        """The largest gap used."""
        gaps = [d.evidence.gap for d in self.differences if d.evidence.gap is not None]
        return max(gaps, key=lambda gap: gap.value, default=None)


def pair(original: Program, refactored: Program) -> Pairing:
    """Pair the outputs of two programs with the same interface, by their place.

    They are compared on the sizes that the original takes; the other one may take more.
    Outputs that have the same names in another order are paired by name. Programs that write into stored
    tensors or inputs are paired only if they write the same, and read nothing after it was written. Random
    numbers are the same when they are drawn by the same call, at the same place in the order of draws.
    """
    walker = _Walker(original, refactored)
    apart = walker.inputs() or walker.effects()
    theirs = aligned(original, refactored, output_leaves(refactored.graph))
    for name, a, b in zip(original.contract.outputs, output_leaves(original.graph), theirs, strict=True):
        reason = apart or walker.outputs(a, b)
        if reason:
            walker.result.unpaired[name] = reason
    return walker.result


class _Walker:
    """Memory of one pairing run."""

    def __init__(self, first: Program, second: Program) -> None:
        self.result = Pairing()
        names = _symbols(first)
        self.sides = (_Side(first, names), _Side(second, _symbols_like(second, first, names)))
        self.known: dict[_Pair, str] = {}
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
        wanted = (_past_identities(a), _past_identities(b))
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
        for pair_ in self._arguments(a, b):
            if pair_ not in self.known:
                return pair_
            if self.known[pair_]:
                return None
        return None

    def _arguments(self, a: fx.Node, b: fx.Node) -> list[_Pair]:
        """Tensor arguments of the same call, side by side; empty when it is not the same call."""
        if self._differ(a, b):
            return []
        mine, theirs = self.sides[0].inputs(a), self.sides[1].inputs(b)
        return [(_past_identities(x), _past_identities(y)) for x, y in zip(mine, theirs, strict=True)]

    def _differ(self, a: fx.Node, b: fx.Node) -> str:
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
            return f"{_word(a)} against {_word(b)}"
        return "" if self.sides[0].draw(a) == self.sides[1].draw(b) else "other random numbers are drawn"

    def _same_call(self, a: fx.Node, b: fx.Node) -> str:
        if a.op == "get_attr" and b.op == "get_attr":
            return self._same_numbers(a, b)
        reason = self._differ(a, b)
        reason = reason or next((self.known[p] for p in self._arguments(a, b) if self.known[p]), "")
        if reason and a in self.sides[0].constants and b in self.sides[1].constants:
            return self._same_values(a, b)
        return reason

    def _same_numbers(self, a: fx.Node, b: fx.Node) -> str:
        x, y = (side.attribute(node) for side, node in zip(self.sides, (a, b), strict=True))
        if not _equal(x, y):
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
        return "" if _equal(x, y) else f"{a.name} and {b.name} hold other constants"

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
                    self.result.differences.append(Difference(str(a.name), evidence))
                    return ""
                return f"{reason}: {evidence.reason}"
        return reason

    def _judge(self, first: Region, a: fx.Node, second: Region, b: fx.Node) -> Evidence:
        mine, theirs = (side.program.module for side in self.sides)
        original = probe.matrix(mine, first, first.anchor, a)
        candidate = probe.matrix(theirs, second, second.anchor, b)
        run = probe.runner(mine, first, first.anchor, a, original.dtype)
        return judge(original, candidate, run, torch.Generator().manual_seed(0))


class _Side:
    """One of the two programs, in terms that hold for both: sizes by the input that they are of."""

    def __init__(self, program: Program, symbols: Mapping[Any, Any]) -> None:
        self.program = program
        self.constants = facts.constants(program.graph)
        self.writes = [node for node in program.graph.nodes if facts.writes(node)]
        # What a traced dtype or device is said to be stops nothing.
        names = {node: facts.name(node) for node in program.graph.nodes}
        self.checks = [n for n, name in names.items() if "assert" in name and "metadata" not in name]
        self._memory = facts.memory(program.graph) if self.writes else {}
        self._stale = facts.stale(program.graph)
        self._symbols = symbols
        self._texts: dict[fx.Node, str] = {}
        self._regions: dict[fx.Node, Region | None] = {}
        alive = facts.live(program.graph)
        draws = [node for node in program.graph.nodes if node in alive and facts.is_random(node)]
        self._draws = {node: i for i, node in enumerate(draws)}

    def attribute(self, node: fx.Node) -> Any:
        """The stored tensor or the inner graph behind a ``get_attr`` node."""
        return attribute(self.program.module, str(node.target))

    def draw(self, node: fx.Node) -> int | None:
        """Which of the program's random draws a node is; None when it draws nothing."""
        return self._draws.get(node)

    def kept(self, node: fx.Node) -> fx.Node | None:
        """The memory of a node that some call writes; None when none does."""
        return self._memory[node] if node in self._stale else None

    def reads_what_it_wrote(self) -> bool:
        """Whether memory that a call wrote is read by a later one."""
        done: set[fx.Node] = set()
        for node in self.program.graph.nodes if self.writes else ():
            if any(self._memory[i] in done for i in node.all_input_nodes):
                return True
            done.update(self._memory[i] for i in facts.written(node))
        return False

    def regions(self, node: fx.Node) -> Iterator[Region]:
        """Affine regions in which ``node`` is clean, from its nearest anchor outwards."""
        stack, seen = [node], {node}
        while stack:
            inner = max(stack)
            stack.remove(inner)
            if inner is not node:
                if inner not in self._regions:
                    self._regions[inner] = region(inner, self.constants)
                found = self._regions[inner]
                if found is not None and found.clean(node):
                    yield found
            if facts.name(inner) in HANDLERS or facts.is_identity(inner):
                ahead = [i for i in inner.all_input_nodes if i not in seen and i not in self.constants]
                stack.extend(i for i in ahead if not isinstance(i.meta.get("val"), torch.SymInt))
                seen.update(ahead)

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The arguments that are computed, without sizes that follow from the inputs' sizes."""
        leaves = pytree.tree_leaves((node.args, dict(node.kwargs)))
        return [leaf for leaf in leaves if isinstance(leaf, fx.Node) and self._size(leaf) is None]

    def text(self, node: fx.Node) -> str:
        """Arguments that are no tensors, sizes as expressions in the inputs' sizes, dtype and shape."""
        if node not in self._texts:
            leaves, spec = pytree.tree_flatten((node.args, dict(node.kwargs)))
            self._texts[node] = f"{[self._shown(v) for v in leaves]} {spec} {self.sizes(node)}"
        return self._texts[node]

    def sizes(self, node: fx.Node) -> str:
        """Dtype and shape; a size that depends on more than the inputs' sizes is a question mark."""
        value = node.meta.get("val")
        if not isinstance(value, Tensor):
            return ""
        return f"{value.dtype} {[self._renamed(s) or '?' for s in value.shape]}"

    def _shown(self, value: Any) -> str:
        if isinstance(value, fx.Node):
            return self._size(value) or "node"
        return repr(value) if value is None or isinstance(value, _PLAIN) else f"{type(value)} {id(value)}"

    def _size(self, node: fx.Node) -> str | None:
        value = node.meta.get("val")
        return self._renamed(value) if isinstance(value, torch.SymInt) else None

    def _renamed(self, value: Any) -> str | None:
        """A size as an expression in the inputs' sizes; None when it depends on anything else."""
        length = size(value)
        if isinstance(length, int):
            return str(length)
        known = length.free_symbols <= set(self._symbols)
        return str(sympy.expand(length.subs(self._symbols))) if known else None


def _past_identities(node: fx.Node) -> fx.Node:
    while facts.is_identity(node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _symbols(program: Program) -> dict[Any, Any]:
    """The symbols of a program by the input and dimension where they come first."""
    names: dict[Any, Any] = {}
    dims = [
        (sympy.Symbol(f"input{i}_{d}", integer=True, positive=True), length)
        for i, node in enumerate(placeholders(program.graph))
        for d, length in enumerate(shape(node) or ())
        if not isinstance(length, int)
    ]
    for name, length in dims:
        if length.is_Symbol:
            names.setdefault(length, name)
    for name, length in dims:  # such as 2 * s0, where s0 is no input's size
        unknown = length.free_symbols - set(names)
        if len(unknown) == 1:
            (symbol,) = unknown
            found = sympy.solve(length.subs(names) - name, symbol)
            if len(found) == 1:
                names[symbol] = found[0]
    return names


def _symbols_like(program: Program, first: Program, names: Mapping[Any, Any]) -> dict[Any, Any]:
    """The symbols of a program in terms of the sizes that another one takes at the same places."""
    found: dict[Any, Any] = {}
    for a, b in zip(placeholders(first.graph), placeholders(program.graph), strict=True):
        for mine, theirs in zip(shape(a) or (), shape(b) or (), strict=False):
            if isinstance(theirs, int) or not (isinstance(mine, int) or mine.free_symbols <= set(names)):
                continue
            wanted = sympy.sympify(mine).subs(names)
            if theirs.is_Symbol:
                found.setdefault(theirs, wanted)
            elif len(theirs.free_symbols) == 1 and not theirs.free_symbols <= set(found):
                (symbol,) = theirs.free_symbols
                found.update((symbol, s) for s in sympy.solve(theirs - wanted, symbol) if s in names.values())
    return found


def _equal(x: Any, y: Any) -> bool:
    """Whether two stored values are the same numbers of the same type, or the same inner graphs."""
    if isinstance(x, fx.GraphModule) and isinstance(y, fx.GraphModule):
        return _same_graph(x, y)
    if not isinstance(x, Tensor) or not isinstance(y, Tensor):
        return False
    return x.dtype == y.dtype and x.device == y.device and torch.equal(x, y)


def _same_graph(x: fx.GraphModule, y: fx.GraphModule) -> bool:
    """Whether two inner graphs are the same, node by node in order."""
    if len(x.graph.nodes) != len(y.graph.nodes):
        return False
    numbers = [{node: f"%{i}" for i, node in enumerate(m.graph.nodes)} for m in (x, y)]
    for a, b in zip(x.graph.nodes, y.graph.nodes, strict=True):
        shown = [
            str(map_arg((n.args, n.kwargs), known.__getitem__))
            for n, known in zip((a, b), numbers, strict=True)
        ]
        if a.op != b.op or shown[0] != shown[1]:
            return False
        if a.op == "get_attr":
            if not _equal(attribute(x, str(a.target)), attribute(y, str(b.target))):
                return False
        elif a.op != "placeholder" and a.target != b.target:
            return False
    return True


def _word(node: fx.Node) -> str:
    return facts.name(node).removeprefix("aten::") or node.op
