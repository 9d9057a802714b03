"""Load a target: what the user names, whatever it is, as a frozen record.

The format is told by content, and no code from a model file runs unless it is trusted.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from paramaudit.errors import OptionError, TargetError
from paramaudit.load import checkpoint, exported, safetensors_file, safetensors_shards, sniff, source
from paramaudit.load.inputs import Examples, as_call, read_inputs
from paramaudit.load.text import short
from paramaudit.records import Loaded

__all__ = ["load"]


def load(
    target: str, *, inputs: Sequence[str] = (), factory: str | None = None, trust: bool = False
) -> Loaded:
    """Load a model, an exported program or the bare tensors of a checkpoint.

    Args:
        target: a file, or ``FILE.py:FUNCTION`` or ``PACKAGE.MODULE:FUNCTION``.
        inputs: values of ``--inputs``; they go before what the target brings.
        factory: for a checkpoint: the function that builds the module to load it into.
        trust: let a file run the code that it brings.

    Returns:
        Exactly one of module, exported program and tensors, with example inputs where there are any.

    Raises:
        TargetError: the target cannot be read; says what it is and what to do.
        UnsafeTargetError: reading it would run code that it brings.
        InputError: ``inputs`` are malformed.
        OptionError: ``factory`` is given for something that is no checkpoint.
    """
    given = read_inputs(inputs)
    if source.is_source(target) and not _exists(target):
        _no_factory(target, factory)
        return _from_factory(target, given)
    path = _file(target)
    try:
        kind = sniff.identify(path)
        if kind == sniff.FOLDER:
            path = safetensors_shards.in_folder(path)
            kind = sniff.identify(path)
        if kind in (sniff.PT2, sniff.OLD_PT2):
            _no_factory(target, factory)
            return _from_program(target, path, given, trust=trust)
        if kind in (sniff.TORCH_ZIP, sniff.PICKLE):
            return _from_checkpoint(target, path, given, factory, zipped=kind == sniff.TORCH_ZIP, trust=trust)
        if kind == sniff.SAFETENSORS:
            held = safetensors_file.read_tensors(path)
            return _from_tensors(target, "safetensors", held, path, given, factory, _sha256(path))
        if kind == sniff.SAFETENSORS_INDEX:
            held, digest = safetensors_shards.read_index(path)
            return _from_tensors(target, "safetensors", held, path, given, factory, digest)
    except OSError as error:
        raise TargetError(f"{target} cannot be read: {error.strerror or error}") from error
    what, remedy = sniff.REFUSED[kind]
    raise TargetError(f"{target} {what}; {remedy}")


def _from_factory(target: str, given: Examples | None) -> Loaded:
    module, own = source.build(target)
    if given is None and own is not None:
        given = as_call(own, target)
    return _of_module(target, "factory", module, given, None)


def _from_program(target: str, path: Path, given: Examples | None, *, trust: bool) -> Loaded:
    digest = _sha256(path)
    program = exported.read_exported(path, trust=trust)
    if given is None and (stored := exported.example_inputs(program, path)) is not None:
        given = Examples(*stored)
    found = given or Examples()
    return Loaded(
        target,
        "pt2",
        exported=program,
        args=found.args,
        kwargs=found.kwargs,
        symbols=found.symbols,
        sha256=digest,
        has_inputs=given is not None,
    )


def _from_checkpoint(
    target: str, path: Path, given: Examples | None, factory: str | None, *, zipped: bool, trust: bool
) -> Loaded:
    digest = _sha256(path)
    held = checkpoint.read_checkpoint(path, zipped=zipped, trust=trust)
    if isinstance(held.model, nn.Module):
        _no_factory(target, factory)
        return _of_module(target, "module", held.model, given, digest)
    loaded = _from_tensors(target, "state-dict", held.model, path, given, factory, digest)
    return replace(loaded, optimizer=held.optimizer) if loaded.tensors is not None else loaded


def _from_tensors(
    target: str,
    kind: str,
    held: Mapping[str, Tensor],
    path: Path,
    given: Examples | None,
    factory: str | None,
    digest: str,
) -> Loaded:
    """Bare tensors, or the factory's module filled with them."""
    if factory is None:
        found = given or Examples()
        return Loaded(
            target,
            kind,
            tensors=held,
            args=found.args,
            kwargs=found.kwargs,
            symbols=found.symbols,
            sha256=digest,
            has_inputs=given is not None,
        )
    module, own = source.build(factory)
    if kind == "safetensors":  # which stores shared tensors once
        held = checkpoint.with_ties(module, held)
    checkpoint.fill(module, held, path, factory)
    if given is None and own is not None:
        given = as_call(own, factory)
    return _of_module(target, kind, module, given, digest)


def _of_module(
    target: str, kind: str, module: nn.Module, given: Examples | None, digest: str | None
) -> Loaded:
    found = given or Examples()
    return Loaded(
        target,
        kind,
        module=module,
        args=found.args,
        kwargs=found.kwargs,
        symbols=found.symbols,
        sha256=digest,
        has_inputs=given is not None or _needs_none(module),
    )


def _needs_none(module: nn.Module) -> bool:
    try:
        inspect.signature(module.forward).bind()
    except (TypeError, ValueError):
        return False
    return True


def _no_factory(target: str, factory: str | None) -> None:
    if factory is not None:
        raise OptionError(f"--factory goes with a state dict; {target} brings its own module")


def _exists(target: str) -> bool:
    try:
        return Path(target).exists()
    except (OSError, ValueError):
        return False


def _file(target: str) -> Path:
    path = Path(target)
    try:
        if path.is_file() or path.is_dir():
            return path
        there = path.exists()
    except (OSError, ValueError) as error:
        raise TargetError(
            f"{short(target)!r} is no file name: {getattr(error, 'strerror', None) or error}"
        ) from error
    if there:
        raise TargetError(f"{target} is no regular file")
    hint = "" if ":" in target else "; a function that builds a model is named FILE.py:FUNCTION"
    raise TargetError(f"{short(target)!r} does not exist{hint}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
