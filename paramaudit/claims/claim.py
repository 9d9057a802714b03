"""What a claim is before it is judged: its text, its figures, and where each figure comes from."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction

from paramaudit.audit import Scan
from paramaudit.claims.layers import Layer
from paramaudit.claims.quantity import Number, Quantity, exact
from paramaudit.errors import OptionError
from paramaudit.records import Json, Judged, ModuleRow, Ruling

WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Bench:
    """What a claim is judged against: the audited model, and the claims that were judged before it."""

    scan: Callable[[], Scan]
    device: str
    stated: Mapping[str, Quantity]
    measured: Mapping[str, Json]

    def rows(self, *patterns: str) -> tuple[ModuleRow, ...]:
        """The modules that some paths or patterns name, none of them inside another.

        Raises:
            ValueError: one of them names none.
        """
        rows = self.scan().audit.modules
        found: dict[str, ModuleRow] = {}
        for pattern in patterns:
            if WILDCARDS & set(pattern):
                named = [row for row in rows if row.path and fnmatchcase(row.path, pattern)]
            else:
                named = [row for row in rows if row.path == pattern]
            if not named:
                raise ValueError(f"the model has no module {pattern!r}{_close(pattern, rows)}")
            found |= {row.path: row for row in named}
        return tuple(row for row in found.values() if not _inside(row.path, set(found)))


def _close(pattern: str, rows: Sequence[ModuleRow]) -> str:
    """A hint at modules of similar names."""
    close = difflib.get_close_matches(pattern, [row.path for row in rows if row.path])
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _inside(path: str, paths: set[str]) -> bool:
    return any(path.startswith(f"{other}.") or (path and not other) for other in paths)


@dataclass(frozen=True)
class Reference:
    """The ``stated`` or ``measured`` number of an earlier claim."""

    which: str
    id: str


@dataclass(frozen=True)
class Counted:
    """The ``parameters`` of a module, or what is ``remaining`` of them after the audit's safe swaps."""

    which: str
    path: str


Value = Quantity | Reference | Counted | Layer
"""Where a figure comes from: the text itself, another claim, the model, or a layer that is written out."""


@dataclass(frozen=True)
class Outcome:
    """What came of a claim."""

    stated: Json
    measured: Json
    verdict: Ruling
    reason: str


@dataclass(frozen=True, kw_only=True)
class Claim(ABC):
    """One statement; each kind has its fields, and judges itself."""

    id: str
    statement: str

    @property
    def figure(self) -> Quantity | None:
        """The number that it states, for claims that refer to it."""
        found = getattr(self, "stated", None)
        return found if isinstance(found, Quantity) else None

    @property
    def references(self) -> tuple[Reference, ...]:
        """The claims that it builds on."""
        return ()

    @abstractmethod
    def judge(self, bench: Bench) -> Outcome:
        """Measure and compare.

        Raises:
            ValueError: it does not fit the model, or what it refers to is no number.
        """

    def judged(self, bench: Bench) -> Judged:
        """The outcome under the claim's name.

        Raises:
            OptionError: the claim cannot be judged.
        """
        try:
            outcome = self.judge(bench)
        except ValueError as error:
            raise OptionError(f"claim {self.id!r}: {error}") from error
        return Judged(
            self.id, self.statement, outcome.stated, outcome.measured, outcome.verdict, outcome.reason
        )


def resolve(value: Value, bench: Bench) -> Quantity:
    """The number that a figure stands for, with the digits that it has.

    Raises:
        ValueError: the model has no such module, or the other claim measured no number.
    """
    if isinstance(value, Quantity):
        return value
    if isinstance(value, Layer):
        return exact(value.numbers())
    if isinstance(value, Counted):
        rows = bench.rows(value.path)
        after = value.which == "remaining"
        if after and not value.path:
            return exact(bench.scan().audit.totals.parameters_after)
        return exact(sum(row.parameters_after if after else row.parameters for row in rows))
    if value.which == "stated":
        return bench.stated[value.id]
    measured = bench.measured[value.id]
    if isinstance(measured, bool) or not isinstance(measured, (int, float)):
        raise ValueError(f"claim {value.id!r} measured no single number to build on")
    return exact(Fraction(measured))


def compared(stated: Quantity, measured: Number) -> tuple[Ruling, str]:
    """Whether a measured number is the stated one to the digits that were stated, and how far off it is."""
    if stated.covers(measured):
        return Ruling.RIGHT, "as stated"
    if stated.cuts(measured):
        return Ruling.PARTLY, f"{stated.text} is cut off, not rounded"
    return Ruling.WRONG, f"off by {stated.show(abs(measured - stated.value))}"
