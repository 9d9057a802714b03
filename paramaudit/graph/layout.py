"""Which stored dimensions a tensor's dimensions are made of, relative to an anchor.

Relative to an anchor tensor every dimension of a later tensor is a product of *atoms*: batch atoms, the
anchor's leading dimensions, along which the computation is repeated unchanged, and feature atoms, which an
affine map mixes. Reshapes split and merge atoms, transposes move them. A tensor whose layout is known is an
affine function of the anchor's features, the same one for every batch index and every batch size.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sympy

from paramaudit.graph.shapes import Size, same


@dataclass(frozen=True)
class Atom:
    """One indivisible factor of a dimension."""

    id: int
    size: Size
    feature: bool


Dims = tuple[tuple[Atom, ...], ...]
_counter = itertools.count()


def feature(size: Size) -> tuple[Atom, ...]:
    """A dimension made of one new feature atom (no atom for size 1)."""
    return () if size == 1 else (Atom(next(_counter), size, feature=True),)


def batch(size: Size) -> tuple[Atom, ...]:
    """A dimension made of one new batch atom (no atom for size 1)."""
    return () if size == 1 else (Atom(next(_counter), size, feature=False),)


def anchor_dims(shape: Sequence[Size]) -> Dims:
    """The layout of an anchor: its last dimension is features, the others are batch."""
    return (*(batch(s) for s in shape[:-1]), feature(shape[-1]))


def is_feature(dim: Iterable[Atom]) -> bool:
    """Whether a dimension holds no batch atom."""
    return all(atom.feature for atom in dim)


def dim_size(dim: Iterable[Atom]) -> Size:
    """The size of a dimension."""
    total: Size = 1
    for atom in dim:
        total = total * atom.size
    return total


def fits(dims: Dims, shape: Sequence[Size]) -> bool:
    """Whether a layout describes a tensor of this shape; features have sizes that are known."""
    known = all(isinstance(atom.size, int) for dim in dims for atom in dim if atom.feature)
    return (
        known
        and len(dims) == len(shape)
        and all(same(dim_size(d), s) for d, s in zip(dims, shape, strict=True))
    )


def regroup(dims: Dims, shape: Sequence[Size]) -> Dims | None:
    """The layout after a reshape to ``shape``, or None when a batch atom would be cut."""
    atoms = [atom for dim in dims for atom in dim]
    result: list[tuple[Atom, ...]] = []
    for target in shape:
        taken: list[Atom] = []
        left: Size = target
        while not same(left, 1):
            if not atoms:
                return None
            head = atoms.pop(0)
            quotient = _divide(left, head.size)
            if quotient is not None:
                taken.append(head)
                left = quotient
                continue
            inner = _divide(head.size, left)
            if inner is None or not head.feature:
                return None
            taken.extend(feature(left))
            atoms.insert(0, *feature(inner)) if inner != 1 else None
            left = 1
        result.append(tuple(taken))
    return tuple(result) if not atoms else None


def matches(a: Dims, b: Dims) -> bool:
    """Whether two tensors of one anchor can be combined element by element."""
    return len(a) == len(b) and all(_signature(x) == _signature(y) for x, y in zip(a, b, strict=True))


def broadcast(a: Dims, b: Dims) -> Dims | None:
    """The layout of two tensors of one anchor combined element by element; None when they do not fit.

    A dimension of size 1 is repeated along features only: every batch dimension is in both.
    """
    rank = max(len(a), len(b))
    a, b = ((*([()] * (rank - len(dims))), *dims) for dims in (a, b))
    result: list[tuple[Atom, ...]] = []
    for x, y in zip(a, b, strict=True):
        if not (_signature(x) == _signature(y) or (not x and is_feature(y)) or (not y and is_feature(x))):
            return None
        result.append(x or y)
    return tuple(result)


def _signature(dim: tuple[Atom, ...]) -> list[tuple[str, object]]:
    """Batch atoms by identity, runs of features by their total size."""
    parts: list[tuple[str, object]] = []
    run: list[Atom] = []
    for atom in dim:
        if atom.feature:
            run.append(atom)
            continue
        parts.extend([("features", dim_size(run))] if run else [])
        parts.append(("batch", atom.id))
        run = []
    return [*parts, ("features", dim_size(run))] if run else parts


def is_clean(dims: Dims, anchor: Dims) -> bool:
    """Whether the tensor is ``(batch atoms of the anchor in order ..., all features)`` up to sizes 1."""
    if not dims or any(not is_feature(dim) for dim in dims[-1:]):
        return False
    leading = [atom for dim in dims[:-1] for atom in dim]
    return leading == [atom for dim in anchor[:-1] for atom in dim]


def _divide(a: Size, b: Size) -> Size | None:
    if isinstance(a, int) and isinstance(b, int):
        return a // b if b and a % b == 0 else None
    quotient = sympy.cancel(sympy.sympify(a) / sympy.sympify(b))
    numerator, denominator = quotient.as_numer_denom()
    if denominator != 1:
        return None
    return int(numerator) if numerator.is_number else numerator
