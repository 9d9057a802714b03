"""What a convolution or a batch norm with stored statistics is, read off its call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.surgery import Draft

_RANK = {"aten::conv1d": 1, "aten::conv2d": 2, "aten::conv3d": 3}


@dataclass(frozen=True)
class Settings:
    """How a convolution of ``rank`` spatial dimensions steps; one number for each of them."""

    rank: int
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def settings(node: fx.Node) -> Settings | None:
    """The settings of a convolution of batched real data; None for others, and where it pads unevenly."""
    rank = _RANK.get(facts.name(node))
    value = node.meta["val"] if rank is not None else None
    if rank is None or value is None or len(value.shape) != rank + 2 or not value.is_floating_point():
        return None
    stride, dilation = (
        each(facts.argument(node, i, key, 1), rank) for i, key in ((3, "stride"), (5, "dilation"))
    )
    groups = facts.argument(node, 6, "groups", 1)
    if stride is None or dilation is None:
        return None
    padding = padded(node, rank, dilation)
    return Settings(rank, stride, padding, dilation, groups) if padding is not None else None


def each(value: object, rank: int) -> tuple[int, ...] | None:
    """One number for each dimension, of an argument that may hold one for all; None for others."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    values = values * rank if len(values) == 1 else values
    numbers = tuple(v for v in values if isinstance(v, int))
    return numbers if len(numbers) == rank else None


def padded(node: fx.Node, rank: int, dilation: tuple[int, ...]) -> tuple[int, ...] | None:
    """How many zeros stand on each side, by a convolution's numbers or word; None where that is uneven."""
    given = facts.argument(node, 4, "padding", 0)
    if given == "valid":
        return (0,) * rank
    if given != "same":
        return each(given, rank)
    taps = facts.argument(node, 1, "weight").meta["val"].shape[2:]
    both = [d * (int(k) - 1) for d, k in zip(dilation, taps, strict=True)]
    return None if any(b % 2 for b in both) else tuple(b // 2 for b in both)


def normalises_by_stored(draft: Draft, node: fx.Node) -> bool:
    """Whether a call is a batch norm by statistics that are stored."""
    if facts.name(node) != "aten::batch_norm" or facts.argument(node, 5, "training") is not False:
        return False
    held = [draft.tensor(n) for n in node.args[1:5] if n is not None]
    return all(t is not None for t in held) and None not in node.args[3:5]


def stored_affine(draft: Draft, node: fx.Node) -> tuple[Tensor, Tensor]:
    """``(scale, shift)`` of a batch norm by stored statistics, each ``(channels,)`` in float64.

    Raises:
        LookupError: its statistics are not stored.
    """
    if not normalises_by_stored(draft, node):
        msg = f"{node.name} is no batch norm with stored statistics"
        raise LookupError(msg)
    gain, shift = (draft.float64(n) if isinstance(n, fx.Node) else None for n in node.args[1:3])
    mean, variance = (draft.float64(n) for n in node.args[3:5] if isinstance(n, fx.Node))
    scale = (1.0 if gain is None else gain) / torch.sqrt(variance + float(str(node.args[7])))
    return scale, (0.0 if shift is None else shift) - mean * scale
