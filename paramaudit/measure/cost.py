"""One model's cost, or two side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from paramaudit.errors import InputError
from paramaudit.measure.devices import on_device, restored, unavailable
from paramaudit.measure.flops import flops
from paramaudit.measure.latency import interleaved, latency
from paramaudit.measure.memory import peak_bytes
from paramaudit.measure.parameters import count
from paramaudit.records import Comparison, Cost, DeviceCost, Latency


def cost(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    devices: Sequence[str] = ("cpu",),
    file_bytes: int | None = None,
    budget_s: float = 5.0,
    threads: int | None = None,
) -> Cost:
    """Measure one model. It is not changed or moved; other devices get a copy.

    Args:
        model: a graph module (or any module, see :func:`~paramaudit.measure.flops.flops`).
        args: example inputs.
        kwargs: example keyword inputs.
        devices: where to run, e.g. ``("cpu", "cuda")``; one that is not there is reported as such.
        file_bytes: the size of the model's file, when there is one.
        budget_s: seconds for timing, shared by the devices.
        threads: CPU threads; by default torch's present number.

    Returns:
        The cost. ``buffers`` includes constants, so that no stored number hides. ``peak_bytes`` is the
        model's bytes plus the most that one pass held on top.

    Raises:
        InputError: the model does not run on these inputs.
    """
    share = budget_s / max(len(devices), 1)
    measured = {d: _device_costs([model], args, kwargs, d, share, threads)[0] for d in devices}
    return _cost(model, args, kwargs, file_bytes, measured)


def compare(
    original: nn.Module,
    refactored: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    devices: Sequence[str] = ("cpu",),
    file_bytes: tuple[int | None, int | None] = (None, None),
    budget_s: float = 10.0,
    threads: int | None = None,
) -> Comparison:
    """Measure two models on the same inputs, timed in turn.

    Args:
        original: the model before.
        refactored: the model after.
        args: example inputs of both.
        kwargs: example keyword inputs of both.
        devices: where to run; the ratio is missing for one that is not there.
        file_bytes: the sizes of both files.
        budget_s: seconds for timing, shared by the devices.
        threads: CPU threads; by default torch's present number.

    Returns:
        Both costs, and per device the original's median time over the refactored one's.

    Raises:
        InputError: one of the models does not run on these inputs.
    """
    share = budget_s / max(len(devices), 1)
    pairs = {d: _device_costs([original, refactored], args, kwargs, d, share, threads) for d in devices}
    ratios = {
        d: before.latency_ms.median / after.latency_ms.median
        for d, (before, after) in pairs.items()
        if before.latency_ms is not None and after.latency_ms is not None
    }
    costs = [
        _cost(model, args, kwargs, size, {d: pair[i] for d, pair in pairs.items()})
        for i, (model, size) in enumerate(zip((original, refactored), file_bytes, strict=True))
    ]
    return Comparison(costs[0], costs[1], ratios)


def _cost(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    file_bytes: int | None,
    devices: Mapping[str, DeviceCost],
) -> Cost:
    counts = count(model)
    return Cost(
        parameters=counts.parameters,
        buffers=counts.buffers + counts.constants,
        bytes=counts.bytes,
        file_bytes=file_bytes,
        flops=flops(model, args, kwargs),
        devices=devices,
    )


def _device_costs(
    models: Sequence[nn.Module],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    device: str,
    budget_s: float,
    threads: int | None,
) -> list[DeviceCost]:
    """The cost of one model, or of two timed in turn, on one device."""
    reason = unavailable(device)
    if reason is not None:
        return [DeviceCost(None, unavailable=reason) for _ in models]
    try:
        there = [on_device(model, device) for model in models]
        with restored(*there, device=device):
            return _measure(there, args, kwargs, device, budget_s, threads)
    except Exception as problem:  # a model can fail in any way; it becomes a reported refusal
        if torch.device(device).type == "cpu":
            raise InputError(f"the model does not run on these inputs: {problem}") from problem
        return [DeviceCost(None, unavailable=f"{type(problem).__name__}: {problem}") for _ in models]


def _measure(
    there: Sequence[nn.Module],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    device: str,
    budget_s: float,
    threads: int | None,
) -> list[DeviceCost]:
    inputs, named = tree_map_only(Tensor, lambda t: t.to(device), (args, dict(kwargs or {})))
    times: list[Latency]
    if len(there) == 2:
        pair = interleaved(there[0], there[1], inputs, named, budget_s=budget_s, threads=threads)
        times = [pair.a, pair.b]
    else:
        times = [latency(m, inputs, named, budget_s=budget_s, threads=threads) for m in there]
    held = [peak_bytes(model, inputs, named, device=device) for model in there]
    return [
        DeviceCost(time, peak_bytes=None if extra is None else count(model).bytes + extra)
        for time, model, extra in zip(times, there, held, strict=True)
    ]
