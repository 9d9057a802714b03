"""Inputs to try: random at many scales, sparse, special, and set on and around a program's own constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SCALES = (1.0, 30.0, 0.03, 1000.0, 0.3, 1e-3, 100.0, 3.0)


@dataclass(frozen=True)
class Kind:
    """What is known of one input: the example's mean and spread, the values to set, the ids to take.

    ``example`` is the input itself where it is no tensor.
    """

    dtype: torch.dtype | None
    example: Any = None
    mean: float = 0.0
    spread: float = 1.0
    values: tuple[float, ...] = ()
    low: int = 0
    high: int = 0


def kind_of(
    example: Any, constants: Sequence[float], ids: tuple[int, int] | None, largest: float | None = None
) -> Kind:
    """The kind of an example input.

    Args:
        example: the example input.
        constants: numbers at which a program changes what it does.
        ids: the admissible range where it is known.
        largest: the largest value that the original bears.
    """
    if not isinstance(example, Tensor):
        return Kind(None, example)
    if example.is_floating_point() or example.is_complex():
        wide = example.abs().to(torch.float64) if example.is_complex() else example.to(torch.float64)
        spread = float(wide.std()) if wide.numel() > 1 else 1.0
        mean = float(wide.mean()) if wide.numel() and not example.is_complex() else 0.0
        spread = max(spread, 1e-3) if math.isfinite(spread) else 1.0
        values = _values(constants, example.dtype, spread, largest)
        return Kind(example.dtype, None, mean if math.isfinite(mean) else 0.0, spread, values)
    if example.dtype == torch.bool:
        return Kind(torch.bool)
    low, high = ids or ((int(example.min()), int(example.max())) if example.numel() else (0, 1))
    near = {int(c) + d for c in constants if float(c).is_integer() for d in (-1, 0, 1)}
    inside = sorted(v for v in near if low <= v <= high)
    return Kind(example.dtype, None, values=tuple(map(float, (low, high, *inside))), low=low, high=high)


def draw(
    kinds: Sequence[Kind], sizes: Sequence[tuple[int, ...] | None], turn: int, generator: torch.Generator
) -> list[Any]:
    """The inputs of one turn: one way to draw numbers, and now and then only one input that is not zero."""
    way = _WAYS[turn % len(_WAYS)]
    real = [i for i, kind in enumerate(kinds) if kind.dtype is not None and _moves(kind.dtype)]
    alone = real[turn // len(_WAYS) % len(real)] if len(real) > 1 and turn % 5 == 4 else None
    drawn: list[Any] = []
    for i, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        if kind.dtype is None or size is None:
            drawn.append(kind.example)
        elif kind.dtype == torch.bool:
            drawn.append(_flags(size, turn, generator))
        elif not _moves(kind.dtype):
            drawn.append(_ids(kind, size, turn, generator))
        elif alone is not None and i != alone:
            drawn.append(torch.zeros(size, dtype=kind.dtype))
        else:
            drawn.append(way(kind, size, turn // len(_WAYS), generator))
    return drawn


def dense(kind: Kind, size: tuple[int, ...], scale: float, generator: torch.Generator) -> Tensor:
    """Normal values about the example's mean, at a multiple of its spread."""
    noise = scale * kind.spread * _normal(size, kind.dtype, generator) + kind.mean
    return noise.to(kind.dtype)


def _moves(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _normal(size: tuple[int, ...], dtype: torch.dtype | None, generator: torch.Generator) -> Tensor:
    wide = torch.complex128 if dtype is not None and dtype.is_complex else torch.float64
    return torch.randn(size, generator=generator, dtype=wide)


def _dense(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    return dense(kind, size, SCALES[turn % len(SCALES)], generator)


def _sparse(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    value = dense(kind, size, SCALES[turn % len(SCALES)], generator)
    keep = torch.rand(size, generator=generator) < (0.02, 0.1, 0.3)[turn % 3]
    return torch.where(keep, value, torch.zeros((), dtype=value.dtype))


def _mixed(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    """Half of the entries on or about the program's constants."""
    value = dense(kind, size, SCALES[turn % 3], generator)
    pool = torch.tensor(kind.values, dtype=torch.float64)
    pool = pool[pool.abs() <= 1e6 * max(1.0, kind.spread)]  # one huge entry would hide all others
    chosen = pool[torch.randint(len(pool), size, generator=generator)].to(value.dtype)
    return torch.where(torch.rand(size, generator=generator) < 0.5, chosen, value)


def _single(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    """Each row has one entry on a chosen value, the rest zero or ordinary."""
    value = dense(kind, size, 1.0, generator) if turn % 2 else torch.zeros(size, dtype=kind.dtype)
    if not value.numel() or not size:
        return torch.full(size, kind.values[turn % len(kind.values)]).to(kind.dtype)
    rows = value.reshape(size[0], -1)
    at = (turn * size[0] + torch.arange(size[0])) % rows.shape[1]
    rows[torch.arange(size[0]), at] = torch.tensor(
        kind.values[turn % len(kind.values)], dtype=torch.float64
    ).to(rows.dtype)
    return rows.reshape(size)


def _filled(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:  # noqa: ARG001
    return torch.full(size, kind.values[turn % len(kind.values)], dtype=torch.float64).to(kind.dtype)


def _repeated(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    """One row at every place of the batch, or rows in another order than they were drawn."""
    value = dense(kind, size, SCALES[turn % 3], generator)
    if not size:
        return value
    order = torch.randperm(size[0], generator=generator)
    return value[order] if turn % 2 else value[:1].expand(size).clone()


_WAYS: tuple[Callable[[Kind, tuple[int, ...], int, torch.Generator], Tensor], ...] = (
    *(_dense, _mixed, _single, _sparse, _filled, _repeated),
)


def _ids(kind: Kind, size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    """Ids in turn over the whole range, all of one, or at random."""
    count, width = math.prod(size), kind.high - kind.low + 1
    if turn % 4 == 3:
        return torch.full(size, int(kind.values[turn // 4 % len(kind.values)]), dtype=kind.dtype)
    if turn % 4 == 2:
        return torch.randint(kind.low, kind.high + 1, size, generator=generator).to(kind.dtype)
    sweep = (torch.arange(count) + (turn // 4 * 2 + turn % 2) * count) % width
    return (kind.low + sweep).reshape(size).to(kind.dtype)


def sweeps(kinds: Sequence[Kind], sizes: Sequence[tuple[int, ...] | None], shift: int) -> list[Any]:
    """Every id in turn at consecutive places, from the id ``shift`` on; the rest is ordinary."""
    generator = torch.Generator().manual_seed(shift)
    drawn = draw(kinds, sizes, 0, generator)
    for i, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        if (
            kind.dtype is not None
            and size is not None
            and not _moves(kind.dtype)
            and kind.dtype != torch.bool
        ):
            at = (torch.arange(math.prod(size)) + shift) % (kind.high - kind.low + 1)
            drawn[i] = (kind.low + at).reshape(size).to(kind.dtype)
    return drawn


def _flags(size: tuple[int, ...], turn: int, generator: torch.Generator) -> Tensor:
    part = (0.5, 1.0, 0.1, 0.9, 0.0)[turn % 5]
    return torch.rand(size, generator=generator) < part


def _values(
    constants: Sequence[float], dtype: torch.dtype, spread: float, largest: float | None
) -> tuple[float, ...]:
    """Special values of a dtype, and each constant: on it, just below and above, about it, far beyond it."""
    kind = torch.finfo(dtype)
    special = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        100 * spread,
        -100 * spread,
        kind.tiny,
        kind.tiny / 4,
        -kind.tiny,
        kind.eps,
    ]
    if largest is not None:
        special += [largest, -largest]
    found: dict[float, None] = {}
    for c in constants:
        step = abs(c) * kind.eps or kind.tiny
        around = (c, c - step, c + step, c - 1e-3 * abs(c), c + 1e-3 * abs(c), -c, c + spread, c - spread)
        found.update(dict.fromkeys((*around, 10 * c, -10 * c, 100 * c)))
    return tuple(v for v in (*special, *found) if abs(v) <= kind.max)
