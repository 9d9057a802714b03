"""Peak memory of one forward pass, as torch's own allocators report it.

On CUDA the allocator keeps the peak. On the CPU it keeps none, but tells a running profiler of every
allocation and release, a kernel's scratch memory included; the peak is the highest running sum. (The
profiler that torch calls legacy is used: the new one takes a second to start and writes to stderr.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


def peak_bytes(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
) -> int | None:
    """Measure the most bytes that one pass holds at once, on top of what existed before it.

    Args:
        function: what to run, without gradients; it and the inputs are on the device already.
        args: its inputs.
        kwargs: its keyword inputs.
        device: "cpu", "cuda" or "cuda:1".

    Returns:
        Bytes, the outputs included, weights and inputs not. None on the CPU of a torch without the
        profiler. Memory that worker threads or other libraries allocate for themselves is not seen.
    """
    named = dict(kwargs or {})
    with torch.no_grad():
        if torch.device(device).type != "cuda":
            return _cpu_peak(lambda: function(*args, **named))
        torch.cuda.synchronize(device)
        before = int(torch.cuda.memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        function(*args, **named)
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before


def _cpu_peak(run: Callable[[], Any]) -> int | None:
    profiler: Any = torch.autograd  # untyped there, and private: absence is an answer
    if not hasattr(profiler, "_enable_profiler_legacy"):
        return None
    shapes = stacks = flops = modules = False
    options = torch._C._profiler._ExperimentalConfig()
    profiler._enable_profiler_legacy(
        profiler.ProfilerConfig(profiler.ProfilerState.CPU, shapes, True, stacks, flops, modules, options)
    )
    try:
        run()
    finally:
        records = profiler._disable_profiler_legacy()
    held = peak = 0
    for event in (event for thread in records for event in thread):
        if event.kind() == "memory_alloc":
            held += event.cpu_memory_usage()
            peak = max(peak, held)
    return peak
