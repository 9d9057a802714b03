"""Rules: which modules an analysis expects to be learned, and which to be a formula.

A rules file is TOML::

    [[rule]]
    id = "spectrum"              # required, unique
    path = "front.analyser"      # fnmatch on the module path, default "*" (a star also crosses dots)
    type = "*"                   # fnmatch on the class name without its module, default "*"
    class = "ml-replaceable"     # required; or "dl-required"
    operator = "rdft"            # what is expected; without it any named operator will do
    numbers = 0                  # how many numbers the analysis expects to remain
    accepts = ["linear-chain"]   # further operators or rewrites that satisfy the rule (fnmatch)
    arguments = { n = 256 }      # expected arguments, for the report
    reason = "why"

When several rules match a module the most specific one speaks: a path without wildcards before any
pattern, then the rule with more literal characters in path and type together, then the earlier one.
Matching is case-sensitive.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any

from paramaudit.errors import OptionError
from paramaudit.records import Json

CLASSES = ("dl-required", "ml-replaceable")
KEYS = ("id", "path", "type", "class", "operator", "numbers", "accepts", "arguments", "reason")


@dataclass(frozen=True)
class Rule:
    """One rule; ``path`` and ``type`` are patterns, both of which must match."""

    id: str
    cls: str
    path: str = "*"
    type: str = "*"
    operator: str | None = None
    numbers: int | None = None
    accepts: tuple[str, ...] = ()
    arguments: Mapping[str, Json] = field(default_factory=dict)
    reason: str = ""


def load_rules(path: Path | None) -> tuple[Rule, ...]:
    """Read a rules file, or the general default set.

    Args:
        path: a TOML file; None for the rules that come with the package.

    Raises:
        OptionError: the file cannot be read, or a rule is malformed; one line that says where.
    """
    name = "default.toml" if path is None else str(path)
    try:
        if path is None:
            text = files("paramaudit.rules").joinpath(name).read_text(encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"{name}: cannot be read: {_line(error)}") from error
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{name}: not valid TOML: {_line(error)}") from error
    return _rules(document, name)


def match(rules: Sequence[Rule], path: str, type_name: str) -> Rule | None:
    """The rule that speaks about a module, or None.

    Args:
        rules: in the order of their file.
        path: the module path, "" for the root.
        type_name: its class, with or without the module it comes from.
    """
    last = type_name.rsplit(".", 1)[-1]
    fitting = [r for r in rules if fnmatchcase(path, r.path) and fnmatchcase(last, r.type)]
    return max(fitting, key=_specificity, default=None)  # max keeps the first of equals


def _specificity(rule: Rule) -> tuple[bool, int]:
    return rule.path == _literal(rule.path), len(_literal(rule.path)) + len(_literal(rule.type))


def _literal(pattern: str) -> str:
    """The pattern with its wildcards taken out; a character class counts as one character."""
    return re.sub(r"[*?]", "", re.sub(r"\[!?\]?[^\]]*\]", "_", pattern))


def _rules(document: Mapping[str, Any], name: str) -> tuple[Rule, ...]:
    unknown = sorted(set(document) - {"rule"})
    if unknown:
        raise OptionError(f"{name}: unknown key {unknown[0]!r}; a rules file holds [[rule]] tables only")
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise OptionError(f"{name}: 'rule' must be [[rule]] tables")
    rules: dict[str, Rule] = {}
    for number, table in enumerate(tables, start=1):
        rule = _rule(table, name, number)
        if rule.id in rules:
            raise OptionError(f"{name}: rule {rule.id!r}: this id is given twice")
        rules[rule.id] = rule
    return tuple(rules.values())


def _rule(table: Mapping[str, Any], name: str, number: int) -> Rule:
    identity = table.get("id")
    if not isinstance(identity, str) or not identity:
        raise OptionError(f"{name}: rule {number}: 'id' must be a non-empty string")
    problem = _problem(table)
    if problem:
        raise OptionError(f"{name}: rule {identity!r}: {problem}")
    return Rule(
        id=identity,
        cls=table["class"],
        path=table.get("path", "*"),
        type=table.get("type", "*"),
        operator=table.get("operator"),
        numbers=table.get("numbers"),
        accepts=tuple(table.get("accepts", ())),
        arguments=table.get("arguments", {}),
        reason=table.get("reason", ""),
    )


def _problem(table: Mapping[str, Any]) -> str | None:
    """What is wrong with a rule's table, or None."""
    unknown = sorted(set(table) - set(KEYS))
    if unknown:
        return f"unknown key {unknown[0]!r}; known are {', '.join(KEYS)}"
    if table.get("class") not in CLASSES:
        found = f", not {table['class']!r}" if "class" in table else ""
        return f"'class' must be {' or '.join(CLASSES)}{found}"
    for key in ("path", "type", "operator", "reason"):
        if key in table and not isinstance(table[key], str):
            return f"{key!r} must be a string"
    numbers = table.get("numbers", 0)
    if type(numbers) is not int or numbers < 0:  # a bool is an int too
        return "'numbers' must be a whole number, 0 or more"
    accepts = table.get("accepts", [])
    if not isinstance(accepts, list) or not all(isinstance(name, str) for name in accepts):
        return "'accepts' must be a list of operator names"
    if not isinstance(table.get("arguments", {}), dict) or not _is_json(table.get("arguments", {})):
        return "'arguments' must be a table of strings, numbers, booleans, lists and tables"
    return None


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(_is_json(item) for item in value.values())
    if isinstance(value, list):
        return all(_is_json(item) for item in value)
    return isinstance(value, (str, int, float, bool))  # leaves out TOML's dates and times


def _line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split())
