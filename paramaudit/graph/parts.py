"""The part of a program that one module computes: what it reads, and what others read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program, module_path
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape

Known = Mapping[fx.Node, Tensor]


@dataclass(frozen=True)
class Part:
    """The calls of a module in graph order, the tensors from outside that they read, and their results."""

    nodes: tuple[fx.Node, ...]
    sources: tuple[fx.Node, ...]
    ends: tuple[fx.Node, ...]


def part(program: Program, path: str) -> Part:
    """The part of the module at ``path`` and all modules below it."""
    nodes = [n for n in program.graph.nodes if n.op in ("call_function", "call_module") and _below(n, path)]
    inside = set(nodes)
    constant = facts.constants(program.graph)
    outside = {i for n in nodes for i in n.all_input_nodes if i not in inside and i not in constant}
    sources = [n for n in outside if isinstance(n.meta.get("val"), Tensor)]
    ends = [n for n in nodes if _is_tensor(n) and any(u not in inside for u in n.users)]
    return Part(tuple(nodes), tuple(sorted(sources)), tuple(ends))


def _below(node: fx.Node, path: str) -> bool:
    mine = module_path(node)
    return mine == path or mine.startswith(f"{path}.")


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def symbols(nodes: Sequence[fx.Node]) -> dict[Any, int]:
    """Every symbol in the shapes of these nodes, in order, with the size 2."""
    return {
        symbol: 2
        for node in nodes
        for length in shape(node) or ()
        if not isinstance(length, int)
        for symbol in sorted(length.free_symbols, key=str)
    }


def drawn(
    nodes: Sequence[fx.Node], sizes: Mapping[Any, int], generator: torch.Generator
) -> dict[fx.Node, Tensor]:
    """Normal numbers in float64 for these nodes."""
    return {
        node: torch.randn(
            [s if isinstance(s, int) else int(s.subs(sizes)) for s in shape(node) or ()],
            dtype=torch.float64,
            generator=generator,
        )
        for node in nodes
    }


def result(program: Program, end: fx.Node, known: Known, sizes: Mapping[Any, int]) -> Tensor:
    """The value of a node in float64 when its part's sources have these values.

    Raises:
        RuntimeError, ValueError, KeyError: the part cannot be run on its own.
    """
    (value,) = evaluate(program.module, [end], known, dtype=torch.float64, sizes=sizes)
    return value if isinstance(value, Tensor) else torch.zeros(0)


def rows_symbol(nodes: Sequence[fx.Node]) -> Any:
    """The symbol that is the leading size of all these nodes; None when there is none."""
    leading = [(shape(node) or (None,))[0] for node in nodes]
    first = leading[0] if leading else None
    if first is None or isinstance(first, int) or not first.is_Symbol:
        return None
    return first if all(length == first for length in leading) else None
