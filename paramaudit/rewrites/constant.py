"""A sub-graph that depends on no input.

What it finds:    values computed from stored numbers alone (an envelope over a fixed grid, a gain made of
                  constant matrices, a slice of a table) whose result is smaller than what it is made from.
Why it matters:   the result can be stored instead of the network that makes it.
Proof:            no input reaches it; the value is computed in float64 and rounded once.
Swap safety:      numbers drawn at random, written buffers and symbolic sizes are no constants. Where only
                  rows of one table are read the finding is called ``unused``.
Source:           Aho, Lam, Sethi, Ullman: Compilers (2006), section 8.5.4 (constant folding).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import moves
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft


def find(draft: Draft) -> Iterator[Match]:
    """Groups of constants that are smaller than the parameters only they read."""
    constant = facts.constants(draft.graph)
    for group in _groups(draft, _frontier(constant)):
        dead = facts.dead_with(group)
        freed = [n for n in dead if _is_parameter(draft, n)]
        if sum(_numel(n) for n in group) >= sum(_numel(n) for n in freed) or not freed:
            continue
        ordered = tuple(sorted(group))
        only_moves = all(moves(n) for n in dead if n.op == "call_function")
        yield Match(
            module_path(ordered[-1]),
            ordered,
            (),
            partial(_fold_all, nodes=ordered),
            "only some rows are ever read" if only_moves else "no input reaches it",
            tensors=tuple(sorted(freed)),
            arguments={"rewrite": "unused"} if only_moves else {"shape": list(shape(ordered[-1]) or ())},
        )


def _frontier(constant: set[fx.Node]) -> set[fx.Node]:
    """Computed constants that something else reads, before any pure view of them."""
    found: set[fx.Node] = set()
    for node in constant:
        value = node.meta.get("val")
        if node.op != "call_function" or all(user in constant for user in node.users):
            continue
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            continue
        while facts.name(node) in facts.VIEWS or facts.is_identity(node):
            source = node.args[0]
            if not isinstance(source, fx.Node) or _numel(source) != _numel(node):
                break
            node = source
        if node.op == "call_function":
            found.add(node)
    return found


def _groups(draft: Draft, frontier: set[fx.Node]) -> list[set[fx.Node]]:
    """Constants that share a stored tensor are folded together or not at all."""
    groups: list[tuple[set[fx.Node], set[fx.Node]]] = []
    for node in sorted(frontier):
        stored = {n for n in _ancestors(node) if _is_parameter(draft, n)}
        merged = {node}
        rest = []
        for members, tensors in groups:
            if tensors & stored:
                merged |= members
                stored |= tensors
            else:
                rest.append((members, tensors))
        groups = [*rest, (merged, stored)]
    return [members for members, tensors in groups if tensors]


def _ancestors(node: fx.Node) -> set[fx.Node]:
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(current.all_input_nodes)
    return seen


def _is_parameter(draft: Draft, node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target) not in draft.program.buffers


def _numel(node: fx.Node) -> int:
    total = 1
    for length in shape(node) or ():
        total *= int(length)
    return total


def _fold_all(draft: Draft, nodes: tuple[fx.Node, ...]) -> list[fx.Node]:
    return [_fold(draft, node) for node in nodes]


def _fold(draft: Draft, node: fx.Node) -> fx.Node:
    (value,) = evaluate(draft.module, [node], {}, dtype=torch.float64)
    made = draft.keys(sorted(n for n in _ancestors(node) if n.op == "get_attr"))
    base = module_path(node)
    name = f"{base}.constant" if base else "constant"
    return draft.number(name, value, node.meta["val"].dtype, made, node)


REWRITE = Rewrite("constant", find)
