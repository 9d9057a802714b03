"""Budgets: what a model may cost, as ``[tool.paramaudit]`` states it, with units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from paramaudit.errors import OptionError

KEYS = (
    "max-parameters",
    "max-bytes",
    "max-flops",
    "max-latency",
    "max-waste",
    "baseline",
    "threshold",
    "informational",
)
"""The keys of ``[tool.paramaudit]`` that are read here; with underscores they mean the same."""

_Units = Mapping[str, int | Fraction]

_COUNTS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "T": 10**12}
_FLOPS = {
    prefix + suffix: 1000**power
    for power, prefix in enumerate(("", "k", "M", "G", "T", "P"))
    for suffix in ("", "FLOPs")
}
_BYTES = {
    "B": 1,
    **{"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
    **{"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40},
}
_TIMES: _Units = {
    "ns": Fraction(1, 10**6),
    "us": Fraction(1, 10**3),
    "µs": Fraction(1, 10**3),
    "ms": 1,
    "s": 1000,
}
_SHARES = {"%": 1}
_SIZE = re.compile(r"\s*(\d{1,30}|\d{1,3}(?:[,_]\d{3}){1,10})(\.\d{1,30})?\s*([A-Za-zµ%]*)\s*", re.ASCII)


@dataclass(frozen=True)
class Limits:
    """What a model is held to; None is no limit.

    Attributes:
        parameters: the most parameters.
        bytes: the most bytes that are stored.
        flops: the most FLOPs of one pass.
        latency: the longest median pass in milliseconds, by device.
        waste: the largest per cent of the parameters that the default plan may remove.
        baseline: the committed file to compare with, None where none is named.
        threshold: growth over the baseline that is tolerated, in per cent.
        informational: report, and never fail.
    """

    parameters: int | None = None
    bytes: int | None = None
    flops: int | None = None
    latency: Mapping[str, Fraction] = field(default_factory=dict)
    waste: Fraction | None = None
    baseline: Path | None = None
    threshold: Fraction = Fraction(0)
    informational: bool = False

    @property
    def any_budget(self) -> bool:
        """Whether there is anything to be over without a baseline."""
        single = (self.parameters, self.bytes, self.flops, self.waste)
        return bool(self.latency) or any(limit is not None for limit in single)


def hyphened(key: str) -> str:
    """A key as :data:`KEYS` spells it."""
    return key.replace("_", "-")


def read_limits(section: Mapping[str, object]) -> Limits:
    """The limits that a table states; keys that are not in :data:`KEYS` are passed over.

    Raises:
        OptionError: a value is malformed, or a key is given in both spellings.
    """
    given: dict[str, object] = {}
    for key, value in section.items():
        if hyphened(key) not in KEYS:
            continue
        if hyphened(key) in given:
            raise OptionError(f"{hyphened(key)!r} is given twice, with a hyphen and with an underscore")
        given[hyphened(key)] = value
    return Limits(
        parameters=_whole(given, "max-parameters", _COUNTS, "120M"),
        bytes=_whole(given, "max-bytes", _BYTES, "500 MB"),
        flops=_whole(given, "max-flops", _FLOPS, "4 G"),
        latency=_latency(given.get("max-latency", {})),
        waste=_waste(given),
        baseline=_file(given.get("baseline")),
        threshold=_share(given, "threshold") or Fraction(0),
        informational=_switch(given.get("informational", False)),
    )


def _whole(given: Mapping[str, object], key: str, units: _Units, example: str) -> int | None:
    """A count; a plain number is one without a unit. What is below one whole is cut off."""
    value = given.get(key)
    if value is None:
        return None
    if type(value) is int and value >= 0:
        return value
    return int(_quantity(key, value, units, example))


def _share(given: Mapping[str, object], key: str) -> Fraction | None:
    """Per cent; 0.02 without a unit could mean two things and is refused."""
    return None if key not in given else _quantity(key, given[key], _SHARES, "2 %")


def _waste(given: Mapping[str, object]) -> Fraction | None:
    share = _share(given, "max-waste")
    if share is not None and share > 100:
        raise OptionError("'max-waste' is a share of the parameters, so at most 100 %")
    return share


def _latency(value: object) -> Mapping[str, Fraction]:
    if not isinstance(value, Mapping):
        raise OptionError("'max-latency' must be a table of devices, e.g. { cpu = \"8 ms\" }")
    return {
        str(device): _quantity(f"max-latency.{device}", limit, _TIMES, "8 ms")
        for device, limit in value.items()
    }


def _quantity(key: str, value: object, units: _Units, example: str) -> Fraction:
    """A number with one of the units.

    Raises:
        OptionError: it is no such thing.
    """
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        shown = repr(value)[:40]
        raise OptionError(f"{key!r} is {shown}, which is no quantity such as {example!r}")
    whole, decimals, unit = found.groups()
    if unit not in units:
        known = ", ".join(name for name in units if name)
        what = f"the unit {unit!r} is unknown" if unit else "it has no unit"
        raise OptionError(f"{key!r} is {value!r}: {what}; there are {known}")
    return Fraction(re.sub("[,_]", "", whole) + (decimals or "")) * units[unit]


def _file(value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise OptionError("'baseline' must be the name of a file")
    return Path(value)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise OptionError("'informational' must be true or false")
    return value
