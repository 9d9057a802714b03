"""Exported programs: ``.pt2`` files that ``torch.export.save`` wrote."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.export import ExportedProgram

from paramaudit.errors import TargetError
from paramaudit.load.text import cause
from paramaudit.load.vet import vet_pt2

_LOGGERS = ("torch.export", "torch.export.pt2_archive._package", "torch._export.serde.serialize")


def read_exported(path: Path, *, trust: bool) -> ExportedProgram:
    """Vet a .pt2 and load it.

    Args:
        path: the archive; its ending does not matter.
        trust: load without vetting, so that the file's own code may run.

    Raises:
        UnsafeTargetError: loading could run code, and ``trust`` is not given.
        TargetError: the archive is broken, or of a version that this torch does not read.
    """
    with path.open("rb") as file:  # one handle: what is vetted is what is loaded
        if not trust:
            vet_pt2(file, str(path))
            file.seek(0)
        reasons: list[BaseException] = []
        try:
            with _quiet(reasons):
                return torch.export.load(file)
        except Exception as error:  # torch raises anything on a bad archive; it is reported
            # For some errors torch logs the true reason and raises another one that points at the log.
            hidden = bool(reasons) and "warnings above" in str(error)
            reason = _innermost(reasons[0] if hidden else error)
            raise TargetError(
                f"{path} cannot be loaded by torch {torch.__version__}: {cause(reason)}"
            ) from error


def example_inputs(
    program: ExportedProgram, path: Path
) -> tuple[tuple[object, ...], dict[str, object]] | None:
    """Arguments and keywords stored with the program; None when it was saved without.

    Raises:
        TargetError: what is stored is no call.
    """
    match program.example_inputs:
        case None | ():
            return None
        case (tuple() | list() as args, dict() as kwargs):
            return tuple(args), kwargs
        case _:
            raise TargetError(f"{path} stores example inputs that are no call")


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


@contextlib.contextmanager
def _quiet(reasons: list[BaseException]) -> Iterator[None]:
    """Keep torch from printing tracebacks; collect the exceptions that it logs."""

    def collect(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            reasons.append(record.exc_info[1])
        return record.levelno >= logging.ERROR and not record.exc_info

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(collect)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This version of file is deprecated")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(collect)
