"""Calls that look like one step of a recurrence: a state comes in beside other numbers, and one goes out."""

from __future__ import annotations

from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.shapes import same, shape
from paramaudit.records import State


def state(source: fx.Node, target: fx.Node) -> State | None:
    """Which features of ``source`` are a state that ``target`` replaces; None where nothing says so.

    ``source`` joins an input of the program with other tensors, and ``target`` is returned by the program
    in that input's shape. Where several inputs fit, the first is taken: which of two inputs of one size a
    user calls the state changes the name of a map, never its numbers.
    """
    if facts.name(source) != "aten::cat" or not _returned(target):
        return None
    rank = len(shape(source) or ())
    axis = facts.argument(source, 1, "dim")
    if (axis if isinstance(axis, int) else 0) % max(rank, 1) != rank - 1:
        return None
    parts = source.args[0]
    first = 0
    want = shape(target) or ()
    for part in parts if isinstance(parts, list | tuple) else ():
        sizes = (shape(part) or ()) if isinstance(part, fx.Node) else ()
        width = _width(part) if isinstance(part, fx.Node) else None
        if width is None:
            return None
        alike = len(sizes) == len(want) and all(map(same, sizes[:-1], want[:-1])) and want[-1] == width
        if isinstance(part, fx.Node) and alike and _given(part):
            return State(first, width)
        first += width
    return None


def _width(node: fx.Node) -> int | None:
    """The features of a joined tensor, as the example has them where only their sum is fixed."""
    sizes = getattr(node.meta.get("val"), "shape", ())
    if not sizes or isinstance(sizes[-1], int):
        return sizes[-1] if sizes else None
    hint = sizes[-1].node.hint
    return hint if isinstance(hint, int) else None


def _given(node: fx.Node) -> bool:
    source = node.args[0] if facts.is_identity(node) else None
    return _given(source) if isinstance(source, fx.Node) else node.op == "placeholder"


def _returned(node: fx.Node) -> bool:
    return any(user.op == "output" or (facts.is_identity(user) and _returned(user)) for user in node.users)
