"""Files of ``torch.save``: state dicts, training checkpoints, tensors; whole modules only when trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from paramaudit.errors import TargetError, UnsafeTargetError
from paramaudit.load import archive, pickles
from paramaudit.load.source import importing_from
from paramaudit.load.text import cause, short

_NESTED = ("state_dict", "model_state_dict", "model")
_OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optimizer_states", "optim")
_LISTED = 5
_EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz)
_HOW = "--trust runs the code of this file; only for files you made; or save a state_dict and pass --factory"


@dataclass(frozen=True)
class Held:
    """What a checkpoint holds: tensors by name or a whole module, and its optimizer's state dict, if any."""

    model: dict[str, Tensor] | nn.Module
    optimizer: Mapping[str, Any] | None = None


def read_checkpoint(path: Path, *, zipped: bool, trust: bool) -> Held:
    """The tensors of a checkpoint under their names, or, only when trusted, a pickled module.

    Args:
        path: a file of ``torch.save``.
        zipped: it is a zip archive; tensors are then mapped from the file instead of read.
        trust: unpickle without restraint, so that the file's own code may run.

    Raises:
        UnsafeTargetError: it wants to load more than tensors, and ``trust`` is not given; lists the names.
        TargetError: it is broken, or holds no tensors.
    """
    if zipped:
        with path.open("rb") as file:
            archive.entries(file, str(path))
    held = _unpickle(path, zipped=zipped, trust=trust)
    if isinstance(held, nn.Module):
        return Held(held)
    if isinstance(held, Tensor):
        return Held({"tensor": held.detach()})
    found = _tensors(held)
    if found is not None:
        return Held(found)
    if isinstance(held, Mapping):
        found = next((t for key in _NESTED if (t := _tensors(held.get(key))) is not None), None)
        if found is not None:
            return Held(found, _optimizer(held))
        if isinstance(held.get("model"), nn.Module):
            return Held(held["model"])
    raise TargetError(f"{path} holds {_described(held)}, not a state dict; save model.state_dict()")


def _optimizer(held: Mapping[Any, Any]) -> Mapping[str, Any] | None:
    """The state dict of the only optimizer of a training checkpoint; of several none is the right one."""
    for key in _OPTIMIZERS:
        found = held.get(key)
        if isinstance(found, list | tuple) and len(found) == 1:
            found = found[0]
        if isinstance(found, Mapping) and {"state", "param_groups"} <= found.keys():
            return found
    return None


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, factory: str) -> None:
    """Load ``tensors`` into ``module``: every name must be there, in the right shape, without losing digits.

    Args:
        module: what the factory built; changed in place.
        tensors: name -> tensor.
        path: the checkpoint, for the message.
        factory: the factory, for the message.

    Raises:
        TargetError: they do not fit; lists the names.
    """
    own = module.state_dict(keep_vars=True)
    mismatched = [
        f"{name} ({_kind(tensor)} in the file, {_kind(own[name])} in the module)"
        for name, tensor in tensors.items()
        if isinstance(own.get(name), Tensor) and not _fits(tensor, own[name])
    ]
    mismatched = mismatched or _torn(module, tensors)
    missing: Sequence[str] = ()
    unexpected: Sequence[str] = ()
    try:
        if not mismatched:
            missing, unexpected = module.load_state_dict(dict(tensors), strict=False)
        else:
            missing = [name for name in own if name not in tensors]
            unexpected = [name for name in tensors if name not in own]
    except Exception as error:  # hooks of the user's module raise anything; it is reported
        raise TargetError(f"{path} does not fit the module of {factory}: {cause(error)}") from error
    parts = [
        f"{len(names)} {what}: {', '.join(names[:_LISTED])}{', ...' if len(names) > _LISTED else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("mismatched", mismatched))
        if names
    ]
    if parts:
        prefix = unexpected[0].split(".")[0] if unexpected else ""
        if prefix in ("module", "_orig_mod") and all(name.startswith(prefix + ".") for name in tensors):
            parts.append(f"all its names begin with {prefix!r}: it was saved from a wrapped model")
        raise TargetError(f"{path} does not fit the module of {factory}: {'; '.join(parts)}")


def with_ties(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` with those added that the file leaves out because the module itself ties them to others."""
    found = dict(tensors)
    for names in _tied(module):
        kept = next((name for name in names if name in tensors), None)
        if kept is not None:
            found.update((name, tensors[kept]) for name in names if name not in tensors)
    return found


def _tied(module: nn.Module) -> list[list[str]]:
    """Groups of state-dict names that are one tensor of the module."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and not is_lazy(tensor) and tensor.data_ptr():
            place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            groups.setdefault(place, []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _torn(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Names that are one tensor of the module and hold different numbers in the file."""
    found = []
    for names in _tied(module):
        first, *others = [name for name in names if name in tensors] or [""]
        found += [
            f"{name} (one tensor with {first} in the module, other numbers in the file)"
            for name in others
            if not _same_bytes(tensors[first], tensors[name])
        ]
    return found


def _same_bytes(x: Tensor, y: Tensor) -> bool:
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    first, second = (t.contiguous().reshape(-1).view(torch.uint8) for t in (x, y))
    return torch.equal(first, second)


def _unpickle(path: Path, *, zipped: bool, trust: bool) -> object:
    try:
        if trust:
            with importing_from(Path.cwd()):
                return torch.load(path, map_location="cpu", weights_only=False)
        if (
            zipped and path.suffix != ".safetensors"
        ):  # torch goes by that ending, and maps only what has a path
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        with path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickles raise anything; each is a reported refusal
        with path.open("rb") as file:
            wanted = pickles.wanted_by(file)
        if wanted and not trust:
            more = ", ..." if len(wanted) > _LISTED else ""
            names = ", ".join(short(name) for name in wanted[:_LISTED]) + more
            raise UnsafeTargetError(
                f"{path} is a pickle that wants to load {names}: {_HOW}", wanted
            ) from error
        what = "could not be unpickled" if trust else "is damaged or no file of torch.save"
        raise TargetError(f"{path} {what}: {_reason(error)}") from error


def _tensors(held: object) -> dict[str, Tensor] | None:
    """``held`` as name -> tensor; modules may add one extra state each, which is not a tensor."""
    if not isinstance(held, Mapping) or not held or not all(isinstance(name, str) for name in held):
        return None
    tensors = {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}
    others = [name for name in held if name not in tensors and not name.endswith("_extra_state")]
    return tensors if tensors and not others else None


def _fits(given: Tensor, own: Tensor) -> bool:
    lazy = is_lazy(own)
    return lazy or (given.shape == own.shape and _holds(own.dtype, given.dtype))


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every number of one dtype is one of the other; torch promotes no floats of eight bits."""
    if narrow != wide and "float8" in f"{narrow} {wide}":
        return narrow in _EIGHT_BITS and wide in (torch.bfloat16, torch.float32, torch.float64)
    return torch.promote_types(narrow, wide) == wide


def _kind(tensor: Tensor) -> str:
    if is_lazy(tensor):
        return "uninitialized"
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _described(held: object) -> str:
    if isinstance(held, Mapping):
        keys = ", ".join(short(key) for key in list(held)[:_LISTED])
        return f"a dict with {keys}{', ...' if len(held) > _LISTED else ''}" if held else "an empty dict"
    return f"a {type(held).__name__}"


def _reason(error: Exception) -> str:
    """The reason without the advice that torch wraps it in: how to switch its safety off."""
    text = str(error)
    return (
        cause(type(error)(text.rsplit("WeightsUnpickler error:", 1)[-1]))
        if "WeightsUnpickler" in text
        else cause(error)
    )
