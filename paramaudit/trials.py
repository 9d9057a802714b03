"""Run two programs against each other on fresh inputs, in float64 and in the model's own dtype."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from paramaudit.graph.conditions import met
from paramaudit.graph.program import Program, aligned, placeholders
from paramaudit.graph.run import run
from paramaudit.graph.shapes import shape
from paramaudit.records import Attack, OutputError

_SIZES = (3, 5, 2, 7)
_SCALES = (1.0, 1.0, 30.0, 0.03)
_SLACK = 64.0


@dataclass(frozen=True)
class Trials:
    """What the trials saw. ``counterexample`` holds the inputs by name on which the outputs differ."""

    count: int
    outputs: tuple[OutputError, ...]
    attack: Attack
    counterexample: Mapping[str, Any] | None = None
    reason: str = ""

    @property
    def refuted(self) -> bool:
        """Whether an input was found on which the two differ by more than rounding."""
        return self.counterexample is not None


def attack(original: Program, refactored: Program, seed: int = 0, steps: int = 2) -> Trials:
    """Compare on inputs of several sizes and scales, then climb from the worst of them.

    Errors are against the original in float64. The two differ when their float64 outputs are further
    apart than a multiple of the rounding that the original itself makes in its dtype; where the original
    is that far from its own float64 value on the same input, a discrete choice tips and it is a tie.
    """
    generator = torch.Generator().manual_seed(seed)
    seen: dict[str, list[float]] = {name: [0.0, 0.0, 0.0] for name in original.contract.outputs}
    worst, ties, count = 0.0, 0, 0
    worst_inputs: list[Any] | None = None
    for restart, (length, scale) in enumerate(zip(_SIZES, _SCALES, strict=True)):
        inputs = _fitting(original, length, scale, generator)
        for step in range(1 + (steps if restart == 0 else 0)):
            if step and worst_inputs is not None:
                inputs = [_nudged(v, generator) for v in worst_inputs]
            count += 1
            judged = _compare(original, refactored, inputs, seen)
            ties += judged.ties
            if judged.reason:
                names = [spec.name for spec in original.contract.inputs]
                return Trials(
                    count,
                    _outputs(seen),
                    Attack(restart + 1, steps, judged.worst, ties),
                    dict(zip(names, inputs, strict=True)),
                    judged.reason,
                )
            if judged.worst >= worst or worst_inputs is None:
                worst, worst_inputs = judged.worst, inputs
    return Trials(count, _outputs(seen), Attack(len(_SIZES), steps, worst, ties))


@dataclass(frozen=True)
class _Judged:
    worst: float
    ties: int
    reason: str = ""


def _compare(
    original: Program, refactored: Program, inputs: list[Any], seen: dict[str, list[float]]
) -> _Judged:
    args, kwargs = _call(original, inputs)
    exact, mine = (_run(original, args, kwargs, dtype) for dtype in (torch.float64, None))
    try:
        theirs, theirs_exact = (
            aligned(original, refactored, list(_run(refactored, args, kwargs, dtype).values()))
            for dtype in (None, torch.float64)
        )
    except (RuntimeError, IndexError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        return _Judged(math.inf, 0, f"the refactored model does not run where the original does: {what}")
    worst, ties, reason = 0.0, 0, ""
    for (name, true), low, other, other_exact in zip(
        exact.items(), mine.values(), theirs, theirs_exact, strict=True
    ):
        if not isinstance(true, Tensor) or not true.numel():
            continue
        if not isinstance(other, Tensor) or other.shape != true.shape:
            return _Judged(worst, ties, f"output {name!r} has another shape in the refactored model")
        mine_off, other_off = _apart(low, true), _apart(other, true)
        apart = _apart(other_exact, true)
        record = seen[name]
        record[0] = max(record[0], _apart(low, other))
        record[1], record[2] = max(record[1], mine_off), max(record[2], other_off)
        size = float(true.abs().max()) if true.is_floating_point() else 1.0
        eps = torch.finfo(low.dtype).eps if low.is_floating_point() else 0.0
        allowed = _SLACK * max(mine_off, eps * size)
        worst = max(worst, apart)
        for off in (apart, other_off):
            if off <= allowed:
                continue
            if mine_off >= off / _SLACK and mine_off > 1e-2 * size:
                ties += 1
            else:
                rounding = f"the original's own rounding is {mine_off:.2g}"
                reason = f"output {name!r} differs by {off:.2g} where {rounding}"
    return _Judged(worst, ties, reason)


def _run(
    program: Program, args: Sequence[Any], kwargs: Mapping[str, Any], dtype: torch.dtype | None
) -> dict[str, Any]:
    """One run; random numbers, such as dropout's, are drawn anew from the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return run(program, args, kwargs, dtype)


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; infinite where only one of them is finite."""
    if a.dtype == torch.bool or not (a.is_floating_point() or a.is_complex()):
        return float((a != b).any())
    x, y = (t.to(torch.complex128 if t.is_complex() else torch.float64) for t in (a, b))
    same = (x == y) | (torch.isnan(x) & torch.isnan(y))
    off = torch.where(same, torch.zeros((), dtype=torch.float64), (x - y).abs())
    return float(torch.nan_to_num(off, nan=float("inf")).max()) if off.numel() else 0.0


def _outputs(seen: dict[str, list[float]]) -> tuple[OutputError, ...]:
    return tuple(OutputError(name, *errors) for name, errors in seen.items())


def _fitting(program: Program, length: int, scale: float, generator: torch.Generator) -> list[Any]:
    """Inputs of other sizes than the example's, as far as the program takes them.

    A convolution needs enough samples, a reshape a multiple of something: first every symbolic dimension
    gets a size of its own, then only leading ones do, and at last all sizes are the example's.
    """
    example = _example_sizes(program)
    leading = {s for node in placeholders(program.graph) for s in _free((shape(node) or ())[:1])}
    other = {symbol: length + i for i, symbol in enumerate(example)}
    for symbols in (other, {s: other[s] if s in leading else n for s, n in example.items()}):
        inputs = _draw(program, symbols, scale, generator)
        if _takes(program, inputs):
            return inputs
    return _draw(program, example, scale, generator)


def _takes(program: Program, inputs: Sequence[Any]) -> bool:
    """Whether the program was captured for inputs of these sizes, and runs on them."""
    args, kwargs = _call(program, inputs)
    if not met(program, args, kwargs):
        return False
    try:
        _run(program, args, kwargs, None)
    except (RuntimeError, IndexError, ValueError):
        return False
    return True


def _call(program: Program, inputs: Sequence[Any]) -> Any:
    """Flat inputs as positional and keyword arguments."""
    spec = pytree.tree_structure((tuple(program.args), dict(program.kwargs)))
    return pytree.tree_unflatten(list(inputs), spec)


def _example_sizes(program: Program) -> dict[Any, int]:
    """The example's size of every symbol, in order of appearance."""
    examples = pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))
    sizes: dict[Any, int] = {}
    for node, example in zip(placeholders(program.graph), examples, strict=True):
        for length, size in zip(shape(node) or (), getattr(example, "shape", ()), strict=True):
            if not isinstance(length, int) and length.is_Symbol:
                sizes.setdefault(length, int(size))
    return sizes


def _free(dims: Sequence[Any]) -> set[Any]:
    """The symbols in some sizes."""
    return {symbol for size in dims if not isinstance(size, int) for symbol in size.free_symbols}


def _draw(
    program: Program, symbols: Mapping[Any, int], scale: float, generator: torch.Generator
) -> list[Any]:
    """Inputs like the example's, of the given sizes."""
    examples = pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))
    drawn: list[Any] = []
    for node, example in zip(placeholders(program.graph), examples, strict=True):
        if not isinstance(example, Tensor):
            drawn.append(example)
            continue
        sizes = [s if isinstance(s, int) else int(s.subs(symbols)) for s in shape(node) or ()]
        drawn.append(_like(example, sizes, scale, generator))
    return drawn


def _like(example: Tensor, sizes: list[int], scale: float, generator: torch.Generator) -> Tensor:
    if example.is_floating_point():
        spread = float(example.to(torch.float64).std()) if example.numel() > 1 else 1.0
        noise = torch.randn(sizes, generator=generator, dtype=torch.float64)
        value = scale * max(spread, 1e-3) * noise + float(example.to(torch.float64).mean())
        return value.to(example.dtype)
    if example.dtype == torch.bool:
        return torch.rand(sizes, generator=generator) < 0.5
    low, high = int(example.min()), int(example.max())
    return torch.randint(low, high + 1, sizes, generator=generator, dtype=example.dtype)


def _nudged(value: Any, generator: torch.Generator) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return (value.to(torch.float64) * (1 + 0.3 * noise)).to(value.dtype)
