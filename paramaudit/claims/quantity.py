"""Numbers as a text states them: "131K", "~130M", "12 %"; how far each reaches follows from its digits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

Number = int | Fraction

_UNITS = {"": 0, "K": 3, "k": 3, "M": 6, "G": 9, "B": 9, "T": 12}
_STATED = re.compile(r"(~\s*)?([+-]?)(\d{1,3}(?:,\d{3})+|\d{1,30})(?:\.(\d{1,30}))?\s*([KkMGBT]?|%)")
_SURE_DIGITS = 2  # an approximate "~130M" means as many of its digits, a zero after them nothing
_MOST_DECIMALS = 4
_MOST_DIGITS = 30


@dataclass(frozen=True)
class Quantity:
    """A stated number; it stands for all numbers that its last digit, ``unit``, leaves open.

    ``scale`` is the power of ten of the suffix, ``suffix`` is "%" for per cent, whose value is in per cent.
    """

    text: str
    value: Fraction
    unit: Fraction
    suffix: str = ""

    @property
    def percent(self) -> bool:
        """Whether it is a share."""
        return self.suffix == "%"

    def covers(self, measured: Number) -> bool:
        """Whether a measured number, rounded as the statement is, gives it."""
        return abs(measured - self.value) <= self.unit / 2

    def cuts(self, measured: Number) -> bool:
        """Whether a measured number gives it when its further digits are cut off instead of rounded."""
        rest = abs(Fraction(measured)) - abs(self.value)
        return not self.text.startswith("~") and 0 <= rest < self.unit and measured * self.value >= 0

    def show(self, measured: Number) -> str:
        """A number in the unit of this one."""
        if self.percent:
            return f"{float(measured):.2f} %"
        return shown(measured, self.suffix)


def read(value: object) -> Quantity:
    """A number of a claims file.

    Args:
        value: an ``int``, a ``Decimal`` with the digits as written, or text with "~", separators, a suffix.

    Raises:
        ValueError: it is none of these.
    """
    readable = isinstance(value, (int, Decimal, str)) and not isinstance(value, bool)
    if isinstance(value, Decimal) and value.is_finite() and abs(value.adjusted()) < _MOST_DIGITS:
        text = f"{value:f}"
    else:
        text = str(value).strip()
    found = _STATED.fullmatch(text) if readable else None
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a number such as 28, '131K', '~130M' or '12 %'")
    about, sign, whole, decimals, suffix = found.groups(default="")
    whole = whole.replace(",", "")
    scale = Fraction(10) ** _UNITS.get(suffix, 0)
    places = -len(decimals)
    if about and not decimals:
        zeros = len(whole) - len(whole.rstrip("0"))
        places = min(zeros, max(0, len(whole) - _SURE_DIGITS))
    magnitude = Fraction(f"{whole}.{decimals or 0}") * scale
    signed = -magnitude if sign == "-" else magnitude
    return Quantity(text, signed, scale * Fraction(10) ** places, suffix)


def exact(value: Number) -> Quantity:
    """A counted number, which leaves nothing open."""
    return Quantity(f"{value}", Fraction(value), Fraction(1))


def shown(value: Number, suffix: str = "") -> str:
    """A number for a sentence: in the unit of the suffix where few digits say it exactly."""
    scaled = Fraction(value) / 10 ** _UNITS.get(suffix, 0)
    if suffix in _UNITS and suffix and (scaled * 10**_MOST_DECIMALS).denominator == 1:
        return f"{_plain(scaled)}{suffix}"
    return _plain(Fraction(value))


def plain(value: Number) -> int | float:
    """A number as JSON holds it."""
    return int(value) if Fraction(value).denominator == 1 else float(value)


def _plain(value: Fraction) -> str:
    if value.denominator == 1:
        return f"{int(value):,}"
    rounded = Decimal(value.numerator) / Decimal(value.denominator)
    return f"{rounded.quantize(Decimal('0.0001')).normalize():,f}"
