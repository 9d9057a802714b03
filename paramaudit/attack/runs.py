"""Run a program on flat inputs: its outputs by name, the same random draws every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from paramaudit.graph.conditions import met
from paramaudit.graph.program import Program, aligned
from paramaudit.graph.run import run

FAILURES = (RuntimeError, IndexError, ValueError)
"""What a graph raises on inputs that it does not take."""


def outputs(program: Program, inputs: Sequence[Any], dtype: torch.dtype | None) -> dict[str, Any]:
    """One run; random numbers, such as dropout's, are drawn anew from the same seed."""
    args, kwargs = as_call(program, inputs)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return run(program, args, kwargs, dtype)


def others(
    original: Program, refactored: Program, inputs: Sequence[Any], dtype: torch.dtype | None
) -> dict[str, Any]:
    """The refactored program's outputs under the names that they have in the original."""
    args, kwargs = as_call(original, inputs)
    flat = pytree.tree_leaves((args, kwargs))
    values = aligned(original, refactored, list(outputs(refactored, flat, dtype).values()))
    return dict(zip(original.contract.outputs, values, strict=True))


def takes(program: Program, inputs: Sequence[Any]) -> bool:
    """Whether the program was captured for inputs of these sizes, and runs on them."""
    args, kwargs = as_call(program, inputs)
    if not met(program, args, kwargs):
        return False
    try:
        outputs(program, inputs, None)
    except FAILURES:
        return False
    return True


def as_call(program: Program, inputs: Sequence[Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Flat inputs as positional and keyword arguments."""
    spec = pytree.tree_structure((tuple(program.args), dict(program.kwargs)))
    args, kwargs = pytree.tree_unflatten(list(inputs), spec)
    return args, kwargs


def examples(program: Program) -> list[Any]:
    """The example inputs, flat."""
    return pytree.tree_leaves((tuple(program.args), dict(program.kwargs)))


def is_real(value: Any) -> bool:
    """Whether an input is a floating-point tensor, which can be moved a little."""
    return isinstance(value, Tensor) and value.is_floating_point()
