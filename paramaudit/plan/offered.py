"""What an operator offers: the proof of its layer, what it says of itself, and the note of a near miss."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paramaudit.graph.affine import region
from paramaudit.graph.facts import constants
from paramaudit.graph.program import output_leaves, placeholders
from paramaudit.numerics.chance import log_chance, only_smooth
from paramaudit.numerics.layers import Computed, floats
from paramaudit.numerics.noise import NOISY, left_over
from paramaudit.numerics.residual import noise_like
from paramaudit.numerics.storage import STORED, told
from paramaudit.plan.book import Book
from paramaudit.prove.affine import dense
from paramaudit.records import Evidence, Json, Matrix, Operator, Tier

FEW = 1024
"""Of fewer entries a name is told through noise only where chance does not explain how near it is."""

SURE = -30.0
"""The logarithm of how likely chance may bring a matrix as near to a layer, whose order is free, at most."""


def proposed(operator: Operator, view: Any, book: Book) -> nn.Module | None:
    """What an operator proposes for a view; the book keeps how long it looked."""
    start = time.perf_counter()
    layer = operator.propose(view)
    book.spent[operator.name] = book.spent.get(operator.name, 0.0) + time.perf_counter() - start
    return layer


def affine_evidence(layer: nn.Module, view: Matrix, judge: Callable[[Matrix], Evidence]) -> Evidence:
    """What ``judge`` says of a layer's own map; refuted when the layer is not proven to be affine.

    One that misses the map by what storage in fewer bits leaves says so, and is ``bounded``. A refuted one
    that misses it by what looks like noise, and nothing else, is ``suspected``: it is not the same map, and
    is never swapped in, but its name is worth telling.
    """
    width = view.weight.shape[1]
    try:
        candidate = dense(layer, width, view.dtype)
        evidence = judge(candidate)
        if evidence.tier is Tier.REFUTED:
            evidence = through_noise(evidence, view, candidate, floats(layer), indices(layer))
        elif evidence.tier is Tier.BOUNDED:
            evidence = replace(evidence, reason=evidence.reason + told(view.weight, candidate.weight))
        affine = evidence.tier in (Tier.REFUTED, Tier.SUSPECTED) or proven_affine(layer, width)
    except ValueError:  # seen not to be affine
        affine = False
    return evidence if affine else Evidence(Tier.REFUTED, "the proposed layer could not be proven affine")


def through_noise(
    evidence: Evidence, view: Matrix, candidate: Matrix, fitted: int, ordered: int = 0
) -> Evidence:
    """``suspected`` in place of ``refuted`` where what the candidate leaves over is noise.

    ``bounded`` where it is the noise of a shorter format: then it is known what the original was meant to be.
    A candidate of ``fitted`` numbers takes up as much noise as they can hold, which is counted as left over;
    one that chose ``ordered`` whole numbers had so many more chances to be near.
    """
    if candidate.weight.shape != view.weight.shape:
        return evidence
    residual = view.weight - candidate.weight
    missed = left_over(residual, view.weight)
    stored = told(view.weight, candidate.weight) if missed <= STORED else ""
    if stored and evidence.gap is not None:
        reason = (
            f"for every input the two differ by at most {evidence.gap.value:.1e} {evidence.gap.per}{stored}"
        )
        return replace(evidence, tier=Tier.BOUNDED, reason=reason, counterexample=None)
    if residual.numel() < FEW and not _no_chance(view.weight, residual, fitted, ordered):
        return evidence
    free = 1 - fitted / max(1, residual.numel())
    if not (free > 0 and missed <= NOISY * free) or not noise_like(residual):
        return evidence
    reason = f"consistent with this plus {missed:.1%} of noise, so it is not the same map; {evidence.reason}"
    return replace(evidence, tier=Tier.SUSPECTED, reason=reason)


def _no_chance(weight: Tensor, residual: Tensor, fitted: int, ordered: int) -> bool:
    """Whether few numbers are near a layer for no other reason than its name.

    Others are chance, a few large numbers that any fit hits, smoothness, and a gain that wanders.
    """
    few = max(1, math.isqrt(weight.numel()) // 4)
    rest = weight.abs().flatten().argsort()[:-few]
    missed = left_over(residual.flatten()[rest], weight.flatten()[rest])
    chances = ordered * math.log(max(residual.shape))
    if log_chance(missed, len(rest), fitted) + chances > SURE:
        return False
    if only_smooth(weight, left_over(residual, weight), fitted):
        return False
    return noise_like(torch.where(weight < residual, -residual, residual))  # by the sign of what is meant


def proven_affine(layer: nn.Module, width: int) -> bool:
    """Whether a proposed layer is affine in its input by its own graph, for every batch size.

    One that multiplies by what it computes is so by the way it is made, and its graph can be a long one.
    """
    if isinstance(layer, Computed) and type(layer).forward is Computed.forward:
        return True
    example = torch.zeros(3, width, dtype=torch.float64)
    with torch.no_grad():
        exported = torch.export.export(layer, (example,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    module = exported.module(check_guards=False)
    found = region(placeholders(module.graph)[0], constants(module.graph))
    (result,) = output_leaves(module.graph)
    return found is not None and found.clean(result)


def arguments(layer: nn.Module | None) -> Mapping[str, Json]:
    """What an operator's layer says that it recognised."""
    said = getattr(layer, "arguments", None)
    return dict(said()) if callable(said) else {}


def indices(layer: nn.Module) -> int:
    """How many whole numbers a layer stores."""
    return sum(t.numel() for t in layer.buffers() if not t.is_floating_point())


def note_near_miss(
    book: Book,
    operator: str,
    path: str,
    tensors: tuple[str, ...],
    evidence: Evidence,
    numbers: int,
    layer: nn.Module | None,
) -> None:
    """A near miss stays in the list, with the reason; a guess that is far off was only a guess."""
    if evidence.tier is not Tier.REFUTED:
        said = arguments(layer)
        book.add(operator, path, tensors, evidence, (numbers, numbers), arguments=said, applied=False)
