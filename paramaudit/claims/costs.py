"""Claims that something is faster or smaller, measured on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from paramaudit.claims.claim import Bench, Claim, Outcome
from paramaudit.claims.layers import Layer, chain, texts
from paramaudit.measure import Interleaved, count, interleaved, peak_bytes
from paramaudit.measure.devices import on_device, restored, unavailable
from paramaudit.records import Ruling

_SECONDS = 0.5  # for one case
_FASTER, _SLOWER, _SAME = "faster", "slower", "as fast"


@dataclass(frozen=True)
class Case:
    """Layers as they are, what would replace them, and the shape of the input."""

    original: tuple[Layer, ...]
    replacement: tuple[Layer, ...]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{texts(self.replacement)} for {texts(self.original)} on {' x '.join(map(str, self.shape))}"

    def timed(self, device: str) -> Interleaved:
        """Both in turn on the same input.

        Raises:
            ValueError: the layers do not take inputs of this shape.
        """
        a, b = (chain(layers).to(device) for layers in (self.original, self.replacement))
        example = torch.randn(self.shape, generator=torch.Generator().manual_seed(0)).to(device)
        try:
            return interleaved(a, b, (example,), budget_s=_SECONDS)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"{self}: {' '.join(str(error).split())}") from error


@dataclass(frozen=True, kw_only=True)
class Speed(Claim):
    """Replacements are faster: in every ``case``, and as a whole with ``batches`` of the refactored model."""

    case: tuple[Case, ...] = ()
    batches: tuple[int, ...] = ()

    def judge(self, bench: Bench) -> Outcome:
        """Time each pair in turn; where the answers differ, it depends on the shape."""
        if not self.case and not self.batches:
            raise ValueError("needs [[claim.case]] or 'batches' of the model")
        reason = unavailable(bench.device)
        if reason is not None:
            return Outcome(_FASTER, None, Ruling.DEPENDS, f"not measured: {reason}")
        times = {str(case): case.timed(bench.device) for case in self.case}
        times |= {f"the model, batch {n}": _model(bench, n) for n in self.batches}
        answers = {name: _answer(pair) for name, pair in times.items()}
        lines = [f"{name}: {pair.ratio:.2g}x ({answers[name]})" for name, pair in times.items()]
        found = set(answers.values())
        ruling = Ruling.RIGHT if found == {_FASTER} else Ruling.DEPENDS if _FASTER in found else Ruling.WRONG
        ratios = sorted(pair.ratio for pair in times.values())
        low, high = f"{ratios[0]:.2g}x", f"{ratios[-1]:.2g}x"
        measured = low if low == high else f"{low} to {high}"
        return Outcome(
            _FASTER, measured, ruling, f"original time / new time, {bench.device}: {'; '.join(lines)}"
        )


@dataclass(frozen=True, kw_only=True)
class Memory(Claim):
    """The refactored model needs less memory for a forward pass, so that larger batches fit."""

    def judge(self, bench: Bench) -> Outcome:
        """Weights and the most that one pass holds on top, as torch's allocator reports it."""
        reason = unavailable(bench.device)
        scan = bench.scan()
        peaks = []
        for program in scan.programs:
            if reason is not None:
                break
            module = on_device(program.module, bench.device)
            args, kwargs = _moved((program.args, dict(program.kwargs)), bench.device)
            with restored(module, device=bench.device):
                extra = peak_bytes(module, args, kwargs, device=bench.device)
            if extra is None:
                reason = "this torch does not report memory"
                break
            peaks.append(count(module).bytes + extra)
        if reason is not None:
            return Outcome("less", None, Ruling.DEPENDS, f"not measured: {reason}")
        before, after = peaks
        ruling = Ruling.RIGHT if after < before else Ruling.WRONG
        change = f"{before:,} bytes before, {after:,} after"
        return Outcome(
            "less", after - before, ruling, f"weights and peak of one pass, {bench.device}: {change}"
        )


def _answer(pair: Interleaved) -> str:
    """Faster or slower only where the quartiles do not overlap."""
    if pair.b.high < pair.a.low:
        return _FASTER
    return _SLOWER if pair.a.high < pair.b.low else _SAME


def _model(bench: Bench, batch: int) -> Interleaved:
    """The original and what the audit's safe swaps leave, on its example inputs brought to a batch size."""
    scan = bench.scan()
    original, _ = scan.programs
    first, second = (on_device(program.module, bench.device) for program in scan.programs)
    specs = original.contract.inputs
    names = {spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str)}
    leaves, tree = pytree.tree_flatten((original.args, dict(original.kwargs)))
    if len(names) != 1 or len(leaves) != len(specs):
        raise ValueError("the model's inputs have no one open batch dimension; leave 'batches' out")
    resized = [
        _sized(leaf, batch) if spec.shape and spec.shape[0] in names else leaf
        for leaf, spec in zip(leaves, specs, strict=True)
    ]
    args, kwargs = _moved(pytree.tree_unflatten(resized, tree), bench.device)
    with restored(first, second, device=bench.device):
        return interleaved(first, second, args, kwargs, budget_s=4 * _SECONDS)


def _sized(tensor: Tensor, batch: int) -> Tensor:
    """The tensor with its rows repeated, or cut, to a number of them."""
    times = -(-batch // max(1, tensor.shape[0]))
    return tensor.repeat(times, *[1] * (tensor.dim() - 1))[:batch]


def _moved(inputs: Any, device: str) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    moved: tuple[tuple[Any, ...], Mapping[str, Any]] = pytree.tree_map_only(
        Tensor, lambda tensor: tensor.to(device), inputs
    )
    return moved
