"""Name convolutions: by a transform of every frame, or by a formula for the numbers of their kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from paramaudit.graph import facts, sites
from paramaudit.graph.convolutions import each, padded
from paramaudit.graph.program import module_path
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.frames import Framed, frame_matrix, over_frames
from paramaudit.numerics.layers import floats
from paramaudit.numerics.tables import Computed
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.computed_kernels import Written, note, write
from paramaudit.plan.computed_kernels import option as computed
from paramaudit.plan.offered import affine_evidence, arguments, indices, note_near_miss, proposed
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Kernel, Matrix, Operator, Traces

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "convolution")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_CALLS = frozenset(f"aten::{call}" for call in (*_CONVOLUTIONS, *_TRANSPOSED))
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Site:
    """A convolution by a kernel that only it reads; with a matrix where that is all there is to a frame."""

    node: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    view: Kernel
    matrix: Matrix | None
    device: torch.device

    @property
    def source(self) -> fx.Node:
        """What is convolved by now: an earlier swap may have put another node there."""
        source: fx.Node = facts.bound(self.node)["input"]
        return source

    @property
    def path(self) -> str:
        """The module that convolves."""
        return module_path(self.node)

    @property
    def stored(self) -> tuple[fx.Node, ...]:
        """The kernel and the bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass(frozen=True)
class Option:
    """One operator's layer for the frames of a convolution."""

    operator: str
    layer: Framed
    evidence: Evidence
    freed: int

    @property
    def numbers(self) -> int:
        """Numbers that the layer stores."""
        return floats(self.layer)


def apply_kernels(draft: Draft, choice: Choice, book: Book, tried: set[object]) -> bool:
    """Replace every convolution that an operator describes with fewer numbers; True when anything changed.

    ``tried`` remembers convolutions in which nothing was found, so that a later round does not search again.
    """
    changed = False
    for site in list(_sites(draft, tried)):
        options = _options(draft, site, choice, book)
        if not options:
            continue
        best = max(options, key=lambda option: option.freed - option.numbers)
        if isinstance(best, Option):
            _apply(draft, site, best, book)
            changed = True
        else:
            nodes = (site.node, site.weight)
            changed = write(draft, nodes, site.view, best, choice, book) or changed
    if changed:
        draft.clean()
        draft.settle()
    return changed


def _sites(draft: Draft, tried: set[object]) -> Iterator[Site]:
    """Every convolution not seen before whose filters read one channel each, in graph order."""
    nodes = [
        node for node in draft.graph.nodes if facts.name(node) in _CALLS and _has_one_channel(draft, node)
    ]
    stale = facts.stale(draft.graph) if nodes else set()
    for node in nodes:
        given = facts.bound(node)
        weight, bias = given["weight"], given["bias"]
        key = ("kernel", node.name, *(str(n.target) for n in (weight, bias) if n is not None))
        if key in tried or not draft.alone(weight) or stale & {node, given["input"], weight, bias}:
            continue
        tried.add(key)
        view, tensor = _view(draft, node), draft.tensor(weight)
        if view is not None and tensor is not None and str(weight.target) not in draft.program.buffers:
            matrix = frame_matrix(view) if draft.alone(bias) else None
            yield Site(node, weight, bias, view, matrix, tensor.device)


def _has_one_channel(draft: Draft, node: fx.Node) -> bool:
    """Whether the first filter of a convolution reads one channel: a look before numbers are copied."""
    weight = draft.tensor(facts.bound(node)["weight"])
    return (
        weight is not None
        and weight.dim() > 2
        and weight.numel() > len(weight)
        and not bool(weight[0, 1:].any())
    )


def _view(draft: Draft, node: fx.Node) -> Kernel | None:
    """The convolution as a record; None when it is of other numbers than it reads, or pads unevenly."""
    given = facts.bound(node)
    weight, bias, dtype = given["weight"], given["bias"], given["input"].meta["val"].dtype
    kinds = {n.meta["val"].dtype for n in (node, weight, bias) if n is not None}
    if dtype not in _DTYPES or kinds != {dtype} or (bias is not None and draft.tensor(bias) is None):
        return None
    kernel = draft.float64(weight)
    rank = kernel.dim() - 2
    stride, dilation = each(given["stride"], rank), each(given["dilation"], rank)
    padding = padded(node, rank, dilation) if dilation is not None else None
    if stride is None or padding is None or dilation is None:
        return None
    shift = draft.float64(bias) if bias is not None else None
    transposed = bool(given.get("transposed")) or facts.name(node).startswith("aten::conv_transpose")
    return Kernel(
        kernel,
        shift,
        stride[0] if rank == 1 else stride,
        padding[0] if rank == 1 else padding,
        dilation[0] if rank == 1 else dilation,
        int(given["groups"]),
        dtype,
        transposed,
    )


def _options(draft: Draft, site: Site, choice: Choice, book: Book) -> list[Option | Written]:
    found: list[Option | Written] = []
    for operator in looking_at(Kernel):
        if not choice.wants(operator.name, site.path):
            continue
        option = _named(draft, site, operator, choice.seed, book)
        if option is None or option.numbers >= option.freed:
            continue
        if choice.applies(option.evidence.tier):
            found.append(option)
        elif isinstance(option, Written):
            note(draft, site.weight, option, book)
        else:
            _note_refused(draft, site, option, book)
    return found


def _named(draft: Draft, site: Site, operator: Operator, seed: int, book: Book) -> Option | Written | None:
    """The convolution as an operator, with the prover's evidence; None when nothing is proposed."""
    offer = proposed(operator, site.view, book)
    if isinstance(offer, Computed):
        where = (site.path, site.device, sites.numbers(draft, [str(site.weight.target)]))
        return computed(operator.name, offer, site.view, where, seed)
    if isinstance(offer, Framed) and site.matrix is not None:
        names = [str(n.target) for n in site.stored if str(n.target) not in draft.program.buffers]
        return _framed(operator.name, offer, site, site.matrix, sites.numbers(draft, names), seed)
    return None


def _framed(operator: str, offer: Framed, site: Site, matrix: Matrix, freed: int, seed: int) -> Option:
    """Only the layer of a frame is taken from the proposal: where frames are is read off the convolution."""
    layer = over_frames(offer.inner, site.view)
    generator = torch.Generator().manual_seed(seed)
    run = on_frames(matrix)

    def judged(candidate: Matrix) -> Evidence:
        return judge(matrix, candidate, run, generator)

    return Option(operator, layer, affine_evidence(layer.inner, matrix, judged), freed)


def on_frames(matrix: Matrix) -> Callable[[Tensor], Tensor]:
    """The convolution by a matrix of one frame, on single frames: ``(n, taps)`` to ``(n, out)``."""
    weight = matrix.weight.to(matrix.dtype).unsqueeze(1)
    bias = matrix.bias.to(matrix.dtype) if matrix.bias is not None else None

    def run(rows: Tensor) -> Tensor:
        return F.conv1d(rows.unsqueeze(1), weight, bias).squeeze(-1)

    return run


def _apply(draft: Draft, site: Site, option: Option, book: Book) -> None:
    tensors = draft.keys(site.stored)
    counts = (option.freed, option.numbers)
    name = str(site.stored[0].target)
    place = f"{name.rpartition('.')[0] or name}_{option.operator.replace('-', '_')}"
    layer = option.layer.to(site.view.dtype)
    with draft.graph.inserting_before(site.node):
        draft.replace(site.node, draft.layer(place, layer, site.source, site.node, tensors, whole=True))
    book.add(
        option.operator,
        site.path,
        tensors,
        option.evidence,
        counts,
        arguments=arguments(option.layer),
        indices=indices(layer),
        applied=option.evidence.tier.safe,
        absorbs=True,
        traces=Traces(places=((draft.name_of(site.source), draft.name_of(site.node)),), rounded=True),
    )


def _note_refused(draft: Draft, site: Site, option: Option, book: Book) -> None:
    keys = draft.keys(site.stored)
    note_near_miss(book, option.operator, site.path, keys, option.evidence, option.freed, option.layer)
