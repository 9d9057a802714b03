"""Arguments of a finding as the numbers that a drawing needs; a saved document may hold anything."""

from __future__ import annotations

import math
from collections.abc import Mapping

from paramaudit.records import Json

Arguments = Mapping[str, Json]


def number(value: Json) -> float | None:
    """A finite number, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e30 and math.isfinite(value) else None


def numbers(value: Json) -> list[float] | None:
    """Finite numbers, at least one, None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    found = [number(item) for item in value]
    known = [item for item in found if item is not None]
    return known if len(known) == len(found) else None


def count(value: Json, most: int = 65_536) -> int | None:
    """A whole number from 1 to ``most``, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most else None


def whole(value: Json, most: int = 65_536) -> int | None:
    """A whole number from ``-most`` to ``most``, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= most else None


def objects(value: Json) -> list[Arguments]:
    """The objects in a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def span(value: Json) -> tuple[int, int] | None:
    """First and last of a range, None for anything else."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    first, last = whole(value[0]), whole(value[1])
    return None if first is None or last is None or not 0 <= first <= last else (first, last)
