"""What the last commands in this folder kept, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from paramaudit.errors import OptionError, StaleError, TargetError

if TYPE_CHECKING:
    from paramaudit.records import Audit, Certificate, Comparison
    from paramaudit.records.report import Report

STATE = Path(".paramaudit")
LAST_AUDIT = STATE / "audit.json"
LAST_CERTIFICATE = STATE / "certificate.json"
LAST_COMPARISON = STATE / "comparison.json"
LAST_COUNTEREXAMPLE = STATE / "counterexample.json"

SCAN = "`paramaudit scan TARGET`"
VERIFY = f"`paramaudit verify ORIGINAL REFACTORED --certificate {LAST_CERTIFICATE}` or `refactor --apply`"
COMPARE = "`paramaudit compare ORIGINAL REFACTORED`"

T = TypeVar("T")


def last_audit() -> Audit:
    """The audit that the last scan in this folder wrote.

    Raises:
        OptionError: there is none.
        TargetError: it cannot be read.
    """
    from paramaudit.report.read import read_audit

    audit = _read(LAST_AUDIT, read_audit)
    if audit is None:
        raise OptionError("no audit here yet: name a target, or `paramaudit scan TARGET` first")
    return audit


def certificate_in(path: Path) -> Certificate:
    """The certificate in a file.

    Raises:
        TargetError: there is none, or it cannot be read.
    """
    from paramaudit.report.read import read_certificate

    certificate = _read(path, read_certificate)
    if certificate is None:
        raise TargetError(f"{path} does not exist")
    return certificate


def witness_file(path: Path) -> Path:
    """Where the witness inputs of the certificate at ``path`` are kept."""
    return path.with_name(f"{path.stem}.witness.safetensors")


def with_witnesses(certificate: Certificate, path: Path) -> Certificate:
    """The certificate with the name of the file of its witness inputs, which is written beside ``path``.

    The file holds, by the id of each swap, the input ``(in,)`` of the swapped part on which the rounding of
    the original was observed. Without any, there is no file.

    Raises:
        OptionError: it cannot be written.
    """
    from paramaudit.save import write_tensors

    held = {swap.id: swap.traces.witness_input for swap in certificate.swaps}
    tensors = {key: tensor for key, tensor in held.items() if tensor is not None}
    beside = witness_file(path)
    write_tensors(beside, tensors)
    return replace(certificate, witnesses=beside.name if tensors else None)


def last_report() -> Report:
    """The last audit, certificate and comparison in this folder, as far as they speak about one model.

    Raises:
        OptionError: there is none of them.
        TargetError: one of them cannot be read.
    """
    from paramaudit.records.report import Report
    from paramaudit.report.read import read_audit, read_certificate, read_comparison

    audit = _read(LAST_AUDIT, read_audit)
    certificate = _read(LAST_CERTIFICATE, read_certificate)
    comparison = _read(LAST_COMPARISON, read_comparison)
    if audit is None and certificate is None and comparison is None:
        raise OptionError(f"nothing to report here yet: {SCAN} first")
    notes = [] if audit else [_missing("audit", SCAN)]
    if certificate is None:
        notes.append(_missing("certificate", VERIFY))
    elif not _certifies(certificate, audit):
        certificate, note = None, _other("certificate", VERIFY)
        notes.append(note)
    if comparison is None:
        notes.append(_missing("comparison", COMPARE))
    elif not _compares(comparison, audit):
        comparison, note = None, _other("comparison", COMPARE)
        notes.append(note)
    return Report(audit, certificate, comparison, tuple(notes))


def _read(path: Path, read: Callable[[Any], T]) -> T | None:
    """What a file holds, None when there is no such file."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise TargetError(f"{path}: cannot be read: {error}") from error
    return read(saved)


def _certifies(certificate: Certificate, audit: Audit | None) -> bool:
    return audit is None or certificate.original == audit.model.sha256


def _compares(comparison: Comparison, audit: Audit | None) -> bool:
    """A comparison names no model, so that its counts must do."""
    if audit is None:
        return True
    model, cost = audit.model, comparison.original
    return (cost.parameters, cost.buffers) == (model.parameters, model.buffers)


def _missing(what: str, command: str) -> str:
    return f"no {what} here yet: {command} makes one"


def _other(what: str, command: str) -> str:
    return f"the {what} here is of another model than the audit and left out: {command} makes one"


def still_holds(last: Audit, now: Audit) -> None:
    """A plan is applied to the model and under the contract for which it was made.

    Raises:
        StaleError: the model is another one, or its inputs, mode or outputs are.
    """
    name = last.model.target
    if last.model.sha256 != now.model.sha256:
        raise StaleError(f"{name} changed since it was audited; scan it again")
    if last.contract != now.contract:
        raise StaleError(
            f"{name} was audited under another contract (mode, sizes of inputs, outputs read); "
            "give the options of that scan again, or name the target"
        )


def saved_stem(target: str) -> str:
    """The name to save under: of the file, the folder, or a factory's file or module."""
    if Path(target).exists():
        path = Path(target).resolve()
        return path.name if path.is_dir() else path.stem
    place = target.rpartition(":")[0] or target
    return Path(place).stem if place.endswith(".py") else place.rpartition(".")[2] or place
