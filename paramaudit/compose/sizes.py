"""Sizes of tensors, counted in rows of the batch: what symbolic dimensions cancel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import sympy
from torch import fx

from paramaudit.graph.shapes import Size, shape


def times(dims: Sequence[Size]) -> float:
    """How many entries there are at most for each row of the batch; infinite where that cannot be told.

    A row of the batch is one choice of all symbolic dimensions of the inputs, so that ``batch * tokens * 8``
    entries are 8 a row, and ``tokens * tokens`` are no number of rows.
    """
    product = sympy.expand(sympy.Mul(*(sympy.sympify(length) for length in dims)))
    factor, rest = product.as_coeff_Mul()
    if not factor.is_number or factor < 0:
        return math.inf
    powers = rest.as_powers_dict() if rest != 1 else {}
    # symbols of the inputs' sizes are called s...; others depend on data
    plain = all(base.is_Symbol and power == 1 and base.name[0] == "s" for base, power in powers.items())
    return float(factor) if plain else math.inf


def entries(node: fx.Node) -> float:
    """:func:`times` of a node's tensor."""
    dims = shape(node)
    return times(dims) if dims is not None else math.inf


def repeats(small: fx.Node, large: fx.Node) -> float:
    """How often each entry of ``small`` occurs in ``large``; infinite where that depends on the batch."""
    mine, theirs = shape(small), shape(large)
    if mine is None or theirs is None:
        return math.inf
    if 0 in mine or 0 in theirs:
        return 1.0
    ratio = sympy.simplify(sympy.Mul(*map(sympy.sympify, theirs)) / sympy.Mul(*map(sympy.sympify, mine)))
    return float(ratio) if ratio.is_number else math.inf
