"""A saved input on which two models differ, and what came of running it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from paramaudit.records.contract import Contract
from paramaudit.records.evidence import Json


@dataclass(frozen=True)
class OutputValues:
    """One output where the two are furthest apart: ``index`` of the element and the three values there.

    ``difference`` is to the original in float64, ``allowed`` the rounding that is granted. ``part`` says
    which part of a complex number the values are: "real", "imaginary", or "" for a real one.
    """

    output: str
    index: tuple[int, ...]
    original_float64: float
    original: float
    refactored: float
    difference: float
    allowed: float
    part: str = ""


@dataclass(frozen=True)
class Counterexample:
    """A saved counterexample; ``original`` and ``refactored`` are the SHA-256 of the models.

    ``inputs`` is the file beside it with the tensors by input name, and ``plain`` holds inputs that are no
    tensors. ``targets`` and ``options`` are all that is needed to load the models again.
    """

    original: str
    refactored: str
    contract: Contract
    values: tuple[OutputValues, ...]
    seed: int
    reason: str
    inputs: str
    plain: Mapping[str, Json] = field(default_factory=dict)
    targets: tuple[str, str] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Replay:
    """A counterexample run again: ``differs`` as before, and the values of every output now."""

    file: str
    targets: tuple[str, str]
    differs: bool
    reason: str
    values: tuple[OutputValues, ...]
