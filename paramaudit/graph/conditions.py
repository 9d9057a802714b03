"""What a captured program needs of its inputs' sizes besides being those of the contract.

A model that branches on a size (``if x.shape[0] > 4``) is captured as the branch that the example took, and
``torch.export`` notes the condition as a guard, e.g. ``L['x'].size()[0] > 4``. Elsewhere the model is another
function, so the guards belong to the contract, and a file that is written carries them.
"""

from __future__ import annotations

import ast
import inspect
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from paramaudit.graph.program import Program
from paramaudit.records import InputSpec

_SIZE = r"[\w.\[\]']+\.size\(\)\[\d+\]"
_STATIC = re.compile(rf"{_SIZE} == \d+")
_SHARED = re.compile(rf"{_SIZE} == {_SIZE}")  # two dimensions with one symbol
_BINARY: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def guards(exported: torch.export.ExportedProgram) -> tuple[str, ...]:
    """The conditions under which a program was captured, as torch writes them."""
    return tuple(getattr(exported, "_guards_code", None) or ())


def guarded(exported: torch.export.ExportedProgram, by: Sequence[str]) -> torch.export.ExportedProgram:
    """The program with further guards, which it checks when it is run."""
    own = guards(exported)
    if hasattr(exported, "_guards_code"):
        exported._guards_code = [*own, *(guard for guard in by if guard not in own)]
    return exported


def conditions(by: Sequence[str], inputs: Sequence[InputSpec] = ()) -> tuple[str, ...]:
    """The guards that say more than the shapes of ``inputs`` do, for people: ``x.size()[0] > 4``."""
    static = {guard.partition(" ")[0] for guard in by if _STATIC.fullmatch(guard)}
    for spec in inputs:
        fixed = (d for d, length in enumerate(spec.shape) if isinstance(length, int))
        static.update(f"L['{spec.name}'].size()[{d}]" for d in fixed)
    return tuple(
        _spelled(guard)
        for guard in by
        if not _SHARED.fullmatch(guard) and not set(re.findall(_SIZE, guard)) <= static
    )


def met(program: Program, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether inputs meet the program's guards; a guard that is no plain arithmetic counts as met."""
    return not _failed(program.guards, inspect.signature(program.module.forward), args, kwargs)


class Gate:
    """A forward pre-hook that lets only inputs pass for which a program was captured.

    ``exported.module()`` checks its guards by itself; what ``torch.export.unflatten`` returns does not.
    """

    def __init__(self, exported: torch.export.ExportedProgram) -> None:
        self.guards = guards(exported)
        self.signature = inspect.signature(exported.module(check_guards=False).forward)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Called before the module.

        Raises:
            ValueError: the sizes are others; says what must hold.
        """
        failed = _failed(self.guards, self.signature, args, kwargs)
        if failed:
            msg = f"{type(module).__name__} holds only where {_spelled(failed[0])}"
            raise ValueError(msg)


def _failed(
    by: Sequence[str], signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[str]:
    """The guards that inputs do not meet."""
    if not by:
        return []
    leaves, _ = pytree.tree_flatten_with_path(dict(signature.bind(*args, **kwargs).arguments))
    sizes = {
        f"L{pytree.keystr(path)}.size()[{d}]": length
        for path, value in leaves
        if isinstance(value, Tensor)
        for d, length in enumerate(value.shape)
    }
    return [guard for guard in by if not _holds(guard, sizes)]


def _spelled(guard: str) -> str:
    return re.sub(r"L\['(\w+)'\]", r"\1", guard)


def _holds(guard: str, sizes: Mapping[str, int]) -> bool:
    try:
        return bool(_value(ast.parse(guard, mode="eval").body, sizes))
    except (KeyError, SyntaxError, ZeroDivisionError):
        return True


def _value(node: ast.expr, sizes: Mapping[str, int]) -> Any:
    """The value of an expression of sizes; a KeyError for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _BINARY[type(node.ops[0])](_value(node.left, sizes), _value(node.comparators[0], sizes))
    if isinstance(node, ast.BoolOp):
        values = [_value(part, sizes) for part in node.values]
        return all(values) if isinstance(node.op, ast.And) else any(values)
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, sizes)
        return not value if isinstance(node.op, ast.Not) else -value
    return sizes[ast.unparse(node)]
