"""Write an exported program so that a crash leaves nothing half-written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

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


def _umask() -> int:
    """The permissions that this process withholds from new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
