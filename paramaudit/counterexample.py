"""Counterexamples as files: the inputs as safetensors, and a JSON document that says what they show."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from paramaudit.attack import Difference, Judge, Memory, Trials
from paramaudit.errors import InputError, TargetError
from paramaudit.graph.program import Program
from paramaudit.records import Counterexample, Json, OutputValues, Replay

SCHEMA = "paramaudit/counterexample/1"
FILE = Path(".paramaudit") / "counterexample.json"


def save(
    program: Program,
    names: tuple[str, str],
    tried: Trials,
    versions: Mapping[str, str],
    file: Path = FILE,
) -> Path:
    """Write the counterexample of an attack, the tensors beside the document.

    Args:
        program: the original, whose contract the inputs meet.
        names: SHA-256 of the original and of the refactored model.
        tried: an attack that found one.
        versions: of everything that took part.
        file: where the document goes; its folder is made.
    """
    given = tried.counterexample or {}
    tensors = {name: _stored(value) for name, value in given.items() if isinstance(value, Tensor)}
    record = Counterexample(
        original=names[0],
        refactored=names[1],
        contract=program.contract,
        values=tuple(map(values_of, tried.differences)),
        seed=tried.seed,
        reason=tried.reason,
        inputs=f"{file.stem}.safetensors",
        plain={name: value for name, value in given.items() if not isinstance(value, Tensor)},
        versions=versions,
    )
    file.parent.mkdir(exist_ok=True)
    save_file(tensors, file.with_name(record.inputs))
    write(record, file)
    return file


def write(record: Counterexample, file: Path) -> None:
    """Write the document alone."""
    content = dataclasses.asdict(record)
    models = {"original": content.pop("original"), "refactored": content.pop("refactored")}
    document = {"schema": SCHEMA, **content, "models": models}
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    file.write_text(text + "\n", encoding="utf-8")


def inputs_of(record: Counterexample, file: Path) -> list[Any]:
    """The flat inputs of a saved counterexample.

    Raises:
        TargetError: the tensors are missing, damaged, or not those of the contract.
    """
    if Path(record.inputs).name != record.inputs:
        raise TargetError(f"{file}: its inputs are not beside it: {record.inputs[:80]!r}")
    beside = file.with_name(record.inputs)
    try:
        held = load_file(beside)
    except (OSError, SafetensorError) as error:
        raise TargetError(f"{beside}: cannot be read: {' '.join(str(error).split())[:200]}") from error
    found: list[Any] = []
    for spec in record.contract.inputs:
        if spec.name in record.plain:
            found.append(record.plain[spec.name])
            continue
        if spec.name not in held:
            raise TargetError(f"{beside}: holds no tensor for the input {spec.name!r}")
        value = held[spec.name]
        value = torch.view_as_complex(value) if spec.dtype.startswith("complex") else value
        if not _fits(value, spec.dtype, spec.shape):
            shown = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            raise TargetError(f"{beside}: input {spec.name!r} is {shown}, not {spec.dtype}{list(spec.shape)}")
        found.append(value)
    return found


def run_again(
    record: Counterexample, file: Path, original: Program, refactored: Program, targets: tuple[str, str]
) -> Replay:
    """Judge the saved inputs on both programs, as the attack did.

    Raises:
        InputError: the original does not take the inputs.
        TargetError: the inputs cannot be read.
    """
    inputs = inputs_of(record, file)
    judged = Judge(original, refactored, Memory(), seed=record.seed).judge(inputs)
    if not judged.ran:
        raise InputError(f"{targets[0]} does not run on the inputs of {file}")
    values = tuple(map(values_of, judged.furthest))
    return Replay(str(file), targets, bool(judged.reason), judged.reason, values)


def values_of(found: Difference) -> OutputValues:
    """The values of a difference as real numbers."""
    three = (found.original_float64, found.original, found.refactored)
    gap = found.refactored - found.original_float64
    imaginary = abs(gap.imag) > abs(gap.real)
    part = ("imaginary" if imaginary else "real") if any(v.imag for v in three) else ""
    true, mine, theirs = (v.imag if imaginary else v.real for v in three)
    return OutputValues(found.output, found.index, true, mine, theirs, found.off, found.allowed, part)


def _stored(value: Tensor) -> Tensor:
    """A tensor as safetensors holds it: contiguous, complex numbers as pairs."""
    value = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    return value.detach().cpu().contiguous().clone()


def _fits(value: Tensor, dtype: str, shape: tuple[str | int, ...]) -> bool:
    if str(value.dtype) != f"torch.{dtype}" or value.dim() != len(shape):
        return False
    return all(not isinstance(s, int) or s == n for s, n in zip(shape, value.shape, strict=True))


def _finite(value: Any) -> Json:
    """JSON has no NaN and no infinity: such a number becomes null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    plain: Json = value
    return plain
