"""A softmax over an axis of size one.

What it finds:    ``softmax(x, d)`` where dimension d has the static size 1.
Why it matters:   everything that only feeds the score (queries, keys) is dead.
Proof:            exp(x) / exp(x) = 1 for every finite x.
Swap safety:      a score that a mask can make minus infinity gives NaN, not 1; such softmaxes are left,
                  and so are scores made with stored numbers that are NaN or infinite.
Source:           Goodfellow, Bengio, Courville: Deep Learning (2016), section 6.2.2.3.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import of_sizes
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import not_finite
from paramaudit.graph.shapes import shape
from paramaudit.graph.surgery import Draft
from paramaudit.records import Skipped

_FINITE = frozenset(
    f"aten::{call}"
    for call in ("bmm", "matmul", "mm", "linear", "addmm", "einsum", "transpose", "permute", "t")
)
_SCALED = ("aten::mul", "aten::div")


def can_be_infinite(score: fx.Node) -> bool:
    """Whether a score may be minus infinity by design: it comes through anything but products and views."""
    node = score
    while True:
        call = facts.name(node)
        if call in _FINITE:
            return False
        follows = facts.is_identity(node) or call in facts.VIEWS
        scaled = call in _SCALED and not isinstance(node.args[1], fx.Node)
        if not (follows or scaled) or not isinstance(node.args[0], fx.Node):
            return True
        node = node.args[0]


def find(draft: Draft) -> Iterator[Match | Skipped]:
    """Softmaxes over a static axis of size one."""
    for node in draft.graph.nodes:
        if facts.name(node) not in ("aten::softmax", "aten::_softmax"):
            continue
        source, axis = node.args[0], facts.argument(node, 1, "dim")
        sizes = shape(node)
        if not isinstance(source, fx.Node) or sizes is None or sizes[axis] != 1:
            continue
        path = module_path(node)
        if can_be_infinite(source):
            yield Skipped(
                path, "softmax over one score, but the score can be masked, and a masked one is NaN"
            )
            continue

        bad = not_finite(draft.module, source, draft.program.buffers)
        if bad:
            reason = f"softmax over one score, but {bad[0]} holds NaN or infinite numbers and reaches it"
            yield Skipped(path, reason)
            continue
        yield Match(
            path,
            (node,),
            (source,),
            lambda new, n=node, s=source: [_ones(new, n, s)],  # type: ignore[misc]
            "softmax of a single score is 1",
            requires=of_sizes(draft.program, source),
        )


def _ones(draft: Draft, node: fx.Node, source: fx.Node) -> fx.Node:
    """Ones in the softmax's shape and dtype that keep nothing of the score alive where that is possible."""
    value = node.meta["val"]
    sizes = [draft.length(size, node) for size in shape(node) or ()]
    kind = {"dtype": value.dtype, "device": value.device}
    if None in sizes:
        return draft.call(torch.ops.aten.ones_like.default, source, path_of=node, **kind)
    return draft.call(torch.ops.aten.ones.default, sizes, path_of=node, **kind)


REWRITE = Rewrite("singleton-softmax", find)
