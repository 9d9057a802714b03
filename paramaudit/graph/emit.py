"""Small groups of calls that several rewrites emit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from paramaudit.graph.surgery import Draft

_aten = torch.ops.aten


def spread(draft: Draft, small: fx.Node, places: Sequence[int], width: int, path_of: fx.Node) -> fx.Node:
    """The last dimension of ``small`` at ``places`` (increasing) of a dimension of ``width``, zero elsewhere.

    The zeros are made by padding, so that none is stored.
    """
    runs: list[tuple[int, int]] = []
    for i in places:
        runs = [*runs[:-1], (runs[-1][0], i + 1)] if runs and runs[-1][1] == i else [*runs, (i, i + 1)]
    pieces: list[fx.Node] = []
    taken = at = 0
    for start, stop in runs:
        piece = small
        if len(runs) > 1:
            piece = draft.call(_aten.slice.Tensor, small, -1, taken, taken + stop - start, path_of=path_of)
        taken += stop - start
        after = width - stop if (start, stop) == runs[-1] else 0
        pieces.append(draft.call(_aten.constant_pad_nd.default, piece, [start - at, after], path_of=path_of))
        at = stop
    return pieces[0] if len(pieces) == 1 else draft.call(_aten.cat.default, pieces, -1, path_of=path_of)


def sibling(weight: fx.Node, name: str) -> str:
    """The name of another tensor of the same layer, e.g. ``a.weight`` -> ``a.bias``."""
    owner, dot, leaf = str(weight.target).rpartition(".")
    return f"{owner}{dot}{leaf.replace('weight', name) if 'weight' in leaf else name}"
