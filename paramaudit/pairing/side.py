"""One of two programs in terms that hold for both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import sympy
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph import facts
from paramaudit.graph.affine import Region, region
from paramaudit.graph.affine_ops import HANDLERS
from paramaudit.graph.program import Program, attribute
from paramaudit.graph.shapes import size

_PLAIN = (bool, int, float, complex, str, torch.dtype, torch.device, torch.layout, torch.memory_format)


class Side:
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
