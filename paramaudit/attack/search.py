"""The attack: try inputs of every kind on two programs, climb, and make what differs small."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from paramaudit.attack import mine
from paramaudit.attack.ascent import Pair, climb, kinks
from paramaudit.attack.budget import Budget, budget
from paramaudit.attack.draw import Kind, dense, draw, kind_of, sweeps
from paramaudit.attack.frames import LENGTHS, Shapes, batched, frames, plain, with_rows
from paramaudit.attack.judge import Difference, Judge, Judged, Memory, norm
from paramaudit.attack.minimise import minimise
from paramaudit.attack.runs import FAILURES, examples, is_real, outputs
from paramaudit.attack.sides import FACTOR
from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.shapes import shape
from paramaudit.records import Attack, OutputError

_CALIBRATION = (1.0, 30.0, 0.03, 1000.0, 1e-3)
_BOXES = (3.0, 30.0)


@dataclass(frozen=True)
class Trials:
    """What the attack saw. ``counterexample`` holds the inputs by name on which the outputs differ.

    ``differences`` are the three values of every output there, where it differs most; ``seed`` drew the
    inputs.
    """

    count: int
    outputs: tuple[OutputError, ...]
    attack: Attack
    counterexample: Mapping[str, Any] | None = None
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    seed: int = 0

    @property
    def refuted(self) -> bool:
        """Whether an input was found on which the two differ by more than rounding."""
        return self.counterexample is not None


def attack(original: Program, refactored: Program, seed: int = 0, *, quick: bool = False) -> Trials:
    """Look for an input on which two programs differ by more than rounding.

    Errors are against the original in float64. The two differ where the refactored side is further from
    that than :data:`paramaudit.attack.judge.FACTOR` times the rounding that the original itself makes in its
    dtype. What rests on a discrete choice that rounding decides is a tie.

    Args:
        original: the measure.
        refactored: the program that is held to it.
        seed: of all random draws; the same seed tries the same inputs.
        quick: everything is proven already; a few dozen inputs are tried.
    """
    search = _Search(original, refactored, seed, budget(original, refactored, quick=quick))
    found = search.run()
    return search.trials(found)


@dataclass
class _Found:
    inputs: list[Any]
    judged: Judged


@dataclass
class _Search:
    """One attack; it counts what it tried and keeps the largest errors."""

    original: Program
    refactored: Program
    seed: int
    budget: Budget
    count: int = 0
    ties: int = 0
    worst: float = 0.0
    judged: int = 0
    starts: int = 0
    errors: dict[str, OutputError] = field(default_factory=dict)
    best: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.seed)
        self.memory = Memory()
        self.judge = Judge(self.original, self.refactored, self.memory, self.seed, self.budget.thorough)
        lengths = LENGTHS if self.budget.thorough else LENGTHS[:1]
        self.frames = frames(self.original, many=self.budget.many, lengths=lengths)
        self.kinds = self._kinds()

    def run(self) -> _Found | None:
        """The first input that differs, None where none was found."""
        calibrated = (self._calibrate(*one) for one in self._calibration())
        doubtful = [found for found in calibrated if found is not None]
        for inputs in doubtful:  # again, now that the original's usual rounding is known
            found = self._judge(inputs, counted=False)
            if found is not None:
                return found
        for inputs in self._stream():
            self.count += 1
            if self.judged < self.budget.judged * 4 and self.judge.screen(inputs):
                found = self._judge(inputs, counted=False)
                if found is not None:
                    return found
        return self._climb()

    def trials(self, found: _Found | None) -> Trials:
        """The record, with a counterexample made small."""
        record = Attack(
            restarts=self.starts, steps=self.budget.steps, worst=self.worst, ties=self.ties,
            factor=FACTOR, inputs=self.count,
        )  # fmt: skip
        errors = tuple(
            self.errors.get(name, OutputError(name, 0.0, 0.0, 0.0)) for name in self.original.contract.outputs
        )
        if found is None:
            return Trials(self.count, errors, record)
        hints = [d.index[0] for d in found.judged.differences if d.index]
        rows = self._batched_inputs(found.inputs)
        small = minimise(found.inputs, self._differs, rows, self.budget.trials, hints)
        again = self.judge.judge(small)
        judged, small = (again, small) if again.reason else (found.judged, found.inputs)
        names = [spec.name for spec in self.original.contract.inputs]
        named = dict(zip(names, small, strict=True))
        return Trials(self.count, errors, record, named, judged.reason, judged.differences, self.seed)

    def _differs(self, inputs: Sequence[Any]) -> bool:
        judged = self.judge.judge(inputs)
        return judged.ran and bool(judged.reason)

    def _judge(self, inputs: list[Any], *, counted: bool = True) -> _Found | None:
        thorough = self.budget.thorough and self.judged < self.budget.judged
        judged = self.judge.judge(inputs, look_for_ties=thorough)
        self.count += counted
        if not judged.ran:
            return None
        self.judged += 1
        self.ties += judged.tied
        if judged.reason:
            self._note(judged)
        if judged.worst >= self.worst or not self.best:
            self.worst, self.best = judged.worst, inputs
        if judged.reason:
            return _Found(inputs, judged)
        return None

    def _note(self, judged: Judged) -> None:
        for error in judged.errors:
            self.errors[error.name] = _largest(self.errors.get(error.name), error)

    def _calibrate(self, inputs: list[Any], usual: bool) -> list[Any] | None:
        """Judge an ordinary input and remember the original's rounding; the input when it is doubtful.

        Errors of outputs are absolute, so those on inputs as large as the ``usual`` are told.
        """
        judged = self.judge.judge(inputs, look_for_ties=self.budget.thorough)
        if not judged.ran:
            return None
        self.memory.seen.append((norm(inputs), judged.roundings))
        if judged.reason:
            return inputs
        self.count, self.judged, self.ties = self.count + 1, self.judged + 1, self.ties + judged.tied
        if usual:
            self._note(judged)
        self.worst = max(self.worst, judged.worst)
        self.best = self.best or inputs
        return None

    def _calibration(self) -> Iterator[tuple[list[Any], bool]]:
        """The example, and ordinary inputs at several scales and of several sizes; which are no larger."""
        yield list(examples(self.original)), True
        for i, scale in enumerate(_CALIBRATION[: self.budget.judged]):
            sizes = self.frames[(i + 1) % len(self.frames)]
            yield self._drawn(sizes, scale), scale <= 1.0

    def _stream(self) -> Iterator[list[Any]]:
        yield from self._ids()
        for turn in range(self.budget.inputs):
            yield draw(self.kinds, self.frames[turn % len(self.frames)], turn, self.generator)
        if self.budget.kinks:
            yield from kinks((self.refactored, self.original), self._start(1.0), self.budget.kinks)

    def _ids(self) -> Iterator[list[Any]]:
        """Every admissible id, in a batch large enough to hold them, at more than one position."""
        widths = [
            (math.ceil((k.high - k.low + 1) / max(1, math.prod((s or (1,))[1:]))), i)
            for i, (k, s) in enumerate(zip(self.kinds, self.frames[0], strict=True))
            if k.dtype is not None and s and not k.dtype.is_floating_point and k.dtype != torch.bool
        ]
        if not widths:
            return
        each = max(
            1, min(self.budget.ids, 4096) // max(1, math.prod((self.frames[0][widths[0][1]] or (1,))[1:]))
        )
        rows = max(2, min(max(widths)[0], each))
        sizes = (with_rows(self.original, rows) if batched(self.original) else None) or self.frames[0]
        for k, s in ((self.kinds[i], sizes[i]) for _, i in widths):
            count, width = math.prod(s or ()), k.high - k.low + 1
            runs = min(math.ceil(width / max(1, count)), max(2, self.budget.ids // max(1, count)))
            for run in range(runs):
                yield sweeps(self.kinds, sizes, run * count)
            yield sweeps(self.kinds, sizes, 1)

    def _climb(self) -> _Found | None:
        pair = Pair(self.original, self.refactored)
        for start in range(self.budget.starts):
            reach = _BOXES[start % len(_BOXES)]
            first = self.best if start == 0 and self.best else self._start(reach / 3)
            self.starts += 1
            last: list[Any] | None = None
            for last in climb(pair, first, self.kinds, self.budget.steps, reach, self.generator):
                self.count += 1
                if self.judge.screen(last) and (found := self._judge(last, counted=False)):
                    return found
            if last is not None and (found := self._judge(last, counted=False)):
                return found
        return None

    def _start(self, scale: float) -> list[Any]:
        return self._drawn(self.frames[0], scale)

    def _drawn(self, sizes: Shapes, scale: float) -> list[Any]:
        """Inputs of some sizes that spread as the example's do, times a scale."""
        drawn = draw(self.kinds, sizes, 0, self.generator)
        return [
            dense(k, s, scale, self.generator) if is_real(v) and s is not None else v
            for v, k, s in zip(drawn, self.kinds, sizes, strict=True)
        ]

    def _kinds(self) -> list[Kind]:
        mined = mine.constants(self.original, self.refactored)
        ids = mine.id_ranges(self.original)
        largest = self._largest_borne()
        return [kind_of(v, mined, i, largest) for v, i in zip(examples(self.original), ids, strict=True)]

    def _largest_borne(self) -> float | None:
        """The largest power of two up to the dtype's end that leaves the original's outputs finite."""
        inputs = plain(self.original, self.frames[0])
        real = [v.dtype for v in inputs if is_real(v)]
        if not real:
            return None
        most = min(torch.finfo(dtype).max for dtype in real)
        for part in range(1, 8) if self.budget.thorough else (4,):
            value = 2.0 ** math.floor(math.log2(most) * (1 - part / 8))
            filled = [torch.full_like(v, value) if is_real(v) else v for v in inputs]
            try:
                found = outputs(self.original, filled, None)
            except FAILURES:
                continue
            if all(bool(v.isfinite().all()) for v in found.values() if is_real(v)):
                return value
        return None

    def _batched_inputs(self, inputs: Sequence[Any]) -> list[int]:
        """The inputs whose rows belong to one batch: those with the commonest open leading dimension."""
        leading = [(shape(node) or (None,))[0] for node in placeholders(self.original.graph)]
        opened = [str(s) for s in leading if s is not None and not isinstance(s, int)]
        if not opened:
            return []
        common = max(opened, key=opened.count)
        return [i for i, s in enumerate(leading) if str(s) == common and getattr(inputs[i], "dim", int)()]


def _largest(before: OutputError | None, now: OutputError) -> OutputError:
    if before is None:
        return now
    return OutputError(
        now.name,
        max(before.max_abs, now.max_abs),
        max(before.original_error, now.original_error),
        max(before.refactored_error, now.refactored_error),
    )
