"""Claims files: TOML to claims, each field checked before anything is measured.

::

    [[claim]]
    id = "heads"                      # required, unique
    statement = "four heads, 6.68M"   # required, free text
    kind = "product"                  # required, one of KINDS; the rest are the fields of that kind
    stated = "6.68M"
    factors = [4, "1.67M"]

A figure is a number (28, 8.33), a text with its digits ("131K", "~130M", "12 %"), or a table that says
where it comes from: ``{ stated = "id" }`` or ``{ measured = "id" }`` of an earlier claim,
``{ parameters = "path" }`` or ``{ remaining = "path" }`` of the model, ``{ layer = "Linear(256, 512)" }``.
A measured number is held against a stated one to the digits of the statement: "131K" is 130.5K to 131.5K,
"~130M" 125M to 135M.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints

from paramaudit.claims import layers
from paramaudit.claims.arithmetic import Difference, Product, Sum, Way
from paramaudit.claims.claim import Claim, Counted, Reference, Value
from paramaudit.claims.costs import Case, Memory, Speed
from paramaudit.claims.counts import Needs, Parameters, Waste
from paramaudit.claims.equivalence import Equivalence
from paramaudit.claims.layers import Layer
from paramaudit.claims.quantity import Quantity, read
from paramaudit.claims.shapes import Fourier, SteadyGain, Wavelet
from paramaudit.errors import OptionError

KINDS: Mapping[str, type[Claim]] = {
    "parameters": Parameters,
    "sum": Sum,
    "product": Product,
    "difference": Difference,
    "reduction": Difference,
    "needs": Needs,
    "waste": Waste,
    "equivalence": Equivalence,
    "wavelet-shapes": Wavelet,
    "fourier-shapes": Fourier,
    "steady-gain": SteadyGain,
    "speed": Speed,
    "memory": Memory,
}
_SOURCES = ("stated", "measured", "parameters", "remaining", "layer")


def load_claims(path: Path) -> tuple[Claim, ...]:
    """Read a claims file.

    Raises:
        OptionError: it cannot be read, or a claim is malformed; one line that says where.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: cannot be read: {_line(error)}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OptionError(f"{path}: not valid TOML: {_line(error)}") from error
    tables = document.pop("claim", [])
    if document:
        raise OptionError(f"{path}: unknown key {min(document)!r}; a claims file holds [[claim]] tables only")
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OptionError(f"{path}: 'claim' must be [[claim]] tables")
    if not tables:
        raise OptionError(f"{path}: no [[claim]] in it")
    claims: dict[str, Claim] = {}
    for number, table in enumerate(tables, start=1):
        claim = _claim(table, f"{path}: claim {number}", claims)
        claims[claim.id] = claim
    return tuple(claims.values())


def _claim(table: Mapping[str, Any], where: str, earlier: Mapping[str, Claim]) -> Claim:
    identity = table.get("id")
    if not isinstance(identity, str) or not identity.strip():
        raise OptionError(f"{where}: 'id' must be a non-empty string")
    where = f"{where}, {identity!r}"
    if identity in earlier:
        raise OptionError(f"{where}: this id is given twice")
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise OptionError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, not {kind!r}")
    values = {key: value for key, value in table.items() if key != "kind"}
    try:
        claim: Claim = _record(KINDS[kind], values)
        _check_references(claim, earlier)
    except ValueError as error:
        raise OptionError(f"{where}: {_line(error)}") from error
    return claim


def _record(kind: type, table: Mapping[str, Any]) -> Any:
    """A record of a type from a table, each field read as its annotation says."""
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    for key in table:
        if key not in known:
            raise ValueError(f"unknown key {key!r}; known are {', '.join(known)}")
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in table:
            try:
                values[field.name] = _READERS[hints[field.name]](table[field.name])
            except ValueError as error:
                raise ValueError(f"{field.name!r}: {error}") from error
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name!r} is missing")
    return kind(**values)


def _check_references(claim: Claim, earlier: Mapping[str, Claim]) -> None:
    for reference in claim.references:
        if reference.id not in earlier:
            raise ValueError(f"refers to {reference.id!r}, which is no earlier claim")
        if reference.which == "stated" and earlier[reference.id].figure is None:
            raise ValueError(f"refers to what {reference.id!r} states, and that is no number")


def _value(value: object) -> Value:
    if not isinstance(value, dict):
        return read(value)
    [(key, item)] = value.items() if len(value) == 1 else [("", None)]
    if key not in _SOURCES or not isinstance(item, str):
        raise ValueError(f"a table must have one of {', '.join(_SOURCES)}, and a text")
    if key == "layer":
        return layers.read(item)
    return Reference(key, item) if key in ("stated", "measured") else Counted(key, item)


def _several(one: Callable[[Any], Any]) -> Callable[[object], tuple[Any, ...]]:
    """A reader of a list that is not empty."""

    def read_all(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list of at least one")
        return tuple(one(item) for item in value)

    return read_all


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    return value


def _size(value: object) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is not a whole number of 1 or more")
    return value


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return value


def _of(kind: type) -> Callable[[object], Any]:
    return lambda value: _record(kind, _table(value))


_READERS: Mapping[object, Callable[[Any], Any]] = {
    str: _text,
    str | None: _text,
    int: _size,
    Quantity: read,
    Quantity | None: read,
    Value: _value,
    Value | None: _value,
    Mapping[str, object]: _table,
    tuple[str, ...]: _several(_text),
    tuple[int, ...]: _several(_size),
    tuple[Value, ...]: _several(_value),
    tuple[Layer, ...]: _several(layers.read),
    tuple[Case, ...]: _several(_of(Case)),
    tuple[Way, ...]: _several(_of(Way)),
}


def _line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())
