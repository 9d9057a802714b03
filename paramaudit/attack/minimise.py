"""Make a counterexample small: few rows, few entries that differ from a plain base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from paramaudit.attack.runs import is_real

Differs = Callable[[Sequence[Any]], bool]


def minimise(
    inputs: Sequence[Any], differs: Differs, rows: Sequence[int], trials: int, hints: Sequence[int] = ()
) -> list[Any]:
    """Inputs that still differ, with as few rows and as few entries off their base as a bounded search finds.

    The base of a number is 0, of an id the commonest one, of a flag False.

    Args:
        inputs: flat inputs that differ.
        differs: whether others do; it says no to inputs that the programs do not take.
        rows: which of the inputs have rows of one batch.
        trials: the most calls of ``differs``.
        hints: rows at which the outputs differed, tried first.
    """
    left = [trials]

    def still(candidate: Sequence[Any]) -> bool:
        if left[0] <= 0:
            return False
        left[0] -= 1
        return differs(candidate)

    found = _fewer_rows(list(inputs), still, rows, hints)
    bases = [_base(v) for v in found]
    for i in sorted(range(len(found)), key=lambda i: -getattr(found[i], "numel", int)() if i in rows else 0):
        base = bases[i]
        if base is not None:
            found = _fewer_entries(found, i, base, still)
    return found


def off_base(inputs: Sequence[Any]) -> int:
    """How many entries differ from their base."""
    return sum(int(_off(v, base).sum()) for v in inputs if (base := _base(v)) is not None)


def _fewer_rows(inputs: list[Any], still: Differs, rows: Sequence[int], hints: Sequence[int]) -> list[Any]:
    """One row if that suffices, else the shortest head of the batch that does."""
    count = min((inputs[i].shape[0] for i in rows), default=0)
    if count <= 1 or any(inputs[i].shape[0] != count for i in rows):
        return inputs
    likely = list(dict.fromkeys((*(row for row in hints if row < count), *range(min(count, 4)))))
    for row in likely:
        one = [v[row : row + 1] if i in rows else v for i, v in enumerate(inputs)]
        if still(one):
            return one
    for row in likely:  # a program may take no batch of one
        two = [
            v[row : row + 1].repeat(2, *[1] * (v.dim() - 1)) if i in rows else v for i, v in enumerate(inputs)
        ]
        if count > 2 and still(two):
            return two
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        if still([v[:middle] if i in rows else v for i, v in enumerate(inputs)]):
            high = middle
        else:
            low = middle + 1
    head = [v[:high] if i in rows else v for i, v in enumerate(inputs)]
    return head if high < count else inputs


def _base(value: Any) -> Tensor | None:
    """The plain value of an input, None for what is no tensor."""
    if not isinstance(value, Tensor) or not value.numel():
        return None
    if is_real(value) or value.is_complex() or value.dtype == torch.bool:
        return torch.zeros((), dtype=value.dtype)
    return value.flatten().mode().values


def _off(value: Tensor, base: Tensor) -> Tensor:
    return (value != base).flatten()


def _fewer_entries(inputs: list[Any], place: int, base: Tensor, still: Differs) -> list[Any]:
    """Delta debugging: keep a part of the entries, or drop one, in ever smaller parts."""
    value = inputs[place]

    def only(kept: Tensor) -> list[Any]:
        flat = base.expand(value.numel()).clone()
        flat[kept] = value.flatten()[kept]
        return [*inputs[:place], flat.reshape(value.shape), *inputs[place + 1 :]]

    kept = _off(value, base).nonzero().flatten()
    if not len(kept) or still(only(kept[:0])):
        return only(kept[:0]) if len(kept) else inputs
    parts = 2
    while len(kept) > 1:
        chunks = kept.chunk(parts)
        smaller = next((c for c in chunks if still(only(c))), None)
        if smaller is not None:
            kept, parts = smaller, 2
            continue
        rest = (torch.cat([c for j, c in enumerate(chunks) if j != i]) for i in range(len(chunks)))
        fewer = next((c for c in rest if len(chunks) > 2 and still(only(c))), None)
        if fewer is not None:
            kept, parts = fewer, max(parts - 1, 2)
        elif parts >= len(kept):
            break
        else:
            parts = min(2 * parts, len(kept))
    return only(kept)
