"""A convolution whose kernel is computed: it stays as it is, and its stored numbers go."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, fx

from paramaudit.graph.run import evaluate
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.layers import floats
from paramaudit.numerics.sliding import on_windows, window_matrices, window_shape
from paramaudit.numerics.storage import told
from paramaudit.numerics.tables import Computed
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.offered import arguments, note_near_miss, through_noise
from paramaudit.plan.written import written_out
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Kernel, Matrix, Tier, Traces

FEW = 64
"""So few weights are near one stencil or another by chance."""


@dataclass(frozen=True)
class Written:
    """An operator's layer for the stored kernel of a convolution."""

    operator: str
    layer: Computed
    evidence: Evidence
    path: str
    freed: int

    @property
    def numbers(self) -> int:
        """Numbers that the layer stores."""
        return floats(self.layer)


def kernel_evidence(view: Kernel, computed: Tensor, fitted: int, seed: int) -> Evidence:
    """What is proven of computing a kernel, whatever its stride and padding are.

    Every group of channels is compared by itself, those with the same numbers once, and the weakest verdict
    is returned: neither a gap nor rounding of another group helps one to pass.

    Args:
        view: the convolution as it is.
        computed: the kernel, in the dtype of the convolution.
        fitted: how many numbers the computed kernel was fitted with.
        seed: draws the inputs on which the original is observed.
    """
    if computed.shape != view.weight.shape:
        shapes = f"{tuple(computed.shape)} and {tuple(view.weight.shape)}"
        return Evidence(Tier.REFUTED, f"the computed and the stored kernel have shapes {shapes}")
    mine = window_matrices(view, view.weight)
    theirs = window_matrices(view, computed.to("cpu", torch.float64))
    _, kinds = torch.unique(torch.cat([mine, theirs], 2), dim=0, return_inverse=True)
    weakest: Evidence | None = None
    for kind in range(int(kinds.max()) + 1):
        group = int((kinds == kind).nonzero()[0])
        original, candidate = (Matrix(m[group].contiguous(), None, view.dtype) for m in (mine, theirs))
        generator = torch.Generator().manual_seed(seed)
        evidence = judge(original, candidate, on_windows(view, group), generator)
        if evidence.tier is Tier.REFUTED:
            told_of = through_noise(evidence, original, candidate, fitted)
            few = original.weight.numel() < FEW and told_of.tier is Tier.SUSPECTED
            return evidence if few else told_of
        if evidence.tier is Tier.BOUNDED:
            evidence = replace(evidence, reason=evidence.reason + told(original.weight, candidate.weight))
        weakest = evidence if weakest is None else max(weakest, evidence, key=_weakness)
    if weakest is None:
        return Evidence(Tier.REFUTED, "the kernel holds no numbers")
    return weakest


def _weakness(evidence: Evidence) -> tuple[int, float]:
    return evidence.tier.rank, evidence.gap.value if evidence.gap is not None else 0.0


def option(
    operator: str, offer: Computed, view: Kernel, where: tuple[str, torch.device, int], seed: int
) -> Written | None:
    """A proposed kernel with the prover's evidence; None where nothing can be proven of such a convolution.

    Args:
        operator: who proposes it.
        offer: the layer, left as it is.
        view: the convolution.
        where: its module's path, the device of its numbers, and how many of them are freed.
        seed: draws the inputs on which the original is observed.
    """
    try:
        window_shape(view)
    except ValueError:
        return None
    path, device, freed = where
    layer = copy.deepcopy(offer).to(view.dtype).to(device)
    with torch.no_grad():
        evidence = kernel_evidence(view, layer(), floats(layer), seed)
    return Written(operator, layer, evidence, path, freed)


def write(
    draft: Draft,
    nodes: tuple[fx.Node, fx.Node],
    view: Kernel,
    chosen: Written,
    choice: Choice,
    book: Book,
) -> bool:
    """Compute a convolution's kernel in the program, where what was written is proven, too.

    Args:
        draft: the program.
        nodes: the convolution and the stored kernel.
        view: both as a record.
        chosen: what computes the kernel.
        choice: what may be applied.
        book: takes in the finding.
    """
    node, weight = nodes
    existing = set(draft.graph.nodes)
    tensors = draft.keys([weight])
    place = f"{weight.target}_{chosen.operator.replace('-', '_')}"
    with torch.no_grad():
        module = torch.export.export(chosen.layer, ()).module(check_guards=False)
    with draft.graph.inserting_before(node):
        made = written_out(draft, module, {}, place, tensors, node, {})
    (value,) = evaluate(draft.module, [made], {}, dtype=None)
    evidence = kernel_evidence(view, value, chosen.numbers, choice.seed)
    if not choice.applies(evidence.tier):
        draft.discard([n for n in draft.graph.nodes if n not in existing])
        note(draft, weight, replace(chosen, evidence=evidence), book)
        return False
    source, target = (draft.name_of(n) for n in (node.all_input_nodes[0], node))
    draft.replace(weight, made)
    apart = evidence.gap is None or evidence.gap.value > 0  # windows overlap, so a gap is none of the whole
    book.add(
        chosen.operator,
        chosen.path,
        tensors,
        evidence,
        (chosen.freed, chosen.numbers),
        arguments=arguments(chosen.layer),
        applied=evidence.tier.safe,
        absorbs=True,
        traces=Traces(places=((source, target),), rounded=draft.settle() or apart),
    )
    return True


def note(draft: Draft, weight: fx.Node, option: Written, book: Book) -> None:
    """A near miss stays in the list."""
    keys = draft.keys([weight])
    note_near_miss(book, option.operator, option.path, keys, option.evidence, option.freed, option.layer)
