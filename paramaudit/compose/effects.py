"""What one call does to a bound on its arguments: by how much it can stretch them, and what it adds.

A call without a rule here is unknown: products of two activations, attention, recurrences, discrete choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.compose.sizes import entries, repeats, times
from paramaudit.graph import facts
from paramaudit.graph.run import evaluate
from paramaudit.graph.shapes import shape
from paramaudit.prove import lipschitz


@dataclass(frozen=True)
class Effect:
    """Bounds on a call's result, in Euclidean norms over whole tensors, per ``|[x;1]|`` of the program.

    The result is at most ``sum_i parts_i |argument_i| + constant`` (the root of the sum of squares where the
    arguments are ``joined`` side by side) and never more than ``cap``. Without ``constant`` this also holds
    for a change of the result by a change of the arguments.
    """

    parts: tuple[tuple[fx.Node, float], ...]
    constant: float = 0.0
    cap: float = math.inf
    joined: bool = False


class Calls:
    """The calls of one graph, with the numbers that they act by."""

    def __init__(self, module: fx.GraphModule, constant: Set[fx.Node]) -> None:
        self._module, self._constant = module, constant

    def effect(self, node: fx.Node) -> Effect | None:
        """What a call does; None where no bound is known."""
        if node.op != "call_function":
            return None
        if facts.is_identity(node):
            return Effect(((node.args[0], 1.0),)) if isinstance(node.args[0], fx.Node) else None
        call = facts.name(node).removeprefix("aten::")
        handler = _HANDLERS.get(call)
        return handler(self, node, facts.bound(node)) if handler is not None else _elementwise(node, call)

    def number(self, value: Any) -> Tensor | None:
        """A constant tensor in float64; None for anything else."""
        if not isinstance(value, fx.Node) or value not in self._constant:
            return None
        (found,) = evaluate(self._module, [value], {}, dtype=torch.float64)
        return found if isinstance(found, Tensor) and found.is_floating_point() else None

    def added(self, value: Any, node: fx.Node) -> float:
        """The norm of a constant (None is none) once it is repeated to the size of ``node``."""
        if value is None:
            return 0.0
        if isinstance(value, int | float):
            return abs(float(value)) * math.sqrt(entries(node))
        tensor = self.number(value)
        if tensor is None or not tensor.numel():
            return math.inf
        return float(tensor.norm()) * math.sqrt(entries(node) / tensor.numel()) * _ABOVE


_ABOVE = 1 + 1e-12
Handler = Callable[[Calls, fx.Node, dict[str, Any]], Effect | None]


def _elementwise(node: fx.Node, call: str) -> Effect | None:
    source = node.args[0] if node.args else None
    given = facts.bound(node)
    negative = given.get("negative_slope", given.get("alpha"))
    if (given.get("scale", 1), given.get("input_scale", 1)) != (1, 1):
        return None
    found = lipschitz.slope(call, negative if isinstance(negative, int | float) else None)
    others = [n for n in node.all_input_nodes if n is not source]
    if found is None or others or not isinstance(source, fx.Node) or not callable(node.target):
        return None
    at_zero = node.target(torch.zeros(1, dtype=torch.float64), *node.args[1:], **node.kwargs)
    root = math.sqrt(entries(node))
    constant = abs(float(at_zero)) * root if float(at_zero) else 0.0
    return Effect(((source, found.lipschitz),), constant, found.bound * root)


def _same(_calls: Calls, _node: fx.Node, given: dict[str, Any]) -> Effect | None:
    source = next(iter(given.values()))
    return Effect(((source, 1.0),)) if isinstance(source, fx.Node) else None


def _getitem(_calls: Calls, node: fx.Node, _given: dict[str, Any]) -> Effect | None:
    source = node.args[0]
    return Effect(((source, 1.0),)) if isinstance(source, fx.Node) else None


def _cast(_calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    """Between floating-point dtypes; as real numbers nothing changes."""
    source, value = given["self"], node.meta.get("val")
    before = source.meta.get("val") if isinstance(source, fx.Node) else None
    real = all(isinstance(v, Tensor) and v.is_floating_point() for v in (before, value))
    return Effect(((source, 1.0),)) if real else None


def _expand(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    source = given["self"]
    if calls.number(source) is not None:
        return Effect((), calls.added(source, node))
    return Effect(((source, math.sqrt(repeats(source, node))),))


def _pad(_calls: Calls, _node: fx.Node, given: dict[str, Any]) -> Effect | None:
    zeros = given.get("mode", "constant") == "constant" and not given.get("value")
    return Effect(((given["self"], 1.0),)) if zeros and min(given["pad"], default=0) >= 0 else None


def _add(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    alpha = given.get("alpha", 1)
    if not isinstance(alpha, int | float):
        return None
    left, right = (1.0, abs(alpha)) if "rsub" not in facts.name(node) else (abs(alpha), 1.0)
    parts, constant = [], 0.0
    for value, factor in ((given["self"], left), (given["other"], right)):
        if isinstance(value, fx.Node) and calls.number(value) is None:
            parts.append((value, factor * math.sqrt(repeats(value, node))))
        else:
            constant += factor * calls.added(value, node)
    return Effect(tuple(parts), constant)


def _mul(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    sides = [given["self"], given["other"]]
    sizes = [_largest(calls, value) for value in sides]
    if sizes[0] is not None:
        sides.reverse()
        sizes.reverse()
    source, factor = sides[0], sizes[1]
    if not isinstance(source, fx.Node) or factor is None:
        return None
    return Effect(((source, factor * math.sqrt(repeats(source, node))),))


def _div(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    source, other = given["self"], given["other"]
    tensor = calls.number(other)
    least = abs(other) if isinstance(other, int | float) else None
    if tensor is not None and tensor.numel():
        least = float(tensor.abs().min())
    if not isinstance(source, fx.Node) or not least or given.get("rounding_mode") is not None:
        return None
    return Effect(((source, math.sqrt(repeats(source, node)) / least * _ABOVE),))


def _largest(calls: Calls, value: Any) -> float | None:
    """The largest absolute entry of a constant."""
    if isinstance(value, int | float):
        return abs(float(value))
    tensor = calls.number(value)
    return float(tensor.abs().max()) if tensor is not None and tensor.numel() else None


def _linear(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    weight = calls.number(given["weight"])
    if weight is None or weight.dim() != 2:
        return None
    return Effect(((given["input"], lipschitz.matrix(weight)),), calls.added(given["bias"], node))


def _matmul(calls: Calls, _node: fx.Node, given: dict[str, Any]) -> Effect | None:
    left, right = list(given.values())[:2]
    for source, other in ((left, right), (right, left)):
        weight = calls.number(other)
        if weight is not None and weight.dim() == 2 and calls.number(source) is None:
            return Effect(((source, lipschitz.matrix(weight)),))
    return None


def _addmm(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    weight = calls.number(given["mat2"])
    if weight is None or (given.get("beta"), given.get("alpha")) != (1, 1):
        return None
    return Effect(((given["mat1"], lipschitz.matrix(weight)),), calls.added(given["self"], node))


def _convolution(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    weight = calls.number(given["weight"])
    if weight is None or given.get("transposed"):
        return None
    norm = lipschitz.convolution(weight, int(given["groups"]))
    return Effect(((given["input"], norm),), calls.added(given["bias"], node))


def _batch_norm(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    mean, variance = calls.number(given["running_mean"]), calls.number(given["running_var"])
    if given.get("training") is not False or mean is None or variance is None:
        return None
    gain, shift = (calls.number(given[key]) for key in ("weight", "bias"))
    scale = (gain if gain is not None else 1.0) / torch.sqrt(variance + float(given["eps"]))
    offset = (shift if shift is not None else 0.0) - mean * scale
    constant = float(offset.norm()) * math.sqrt(entries(node) / max(1, offset.numel())) * _ABOVE
    return Effect(((given["input"], float(scale.abs().max()) * _ABOVE),), constant)


def _normalised(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    gain_node, shift = given.get("weight"), given.get("bias")
    gain, eps = calls.number(gain_node), given.get("eps")
    if not isinstance(eps, float) or (gain_node is not None and gain is None):
        return None
    added = calls.added(shift, node)
    largest = 1.0 if gain is None else float(gain.abs().max())
    cap = largest * math.sqrt(entries(node)) * _ABOVE + added
    return Effect(((given["input"], lipschitz.normaliser(gain, eps)),), added, cap)


def _softmax(_calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    dims, axis = list(shape(node) or ()), given["dim"]
    if not dims:
        return None
    del dims[axis]
    root = math.sqrt(times(dims))  # the numbers of a row add up to 1, so that its norm is at most 1
    return Effect(((given["self"], 1.0),), root, root)


def _reduce(_calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    source, axes = given["self"], given.get("dim")
    dims = shape(source) if isinstance(source, fx.Node) else None
    if dims is None or not isinstance(axes, list | tuple) or not axes:
        return None
    count = times([dims[axis] for axis in axes])
    fixed = all(isinstance(dims[axis], int) for axis in axes)
    if facts.name(node) == "aten::mean":
        return Effect(((source, 1 / math.sqrt(count) if fixed and count else 1.0),))
    return Effect(((source, math.sqrt(count)),)) if fixed else None


def _joined(_calls: Calls, _node: fx.Node, given: dict[str, Any]) -> Effect | None:
    parts = given["tensors"]
    if not isinstance(parts, list | tuple) or not all(isinstance(part, fx.Node) for part in parts):
        return None
    return Effect(tuple((part, 1.0) for part in parts), joined=True)


def _embedding(calls: Calls, node: fx.Node, given: dict[str, Any]) -> Effect | None:
    table = calls.number(given["weight"])
    if table is None or not table.numel():
        return None
    rows = times((shape(node) or ())[:-1])
    longest = float(table.norm(dim=1).max()) * _ABOVE
    return Effect(((given["indices"], math.inf),), cap=longest * math.sqrt(rows))


_SAMES = (
    *(call.removeprefix("aten::") for call in facts.VIEWS),
    *("permute", "transpose", "t", "swapaxes", "slice", "select", "narrow", "unbind", "split", "chunk"),
    *("split_with_sizes", "tensor_split", "flip", "roll", "neg", "alias", "clone", "contiguous", "detach"),
)
_HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(_SAMES, _same),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _cast),
    **dict.fromkeys(("add", "sub", "rsub"), _add),
    **dict.fromkeys(("matmul", "mm"), _matmul),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm"), _normalised),
    **dict.fromkeys(("softmax", "_softmax"), _softmax),
    **dict.fromkeys(("sum", "mean"), _reduce),
    **dict.fromkeys(("cat", "stack"), _joined),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    "getitem": _getitem,
    "expand": _expand,
    "mul": _mul,
    "div": _div,
    "linear": _linear,
    "addmm": _addmm,
    "batch_norm": _batch_norm,
    "embedding": _embedding,
}
