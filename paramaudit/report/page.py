"""What a page for people holds, before any format: lines of text and tables of cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from paramaudit.records import Measured

ROOT = "(root)"
"""How the root module is called, whose path is empty."""

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Table:
    """Cells are plain text; ``footer`` is a last row.

    ``right`` lists the columns of numbers, ``short`` those whose cells are short enough never to wrap.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: frozenset[int] = frozenset()
    short: frozenset[int] = frozenset()
    footer: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Page:
    """A title, some lines, some tables; tables without rows are left out when rendered."""

    title: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...]


def clean(text: str) -> str:
    """The text on one line, control characters written out: names in a model file may hold anything."""
    flat = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in flat)


def number(count: int | None) -> str:
    """A count with thousands separators."""
    return "unknown" if count is None else f"{count:,}"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return "unknown"
    value, unit = float(count), 0
    while abs(value) >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{count} B" if unit == 0 else f"{value:.3g} {UNITS[unit]}"


def change(before: float, after: float) -> str:
    """The relative change, e.g. "-22.79 %"; "0" where nothing changed."""
    if before == after:
        return "0"
    if not before:
        return "new"
    text = f"{100 * (after - before) / before:+.2f} %"
    return "over -99.99 %" if text == "-100.00 %" and after else text


def measured(value: Measured | None) -> str:
    """A measured number with what it is relative to, e.g. "3.1e-07 spectral per |x|"."""
    return "" if value is None else f"{value.value:.2g} {value.norm} per {value.per}"


def listed(items: Iterable[str], most: int = 6) -> str:
    """Some names for a sentence, the rest counted."""
    names = list(items)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
