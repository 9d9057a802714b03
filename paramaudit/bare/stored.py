"""What a bare checkpoint stores: every parameter by name, with what belongs to it by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.measure import count_by_name
from paramaudit.numerics.noise import finite
from paramaudit.records import Skipped

_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Stored:
    """One parameter: ``numbers`` are those that no earlier name holds, 0 for a tied one."""

    name: str
    tensor: Tensor
    numbers: int

    @property
    def path(self) -> str:
        """The module that holds it, by its dotted name."""
        return self.name.rpartition(".")[0]

    @property
    def last(self) -> str:
        """Its own name in that module."""
        return self.name.rpartition(".")[2]

    @property
    def rows(self) -> Tensor:
        """It as ``(rows, rest)``; a vector is one row."""
        return self.tensor.reshape(len(self.tensor), -1) if self.tensor.dim() > 1 else self.tensor[None]


def inventory(tensors: Mapping[str, Tensor]) -> tuple[Mapping[str, Stored], tuple[Skipped, ...]]:
    """The parameters that can be looked at, by name in their order, and why the others cannot."""
    found: dict[str, Stored] = {}
    skipped: list[Skipped] = []
    for name, numbers in count_by_name(tensors).items():
        tensor = tensors[name].detach()
        reason = _obstacle(tensor)
        if reason:
            skipped.append(Skipped(name.rpartition(".")[0], f"{name} {reason}"))
        elif tensor.is_floating_point() and tensor.numel():
            found[name] = Stored(name, tensor if tensor.dim() else tensor.reshape(1), numbers)
    return found, tuple(skipped)


def bits(tensor: Tensor) -> Tensor:
    """The stored bits as whole numbers, so that -0.0 is not 0.0."""
    return tensor.contiguous().view(_BITS[tensor.element_size()])


def _obstacle(tensor: Tensor) -> str:
    """Why the numbers of a tensor cannot be looked at; empty where they can, or where there are none."""
    if tensor.layout != torch.strided or type(tensor) not in (Tensor, torch.nn.Parameter, torch.nn.Buffer):
        return "is no dense tensor; its numbers are counted, not looked at"
    if tensor.is_quantized or tensor.is_complex():
        kind = "quantised" if tensor.is_quantized else "complex"
        return f"is {kind}; its numbers are counted, not looked at"
    if tensor.device.type == "meta":
        return "has a shape and no numbers"
    if not tensor.is_floating_point() or not tensor.numel():
        return ""
    if finite(tensor):
        return ""
    bad = sum(int((~part.to(torch.float32).isfinite()).sum()) for part in _parts(tensor))
    if bad:
        return f"holds {bad:,} numbers of {tensor.numel():,} that are NaN or infinite; it is not looked at"
    return ""


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in pieces, so that no copy of all of it is made."""
    if tensor.dtype == torch.float64:  # a large finite number is infinite in float32
        yield torch.where(tensor.isfinite(), 0.0, tensor)
    else:
        yield from torch.split(tensor.reshape(-1), 1 << 22)
