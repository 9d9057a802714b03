"""Numbers that stand in a program's graph and at which it may change what it does; ids that it admits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program, attribute, placeholders
from paramaudit.graph.shapes import shape

MOST = 48
"""Constants that are kept; those written as literals come first."""
_PER_TENSOR = 8
_AT = frozenset(
    f"aten::{name}"
    for name in (
        *("gt", "lt", "ge", "le", "eq", "ne", "greater", "less", "greater_equal", "less_equal", "not_equal"),
        *("clamp", "clamp_min", "clamp_max", "hardtanh", "threshold", "softshrink", "hardshrink", "where"),
        *("add", "sub", "rsub", "maximum", "minimum", "heaviside", "bucketize", "searchsorted", "isin"),
        *("fmod", "remainder", "floor_divide", "masked_fill", "full", "scalar_tensor", "isclose"),
    )
)
_BENDS = frozenset(
    f"aten::{name}"
    for name in (
        "relu",
        "relu6",
        "hardtanh",
        "hardswish",
        "hardsigmoid",
        "leaky_relu",
        "clamp_min",
        "threshold",
    )
)
_AFFINE = frozenset(
    f"aten::{name}" for name in ("linear", "addmm", "conv1d", "conv2d", "conv3d", "convolution")
)
_KEEPS_IDS = (
    facts.VIEWS
    | facts.SAME - {"aten::neg"}
    | frozenset(
        f"aten::{name}"
        for name in (
            "to",
            "_to_copy",
            "slice",
            "select",
            "transpose",
            "permute",
            "expand",
            "narrow",
            "t",
            "roll",
            "flip",
        )
    )
)


def constants(*programs: Program) -> tuple[float, ...]:
    """Literals and small stored tensors at which comparisons, clamps, sums and rectifiers change."""
    literal: dict[float, None] = {}
    stored: dict[float, None] = {}
    for program in programs:
        for node in _calls(program.module):
            name = facts.name(node)
            if name in _AT:
                literal.update(dict.fromkeys(_literals(node)))
                stored.update(dict.fromkeys(_held(node.graph.owning_module, node.all_input_nodes)))
            if name == "aten::relu6":
                literal[6.0] = None
            if name in _BENDS:
                stored.update(dict.fromkeys(_biases(node)))
    found = dict.fromkeys((*literal, *stored))
    return tuple(value for value in found if math.isfinite(value))[:MOST]


def id_ranges(program: Program) -> list[tuple[int, int] | None]:
    """For every input the ids that the tables admit which it indexes, None where it indexes none."""
    return [_rows(node) for node in placeholders(program.graph)]


def _calls(module: fx.GraphModule) -> Iterator[fx.Node]:
    for node in module.graph.nodes:
        if node.op == "call_function":
            yield node
            for graph in facts.inner(node):
                yield from (n for n in graph.nodes if n.op == "call_function")


def _literals(node: fx.Node) -> Iterator[float]:
    for value in (*node.args, *node.kwargs.values()):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield float(value)


def _held(module: Any, nodes: list[fx.Node]) -> Iterator[float]:
    """Some numbers of small stored tensors: the extremes and evenly spaced ranks."""
    for node in nodes:
        value = attribute(module, str(node.target)) if node.op == "get_attr" and module is not None else None
        if not isinstance(value, Tensor) or value.is_complex() or not 0 < value.numel() <= 4096:
            continue
        ordered = torch.tensor(sorted(set(value.detach().to(torch.float64).flatten().tolist())))
        at = torch.linspace(0, len(ordered) - 1, min(_PER_TENSOR, len(ordered))).round().long()
        yield from ordered[at].tolist()


def _biases(node: fx.Node) -> Iterator[float]:
    """Biases of the layer ahead of a rectifier: a unit switches where its weights give minus that."""
    source = node.all_input_nodes[0] if node.all_input_nodes else None
    if source is not None and facts.name(source) in _AFFINE:
        yield from (-value for value in _held(node.graph.owning_module, source.all_input_nodes[1:]))


def _rows(start: fx.Node) -> tuple[int, int] | None:
    most: int | None = None
    stack, seen = [start], {start}
    while stack:
        node = stack.pop()
        for user in node.users:
            if facts.name(user) == "aten::embedding" and facts.argument(user, 1, "indices") is node:
                table = shape(facts.argument(user, 0, "weight"))
                if table and isinstance(table[0], int):
                    most = table[0] - 1 if most is None else min(most, table[0] - 1)
            elif facts.name(user) in _KEEPS_IDS and user not in seen and user.args and user.args[0] is node:
                seen.add(user)
                stack.append(user)
    return None if most is None else (0, most)
