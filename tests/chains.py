"""Stand-ins for layers of a network: one Linear, or three whose product is a given map."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from paramaudit.records import Matrix

Layers = list[tuple[Tensor, Tensor | None]]


def single(view: Matrix) -> Layers:
    """The map as one Linear in its dtype."""
    return [(view.weight.to(view.dtype), None if view.bias is None else view.bias.to(view.dtype))]


def chain(view: Matrix, widths: tuple[int, ...], seed: int = 0) -> Layers:
    """Dense Linears in the map's dtype, with these inner sizes, whose product is the map.

    First factor random, middle ones random partial isometries times a scale, the last one
    ``W pinv(acc) + R (I - acc pinv(acc))`` with R random; biases random and cancelling.
    """
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    out, columns = view.weight.shape
    acc = randn(widths[0], columns) / columns**0.5
    shift = randn(widths[0])
    layers: Layers = [(acc, shift)]
    for before, after in itertools.pairwise(widths):
        isometry = torch.linalg.qr(randn(max(before, after), min(before, after))).Q
        middle = (0.7 + 0.9 * float(torch.rand(1, generator=generator))) * (
            isometry if after >= before else isometry.T
        )
        bias = randn(after)
        layers.append((middle, bias))
        acc, shift = middle @ acc, middle @ shift + bias
    inverse = torch.linalg.pinv(acc)
    free = randn(out, widths[-1]) / widths[-1] ** 0.5
    last = view.weight @ inverse + free - (free @ acc) @ inverse
    layers.append((last, -last @ shift if view.bias is None else view.bias - last @ shift))
    return [(w.to(view.dtype), b.to(view.dtype)) for w, b in layers if b is not None]


def nudged(layers: Layers, which: int, share: float, amount: float, seed: int = 0) -> Layers:
    """The same layers with a share of one layer's weights changed by a relative amount."""
    weight, bias = layers[which]
    chosen = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < share
    changed = torch.where(chosen, weight * (1 + amount), weight)
    return [*layers[:which], (changed, bias), *layers[which + 1 :]]


def product(layers: Layers) -> Matrix:
    """The map that the stored numbers of these layers compute, multiplied out in float64."""
    weight, bias = None, None
    for w, b in layers:
        weight = w.double() if weight is None else w.double() @ weight
        bias = None if bias is None else w.double() @ bias
        if b is not None:
            bias = b.double() if bias is None else bias + b.double()
    assert weight is not None
    return Matrix(weight, bias, layers[0][0].dtype)


def runner(layers: Layers) -> Callable[[Tensor], Tensor]:
    """The layers as a network runs them."""

    def run(inputs: Tensor) -> Tensor:
        for weight, bias in layers:
            inputs = F.linear(inputs, weight, bias)
        return inputs

    return run
