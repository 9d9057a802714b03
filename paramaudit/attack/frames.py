"""Sizes of inputs on which a program is tried: batches of one and of many, and other lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from paramaudit.attack.runs import examples, takes
from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.shapes import shape

LENGTHS = (3, 5, 2, 7)
MANY = 33
Shapes = tuple[tuple[int, ...] | None, ...]
"""The sizes of every flat input; None for one that is no tensor."""


def frames(program: Program, *, many: int = MANY, lengths: Sequence[int] = LENGTHS) -> list[Shapes]:
    """Sizes that the program takes, the example's first.

    A convolution needs enough samples, a reshape a multiple of something: every symbolic dimension gets a
    size of its own where the program takes that, else only leading ones do.

    Args:
        program: the original.
        many: rows of the largest batch.
        lengths: of the first open dimension; the others are a little longer each.
    """
    example = _example_sizes(program)
    leading = {s for node in placeholders(program.graph) for s in _free((shape(node) or ())[:1])}
    wanted = [dict(example)]
    for length in lengths:
        other = {symbol: length + i for i, symbol in enumerate(example)}
        rows = {s: other[s] if s in leading else n for s, n in example.items()}
        wanted.append(other if _fits(program, other) else rows)
    for rows_ in (many, 1):
        wanted.append({s: rows_ if s in leading else n for s, n in example.items()})
    found: list[Shapes] = []
    for symbols in wanted:
        sizes = _shapes(program, symbols)
        if sizes not in found and (symbols == wanted[0] or _fits(program, symbols)):
            found.append(sizes)
    return found


def batched(program: Program) -> bool:
    """Whether some leading dimension is open, so that there can be more rows."""
    return any(_free((shape(node) or ())[:1]) for node in placeholders(program.graph))


def with_rows(program: Program, rows: int) -> Shapes | None:
    """The example's sizes with another number of rows, None where the program does not take them."""
    example = _example_sizes(program)
    leading = {s for node in placeholders(program.graph) for s in _free((shape(node) or ())[:1])}
    symbols = {s: rows if s in leading else n for s, n in example.items()}
    return _shapes(program, symbols) if leading and _fits(program, symbols) else None


def _fits(program: Program, symbols: Mapping[Any, int]) -> bool:
    return takes(program, plain(program, _shapes(program, symbols)))


def plain(program: Program, sizes: Shapes) -> list[Any]:
    """Inputs of the given sizes with the example's values, repeated."""
    return [_resized(v, size) for v, size in zip(examples(program), sizes, strict=True)]


def _resized(value: Any, sizes: tuple[int, ...] | None) -> Any:
    if not isinstance(value, Tensor) or sizes is None or not value.numel():
        return value
    for dim, length in enumerate(sizes):
        value = value.index_select(dim, torch.arange(length) % value.shape[dim])
    return value


def _shapes(program: Program, symbols: Mapping[Any, int]) -> Shapes:
    found: list[tuple[int, ...] | None] = []
    for node, example in zip(placeholders(program.graph), examples(program), strict=True):
        dims = shape(node) if isinstance(example, Tensor) else None
        sizes = (
            None if dims is None else tuple(s if isinstance(s, int) else int(s.subs(symbols)) for s in dims)
        )
        found.append(sizes)
    return tuple(found)


def _example_sizes(program: Program) -> dict[Any, int]:
    """The example's size of every symbol, in order of appearance."""
    sizes: dict[Any, int] = {}
    for node, example in zip(placeholders(program.graph), examples(program), strict=True):
        for length, size in zip(shape(node) or (), getattr(example, "shape", ()), strict=True):
            if not isinstance(length, int) and length.is_Symbol:
                sizes.setdefault(length, int(size))
    return sizes


def _free(dims: Sequence[Any]) -> set[Any]:
    """The symbols in some sizes."""
    return {symbol for size in dims if not isinstance(size, int) for symbol in size.free_symbols}
