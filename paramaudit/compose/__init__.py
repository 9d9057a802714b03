"""End to end: what the gaps of all swaps can add up to at each output, where what follows them is bounded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.compose.walk import Injection, Walk
from paramaudit.graph import facts
from paramaudit.graph.program import Program, output_leaves, placeholders
from paramaudit.graph.run import run
from paramaudit.graph.shapes import shape
from paramaudit.pairing import Difference
from paramaudit.records import EndToEnd, OutputBound, SwapProof, Tier

__all__ = ["PER", "end_to_end"]

PER = "|[x;1]| of all inputs, a 1 for every row of the batch"
_SLACK = 1 + 1e-9


def end_to_end(
    original: Program, swaps: Sequence[SwapProof], differences: Sequence[Difference] = ()
) -> EndToEnd:
    """Bounds on how far each output moves when all swaps are made, as real-number functions.

    Args:
        original: the program before.
        swaps: what was applied to it, with the places in its graph.
        differences: affine parts of it that differ in the other model and are proven.

    Returns:
        For every output the bound in the Euclidean norm, or why none is known.
    """
    injections = [*_of_swaps(swaps), *_of_differences(differences)]
    names = {node.name for node in original.graph.nodes}
    lost = next((i for i in injections if not {i.source or i.target, i.target} <= names), None)
    if lost is not None or (injections and facts.stale(original.graph)):
        why = lost.why if lost is not None else "the model itself changes its tensors"
        bounds = tuple(OutputBound(name, unknown=why) for name in original.contract.outputs)
        return EndToEnd(Tier.TESTED, bounds, f"no bound is carried to the outputs: {why}")
    walk = Walk(original, injections)
    return _judged(original, tuple(_bounds(original, walk)))


def _of_swaps(swaps: Sequence[SwapProof]) -> list[Injection]:
    found: list[Injection] = []
    for swap in swaps:
        gap = math.inf if swap.traces.rounded else swap.gap.value if swap.gap is not None else 0.0
        if not gap:
            continue
        why = f"{swap.id} stores rounded numbers, or acts on overlapping parts, and no gap bounds it here"
        places = swap.traces.places or (("", ""),)
        lost = f"where {swap.id} acts in the original is not known"
        for source, target in places:
            known = gap if source else math.inf  # of what the gap is a part is not known
            found.append(Injection(source, target, known, why if target else lost))
    return found


def _of_differences(differences: Sequence[Difference]) -> list[Injection]:
    gaps = ((d, d.evidence.gap.value if d.evidence.gap is not None else math.inf) for d in differences)
    lost = "where two parts differ in the original is not known"
    return [Injection(d.anchor, d.original, gap, lost) for d, gap in gaps if gap]


def _bounds(original: Program, walk: Walk) -> list[OutputBound]:
    found: list[OutputBound] = []
    for name, leaf in zip(original.contract.outputs, output_leaves(original.graph), strict=True):
        error = walk.errors[leaf] if isinstance(leaf, fx.Node) else 0.0
        if math.isfinite(error):
            found.append(OutputBound(name, error * _SLACK, PER))
        else:
            found.append(OutputBound(name, unknown=walk.reasons.get(leaf, "no bound is known")))
    return found


def _judged(original: Program, bounds: tuple[OutputBound, ...]) -> EndToEnd:
    unknown = [bound for bound in bounds if bound.unknown is not None]
    if unknown:
        which = "no output" if len(unknown) == len(bounds) else f"not every output ({unknown[0].output})"
        reason = f"a bound reaches {which}: {unknown[0].unknown}; every swap is proven where it is made"
        return EndToEnd(Tier.TESTED, bounds, reason)
    if not any(bound.value for bound in bounds):
        return EndToEnd(Tier.EXACT, bounds, "every swap is the same function as real-number algebra")
    seen = _observed(original)
    if all((b.value or 0.0) <= seen.get(b.output, 0.0) for b in bounds):
        reason = "no output moves by more than the rounding seen on the example inputs"
        return EndToEnd(Tier.ROUNDING, bounds, reason)
    return EndToEnd(Tier.BOUNDED, bounds, "a computed bound for every output, over all inputs")


def _observed(original: Program) -> Mapping[str, float]:
    """The rounding error of each output on the example inputs, per the same size of the inputs.

    Empty where that size cannot be told, or where random numbers are drawn.
    """
    sizes: dict[Any, int] = {}
    square = 0.0
    leaves = pytree.tree_leaves((tuple(original.args), dict(original.kwargs)))
    for node, value in zip(placeholders(original.graph), leaves, strict=True):
        if isinstance(value, Tensor):
            square += float(value.to(torch.float64).square().sum()) if value.is_floating_point() else 0.0
            sizes.update(zip(shape(node) or (), value.shape, strict=True))
    open_sizes = {length: count for length, count in sizes.items() if not isinstance(length, int)}
    if any(facts.is_random(n) for n in original.graph.nodes) or not all(s.is_Symbol for s in open_sizes):
        return {}
    length = math.sqrt(square + math.prod(open_sizes.values()))
    low, high = (run(original, original.args, original.kwargs, dtype) for dtype in (None, torch.float64))
    return {
        name: float((low[name].to(torch.float64) - exact).norm()) / length
        for name, exact in high.items()
        if isinstance(exact, Tensor) and exact.is_floating_point()
    }
