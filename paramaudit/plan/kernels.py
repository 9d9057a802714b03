"""Name convolutions: kernels that apply one matrix to every frame, where that matrix is a known transform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from paramaudit.graph import facts, sites
from paramaudit.graph.program import module_path
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.numerics.frames import Framed, frame_matrix
from paramaudit.numerics.layers import floats
from paramaudit.operators import looking_at
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.offered import affine_evidence, arguments, indices, note_near_miss, proposed
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Kernel, Matrix, Operator, Traces

_CALLS = ("aten::conv1d", "aten::convolution")
_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Site:
    """A convolution by numbers that only it reads, and the matrix of one frame."""

    node: fx.Node
    stored: tuple[fx.Node, ...]
    view: Kernel
    matrix: Matrix
    freed: int

    @property
    def source(self) -> fx.Node:
        """What is convolved by now: an earlier swap may have put another node there."""
        source: fx.Node = facts.bound(self.node)["input"]
        return source

    @property
    def path(self) -> str:
        """The module that convolves."""
        return module_path(self.node)


@dataclass(frozen=True)
class Option:
    """One operator's layer for a convolution."""

    operator: str
    layer: Framed
    evidence: Evidence

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
        if options:
            _apply(draft, site, min(options, key=lambda option: option.numbers), book)
            changed = True
    if changed:
        draft.clean()
        draft.settle()
    return changed


def _sites(draft: Draft, tried: set[object]) -> Iterator[Site]:
    """Every convolution not seen before that is one matrix times every frame, in graph order."""
    nodes = [node for node in draft.graph.nodes if facts.name(node) in _CALLS and _has_one_channel(node)]
    stale = facts.stale(draft.graph) if nodes else set()
    for node in nodes:
        given = facts.bound(node)
        stored = tuple(given[k] for k in ("weight", "bias") if given[k] is not None)
        key = ("kernel", node.name, *(str(n.target) for n in stored))
        if key in tried or not draft.alone(*stored) or stale & {node, given["input"], *stored}:
            continue
        tried.add(key)
        view = _view(draft, node)
        matrix = frame_matrix(view) if view is not None else None
        names = [str(n.target) for n in stored if str(n.target) not in draft.program.buffers]
        freed = sites.numbers(draft, names)
        if view is not None and matrix is not None and freed:
            yield Site(node, stored, view, matrix, freed)


def _has_one_channel(node: fx.Node) -> bool:
    """Whether every filter of a convolution along one dimension reads one channel."""
    weight = facts.bound(node)["weight"]
    sizes = shape(weight) if isinstance(weight, fx.Node) else None
    return sizes is not None and len(sizes) == 3 and sizes[1] == 1


def _view(draft: Draft, node: fx.Node) -> Kernel | None:
    """The convolution as a record; None when it is transposed, or of other numbers than it reads."""
    given = facts.bound(node)
    weight, bias, dtype = given["weight"], given["bias"], given["input"].meta["val"].dtype
    kinds = {n.meta["val"].dtype for n in (node, weight, bias) if n is not None}
    if dtype not in _DTYPES or kinds != {dtype}:
        return None
    stride, padding, dilation = (_single(given[key]) for key in ("stride", "padding", "dilation"))
    if given.get("transposed") or stride is None or padding is None or dilation is None:
        return None
    shift = draft.float64(bias) if bias is not None else None
    return Kernel(draft.float64(weight), shift, stride, padding, dilation, int(given["groups"]), dtype)


def _single(value: object) -> int | None:
    """The one number of a setting; None for words such as "same" and for sizes that are not known."""
    if value == "valid":
        return 0
    if isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, int) else None


def _options(draft: Draft, site: Site, choice: Choice, book: Book) -> list[Option]:
    found: list[Option] = []
    for operator in looking_at(Kernel):
        if not choice.wants(operator.name, site.path):
            continue
        option = _named(site, operator, choice.seed, book)
        if option is None or option.numbers >= site.freed:
            continue
        if choice.applies(option.evidence.tier):
            found.append(option)
        else:
            _note_refused(draft, site, option, book)
    return found


def _named(site: Site, operator: Operator, seed: int, book: Book) -> Option | None:
    """The convolution as an operator, with the prover's evidence; None when nothing is proposed.

    Only the layer of a frame is taken from what is proposed: where frames are is read off the convolution.
    """
    offer = proposed(operator, site.view, book)
    if not isinstance(offer, Framed):
        return None
    taps = site.matrix.weight.shape[1]
    layer = Framed(offer.inner, taps, site.view.stride, site.view.padding)
    generator = torch.Generator().manual_seed(seed)
    run = on_frames(site.matrix)

    def judged(candidate: Matrix) -> Evidence:
        return judge(site.matrix, candidate, run, generator)

    evidence = affine_evidence(layer.inner, site.matrix, judged)
    return Option(operator.name, layer, evidence)


def on_frames(matrix: Matrix) -> Callable[[Tensor], Tensor]:
    """The convolution by a matrix of one frame, on single frames: ``(n, taps)`` to ``(n, out)``."""
    weight = matrix.weight.to(matrix.dtype).unsqueeze(1)
    bias = matrix.bias.to(matrix.dtype) if matrix.bias is not None else None

    def run(rows: Tensor) -> Tensor:
        return F.conv1d(rows.unsqueeze(1), weight, bias).squeeze(-1)

    return run


def _apply(draft: Draft, site: Site, option: Option, book: Book) -> None:
    tensors = draft.keys(site.stored)
    counts = (site.freed, option.numbers)
    name = str(site.stored[0].target)
    place = f"{name.rpartition('.')[0] or name}_{option.operator.replace('-', '_')}"
    layer = option.layer.to(site.matrix.dtype)
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
    note_near_miss(book, option.operator, site.path, keys, option.evidence, site.freed, option.layer)
