"""Are two programs apart on one input by more than rounding? The original in float64 is the measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from paramaudit.attack import choices
from paramaudit.attack.conditioning import AMPLITUDE, sensitivity
from paramaudit.attack.runs import FAILURES, is_real, others, outputs
from paramaudit.attack.sides import FACTOR, Sides, compare, distance, largest
from paramaudit.graph.program import Program
from paramaudit.records import OutputError


@dataclass(frozen=True)
class Difference:
    """The largest difference in one output, with the three values there; ``off`` and ``allowed`` absolute."""

    output: str
    index: tuple[int, ...]
    original_float64: complex
    original: complex
    refactored: complex
    off: float
    allowed: float


@dataclass(frozen=True)
class Judged:
    """One input judged. ``worst`` is the largest distance between the two in float64, ties left out.

    ``roundings`` are the original's own errors and ``errors`` those of :class:`OutputError`, by output.
    ``reason`` is empty where the two agree; ``ran`` is False where the original itself stops.
    ``furthest`` holds every output where the two are furthest apart, ``differences`` those that are too far.
    """

    worst: float
    tied: bool = False
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    furthest: tuple[Difference, ...] = ()
    roundings: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[OutputError, ...] = ()
    ran: bool = True


@dataclass
class Memory:
    """Rounding errors of the original on ordinary inputs: ``(norm of [x;1], error by output)``."""

    seen: list[tuple[float, Mapping[str, float]]] = field(default_factory=list)

    def near(self, size: float) -> dict[str, float]:
        """The largest errors on inputs that are no larger, and not much smaller.

        On a single input the original may happen to be exact; that is luck, not a standard.
        """
        found: dict[str, float] = {}
        for norm, errors in self.seen:
            if size / 100 <= norm <= 1.01 * size:
                for name, error in errors.items():
                    found[name] = max(found.get(name, 0.0), error)
        return found


def norm(inputs: Sequence[Any]) -> float:
    """The norm of all floating-point inputs together with a 1."""
    real = (v.to(torch.float64) for v in inputs if is_real(v))
    squares = (float(v.square().nan_to_num(0.0, 0.0, 0.0).sum()) for v in real)
    return math.sqrt(1.0 + sum(squares))


@dataclass(frozen=True)
class Judge:
    """Judges inputs on one pair of programs."""

    original: Program
    refactored: Program
    memory: Memory
    seed: int = 0
    thorough: bool = True

    @cached_property
    def decides(self) -> bool:
        """Whether the original makes discrete choices."""
        return bool(choices.choices(self.original))

    def screen(self, inputs: Sequence[Any]) -> bool:
        """Whether an input deserves a judgement: the two are not clearly alike in their own dtypes."""
        try:
            mine = outputs(self.original, inputs, None)
        except FAILURES:
            return False
        try:
            theirs = others(self.original, self.refactored, inputs, None)
        except FAILURES:
            return True
        usual = self.memory.near(norm(inputs))
        return any(not _clearly_alike(mine[name], theirs[name], usual.get(name, 0.0)) for name in mine)

    def judge(self, inputs: Sequence[Any], *, look_for_ties: bool = False) -> Judged:
        """Compare on one input, in float64 and in the programs' own dtypes."""
        rough, scale = choices.rough_dtype(self.original)
        try:
            exact, mine = (outputs(self.original, inputs, dtype) for dtype in (torch.float64, None))
            low = mine if rough is None else outputs(self.original, inputs, rough)
        except FAILURES:
            return Judged(0.0, ran=False)
        try:
            theirs = others(self.original, self.refactored, inputs, None)
            theirs_exact = others(self.original, self.refactored, inputs, torch.float64)
        except FAILURES as error:
            what = " ".join(str(error).split())[:200]
            return Judged(
                math.inf, reason=f"the refactored model does not run where the original does: {what}"
            )
        usual = self.memory.near(norm(inputs))
        far = any(_is_far(v) for v in inputs)
        found = {
            name: compare((exact[name], mine[name], low[name], theirs[name], theirs_exact[name]), scale, far)
            for name in exact
        }
        apart = [name for name, sides in found.items() if isinstance(sides, str)]
        if apart:
            return Judged(math.inf, reason=f"output {apart[0]!r} {found[apart[0]]} in the refactored model")
        sides = {name: value for name, value in found.items() if isinstance(value, Sides)}
        tied = False
        if self.decides and (look_for_ties or self._suspect(sides, usual)):
            limits = {n: s.base(usual.get(n, 0.0)) for n, s in sides.items()}
            ties = choices.undecided(
                self.original, inputs, self._typical(inputs), limits, within=FACTOR, seed=self.seed
            )
            tied = ties.tied
            sides = {n: s.without(ties.masks[n]) if n in ties.masks else s for n, s in sides.items()}
        if any(bool(s.beyond(usual.get(n, 0.0)).any()) for n, s in sides.items()):
            moves = sensitivity(self.original, inputs, exact, self.seed)
            sides = {n: replace(s, slack=AMPLITUDE * moves[n]) if n in moves else s for n, s in sides.items()}
        return _judged(sides, usual, tied=tied)

    def _suspect(self, sides: Mapping[str, Sides], usual: Mapping[str, float]) -> bool:
        """Whether a tie may explain, or hide, what is off; to hide it is not asked where a run is dear."""
        if self.thorough:
            return any(s.odd(usual.get(n, 0.0)) for n, s in sides.items())
        return any(bool(s.beyond(usual.get(n, 0.0)).any()) for n, s in sides.items())

    def _typical(self, inputs: Sequence[Any]) -> list[Any]:
        generator = torch.Generator().manual_seed(self.seed)
        return [_spread_like(v, generator) if is_real(v) else v for v in inputs]


def _judged(sides: Mapping[str, Sides], usual: Mapping[str, float], *, tied: bool) -> Judged:
    found = [_difference(n, s, usual.get(n, 0.0)) for n, s in sides.items()]
    differences = tuple(d for d in found if d is not None)
    reason = ""
    if differences:
        worst = max(differences, key=lambda d: d.off / d.allowed if d.allowed else math.inf)
        own = sides[worst.output].rounding
        rounding = f"the original's own rounding is {own:.2g}"
        reason = f"output {worst.output!r} differs by {worst.off:.2g} where {rounding}"
    return Judged(
        max((largest(s.apart, s.usable) for s in sides.values()), default=0.0),
        tied,
        reason,
        differences,
        tuple(_furthest(n, s, usual.get(n, 0.0)) for n, s in sides.items() if s.off.numel()),
        {n: s.rounding for n, s in sides.items()},
        tuple(_error(n, s) for n, s in sides.items()),
    )


def _difference(name: str, sides: Sides, usual: float) -> Difference | None:
    beyond = sides.beyond(usual)
    return _furthest(name, sides, usual) if beyond.numel() and float(beyond.max()) > 0.0 else None


def _furthest(name: str, sides: Sides, usual: float) -> Difference:
    """Where an output is furthest off, of what is too far off if anything is."""
    off = sides.beyond(usual)
    if float(off.max()) == 0.0:
        off = torch.where(sides.usable, torch.maximum(sides.off, sides.apart), 0.0)
    at = tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))
    true, mine, theirs = (complex(t[at].item()) for t in (sides.exact, sides.mine, sides.theirs))
    return Difference(name, at, true, mine, theirs, float(off.max()), sides.allowed(usual))


def _error(name: str, sides: Sides) -> OutputError:
    between = distance(sides.mine, sides.theirs)
    return OutputError(name, largest(between, sides.usable), sides.rounding, largest(sides.off, sides.usable))


def _clearly_alike(mine: Any, theirs: Any, usual: float) -> bool:
    """Whether own-dtype values are so near that no judgement could call them different."""
    if not isinstance(mine, Tensor) or not isinstance(theirs, Tensor):
        return bool(type(mine) is type(theirs) and (mine is None or mine == theirs))
    if mine.shape != theirs.shape:
        return False
    off = distance(mine, theirs)
    worst = float(off.max()) if off.numel() else 0.0
    if not mine.is_floating_point() and not mine.is_complex():
        return worst == 0.0
    size = largest(mine, mine.isfinite())
    return worst <= (FACTOR - 1) * max(torch.finfo(mine.dtype).eps * size, usual)


def _is_far(value: Any) -> bool:
    if not is_real(value) or not value.numel():
        return False
    return float(value.abs().max()) > math.sqrt(torch.finfo(value.dtype).max)


def _spread_like(value: Tensor, generator: torch.Generator) -> Tensor:
    size = float(value.to(torch.float64).square().mean().sqrt()) if value.numel() else 0.0
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return (size * noise).to(value.dtype)
