"""Functions of two tensors as programs, for tests of pairing."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from affine_programs import program
from torch import Tensor, nn

from paramaudit.graph.program import Program
from paramaudit.pairing import Pairing, pair


class Call(nn.Module):
    """A function of ``x`` and ``y`` with random stored tensors by name; both are square and of one size."""

    def __init__(self, function: Callable[..., object], seed: int = 0) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(seed)
        for name in ("a", "b", "c"):
            self.register_parameter(name, nn.Parameter(torch.randn(4, 4, generator=generator)))
        self.register_buffer("state", torch.randn(4, generator=generator))
        self.register_buffer("other", self.state.clone())

    def forward(self, x: Tensor, y: Tensor) -> object:
        return self.function(self, x, y)


def inputs() -> list[Tensor]:
    return [torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]


@functools.cache
def made(function: Callable[..., object], *, mode: str = "eval", static: bool = False) -> Program:
    """The program of a function; only the features are static unless said otherwise."""
    return program(Call(function), *inputs(), static=tuple(range(3)) if static else (-1,), mode=mode)


def changed(function: Callable[..., object], **changes: Tensor) -> Program:
    """The program of a function with other stored tensors."""
    module = Call(function)
    with torch.no_grad():
        for name, value in changes.items():
            getattr(module, name).copy_(value)
    return program(module, *inputs(), static=[-1])


def paired(first: Callable[..., object], second: Callable[..., object], **options: object) -> Pairing:
    return pair(made(first, **options), made(second, **options))  # type: ignore[arg-type]


def same(found: Pairing) -> bool:
    return not found.unpaired and found.tier.safe


Function = Callable[[Call, Tensor, Tensor], object]
