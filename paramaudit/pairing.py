"""Pair two programs node by node: where they do the same, and where only an affine map differs.

Two outputs are paired when they are the same call of paired arguments and equal numbers. Where that fails,
the affine maps that end there are read as matrices and given to the prover; their anchors must be paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph import facts, probe
from paramaudit.graph.affine import Region, region
from paramaudit.graph.program import Program, attribute, output_leaves, placeholders
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape, size
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Measured, Tier


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
    """Pair the outputs of two programs with the same interface."""
    walker = _Walker(original, refactored)
    for name, a, b in zip(
        original.contract.outputs, output_leaves(original.graph), output_leaves(refactored.graph), strict=True
    ):
        reason = walker.outputs(a, b)
        if reason:
            walker.result.unpaired[name] = reason
    return walker.result


class _Walker:
    """Memory of one pairing run."""

    def __init__(self, first: Program, second: Program) -> None:
        self.first, self.second = first, second
        self.result = Pairing()
        self.known: dict[tuple[fx.Node, fx.Node], str] = {}
        self.constants = (facts.constants(first.graph), facts.constants(second.graph))
        for a, b in zip(placeholders(first.graph), placeholders(second.graph), strict=True):
            self.known[(a, b)] = ""
        self.symbols = (_symbols(first), _symbols(second))

    def outputs(self, a: Any, b: Any) -> str:
        """Why two returned values differ; empty when they are paired."""
        if isinstance(a, fx.Node) and isinstance(b, fx.Node):
            return self.nodes(a, b)
        return "" if a == b else "another constant is returned"

    def nodes(self, a: fx.Node, b: fx.Node) -> str:
        """Why two nodes differ; empty when they are paired."""
        a, b = _past_identities(a), _past_identities(b)
        if (a, b) not in self.known:
            self.known[(a, b)] = "a cycle"  # overwritten below; graphs have none
            reason = self._same_call(a, b)
            self.known[(a, b)] = self._affine(a, b, reason) if reason else ""
        return self.known[(a, b)]

    def _same_call(self, a: fx.Node, b: fx.Node) -> str:
        if a.op == "get_attr" and b.op == "get_attr":
            return self._same_numbers(a, b)
        if a in self.constants[0] and b in self.constants[1] and not self._same_text(a, b):
            return self._same_values(a, b)
        if not self._same_text(a, b):
            return f"{_word(a)} against {_word(b)}"
        mine, other = _inputs(a), _inputs(b)
        for x, y in zip(mine, other, strict=True):
            reason = self.nodes(x, y)
            if reason:
                return reason
        return ""

    def _same_text(self, a: fx.Node, b: fx.Node) -> bool:
        """The same operator with the same plain arguments, sizes and output shape."""
        if a.op != b.op or (a.op != "get_attr" and a.target != b.target):
            return False
        left, right = _plain(a, self.symbols[0]), _plain(b, self.symbols[1])
        return left == right and len(_inputs(a)) == len(_inputs(b))

    def _same_numbers(self, a: fx.Node, b: fx.Node) -> str:
        x, y = attribute(self.first.module, str(a.target)), attribute(self.second.module, str(b.target))
        if isinstance(x, Tensor) and isinstance(y, Tensor) and x.dtype == y.dtype and torch.equal(x, y):
            return ""
        return f"{a.target} holds other numbers than {b.target}"

    def _same_values(self, a: fx.Node, b: fx.Node) -> str:
        values = [
            evaluate(program.module, [node], {}, dtype=None)[0]
            for program, node in ((self.first, a), (self.second, b))
        ]
        same = isinstance(values[0], Tensor) and isinstance(values[1], Tensor) and torch.equal(*values)
        return "" if same else f"{a.name} and {b.name} hold other constants"

    def _affine(self, a: fx.Node, b: fx.Node, reason: str) -> str:
        """The last resort: both nodes end affine maps of paired anchors, close enough to be proven."""
        for first in _regions(a, self.constants[0]):
            for second in _regions(b, self.constants[1]):
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
        original = probe.matrix(self.first.module, first, first.anchor, a)
        candidate = probe.matrix(self.second.module, second, second.anchor, b)
        run = probe.runner(self.first.module, first, first.anchor, a, original.dtype)
        return judge(original, candidate, run, torch.Generator().manual_seed(0))


def _regions(node: fx.Node, constant: set[fx.Node]) -> Iterator[Region]:
    """Affine regions that end at ``node``, from its nearest anchor outwards."""
    current = [node]
    seen: set[fx.Node] = set()
    while current:
        ahead: list[fx.Node] = []
        for inner in current:
            for source in inner.all_input_nodes:
                if source in seen or source in constant or not isinstance(source.meta.get("val"), Tensor):
                    continue
                seen.add(source)
                found = region(source, constant)
                if found is not None and found.clean(node):
                    yield found
                    ahead.append(source)
                elif found is not None and node in found.layouts:
                    ahead.append(source)
        current = ahead


def _past_identities(node: fx.Node) -> fx.Node:
    while facts.is_identity(node) and isinstance(node.args[0], fx.Node):
        node = node.args[0]
    return node


def _inputs(node: fx.Node) -> list[fx.Node]:
    leaves = pytree.tree_leaves((node.args, dict(node.kwargs)))
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node) and not _is_size(leaf)]


def _symbols(program: Program) -> dict[Any, Any]:
    """The symbols of a program renamed by the input and dimension where they come first."""
    names: dict[Any, Any] = {}
    for i, node in enumerate(placeholders(program.graph)):
        for d, length in enumerate(shape(node) or ()):
            if not isinstance(length, int) and length not in names:
                names[length] = type(length)(f"input{i}_{d}") if length.is_Symbol else length
    return names


def _renamed(value: Any, symbols: dict[Any, Any]) -> str:
    length = size(value)
    return str(length if isinstance(length, int) else length.subs(symbols))


def _plain(node: fx.Node, symbols: dict[Any, Any]) -> str:
    """Arguments that are no tensors, symbolic sizes as expressions in the inputs' sizes, the shape."""
    leaves, spec = pytree.tree_flatten((node.args, dict(node.kwargs)))
    shown = [_shown(value, symbols) for value in leaves]
    value = node.meta.get("val")
    sizes = [_renamed(s, symbols) for s in value.shape] if isinstance(value, Tensor) else []
    return f"{shown} {spec} {sizes}"


def _shown(value: Any, symbols: dict[Any, Any]) -> str:
    if not isinstance(value, fx.Node):
        return repr(value)
    return _renamed(value.meta["val"], symbols) if _is_size(value) else "node"


def _is_size(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt)


def _word(node: fx.Node) -> str:
    return facts.name(node).removeprefix("aten::") or node.op
