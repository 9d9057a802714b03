"""Symbolic sizes of two programs in the same terms: the inputs and dimensions that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy

from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.shapes import shape


def symbols_of(program: Program) -> dict[Any, Any]:
    """The symbols of a program by the input and dimension where they come first."""
    names: dict[Any, Any] = {}
    dims = [
        (sympy.Symbol(f"input{i}_{d}", integer=True, positive=True), length)
        for i, node in enumerate(placeholders(program.graph))
        for d, length in enumerate(shape(node) or ())
        if not isinstance(length, int)
    ]
    for name, length in dims:
        if length.is_Symbol:
            names.setdefault(length, name)
    for name, length in dims:  # such as 2 * s0, where s0 is no input's size
        unknown = length.free_symbols - set(names)
        if len(unknown) == 1:
            (symbol,) = unknown
            found = sympy.solve(length.subs(names) - name, symbol)
            if len(found) == 1:
                names[symbol] = found[0]
    return names


def symbols_like(program: Program, first: Program, names: Mapping[Any, Any]) -> dict[Any, Any]:
    """The symbols of a program in terms of the sizes that another one takes at the same places."""
    found: dict[Any, Any] = {}
    for a, b in zip(placeholders(first.graph), placeholders(program.graph), strict=True):
        for mine, theirs in zip(shape(a) or (), shape(b) or (), strict=False):
            if isinstance(theirs, int) or not (isinstance(mine, int) or mine.free_symbols <= set(names)):
                continue
            wanted = sympy.sympify(mine).subs(names)
            if theirs.is_Symbol:
                found.setdefault(theirs, wanted)
            elif len(theirs.free_symbols) == 1 and not theirs.free_symbols <= set(found):
                (symbol,) = theirs.free_symbols
                found.update((symbol, s) for s in sympy.solve(theirs - wanted, symbol) if s in names.values())
    return found
