"""Numbers as a page shows them, and as it sorts by them."""

from __future__ import annotations

import re

from paramaudit.report.page import UNITS

_NUMBER = re.compile(r"(?:over )?([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?: ([kMGT]?B))?")


def compact(count: int) -> str:
    """A count in four digits, e.g. "153.3M"."""
    value, unit = float(count), 0
    while abs(value) >= 999.95 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{count}" if unit == 0 else f"{value:.4g}{'kMGT'[unit - 1]}"


def sort_key(text: str) -> float | None:
    """The number that a cell begins with, None where it begins with none."""
    match = _NUMBER.match(text)
    if match is None:
        return None
    unit = 1000.0 ** UNITS.index(match[2]) if match[2] else 1.0
    return float(match[1].replace(",", "")) * unit


def plain(value: float) -> str:
    """A number in an SVG or a style: at most three decimals, never an exponent."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
