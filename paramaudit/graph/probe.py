"""Read an affine part of a graph as a matrix, by running it on a basis in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.affine import Region
from paramaudit.graph.program import attribute
from paramaudit.graph.run import evaluate, symbol_value
from paramaudit.graph.shapes import size, sizes_for
from paramaudit.records import Matrix

_ROWS = 1024


def matrix(module: fx.GraphModule, region: Region, source: fx.Node, target: fx.Node) -> Matrix:
    """The map from ``source`` to ``target``, both clean nodes of ``region``, ``(out, in)`` in float64."""
    dtype = source.meta["val"].dtype
    direct = _stored(module, source, target)
    if direct is not None:
        return Matrix(direct[0], direct[1], dtype)
    width = region.features(source)
    rows = torch.cat([torch.zeros(1, width, dtype=torch.float64), torch.eye(width, dtype=torch.float64)])
    values = runner(module, region, source, target, torch.float64)(rows)
    bias = values[0].clone()
    shift = bias if bool(bias.any()) else None
    return Matrix((values[1:] - bias).T.contiguous(), shift, dtype)


def _stored(module: fx.GraphModule, source: fx.Node, target: fx.Node) -> tuple[Tensor, Tensor | None] | None:
    """A single linear call needs no probe: its numbers are the map."""
    if facts.name(target) != "aten::linear" or target.args[0] is not source:
        return None
    operands = [facts.argument(target, 1, "weight"), facts.argument(target, 2, "bias")]
    tensors: list[Tensor | None] = []
    for operand in operands:
        if isinstance(operand, fx.Node) and operand.op == "get_attr":
            tensors.append(attribute(module, str(operand.target)).detach().to("cpu", torch.float64))
        elif operand is None:
            tensors.append(None)
        else:
            return None
    weight, bias = tensors
    return (weight, bias) if weight is not None else None


def runner(
    module: fx.GraphModule, region: Region, source: fx.Node, target: fx.Node, dtype: torch.dtype | None
) -> Callable[[Tensor], Tensor]:
    """A function that runs the part on rows ``(n, in)`` and returns ``(n, out)``."""
    return rows_runner(module, source, target, (region.features(source), region.features(target)), dtype)


def rows_runner(
    module: fx.GraphModule,
    source: fx.Node,
    target: fx.Node,
    widths: tuple[int, int],
    dtype: torch.dtype | None,
) -> Callable[[Tensor], Tensor]:
    """Like :func:`runner` for any part that acts on the last dimension; ``widths`` are (in, out)."""
    width, out = widths

    def run(rows: Tensor) -> Tensor:
        results = []
        sizes, capacity = _batch(source, min(len(rows), _ROWS))
        dims = [symbol_value(s, sizes) if not isinstance(s, int) else s for s in _sizes(source)]
        for block in torch.split(rows, capacity):
            full = torch.zeros(capacity, width, dtype=block.dtype)
            full[: len(block)] = block
            (value,) = evaluate(module, [target], {source: full.reshape(dims)}, dtype=dtype, sizes=sizes)
            results.append(value.reshape(-1, out)[: len(block)])
        return torch.cat(results)

    return run


def _sizes(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta["val"]
    return tuple(value.shape)


def _batch(source: fx.Node, wanted: int) -> tuple[dict[Any, int], int]:
    """Numbers for the symbols such that about ``wanted`` batch rows fit, and how many there are."""
    leading = _sizes(source)[:-1]
    sizes = sizes_for([size(s) for s in leading])
    capacity = math.prod(symbol_value(s, sizes) for s in leading)
    for symbol in list(sizes)[:1]:
        larger = {**sizes, symbol: sizes[symbol] * -(-wanted // capacity)}
        room = math.prod(symbol_value(s, larger) for s in leading)
        if room > capacity:
            return larger, room
    return sizes, capacity
