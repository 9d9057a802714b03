"""Convolutions of one input that are added.

What it finds:    sums of convolutions, batch norms by stored statistics and the input itself, all of the same
                  tensor: the branches of a RepVGG or MobileOne block.
Why it matters:   a sum of convolutions is one convolution, with the sum of their kernels.
Proof:            K1 * x + K2 * x = (K1 + K2) * x, with the smaller kernel padded by zeros to where it acts; a
                  batch norm is a kernel of one tap for each channel, and x itself is the unit.
Swap safety:      branches must step alike and be centred alike: the same stride, and the same amount by which
                  their padding exceeds their reach. A branch that is read elsewhere, steps otherwise or has
                  an activation stays a branch.
Source:           Ding et al.: RepVGG: Making VGG-style ConvNets Great Again (2021), section 3.3.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.convolutions import Settings, normalises_by_stored, settings, stored_affine
from paramaudit.graph.emit import sibling
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import common_path, module_path
from paramaudit.graph.shapes import same, shape
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten
_CALLS = {1: _aten.conv1d.default, 2: _aten.conv2d.default, 3: _aten.conv3d.default}


@dataclass(frozen=True)
class Branch:
    """A term of a sum: ``factor`` times a convolution of the source.

    A batch norm and the source itself are convolutions of one tap with a group for each channel.
    """

    node: fx.Node
    factor: float
    steps: Settings
    stored: tuple[fx.Node, ...]
    taps: tuple[int, ...]

    @property
    def centred(self) -> tuple[int, ...]:
        """The strides, and by how much the padding on both sides exceeds the kernel's reach."""
        reach = (d * (k - 1) for d, k in zip(self.steps.dilation, self.taps, strict=True))
        return (*self.steps.stride, *(2 * p - r for p, r in zip(self.steps.padding, reach, strict=True)))


@dataclass(frozen=True)
class Frame:
    """The one convolution that some branches are: its grid of taps holds all of theirs."""

    steps: Settings
    taps: tuple[int, ...]


def find(draft: Draft) -> Iterator[Match]:
    """Sums with at least two branches that store less as one."""
    for node in draft.graph.nodes:
        if not _is_sum(node) or (len(node.users) == 1 and _is_sum(next(iter(node.users)))):
            continue
        terms = _terms(node, 1.0)
        for source in dict.fromkeys(n.args[0] for n, _ in terms if settings(n) is not None):
            branches = _branches(draft, terms, source) if isinstance(source, fx.Node) else []
            if len(branches) < 2 or not isinstance(source, fx.Node):
                continue
            frame = _frame(branches)
            kernel, bias = _kernel(draft, branches, frame)
            stored = [n for b in branches for n in b.stored if str(n.target) not in draft.program.buffers]
            size = kernel.numel() + (0 if bias is None else bias.numel())
            if size >= sum(draft.float64(n).numel() for n in stored):
                continue
            taken = {b.node for b in branches}
            rest = [term for term in terms if term[0] not in taken]
            yield Match(
                common_path(module_path(n) for n in taken if n is not source),
                (node,),
                tuple(dict.fromkeys((source, *(n for n, _ in rest)))),
                partial(_build, node=node, source=source, branches=branches, rest=rest),
                "convolutions of the same input add up to one",
                tensors=tuple(dict.fromkeys(stored)),
                arguments={"branches": len(branches), "kernel": list(frame.taps)},
            )


def _is_sum(node: fx.Node) -> bool:
    """Whether a call adds or subtracts two tensors of its own shape and dtype."""
    if facts.name(node) not in ("aten::add", "aten::sub"):
        return False
    given = facts.bound(node)
    parts, mine = (given["self"], given["other"]), shape(node)
    if mine is None or not all(isinstance(p, fx.Node) and shape(p) is not None for p in parts):
        return False
    if not isinstance(given.get("alpha", 1), int | float) or parts[0] is parts[1]:
        return False
    sizes = [shape(p) or () for p in parts]
    alike = all(len(s) == len(mine) and all(map(same, s, mine)) for s in sizes)
    return alike and len({n.meta["val"].dtype for n in (node, *parts)}) == 1


def _terms(node: fx.Node, factor: float) -> list[tuple[fx.Node, float]]:
    """The terms of a sum of sums that nobody else reads, with their factors."""
    given = facts.bound(node)
    second = factor * float(given.get("alpha", 1)) * (1.0 if facts.name(node) == "aten::add" else -1.0)
    found: list[tuple[fx.Node, float]] = []
    for part, times in ((given["self"], factor), (given["other"], second)):
        inner = _is_sum(part) and len(part.users) == 1
        found.extend(_terms(part, times) if inner else [(part, times)])
    return found


def _branches(draft: Draft, terms: Sequence[tuple[fx.Node, float]], source: fx.Node) -> list[Branch]:
    """The largest set of terms that are convolutions of ``source``, nobody else's, and centred alike."""
    groups: dict[tuple[int, ...], list[Branch]] = defaultdict(list)
    for node, factor in terms:
        branch = _branch(draft, node, factor, source)
        if branch is not None:
            groups[branch.centred].append(branch)
    mixed = [
        g for g in groups.values() if any(settings(b.node) is not None for b in g if b.node is not source)
    ]
    return max(mixed, key=len, default=[])


def _branch(draft: Draft, node: fx.Node, factor: float, source: fx.Node) -> Branch | None:
    steps, sizes = settings(node), shape(source) or ()
    rank = len(sizes) - 2
    unit = Settings(rank, (1,) * rank, (0,) * rank, (1,) * rank, groups=1)
    if node is source:
        return Branch(node, factor, unit, (), (1,) * rank)
    if len(node.users) != 1 or node.args[0] is not source:
        return None
    if steps is not None:
        weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
        stored = tuple(n for n in (weight, bias) if n is not None)
        if not draft.alone(*stored):
            return None
        return Branch(node, factor, steps, stored, tuple(int(k) for k in weight.meta["val"].shape[2:]))
    stored = tuple(n for n in node.args[1:5] if isinstance(n, fx.Node))
    if normalises_by_stored(draft, node) and draft.alone(*stored[:-2]):
        return Branch(node, factor, unit, stored, (1,) * rank)
    return None


def _frame(branches: Sequence[Branch]) -> Frame:
    """The coarsest grid of taps that holds those of all branches, which are centred alike."""
    first = branches[0]
    padding = [max(sides) for sides in zip(*(b.steps.padding for b in branches), strict=True)]
    grid, taps = [], []
    for axis, side in enumerate(padding):
        jumps = [b.steps.dilation[axis] for b in branches if b.taps[axis] > 1]
        step = math.gcd(*jumps, *(side - b.steps.padding[axis] for b in branches)) or 1
        excess = first.centred[first.steps.rank + axis]
        grid.append(step)
        taps.append((2 * side - excess) // step + 1)
    groups = math.gcd(*(b.steps.groups for b in branches if settings(b.node) is not None and b.stored))
    steps = Settings(first.steps.rank, first.steps.stride, tuple(padding), tuple(grid), groups)
    return Frame(steps, tuple(taps))


def _kernel(draft: Draft, branches: Sequence[Branch], frame: Frame) -> tuple[Tensor, Tensor | None]:
    """The sum of all kernels ``(out, in / groups, *taps)`` and of all biases, in float64."""
    kernel: Tensor | None = None
    bias: Tensor | None = None
    for branch in branches:
        own, shift, groups = _values(draft, branch)
        wide = branch.factor * _regrouped(own, groups, frame.steps.groups)
        if kernel is None:
            kernel = torch.zeros(*wide.shape[:2], *frame.taps, dtype=torch.float64)
        places = []
        for axis, step in enumerate(frame.steps.dilation):
            start = (frame.steps.padding[axis] - branch.steps.padding[axis]) // step
            jump = branch.steps.dilation[axis] // step if branch.taps[axis] > 1 else 1
            places.append(slice(start, start + jump * (branch.taps[axis] - 1) + 1, jump))
        kernel[(slice(None), slice(None), *places)] += wide
        if shift is not None:
            bias = branch.factor * shift + (0.0 if bias is None else bias)
    if kernel is None:
        msg = "no branch is left"
        raise LookupError(msg)
    return kernel, bias


def _values(draft: Draft, branch: Branch) -> tuple[Tensor, Tensor | None, int]:
    """A branch's kernel, bias and number of groups."""
    if settings(branch.node) is not None and branch.stored:
        shift = draft.float64(branch.stored[1]) if len(branch.stored) > 1 else None
        return draft.float64(branch.stored[0]), shift, branch.steps.groups
    channels = int((shape(branch.node) or (0, 0))[1])
    scale, shift = torch.ones(channels, dtype=torch.float64), None
    if branch.stored:
        scale, shift = stored_affine(draft, branch.node)
    return scale.reshape(-1, 1, *([1] * branch.steps.rank)), shift, channels


def _regrouped(kernel: Tensor, groups: int, fewer: int) -> Tensor:
    """The same convolution in fewer groups, which divide its own: zeros where channels do not meet."""
    if groups == fewer:
        return kernel
    out, width = kernel.shape[:2]
    each, joined = out // groups, groups // fewer
    wide = kernel.new_zeros(out, width * joined, *kernel.shape[2:])
    for group in range(groups):
        at = group % joined * width
        rows = slice(group * each, (group + 1) * each)
        wide[rows, at : at + width] = kernel[rows]
    return wide


def _build(
    draft: Draft,
    node: fx.Node,
    source: fx.Node,
    branches: Sequence[Branch],
    rest: Sequence[tuple[fx.Node, float]],
) -> list[fx.Node]:
    frame = _frame(branches)
    kernel, bias = _kernel(draft, branches, frame)
    largest = max((b for b in branches if settings(b.node) is not None and b.stored), key=lambda b: b.taps)
    named = largest.stored[0]
    made = draft.keys([n for b in branches for n in b.stored])
    dtype, steps = node.meta["val"].dtype, frame.steps
    weight = draft.number(str(named.target), kernel, dtype, made, largest.node)
    shift = None
    if bias is not None:
        shift = draft.number(sibling(named, "bias"), bias, dtype, made, largest.node)
    settled = (list(steps.stride), list(steps.padding), list(steps.dilation), steps.groups)
    total = draft.call(_CALLS[steps.rank], source, weight, shift, *settled, path_of=largest.node)
    for term, factor in rest:
        total = draft.call(
            _aten.add.Tensor, total, term, path_of=node, **({} if factor == 1 else {"alpha": factor})
        )
    return [total]


REWRITE = Rewrite("parallel-branches", find)
