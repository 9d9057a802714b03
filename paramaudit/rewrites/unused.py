"""Parameters, or rows of one, that no read output depends on.

What it finds:    parameters that the captured graph never reads; rows of a linear layer whose outputs
                  are dropped by slices, splits and selections before anything reads them; rows of a table
                  of which only some are read.
Why it matters:   they can be deleted.
Proof:            the graph itself: nothing that is returned, or written, depends on them.
Swap safety:      only for the outputs and input shapes of the contract. A gradient of zero is no evidence:
                  a hard choice has no gradient and is alive, and a live gradient can be smaller than noise.
Source:           Aho, Lam, Sethi, Ullman: Compilers (2006), section 8.5.3 (dead code elimination).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, fx

from paramaudit.graph import facts
from paramaudit.graph.clauses import of_outputs
from paramaudit.graph.emit import spread
from paramaudit.graph.match import Match, Rewrite
from paramaudit.graph.program import module_path
from paramaudit.graph.reads import reads
from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten


def find(draft: Draft) -> Iterator[Match]:
    """Linear layers with rows that nobody reads."""
    constant, unsafe = facts.constants(draft.graph), facts.stale(draft.graph)
    for node in list(draft.graph.nodes):
        if facts.name(node) != "aten::linear" or not isinstance(node.args[0], fx.Node):
            continue
        weight, bias = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
        stored = draft.tensor(weight)
        if stored is None or not draft.alone(weight, bias) or node.args[0] in constant:
            continue
        followed = reads(draft.module, node, constant, unsafe)
        if followed is None:
            continue
        _, found = followed
        width = len(stored)
        read = sorted({i for r in found for i in r.features})
        if not read or len(read) == width:
            continue
        operands = tuple(dict.fromkeys(r.operand for r in found))
        yield Match(
            module_path(node),
            operands,
            (node.args[0],),
            partial(_build, node=node, read=tuple(read), operands=operands),
            f"{width - len(read)} of its {width} outputs are never read",
            tensors=tuple(n for n in (weight, bias) if n is not None),
            arguments={"rows": width - len(read)},
            requires=of_outputs(draft.program),
        )


def _build(
    draft: Draft, node: fx.Node, read: tuple[int, ...], operands: tuple[fx.Node, ...]
) -> list[fx.Node]:
    """The layer with the rows that are read, put back in their places between zeros."""
    weight_node, bias_node = facts.argument(node, 1, "weight"), facts.argument(node, 2, "bias")
    rows, dtype = list(read), node.meta["val"].dtype
    weight = draft.float64(weight_node)
    with draft.graph.inserting_before(node):
        made = draft.keys([weight_node])
        narrow = draft.number(str(weight_node.target), weight[rows], dtype, made, node)
        bias = None
        if bias_node is not None:
            value: Tensor = draft.float64(bias_node)[rows]
            bias = draft.number(str(bias_node.target), value, dtype, draft.keys([bias_node]), node)
        small = draft.call(_aten.linear.default, node.args[0], narrow, bias, path_of=node)
        full = spread(draft, small, rows, len(weight), node)
    moved = {node: full}
    return [draft.follow(operand, moved) for operand in operands]


REWRITE = Rewrite("unused", find, stage=1)
