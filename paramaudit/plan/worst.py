"""Textbook rounding bounds of a stretch and of what replaces it: information, never a verdict."""

from __future__ import annotations

from torch import Tensor, fx, nn

from paramaudit.graph import facts
from paramaudit.graph.surgery import Draft
from paramaudit.plan.offered import arguments
from paramaudit.prove import worst_case
from paramaudit.records import Matrix, WorstCase


def of_stretch(
    draft: Draft, inside: list[fx.Node], view: Matrix, operator: str, layer: nn.Module | None
) -> WorstCase:
    """Bounds on the errors of the calls of a stretch, and of the layer that computes it anew.

    Args:
        draft: the graph with the numbers.
        inside: the calls of the stretch in graph order.
        view: the map that they compute.
        operator: the name of what replaces them.
        layer: the layer that does, None for one dense product.
    """
    dense = _dense(draft, inside)
    before = worst_case.chain(dense, view.dtype) if dense else None
    if layer is None:
        after = worst_case.chain([(view.weight, view.bias)], view.dtype)
    else:
        after = _transformed(view, layer) if operator == "rdft" else None
    return WorstCase(before, after, worst_case.SOURCE)


def _dense(draft: Draft, inside: list[fx.Node]) -> list[tuple[Tensor, Tensor | None]]:
    """The layers of a stretch that is nothing but stored dense layers; empty otherwise."""
    found: list[tuple[Tensor, Tensor | None]] = []
    for node in inside:
        if facts.is_identity(node) or facts.name(node) in facts.VIEWS:
            continue
        weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
        stored = facts.name(node) == "aten::linear" and draft.tensor(weight) is not None
        if not stored or (bias is not None and draft.tensor(bias) is None):
            return []
        found.append((draft.float64(weight), None if bias is None else draft.float64(bias)))
    return found


def _transformed(view: Matrix, layer: nn.Module) -> float | None:
    """The bound of a transform that returns real and imaginary parts of the same bins."""
    said = arguments(layer)
    length, real, imaginary = said.get("n"), said.get("real"), said.get("imaginary")
    if not isinstance(length, int) or not isinstance(real, list) or real != imaginary:
        return None
    return worst_case.transform(view, length)
