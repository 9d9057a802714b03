"""Run a graph, or a part of it, in another floating-point dtype without a second copy of the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from paramaudit.graph import facts
from paramaudit.graph.program import Program, attribute, output_leaves, placeholders

Step = Callable[[fx.Node, fx.GraphModule, Callable[[fx.Node], Any], torch.dtype | None], Any]
"""Computes one node: the node, its module, the values of its arguments, the run's dtype."""

_COMPLEX = {torch.float16: torch.complex32, torch.float32: torch.complex64, torch.float64: torch.complex128}


def cast(value: Any, dtype: torch.dtype | None) -> Any:
    """``value`` with floating-point tensors in ``dtype`` (complex ones in the matching complex dtype)."""
    if dtype is None or not isinstance(value, Tensor):
        return value
    if value.is_complex():
        return value.to(_COMPLEX.get(dtype, torch.complex64))
    return value.to(dtype) if value.is_floating_point() else value


def _cast_argument(value: Any, dtype: torch.dtype | None) -> Any:
    """A dtype argument such as ``zeros(..., dtype=float32)`` follows the run's dtype."""
    if dtype is None or not isinstance(value, torch.dtype):
        return value
    if value.is_complex:
        return _COMPLEX.get(dtype, torch.complex64)
    return dtype if value.is_floating_point else value


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def call(
    node: fx.Node, module: fx.GraphModule, get: Callable[[fx.Node], Any], dtype: torch.dtype | None
) -> Any:
    """The value of one node, with ``get`` for its arguments; ``dtype`` None leaves dtypes alone."""
    if node.op == "get_attr":
        stored = attribute(module, str(node.target))
        return cast(stored.detach() if isinstance(stored, Tensor) else stored, dtype)
    args = map_arg(node.args, get)
    kwargs = map_arg(node.kwargs, get)
    if node.op == "call_function" and callable(node.target):
        if dtype is not None:  # a dtype is never inside of a list
            args = tuple(_cast_argument(v, dtype) for v in args)
            kwargs = {key: _cast_argument(v, dtype) for key, v in kwargs.items()}
        # a view may not fit the strides of a value that stands in for the one that the program computes
        view = torch.ops.aten.view.default
        target = torch.ops.aten.reshape.default if node.target is view else node.target
        value = target(*args, **kwargs)
        if dtype is None or cast(value, dtype) is value:
            return value
        with _default_dtype(dtype):  # an integer tensor times 0.5 has the default dtype
            return target(*args, **kwargs)
    if node.op == "call_module":
        layer = attribute(module, str(node.target))
        if dtype is None:
            return layer(*args, **kwargs)
        state = {n: cast(t, dtype) for n, t in (*layer.named_parameters(), *layer.named_buffers())}
        return torch.func.functional_call(layer, state, args, dict(kwargs))
    msg = f"cannot run a {node.op} node ({node.name})"
    raise ValueError(msg)


def symbol_value(value: Any, sizes: Mapping[Any, int]) -> int:
    """A symbolic size with its symbols replaced, e.g. ``12*s0`` with ``{s0: 5}`` is 60."""
    if isinstance(value, int):
        return value
    return int(value.node.expr.subs(sizes))


def evaluate(
    module: fx.GraphModule,
    targets: Sequence[fx.Node],
    known: Mapping[fx.Node, Any],
    *,
    dtype: torch.dtype | None,
    sizes: Mapping[Any, int] | None = None,
    step: Step | None = None,
    gradients: bool = False,
) -> list[Any]:
    """The values of ``targets`` when the nodes in ``known`` have the given values.

    Symbolic sizes outside the part are replaced by ``sizes`` (symbol -> int). ``step`` computes each node in
    place of :func:`call`. No gradient is kept unless asked for.
    """
    order = _needed(targets, known, symbols_known=sizes is not None)
    made = _made(order) if dtype is not None else set()
    uses: Counter[fx.Node] = Counter(targets)
    for node in order:
        uses.update(set(node.all_input_nodes))
    values: dict[fx.Node, Any] = dict(known)
    compute = step or call

    def wide(node: fx.Node) -> Any:
        return cast(values[node], dtype) if node in made else values[node]

    with torch.set_grad_enabled(gradients):
        for node in order:
            symbolic = node.meta.get("val")
            if isinstance(symbolic, torch.SymInt) and sizes is not None:
                values[node] = symbol_value(symbolic, sizes)
                continue
            if node in made:
                value = call(node, module, values.__getitem__, None)
            else:
                value = compute(node, module, wide, dtype)
            values[node] = value.clone() if node.op == "get_attr" and _is_written(node) else value
            for used in set(node.all_input_nodes):
                uses[used] -= 1
                if not uses[used]:
                    values.pop(used, None)
    return [wide(node) for node in targets]


def _made(order: Sequence[fx.Node]) -> set[fx.Node]:
    """Nodes that a program computes from nothing in float32 or shorter, such as a table of positions.

    They are these numbers, rounded at every step as they are: other dtypes would make another table. What is
    computed in float64 and rounded at the end is meant to be its formula, and is left out.
    """
    found: set[fx.Node] = set()
    rounded: list[fx.Node] = []
    for node in order:
        value = node.meta.get("val")
        if node.op != "call_function" or not isinstance(value, Tensor) or facts.is_random(node):
            continue
        if not all(i in found for i in node.all_input_nodes) or not all(
            isinstance(n, int) for n in value.shape
        ):
            continue
        if not facts.is_impure(node):
            found.add(node)
            by_element = torch.Tag.pointwise in getattr(node.target, "tags", ())
            if by_element and value.is_floating_point() and value.dtype is not torch.float64:
                rounded.append(node)
    made: set[fx.Node] = set()
    while rounded:
        node = rounded.pop()
        if node not in made:
            made.add(node)
            rounded.extend(node.all_input_nodes)
    return made - facts.stale(order[0].graph) if made else made


def run(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], dtype: torch.dtype | None
) -> dict[str, Any]:
    """All outputs by name, with parameters cast one node at a time and freed after their last use."""
    known = given(program, pytree.tree_leaves((tuple(args), dict(kwargs))), dtype)
    flat = output_leaves(program.graph)
    nodes = [leaf for leaf in flat if isinstance(leaf, fx.Node)]
    values = dict(zip(nodes, evaluate(program.module, nodes, known, dtype=dtype), strict=True))
    result = [values[leaf] if isinstance(leaf, fx.Node) else leaf for leaf in flat]
    return dict(zip(program.contract.outputs, result, strict=True))


def given(program: Program, leaves: Sequence[Any], dtype: torch.dtype | None) -> dict[fx.Node, Any]:
    """The values of the input nodes for flat inputs; one that the program writes into is a copy."""
    inputs = placeholders(program.graph)
    known = {node: cast(leaf, dtype) for node, leaf in zip(inputs, leaves, strict=True)}
    return {n: v.clone() if isinstance(v, Tensor) and _is_written(n) else v for n, v in known.items()}


def _needed(
    targets: Iterable[fx.Node], known: Mapping[fx.Node, Any], *, symbols_known: bool
) -> list[fx.Node]:
    """The nodes that must run, in graph order; known symbolic sizes need nothing."""
    wanted: set[fx.Node] = set()
    stack = [node for node in targets if node not in known]
    while stack:
        node = stack.pop()
        if node in wanted:
            continue
        wanted.add(node)
        if symbols_known and isinstance(node.meta.get("val"), torch.SymInt):
            continue
        stack.extend(n for n in node.all_input_nodes if n not in known)
    return sorted(wanted)


def _is_written(node: fx.Node) -> bool:
    """Whether a reader changes a stored tensor or an input in place (running statistics in training)."""
    return any(node in facts.written(user) for user in node.users)
