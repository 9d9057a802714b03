"""The account: what every module and the whole program store before and after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from torch import Tensor, nn

from paramaudit.graph.program import Program, stored
from paramaudit.measure import Counts, count
from paramaudit.records import Loaded, ModelInfo, Totals
from paramaudit.rules import ModuleCount


def model_info(loaded: Loaded, program: Program, digest: str) -> ModelInfo:
    """What is said about the model as a whole."""
    counts = _before(program)
    return ModelInfo(
        loaded.target,
        digest,
        loaded.format,
        counts.parameters,
        counts.buffers + counts.constants,
        counts.bytes,
        exported=True,
    )


def totals(program: Program, refactored: Program) -> Totals:
    """Read off both programs.

    After: parameters that are kept plus every floating-point number that a swap stores, in whatever
    form; the original's own buffers are counted apart on both sides.
    """
    before, after = _before(program), _after(program, refactored)
    kept = {name for name, tensor in stored(refactored.module) if not _is_float(tensor)}
    old = {name for name, tensor in program.buffers.items() if not _is_float(tensor)}
    swapped = [tensor for name, tensor in stored(refactored.module) if name in kept - old]
    indices = sum(tensor.numel() for tensor in swapped)
    return Totals(before.parameters, after.parameters, indices, before.bytes, after.bytes)


def _before(program: Program) -> Counts:
    return count(_holder(program.parameters.items(), program.buffers.items()))


def _after(program: Program, refactored: Program) -> Counts:
    tensors = list(stored(refactored.module))
    parameters = [(n, t) for n, t in tensors if n not in program.buffers and _is_float(t)]
    rest = [(n, t) for n, t in tensors if n in program.buffers or not _is_float(t)]
    return count(_holder(parameters, rest))


def _holder(parameters: Iterable[tuple[str, Tensor]], buffers: Iterable[tuple[str, Tensor]]) -> nn.Module:
    """A module that holds these tensors, so that one counter serves all."""
    module = nn.Module()
    for i, (_, tensor) in enumerate(parameters):
        module.register_parameter(f"p{i}", nn.Parameter(tensor.detach(), requires_grad=False))
    for i, (_, tensor) in enumerate(buffers):
        module.register_buffer(f"b{i}", tensor.detach())
    return module


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def module_counts(program: Program, refactored: Program) -> list[ModuleCount]:
    """One record a module path, the root as "", with distinct numbers before and after."""
    paths = set(program.types)
    before = _owned(program.parameters, paths)
    kept = {n: t for n, t in stored(refactored.module) if n not in program.buffers and _is_float(t)}
    after = _owned(kept, paths)
    inclusive_before, inclusive_after = _inclusive(before, paths), _inclusive(after, paths)
    return [
        ModuleCount(path, program.types[path], inclusive_before[path], before[path], inclusive_after[path])
        for path in program.types
    ]


def _owned(tensors: Mapping[str, Tensor], paths: Collection[str]) -> Mapping[str, int]:
    """Numbers by the module that owns them; shared memory belongs to its first name."""
    owned: dict[str, int] = defaultdict(int)
    seen: set[int] = set()
    for name, tensor in tensors.items():
        key = tensor.untyped_storage().data_ptr() if tensor.numel() else id(tensor)
        if key not in seen:
            seen.add(key)
            owned[_owner(name, paths)] += tensor.numel() * (2 if tensor.is_complex() else 1)
    return owned


def _owner(name: str, paths: Collection[str]) -> str:
    """The deepest module path that a stored name lies in, ``""`` for the root."""
    parts = name.split(".")[:-1]
    while parts and ".".join(parts) not in paths:
        parts.pop()
    return ".".join(parts)


def _inclusive(owned: Mapping[str, int], paths: Collection[str]) -> Mapping[str, int]:
    total: dict[str, int] = dict.fromkeys(paths, 0)
    for path, numbers in owned.items():
        parts = path.split(".") if path else []
        for depth in range(len(parts) + 1):
            above = ".".join(parts[:depth])
            if above in total:
                total[above] += numbers
    return total
