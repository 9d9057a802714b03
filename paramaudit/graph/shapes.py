"""Sizes of captured tensors: an int where static, a symbolic expression otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import sympy
import torch
from torch import fx

Size: TypeAlias = int | Any  # Any: a sympy expression, which has no type information


def size(value: Any) -> Size:
    """An int or a ``SymInt`` as a plain int (also when its expression is a number) or an expression."""
    if isinstance(value, torch.SymInt):
        expression = value.node.expr
        return int(expression) if expression.is_number else expression
    return int(value)


def shape(node: fx.Node) -> tuple[Size, ...] | None:
    """The shape of a node's tensor, or None when it holds no tensor."""
    value = node.meta.get("val")
    return tuple(size(s) for s in value.shape) if isinstance(value, torch.Tensor) else None


def dtype(node: fx.Node) -> torch.dtype | None:
    """The dtype of a node's tensor, or None when it holds no tensor."""
    value = node.meta.get("val")
    return value.dtype if isinstance(value, torch.Tensor) else None


def same(a: Size, b: Size) -> bool:
    """Whether two sizes are equal for every value of their symbols."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    return bool(sympy.expand(sympy.sympify(a) - sympy.sympify(b)) == 0)


def sizes_for(dims: Sequence[Size]) -> dict[Any, int]:
    """One small number for every symbol in ``dims``, such that no dimension is empty.

    It is not 1, which export takes for another program: ``squeeze`` drops such a dimension.

    Raises:
        ValueError: there is none below 100.
    """
    open_dims = [length for length in dims if not isinstance(length, int)]
    symbols = sorted({s for length in open_dims for s in length.free_symbols}, key=str)
    for number in range(2, 100):
        sizes = dict.fromkeys(symbols, number)
        if all(int(length.subs(sizes)) > 0 for length in open_dims):
            return sizes
    msg = f"no small sizes fit {tuple(map(str, dims))}"
    raise ValueError(msg)
