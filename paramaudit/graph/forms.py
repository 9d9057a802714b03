"""The same program in another form: in fewer operators, or for fewer sizes."""

from __future__ import annotations

import dataclasses
import warnings

from torch import Tensor
from torch.utils import _pytree as pytree

from paramaudit.errors import InputError
from paramaudit.graph.capture import from_exported, reexport
from paramaudit.graph.conditions import met
from paramaudit.graph.program import Program


def decomposed(program: Program) -> Program:
    """The program in torch's core operators: compound calls such as ``linear`` spelled out.

    Two programs decomposed by the same table are the same function where the results are.

    Raises:
        CaptureError: it cannot be exported again.
    """
    exported = reexport(program)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own calls
        return from_exported(exported.run_decompositions(), program)


def narrowed(program: Program, other: Program) -> Program:
    """The program for the sizes only that another one also takes; itself when that is all of them.

    Raises:
        InputError: it does not take these sizes.
        CaptureError: it cannot be exported again.
    """
    specs = tuple(
        dataclasses.replace(mine, shape=tuple(map(_smaller, mine.shape, theirs.shape)))
        for mine, theirs in zip(program.contract.inputs, other.contract.inputs, strict=True)
    )
    if specs == program.contract.inputs:
        return program
    leaves, spec = pytree.tree_flatten((tuple(program.args), dict(program.kwargs)))
    theirs = pytree.tree_leaves((tuple(other.args), dict(other.kwargs)))
    chosen = [b if isinstance(a, Tensor) else a for a, b in zip(leaves, theirs, strict=True)]
    args, kwargs = pytree.tree_unflatten(chosen, spec)
    if not met(program, args, kwargs):
        held = ", ".join(f"{s.name} {list(s.shape)}" for s in specs)
        raise InputError(f"one model takes only inputs of the sizes {held}, which the other does not take")
    contract = dataclasses.replace(program.contract, inputs=specs)
    smaller = dataclasses.replace(program, args=args, kwargs=kwargs, contract=contract)
    return from_exported(reexport(smaller), smaller)


def _smaller(mine: int | str, theirs: int | str) -> int | str:
    return theirs if isinstance(theirs, int) else mine
