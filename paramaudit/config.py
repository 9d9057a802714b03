"""Defaults from ``[tool.paramaudit]``, and the check that all options make sense together."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from paramaudit import budgets
from paramaudit.cli_options import Flags
from paramaudit.errors import OptionError
from paramaudit.report import check_format

if TYPE_CHECKING:
    from paramaudit.audit import Options

FILE = "pyproject.toml"
SECTION = "[tool.paramaudit]"
DEVICES = ("cpu", "cuda")
MODES = ("eval", "train")
OBJECTIVES = ("parameters", "bytes", "latency", "flops")
ASKED_FOR = ("bounded", "tested", "fitted")


def read_config(folder: Path) -> dict[str, Any]:
    """The fields of :class:`Flags` that ``pyproject.toml`` in this folder sets, empty without one.

    Lists may be written as one string, ``static`` as a table ``{ name = size }``, and ``select`` and
    ``ignore`` as a table from what is meant to the reason why.

    Raises:
        OptionError: the file is not valid TOML, or a key is unknown or of the wrong type.
    """
    section = _section(folder)
    known = [field.name for field in fields(Flags)]
    for key in section:
        if key not in known and budgets.hyphened(key) not in budgets.KEYS:
            names = ", ".join((*known, *budgets.KEYS))
            raise OptionError(f"{FILE}: {SECTION}: unknown key {key!r}; known are {names}")
    return {key: _typed(key, value) for key, value in section.items() if key in known}


def read_limits(folder: Path) -> budgets.Limits:
    """The budgets that ``pyproject.toml`` in this folder states, none without one.

    Raises:
        OptionError: the file is not valid TOML, or a budget is malformed.
    """
    try:
        limits = budgets.read_limits(_section(folder))
    except OptionError as error:
        raise OptionError(f"{FILE}: {SECTION}: {error}") from error
    for device in limits.latency:
        _one_of("max-latency", device, DEVICES)
    return limits


def _section(folder: Path) -> dict[str, Any]:
    """The table ``[tool.paramaudit]``, empty where there is none."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # a decoding error is a ValueError too
        raise OptionError(f"{FILE}: not valid TOML: {' '.join(str(error).split())}") from error
    tools = document.get("tool", {})
    section = tools.get("paramaudit", {}) if isinstance(tools, dict) else tools
    if not isinstance(section, dict):
        raise OptionError(f"{FILE}: {SECTION} must be a table")
    return section


def settle(given: Flags, config: Mapping[str, Any]) -> Flags:
    """The command line's options, completed by the configuration and checked.

    Raises:
        OptionError: a value makes no sense.
    """
    missing = {key: value for key, value in config.items() if getattr(given, key) in (None, [])}
    flags = replace(given, **missing)
    for name in formats(flags):
        check_format(name)
    _one_of("device", flags.device, DEVICES)
    _one_of("mode", flags.mode, MODES)
    _one_of("objective", flags.objective, OBJECTIVES)
    for tier in flags.allow or ():
        _one_of("allow", tier, ASKED_FOR)
    if flags.tolerance is not None and not (math.isfinite(flags.tolerance) and flags.tolerance >= 0):
        raise OptionError(f"tolerance: {flags.tolerance} is not a number of 0 or more")
    if flags.seed is not None and flags.seed < 0:
        raise OptionError(f"seed: {flags.seed} is below 0")
    both = static_sizes(flags).keys() & set(flags.dynamic or ())
    if both:
        raise OptionError(f"static, dynamic: {min(both)!r} cannot be both")
    return flags


def formats(flags: Flags) -> tuple[str, ...]:
    """The formats asked for, each once, in order."""
    return tuple(dict.fromkeys(flags.format or ("table",)))


def static_sizes(flags: Flags) -> dict[str, int]:
    """The sizes of ``--static NAME=SIZE``.

    Raises:
        OptionError: an entry is malformed, or a name has two sizes.
    """
    sizes: dict[str, int] = {}
    for entry in flags.static or ():
        name, _, size = (part.strip() for part in entry.partition("="))
        if not name or not (size.isascii() and size.isdigit()) or int(size) < 1:
            raise OptionError(f"static: {entry!r} is not NAME=SIZE with a size of 1 or more")
        if sizes.setdefault(name, int(size)) != int(size):
            raise OptionError(f"static: {name!r} has two sizes, {sizes[name]} and {size}")
    return sizes


def options(flags: Flags) -> Options:
    """The pipeline's options; what was not asked for keeps the pipeline's default."""
    from paramaudit.audit import Options
    from paramaudit.records import Tier

    asked = {
        "mode": flags.mode,
        "device": flags.device,
        "static": static_sizes(flags) or None,
        "dynamic": tuple(flags.dynamic or ()) or None,
        "read": tuple(flags.read or ()) or None,
        "rules": flags.rules,
        "select": tuple(flags.select or ()) or None,
        "ignore": tuple(flags.ignore or ()) or None,
        "tolerance": flags.tolerance,
        "allow": frozenset(Tier(tier) for tier in flags.allow or ()) or None,
        "objective": flags.objective,
        "seed": flags.seed,
    }
    values: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return Options(**values)


def _one_of(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise OptionError(f"{option}: {value!r} is not one of {', '.join(choices)}")


def _typed(key: str, value: object) -> object:
    """A configured value as the type of its option."""
    kind = next(kind for kind in get_args(get_type_hints(Flags)[key]) if kind is not type(None))
    name, fits, convert = _KINDS[kind]
    if key == "static" and isinstance(value, dict):
        value = [f"{dimension}={size}" for dimension, size in value.items()]
    if key in ("select", "ignore") and isinstance(value, dict):
        value = _reasoned(key, value)
    if not fits(value):
        raise OptionError(f"{FILE}: {SECTION}: {key!r} must be {name}")
    return convert(value)


def _reasoned(key: str, table: Mapping[str, object]) -> list[str]:
    """The keys of a table that gives a reason for each."""
    for what, reason in table.items():
        if not isinstance(reason, str) or not reason.strip():
            raise OptionError(f"{FILE}: {SECTION}: {key!r}: {what!r} needs a reason")
    return list(table)


def _is_strings(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


_KINDS: dict[object, tuple[str, Callable[[Any], bool], Callable[[Any], object]]] = {
    list[str]: ("a list of strings", _is_strings, lambda v: [v] if isinstance(v, str) else v),
    str: ("a string", lambda v: isinstance(v, str), str),
    Path: ("a path", lambda v: isinstance(v, str), Path),
    bool: ("true or false", lambda v: isinstance(v, bool), bool),
    int: ("a whole number", lambda v: type(v) is int, int),
    float: ("a number", lambda v: type(v) in (int, float), float),
}
