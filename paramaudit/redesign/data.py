"""Recorded inputs of a model: the data that a redesign is fitted to and judged on."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paramaudit.errors import InputError
from paramaudit.graph.program import Program
from paramaudit.load.inputs import read_inputs
from paramaudit.load.source import is_source
from paramaudit.records import InputSpec

LEAST_ROWS = 32


def read_data(source: str | Sequence[Tensor], program: Program) -> list[Tensor]:
    """One tensor for each input of the program, all with the same number of rows.

    Args:
        source: an ``.npz`` file with an array for each input, by its name in the contract, or
            ``file.py:function`` that returns the inputs as a tuple or a dict, or the tensors themselves.
        program: whose inputs they are.

    Raises:
        InputError: the data cannot be read, or does not fit the contract.
    """
    given = _given(source)
    source = source if isinstance(source, str) else "the data"
    specs = program.contract.inputs
    if isinstance(given, Mapping):
        missing = [spec.name for spec in specs if spec.name not in given]
        if missing:
            there = ", ".join(sorted(given)) or "nothing"
            raise InputError(f"{source} has no array {missing[0]!r}; it has {there}")
        tensors = [given[spec.name] for spec in specs]
    else:
        tensors = list(given)
        if len(tensors) != len(specs):
            raise InputError(f"{source} gives {len(tensors)} inputs, the model takes {len(specs)}")
    for spec, tensor in zip(specs, tensors, strict=True):
        _fits(source, spec, tensor)
    rows = {len(tensor) for tensor in tensors}
    if len(rows) > 1:
        raise InputError(
            f"{source}: the arrays have {', '.join(map(str, sorted(rows)))} rows, not one number"
        )
    if min(rows) < LEAST_ROWS:
        raise InputError(f"{source} has {min(rows)} rows; a fit needs at least {LEAST_ROWS}")
    kinds = [getattr(torch, spec.dtype) for spec in specs]
    return [tensor.to(kind) for tensor, kind in zip(tensors, kinds, strict=True)]


def _given(source: str | Sequence[Tensor]) -> Mapping[str, Tensor] | Sequence[Tensor]:
    if not isinstance(source, str):
        return source
    return _called(source) if is_source(source) else _arrays(Path(source))


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not hasattr(archive, "files"):
                raise InputError(f"{path} is one array; save one for each input by name with numpy.savez")
            return {name: torch.from_numpy(np.ascontiguousarray(archive[name])) for name in archive.files}
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is no .npz file of numbers: {what}") from error


def _called(source: str) -> Mapping[str, Tensor] | Sequence[Tensor]:
    found = read_inputs([source])
    values = () if found is None else (found.kwargs or found.args)
    leaves = list(values.values()) if isinstance(values, Mapping) else list(values)
    if not all(isinstance(value, Tensor) for value in leaves):
        raise InputError(f"{source} must return tensors, one for each input")
    return values


def _fits(source: str, spec: InputSpec, tensor: Tensor) -> None:
    sizes = zip(spec.shape[1:], tensor.shape[1:], strict=False)
    alike = len(spec.shape) == tensor.dim() and all(isinstance(a, str) or a == b for a, b in sizes)
    if not alike or not tensor.dim():
        raise InputError(
            f"{source}: {spec.name!r} is {list(tensor.shape)}, the model takes [rows, "
            f"{', '.join(map(str, spec.shape[1:]))}]"
        )
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise InputError(f"{source}: {spec.name!r} has numbers that are NaN or infinite")
