"""Write exported programs and tensors so that a crash leaves nothing half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from paramaudit.errors import OptionError


@contextmanager
def write_program(exported: torch.export.ExportedProgram, target: Path) -> Iterator[Path]:
    """Write to a temporary file beside ``target``; the caller moves it there or it disappears.

    Raises:
        OptionError: the folder cannot be written to.
    """
    try:
        handle, name = tempfile.mkstemp(suffix=".pt2", prefix=f".{target.stem}.", dir=target.parent)
    except OSError as error:
        msg = f"cannot write {target}: {error.strerror}"
        raise OptionError(msg) from error
    os.close(handle)
    written = Path(name)
    try:
        torch.export.save(exported, written)
        written.chmod(0o666 & ~_umask())
        yield written
    finally:
        written.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as safetensors, whole or not at all; without any, remove the file.

    Raises:
        OptionError: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if not tensors:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(exist_ok=True)
        try:
            beside.write_bytes(safetensors.torch.save({k: t.contiguous() for k, t in tensors.items()}))
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OptionError(f"{path}: cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    """The permissions that this process withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
