"""Stored numbers that changed, taken together where one call reads them, and what that can do to its map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.program import Program
from paramaudit.locate.align import Aligned, stored_pairs
from paramaudit.locate.kinds import kind_of
from paramaudit.numerics.norms import spectral_norm_above, spectral_norm_below
from paramaudit.prove.affine import judge
from paramaudit.prove.rounding import PER
from paramaudit.prove.tiers import earned
from paramaudit.records import ChangedNumbers, Matrix, Measured, Tier

_WORK = 4e10
"""Multiply-adds spent on sharp norms of one pair of models; larger bounds after that."""


@dataclass(frozen=True)
class _Change:
    """One stored tensor before and after; ``node`` reads it in the original."""

    node: fx.Node
    before: Tensor
    after: Tensor

    @property
    def name(self) -> str:
        return str(self.node.target)

    @property
    def differs(self) -> bool:
        return self.before.shape == self.after.shape and not _equal(self.before, self.after)


def changed_numbers(first: Program, second: Program, found: Aligned) -> tuple[ChangedNumbers, ...]:
    """What changed in the tensors that stand for each other, in the order of the original's graph.

    Args:
        first: the original.
        second: the copy.
        found: the nodes that stand for each other, see :func:`paramaudit.locate.align.align`.
    """
    tensors = {str(node.target): _Change(node, x, y) for node, x, y in stored_pairs(first, second, found)}
    joined = {name: pair for pair in _linears(first.graph) for name in pair if set(pair) <= tensors.keys()}
    order = {str(node.target): i for i, node in enumerate(first.graph.nodes) if node.op == "get_attr"}
    rows: list[ChangedNumbers] = []
    seen: set[str] = set()
    left = _WORK
    for name in sorted(tensors, key=order.__getitem__):
        if name in seen or not tensors[name].differs:
            continue
        together = joined.get(name, (name,))
        seen.update(together)
        changed = [tensors[n] for n in together]
        row, spent = _linear(changed[0], changed[1], left) if len(changed) == 2 else _single(changed[0], left)
        left -= spent
        rows.append(row)
    return tuple(rows)


def _linears(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Weight and bias of every linear layer that has both stored."""
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default):
        weight, bias = node.args[1], facts.argument(node, 2, "bias")
        if isinstance(weight, fx.Node) and isinstance(bias, fx.Node) and weight.op == bias.op == "get_attr":
            yield str(weight.target), str(bias.target)


def _read_by(node: fx.Node) -> str:
    """The call that reads a stored tensor, past copies and transposes."""
    for user in node.users:
        call = facts.name(user).removeprefix("aten::")
        if call in ("t", "transpose", "permute", "numpy_T", "mT") or facts.is_identity(user):
            return _read_by(user)
        return call
    return ""


def _linear(weight: _Change, bias: _Change, left: float) -> tuple[ChangedNumbers, float]:
    """A linear layer: both maps are given to the prover, as long as there is work left."""
    changed = [part for part in (weight, bias) if part.differs]
    names = tuple(part.name for part in changed)
    kinds = [kind_of(part.before, part.after) for part in changed]
    told = [f"{part.name}: {kind}" for part, kind in zip(changed, kinds, strict=True)]
    reason = kinds[0] if len(set(kinds)) == 1 else "; ".join(told)
    w, b = weight.before, bias.before
    before = Matrix(w.double(), b.double(), w.dtype)
    after = Matrix(weight.after.double(), bias.after.double(), w.dtype)
    work = 8.0 * w.numel() * min(w.shape)
    if work > left:
        maps = [torch.cat([m.weight, m.bias[:, None]], 1) for m in (before, after) if m.bias is not None]
        return _row(names, maps[0], maps[1], reason, PER, w.dtype, sharp=False), 0.0
    evidence = judge(before, after, lambda x: F.linear(x, w, b), torch.Generator().manual_seed(0))
    whole = torch.cat([before.weight, b.double()[:, None]], 1)
    norm = spectral_norm_below(whole, torch.Generator().manual_seed(0))
    relative = evidence.gap.value / norm if evidence.gap is not None and norm else None
    return ChangedNumbers(_path(weight.name), names, evidence.tier, evidence.gap, relative, reason), work


def _single(change: _Change, left: float) -> tuple[ChangedNumbers, float]:
    """One tensor, as the map that its reader makes of it."""
    x, y = change.before, change.after
    reason = kind_of(x, y)
    if not x.is_floating_point() or not y.is_floating_point():
        return ChangedNumbers(_path(change.name), (change.name,), Tier.REFUTED, None, None, reason), 0.0
    x, y = x.double(), y.double()
    if _read_by(change.node) == "embedding":
        gap, size = float((x - y).norm(dim=1).max()), float(x.norm(dim=1).max())
        return _graded(change, Measured(gap, "euclidean", "token"), size, reason), 0.0
    if x.dim() < 2:
        gap, size = float((x - y).abs().max()), float(x.abs().max())
        return _graded(change, Measured(gap, "largest", "entry"), size, reason), 0.0
    # A convolution reads every number of its input at most once a tap: its norm is at most the root of the
    # number of taps times that of the kernel taken as one matrix.
    taps = x[0, 0].numel() if x.dim() > 2 else 1
    x, y = x.flatten(1), y.flatten(1)
    work = 8.0 * x.numel() * min(x.shape)
    row = _row((change.name,), x, y, reason, "|x|", change.before.dtype, sharp=work <= left, factor=taps**0.5)
    return row, work if work <= left else 0.0


def _row(
    names: tuple[str, ...],
    before: Tensor,
    after: Tensor,
    reason: str,
    per: str,
    dtype: torch.dtype,
    *,
    sharp: bool,
    factor: float = 1.0,
) -> ChangedNumbers:
    """Two matrices ``(rows, columns)`` compared by their norms alone."""
    above = spectral_norm_above if sharp else _norm_above
    gap = Measured(above(after - before) * factor, "spectral", per)
    size = spectral_norm_below(before, torch.Generator().manual_seed(0))
    tier = earned(gap.value, 0.0, size, torch.finfo(dtype).eps / 2)
    return ChangedNumbers(_path(names[0]), names, tier, gap, gap.value / size if size else None, reason)


def _graded(change: _Change, gap: Measured, size: float, reason: str) -> ChangedNumbers:
    tier = earned(gap.value, 0.0, size, torch.finfo(change.before.dtype).eps / 2)
    relative = gap.value / size if size else None
    return ChangedNumbers(_path(change.name), (change.name,), tier, gap, relative, reason)


def _norm_above(matrix: Tensor) -> float:
    """A cheap upper bound on the spectral norm: ``min(|A|_F, sqrt(|A|_1 |A|_inf))``, rounding added."""
    sums = matrix.abs().sum(0).max() * matrix.abs().sum(1).max()
    bound = min(float(matrix.norm()), float(sums.sqrt()))
    return bound * (1 + matrix.numel() * 2.0**-53)


def _equal(x: Tensor, y: Tensor) -> bool:
    """Whether two tensors hold the same real numbers, whatever their dtypes."""
    return torch.equal(x, y) if x.dtype == y.dtype else bool((x.double() == y.double()).all())


def _path(name: str) -> str:
    return name.rpartition(".")[0]
