"""Saved documents back to records, checked field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from paramaudit.errors import TargetError
from paramaudit.records import IN_MEMORY, Audit, Certificate, Comparison, Counterexample, DeviceCost

AUDIT = "paramaudit/audit/1"
CERTIFICATE = "paramaudit/certificate/1"
COMPARISON = "paramaudit/compare/1"
COUNTEREXAMPLE = "paramaudit/counterexample/1"
RENAMED = {"cls": "class"}  # a record's field that is a keyword of Python


def read_audit(document: object) -> Audit:
    """The audit that a document was made of; fields that a later version added are passed over.

    Raises:
        TargetError: this is no audit document, or a field of it is missing or malformed.
    """
    return cast(Audit, _read(Audit, document, AUDIT, "audit"))


def read_certificate(document: object) -> Certificate:
    """The certificate that a document was made of, as :func:`read_audit` reads an audit."""
    return cast(Certificate, _read(Certificate, document, CERTIFICATE, "certificate"))


def read_comparison(document: object) -> Comparison:
    """The comparison that a document was made of, as :func:`read_audit` reads an audit."""
    return cast(Comparison, _read(Comparison, document, COMPARISON, "comparison"))


def read_counterexample(document: object) -> Counterexample:
    """The counterexample that a document speaks of, as :func:`read_audit` reads an audit."""
    return cast(Counterexample, _read(Counterexample, document, COUNTEREXAMPLE, "counterexample"))


def _read(kind: type, document: object, schema: str, name: str) -> object:
    given = document.get("schema") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or given != schema:
        raise TargetError(f"not a saved {name}: its schema is {str(given)[:40]!r}, not {schema!r}")
    try:
        return _record(kind, _flat(document), name)
    except (ValueError, RecursionError) as error:
        raise TargetError(f"the saved {name} is damaged: {error}") from error


def _flat(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document with a record's fields where the record has them."""
    models, savings = document.get("models"), document.get("savings")
    if isinstance(models, Mapping):
        document = {**document, **models}
    if isinstance(savings, Mapping) and "latency" in savings:
        document = {**document, "latency": savings["latency"]}
    return document


def _record(kind: type, item: object, where: str) -> object:
    """One record from an object, each field read as its annotation says."""
    if not isinstance(item, Mapping):
        raise ValueError(f"{where} is not an object")
    hints = get_type_hints(kind)
    values: dict[str, object] = {}
    for field in fields(kind):
        if field.metadata == IN_MEMORY:
            continue
        key = RENAMED.get(field.name, field.name)
        if key in item:
            values[field.name] = _value(hints[field.name], item[key], f"{where}.{key}")
        elif kind is DeviceCost and "unavailable" in item:
            values[field.name] = None  # either numbers or the reason why there are none
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{where}.{key} is missing")
    return kind(**values)


def _value(kind: Any, value: object, where: str) -> object:
    """A value checked against an annotation, lists turned into tuples."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _choice(get_args(kind), value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} is not a list")
        if Ellipsis not in get_args(kind) and len(value) != len(get_args(kind)):
            raise ValueError(f"{where} has {len(value)} entries, not {len(get_args(kind))}")
        return tuple(_value(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is Mapping:
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not an object")
        inner = get_args(kind)[1]
        if not isinstance(inner, type):
            return dict(value)  # any JSON
        return {key: _value(inner, item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(kind):
        return _record(cast(type, kind), value, where)
    return _scalar(kind, value, where)


def _choice(kinds: tuple[Any, ...], value: object, where: str) -> object:
    """A value of an annotation ``A | B``; only scalars or one record stand beside None."""
    if value is None and NoneType in kinds:
        return None
    scalars = [kind for kind in kinds if isinstance(kind, type) and type(value) is kind]
    rest = scalars or [kind for kind in kinds if kind is not NoneType]
    return _value(rest[0], value, where)


def _scalar(kind: type, value: object, where: str) -> object:
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) in (int, float):
        return float(cast(float, value))
    if issubclass(kind, Enum):
        return kind(value)  # a ValueError that names the value
    if type(value) is not kind:  # exactly: a bool is no count
        raise ValueError(f"{where} is {str(value)[:40]!r}, not of type {kind.__name__}")
    return value
