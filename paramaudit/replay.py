"""Counterexamples that can be run again: what to record in one, and whether the models still differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from paramaudit.config import options
from paramaudit.errors import TargetError
from paramaudit.recheck import Places, flags_in, same_models

if TYPE_CHECKING:
    from paramaudit.records import Certificate, Counterexample, Replay


def completed(certificate: Certificate) -> None:
    """Add to the counterexample of a certificate the targets and options by which its models are loaded."""
    file = Path(certificate.counterexample or "")
    if certificate.targets is None or not file.is_file():
        return
    from paramaudit.counterexample import write

    record = counterexample_in(file)
    write(dataclasses.replace(record, targets=certificate.targets, options=certificate.options), file)


def replay(file: Path, *, trust: bool, progress: Callable[[str], None]) -> Replay:
    """Run a counterexample again on the models that it names.

    Relative names are looked for here first, then beside the file.

    Args:
        file: the document of the counterexample.
        trust: run code that it names, wherever that lies, and code that a model file brings.
        progress: told the stage.

    Raises:
        TargetError: the file cannot be read, names no models, or one is missing.
        UnsafeTargetError: it names code that lies neither here nor beside it.
        StaleError: a model is not the one that was attacked.
    """
    from paramaudit import audit

    saved = counterexample_in(file)
    if saved.targets is None:
        raise TargetError(f"{file} names no models; it was made from Python, where they had no files")
    flags = flags_in(saved.options, file)
    find = Places(file, trust)
    inputs = [find(name) for name in flags.inputs or ()]
    factory = find(flags.factory) if flags.factory else None
    progress("load")
    first, second = (
        audit.open_target(find(name), inputs=inputs, factory=factory, trust=trust) for name in saved.targets
    )
    rules = Path(find(str(flags.rules))) if flags.rules else None
    meant = dataclasses.replace(options(flags), rules=rules)
    same_models(saved, first, second, meant)
    return audit.replay_loaded(saved, file, (first, second), meant, progress)


def counterexample_in(file: Path) -> Counterexample:
    """The counterexample in a file.

    Raises:
        TargetError: there is none, or it cannot be read.
    """
    from paramaudit.report.read import read_counterexample

    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TargetError(
            f"{file}: there is no such file; `paramaudit verify` saves a counterexample"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise TargetError(f"{file}: cannot be read: {error}") from error
    return read_counterexample(saved)
