"""What is loaded, and what a swap holds under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class InputSpec:
    """One input: ``shape`` holds a name for each symbolic dimension and an int for each static one."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Specialised:
    """A dimension that had to be, or was asked to be, a constant."""

    input: str
    dimension: int
    why: str


@dataclass(frozen=True)
class Contract:
    """What a swap holds under; ``conditions`` are those on sizes, e.g. ``frame.size()[0] > 4``.

    ``read`` are the outputs that were asked for, empty when all are read.
    """

    mode: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    specialised: tuple[Specialised, ...] = ()
    conditions: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


@dataclass(frozen=True)
class Loaded:
    """A target after loading: exactly one of ``module``, ``exported``, ``tensors`` is set.

    ``args`` and ``kwargs`` are example inputs (empty when the target brings none and needs none).
    ``format`` is one of "factory", "pt2", "state-dict", "safetensors", "module". ``sha256`` is the hash of
    the file (of an index and its shards together), or None for a factory (identity then comes from graph
    and tensors). ``symbols`` names symbolic dimensions given with ``--inputs 'float32[batch,256]'``:
    {(argument index, dimension): name}. ``optimizer`` is the state dict of the optimizer that a training
    checkpoint holds beside its tensors.
    """

    target: str
    format: str
    module: nn.Module | None = None
    exported: torch.export.ExportedProgram | None = None
    tensors: Mapping[str, Tensor] | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    symbols: Mapping[tuple[int, int], str] = field(default_factory=dict)
    has_inputs: bool = True
    optimizer: Mapping[str, Any] | None = None
