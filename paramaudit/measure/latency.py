"""Wall-clock time of a forward pass: alternating blocks, medians and quartiles.

The clock is ``torch.utils.benchmark``'s, which waits for the accelerator. Two callables are timed in turn
(a b, b a, a b ...), so that a machine that slows down or speeds up does so for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils import benchmark

from paramaudit.records import Latency

_BLOCK_SECONDS = 2e-3  # long enough that reading the clock does not show
_LONGEST_BLOCK = 10_000  # passes


@dataclass(frozen=True)
class Interleaved:
    """Two callables timed in turn; ``ratio`` is a's median / b's, above 1 where b is faster."""

    a: Latency
    b: Latency
    ratio: float
    threads: int


def latency(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    budget_s: float = 2.0,
    threads: int | None = None,
) -> Latency:
    """Time one callable without gradients.

    Args:
        function: what to time; it and the inputs are on the device already.
        args: its inputs.
        kwargs: its keyword inputs.
        budget_s: seconds to spend after two warm-up passes; at least one pass is timed.
        threads: intra-operator CPU threads, by default torch's present number; restored afterwards.

    Returns:
        Milliseconds per pass: median and quartiles over blocks of passes; ``runs`` is the number of passes.
    """
    return _sample([function], args, kwargs, budget_s, threads)[0]


def interleaved(
    a: Callable[..., Any],
    b: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    budget_s: float = 4.0,
    threads: int | None = None,
) -> Interleaved:
    """Time two callables on the same inputs in turn, so that drift of the machine cancels.

    Args:
        a: the first, e.g. the original.
        b: the second, e.g. the refactored one.
        args: inputs of both.
        kwargs: keyword inputs of both.
        budget_s: seconds for both together, after two warm-up passes each.
        threads: intra-operator CPU threads, by default torch's present number; restored afterwards.

    Returns:
        Both times in milliseconds, the ratio of the medians a / b, and the threads used.
    """
    first, second = _sample([a, b], args, kwargs, budget_s, threads)
    return Interleaved(first, second, first.median / second.median, threads or torch.get_num_threads())


def _sample(
    functions: Sequence[Callable[..., Any]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None,
    budget_s: float,
    threads: int | None,
) -> list[Latency]:
    named = dict(kwargs or {})

    def block(function: Callable[..., Any], passes: int) -> float:
        start = benchmark.timer()
        for _ in range(passes):
            function(*args, **named)
        return (benchmark.timer() - start) / passes

    with torch.no_grad(), benchmark.set_torch_threads(threads or torch.get_num_threads()):
        warm = [min(block(function, 1), block(function, 1)) for function in functions]
        passes = [max(1, min(_LONGEST_BLOCK, round(_BLOCK_SECONDS / max(s, 1e-9)))) for s in warm]
        seconds: list[list[float]] = [[] for _ in functions]
        order = list(range(len(functions)))
        end = benchmark.timer() + budget_s
        while True:
            for i in order:
                seconds[i].append(block(functions[i], passes[i]))
            order.reverse()
            if benchmark.timer() >= end:
                break
    return [_latency(s, n) for s, n in zip(seconds, passes, strict=True)]


def _latency(seconds: list[float], passes: int) -> Latency:
    low, median, high = (1e3 * float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Latency(median=median, low=low, high=high, runs=len(seconds) * passes)
