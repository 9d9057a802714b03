"""Does a captured graph do what the model does? Both are run on the example inputs and compared.

An export can go wrong silently: it takes a number that Python code counts for a constant, and a write into a
view that an operator does not declare is lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from paramaudit.errors import CaptureError
from paramaudit.graph import facts
from paramaudit.graph.program import Program


def outputs(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """What a module returns, flat; its buffers, the arguments and the random state stay as they are."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    given_args, given_kwargs = pytree.tree_map_only(Tensor, torch.clone, (tuple(args), dict(kwargs)))
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            returned = pytree.tree_leaves(module(*given_args, **given_kwargs))
            return [value.clone() if isinstance(value, Tensor) else value for value in returned]
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if name in kept and buffer.shape == kept[name].shape:
                    buffer.copy_(kept[name])


@contextmanager
def untouched(module: nn.Module) -> Iterator[None]:
    """Around runs of a model that may write into its own parameters: afterwards they are as before."""
    own = [(part, dict(part._parameters), dict(part._buffers)) for part in module.modules()]
    kept = [(parameter, parameter.detach().clone()) for parameter in module.parameters()]
    try:
        yield
    finally:
        for part, parameters, buffers in own:
            part._parameters.update(parameters)
            part._buffers.update(buffers)
        for parameter, value in kept:
            if parameter.shape != value.shape or parameter.dtype != value.dtype:
                parameter.data = value
            elif not torch.equal(parameter.detach(), value):
                parameter.detach().copy_(value)


def check(module: nn.Module, program: Program) -> None:
    """Compare a module with the program captured from it; nothing is said of one that draws random numbers.

    Raises:
        CaptureError: they return different values on the program's example inputs.
    """
    if any(facts.is_random(node) for node in program.graph.nodes):
        return
    mine = outputs(module, program.args, program.kwargs)
    again = outputs(module, program.args, program.kwargs)
    theirs = outputs(program.module, program.args, program.kwargs)
    for name, expected, later, got in zip(program.contract.outputs, mine, again, theirs, strict=True):
        why = _difference(expected, later)
        if why:
            msg = f"the model does not return the same twice, which no graph can: output {name!r} {why}"
            raise CaptureError(msg)
        why = _difference(expected, got)
        if why:
            msg = (
                f"the captured graph does not do what the model does: output {name!r} {why}; "
                "does the model write into a tensor that has another name?"
            )
            raise CaptureError(msg)


def _difference(expected: Any, got: Any) -> str:
    """How two returned values differ by more than rounding; empty when they do not."""
    if not isinstance(expected, Tensor) or not isinstance(got, Tensor):
        return "" if type(expected) is type(got) and expected == got else f"is {got}, not {expected}"
    if expected.shape != got.shape or expected.dtype != got.dtype:
        return "has another shape or dtype"
    if not expected.numel() or expected.layout is not torch.strided:
        return ""
    kind = torch.complex128 if expected.is_complex() else torch.float64
    a, b = expected.to(kind), got.to(kind)
    same = (a == b) | (a.isnan() & b.isnan())
    off = float(torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=math.inf).max())
    size = float(a.abs().nan_to_num(0.0, posinf=0.0).max())
    exact = not (expected.is_floating_point() or expected.is_complex())
    allowed = 0.0 if exact else math.sqrt(torch.finfo(expected.dtype).eps) * size
    return "" if off <= allowed else f"differs by {off:.2g} where it is {size:.2g}"
