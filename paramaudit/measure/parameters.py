"""How many numbers a model stores, counted by what lies in memory, not by names.

Two parameters that share memory are one. A view counts as the elements that it covers. So a tied
embedding counts once, and moving a weight from a parameter into a buffer or a constant saves nothing
in :attr:`Counts.stored`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Batch norm's running statistics, by the names that torch gives them: a bare state dict does not say
# what is a buffer, and these two are no parameters in any model.
_BUFFER_NAMES = frozenset({"running_mean", "running_var"})

_Intervals = NDArray[np.int64]  # (k, 2): first byte, one past the last byte; sorted, apart


@dataclass(frozen=True)
class Counts:
    """What is stored. A complex number counts as two; a number seen from two places counts once.

    Attributes:
        parameters: floating-point numbers of parameters.
        buffers: floating-point numbers of buffers that are in no parameter.
        constants: floating-point numbers of plain tensors (lifted constants of an exported program,
            tensor attributes of a module) that are in neither.
        indices: integer and boolean numbers of all three.
        bytes: bytes of all tensors.
    """

    parameters: int
    buffers: int
    constants: int
    indices: int
    bytes: int

    @property
    def stored(self) -> int:
        """Every floating-point number, wherever it is kept."""
        return self.parameters + self.buffers + self.constants


def count(model: Mapping[str, Tensor] | nn.Module | torch.export.ExportedProgram) -> Counts:
    """Count the distinct numbers that a model stores.

    Args:
        model: a module (a ``GraphModule`` too), an exported program, or tensors by name. In a mapping
            every tensor counts as a parameter, except batch norm's ``running_mean`` and ``running_var``.

    Returns:
        The counts; parameters are counted first, so memory shared between a parameter and a buffer is
        a parameter's.
    """
    found = {"parameters": 0, "buffers": 0, "constants": 0, "indices": 0, "bytes": 0}
    claimed: dict[int, _Intervals] = {}
    keep: list[Tensor] = []  # parts of sparse tensors are temporary: an address must not be reused
    for kind, tensor in _tensors(model):
        for part in _strided_parts(tensor):
            keep.append(part)
            fresh = _claim(claimed, part)
            found["bytes"] += fresh
            found[kind if _is_float(part) else "indices"] += _numbers(part, fresh)
    return Counts(**found)


def count_by_module(model: Mapping[str, Tensor] | nn.Module | torch.export.ExportedProgram) -> dict[str, int]:
    """Floating-point numbers of parameters by the path of the module that stores them, the root as "".

    Args:
        model: as for :func:`count`.

    Returns:
        The modules that store any, in their order; the numbers sum to :attr:`Counts.parameters`. What
        several modules share belongs to the first of them.
    """
    found: dict[str, int] = {}
    for name, numbers in count_by_name(model).items():
        if numbers:
            path = name.rpartition(".")[0]
            found[path] = found.get(path, 0) + numbers
    return found


def count_by_name(model: Mapping[str, Tensor] | nn.Module | torch.export.ExportedProgram) -> dict[str, int]:
    """Floating-point numbers of each parameter that no earlier one holds; they sum to the parameters.

    Args:
        model: as for :func:`count`.

    Returns:
        Every parameter's name in its order, with 0 for one that is tied to an earlier one.
    """
    found: dict[str, int] = {}
    claimed: dict[int, _Intervals] = {}
    keep: list[Tensor] = []  # as in `count`
    for name, tensor in _named_parameters(model):
        found[name] = 0
        for part in filter(_is_float, _strided_parts(tensor)):
            keep.append(part)
            found[name] += _numbers(part, _claim(claimed, part))
    return found


def _named_parameters(
    model: Mapping[str, Tensor] | nn.Module | torch.export.ExportedProgram,
) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model, Mapping):
        yield from ((name, t) for name, t in model.items() if name.rpartition(".")[2] not in _BUFFER_NAMES)
    else:
        yield from model.named_parameters()


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_complex() or tensor.is_floating_point()


def _numbers(tensor: Tensor, covered: int) -> int:
    """The numbers in so many bytes of a tensor; a complex one is two."""
    return (2 if tensor.is_complex() else 1) * covered // tensor.element_size()


def _tensors(
    model: Mapping[str, Tensor] | nn.Module | torch.export.ExportedProgram,
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its kind, parameters first."""
    if isinstance(model, nn.Module):
        yield from (("parameters", p) for p in model.parameters())
        yield from (("buffers", b) for b in model.buffers())
        for module in model.modules():
            yield from (("constants", t) for t in vars(module).values() if isinstance(t, Tensor))
    elif isinstance(model, torch.export.ExportedProgram):
        yield from (("parameters", p) for p in model.parameters())
        yield from (("buffers", b) for b in model.buffers())
        yield from (("constants", t) for t in model.constants.values() if isinstance(t, Tensor))
    else:
        buffers = {name for name in model if name.rpartition(".")[2] in _BUFFER_NAMES}
        yield from (("parameters", t) for name, t in model.items() if name not in buffers)
        yield from (("buffers", model[name]) for name in sorted(buffers))


def _strided_parts(tensor: Tensor) -> Iterator[Tensor]:
    """The plain tensors that hold the numbers of ``tensor``."""
    if tensor.layout == torch.sparse_coo:
        yield tensor.detach()._indices()
        yield tensor.detach()._values()
    elif tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        yield from (tensor.crow_indices(), tensor.col_indices(), tensor.values())
    elif tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        yield from (tensor.ccol_indices(), tensor.row_indices(), tensor.values())
    elif type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) and hasattr(tensor, "__tensor_flatten__"):
        names, _ = tensor.__tensor_flatten__()  # wrapper subclasses (quantised weights) say what they hold
        for name in names:
            yield from _strided_parts(getattr(tensor, name))
    else:
        yield tensor


def _claim(claimed: dict[int, _Intervals], tensor: Tensor) -> int:
    """Mark the bytes that ``tensor`` covers; returns how many of them were new."""
    if tensor.numel() == 0:
        return 0
    key = tensor.untyped_storage()._cdata  # the storage's identity, also without memory (meta tensors)
    before = claimed.get(key, np.empty((0, 2), np.int64))
    after = _union(np.concatenate([before, _covered(tensor)]))
    claimed[key] = after
    return _length(after) - _length(before)


def _covered(tensor: Tensor) -> _Intervals:
    """The byte intervals of the storage that the elements of ``tensor`` lie in."""
    dimensions = sorted(
        (stride, size)
        for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        if stride != 0 and size != 1
    )
    run = 1  # elements that lie side by side
    while dimensions and dimensions[0][0] == run:
        run *= dimensions.pop(0)[1]
    starts = np.array([tensor.storage_offset()], np.int64)
    for stride, size in dimensions:
        starts = (starts[:, None] + np.arange(size, dtype=np.int64) * stride).ravel()
    return np.stack([starts, starts + run], axis=1) * tensor.element_size()


def _union(intervals: _Intervals) -> _Intervals:
    """Merge overlapping and touching intervals."""
    if len(intervals) < 2:
        return intervals
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(intervals[:, 1])
    first = np.concatenate([[True], intervals[1:, 0] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([intervals[first, 0], reach[last]], axis=1)


def _length(intervals: _Intervals) -> int:
    return int((intervals[:, 1] - intervals[:, 0]).sum())
