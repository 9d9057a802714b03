"""What a model costs: stored numbers, FLOPs, memory, time."""

from paramaudit.measure.cost import compare, cost
from paramaudit.measure.flops import flops, flops_by_module
from paramaudit.measure.latency import Interleaved, interleaved, latency
from paramaudit.measure.memory import peak_bytes
from paramaudit.measure.parameters import Counts, count, count_by_module, count_by_name

__all__ = [
    "Counts",
    "Interleaved",
    "compare",
    "cost",
    "count",
    "count_by_module",
    "count_by_name",
    "flops",
    "flops_by_module",
    "interleaved",
    "latency",
    "peak_bytes",
]
