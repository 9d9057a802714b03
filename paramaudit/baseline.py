"""The committed baseline: read, checked field by field, and known to be of this model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from paramaudit.errors import OptionError, StaleError, TargetError
from paramaudit.records import Baseline, BaselineTotals

SCHEMA = "paramaudit/baseline/1"
FILE = Path(".paramaudit-baseline.json")
"""Where a baseline lies when the configuration names no file."""

REMEDY = "--update-baseline writes it anew"


def read_baseline(path: Path | None) -> Baseline | None:
    """The baseline in a file that the configuration names, or in :data:`FILE` where there is one.

    Raises:
        OptionError: the configuration names a file that does not exist.
        TargetError: the file is no baseline, or is damaged.
    """
    place = path or FILE
    try:
        saved = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if path is None:
            return None
        raise OptionError(f"baseline: {place} does not exist; --update-baseline writes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise TargetError(f"{place}: the baseline cannot be read: {error}; {REMEDY}") from error
    schema = saved.get("schema") if isinstance(saved, dict) else None
    if schema != SCHEMA:
        raise TargetError(f"{place}: no baseline: its schema is {schema!r:.60}, not {SCHEMA!r}; {REMEDY}")
    try:
        return _baseline(saved)
    except ValueError as error:
        raise TargetError(f"{place}: the baseline is damaged: {error}; {REMEDY}") from error


def check_target(before: Baseline, target: str) -> None:
    """A baseline speaks about one target; growth against that of another one means nothing.

    Raises:
        StaleError: it was written for another target.
    """
    if before.target != short_name(target):
        raise StaleError(
            f"the baseline is of {before.target}, not of {short_name(target)}; name another file "
            "(baseline = ...), or write this one anew with --update-baseline"
        )


def short_name(target: str) -> str:
    """The target as a baseline names it: a path as seen from this folder, with forward slashes."""
    place, colon, function = target.rpartition(":")
    if not place or Path(target).exists():
        place, colon, function = target, "", ""
    path = Path(place)
    if not path.exists():
        return target
    here = Path.cwd().resolve()
    whole = path.resolve()
    inside = whole.is_relative_to(here)
    return (whole.relative_to(here) if inside else path).as_posix() + colon + function


def _baseline(saved: Mapping[str, object]) -> Baseline:
    totals = _table(saved, "totals")
    sha256 = saved.get("sha256")
    return Baseline(
        target=_text(saved.get("target"), "target"),
        format=_text(saved.get("format"), "format"),
        sha256=None if sha256 is None else _text(sha256, "sha256"),
        totals=BaselineTotals(
            **{
                field.name: _count(totals.get(field.name), f"totals.{field.name}")
                for field in fields(BaselineTotals)
                if field.name != "flops" or totals.get("flops") is not None
            }
        ),
        modules={path: _count(n, f"modules.{path}") for path, n in _table(saved, "modules").items()},
        versions={
            name: _text(version, f"versions.{name}") for name, version in _table(saved, "versions").items()
        },
    )


def _table(saved: Mapping[str, object], key: str) -> Mapping[str, object]:
    table = saved.get(key)
    if not isinstance(table, dict):
        raise ValueError(f"{key} is not an object")
    return table


def _count(value: object, where: str) -> int:
    if type(value) is not int or value < 0:  # exactly: a bool is no count
        raise ValueError(f"{where} is {value!r:.40}, not a count")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{where} is {value!r:.40}, not text")
    return value
