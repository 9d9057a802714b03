"""Which swaps pay: the part of a model that a swap changed, timed before and after at several batch sizes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.graph.parts import Part, part
from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.run import evaluate
from paramaudit.measure import flops, interleaved
from paramaudit.records import PartSpeed

BATCHES = (1, 8, 64)
BUDGET = 0.15
"""Seconds for a part at one batch size, both sides together."""


@dataclass(frozen=True)
class Standing:
    """A part as a module of its own, and the nodes whose values are its inputs."""

    module: fx.GraphModule
    inputs: tuple[fx.Node, ...]


def part_flops(program: Program, path: str) -> int | None:
    """FLOPs of the part at a path on the example; None when it cannot be run alone or is not all counted."""
    alone = standing(program, part(program, path))
    return None if alone is None else flops(alone.module, tuple(_values(program, alone, None, "cpu"))).total


def changed_paths(original: Program, refactored: Program, share: float = 0.1) -> list[str]:
    """The modules right above those whose stored numbers differ, outermost first, none within another.

    Modules that kept all but a ``share`` of their numbers, such as a norm that was folded, are left out.
    """
    mine, theirs = original.parameters, refactored.parameters
    changed = set(mine.keys() ^ theirs.keys())
    changed.update(name for name in mine.keys() & theirs.keys() if not _same(mine[name], theirs[name]))
    above = {name.rpartition(".")[0].rpartition(".")[0] for name in changed}
    result: list[str] = []
    for path in sorted(above & original.types.keys() - {""}, key=lambda path: (path.count("."), path)):
        within = any(path.startswith(f"{other}.") for other in result)
        counts = [_numbers(numbers, path) for numbers in (mine, theirs)]
        if not within and counts[0] - counts[1] >= share * counts[0]:
            result.append(path)
    return result


def _numbers(tensors: Mapping[str, Tensor], path: str) -> int:
    return sum(tensor.numel() for name, tensor in tensors.items() if name.startswith(f"{path}."))


def speeds(
    original: Program,
    refactored: Program,
    paths: Iterable[str],
    device: str = "cpu",
    batches: Sequence[int] = BATCHES,
) -> Iterator[PartSpeed]:
    """How much faster the part at each path became; parts that cannot be run alone are passed over.

    Args:
        original: the program before.
        refactored: the program after, with the same inputs.
        paths: module paths.
        device: where to time.
        batches: sizes of the leading symbolic dimension; the example's where there are none.
    """
    sizes: Sequence[int | None] = batches if batches and _shared_batch(original) else (None,)
    for path in paths:
        pairs = [(program, standing(program, part(program, path))) for program in (original, refactored)]
        if any(alone is None for _, alone in pairs):
            continue
        ratios: dict[str, float] = {}
        for batch in sizes:
            before, after = (_ready(p, alone, batch, device) for p, alone in pairs if alone is not None)
            ratios["example" if batch is None else str(batch)] = interleaved(
                before, after, (), budget_s=BUDGET
            ).ratio
        yield PartSpeed(path, device, ratios, pays_from(ratios))


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def _ready(program: Program, alone: Standing, batch: int | None, device: str) -> Callable[[], Any]:
    """The part on its inputs at one batch size, on a device; the program stays where it is."""
    module = alone.module if device == "cpu" else copy.deepcopy(alone.module).to(device)
    values = _values(program, alone, batch, device)
    return lambda: module(*values)


def pays_from(ratios: Mapping[str, float]) -> int | None:
    """The smallest batch size from which on no slower one follows; None when the last one is slower."""
    found: int | None = None
    for batch, ratio in reversed(list(ratios.items())):
        if ratio < 1 or not batch.isdigit():
            break
        found = int(batch)
    return found


def standing(program: Program, of: Part) -> Standing | None:
    """A part as a module of its own; None when nothing reads it or it reads nothing."""
    if not of.ends or not of.sources:
        return None
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    inside = set(of.nodes)
    outer = dict.fromkeys(i for n in of.nodes for i in n.all_input_nodes if i not in inside)
    inputs = tuple(n for n in outer if n in of.sources or isinstance(n.meta.get("val"), torch.SymInt))
    for node in inputs:
        copied[node] = graph.placeholder(node.name)
    for node in _with_constants(program, of, set(inputs)):
        copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(tuple(copied[end] for end in of.ends))
    return Standing(fx.GraphModule(program.module, graph), inputs)


def _with_constants(program: Program, of: Part, given: set[fx.Node]) -> Iterator[fx.Node]:
    """The part's nodes and what is computed for them without any input, in graph order."""
    wanted: set[fx.Node] = set()
    stack = list(of.nodes)
    while stack:
        node = stack.pop()
        if node not in wanted and node not in given:
            wanted.add(node)
            stack.extend(node.all_input_nodes)
    return (node for node in program.graph.nodes if node in wanted)


def _shared_batch(program: Program) -> bool:
    """Whether the leading dimension of all inputs is one and the same open size."""
    leading = {spec.shape[0] if spec.shape else None for spec in program.contract.inputs}
    return len(leading) == 1 and isinstance(next(iter(leading)), str)


def _values(program: Program, of: Standing, batch: int | None, device: str) -> list[Any]:
    """What the part's inputs are when the model runs on its example with that batch size."""
    leaves = pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))
    if batch is not None:
        leaves = [leaf.index_select(0, torch.arange(batch) % len(leaf)) for leaf in leaves]
    known = dict(zip(placeholders(program.graph), leaves, strict=True))
    found = evaluate(program.module, list(of.inputs), known, dtype=None)
    return [value.to(device) if isinstance(value, Tensor) else value for value in found]
