"""Compute nodes anew from other values of some nodes before them."""

from __future__ import annotations

from torch import fx

from paramaudit.graph.surgery import Draft


def replayed(draft: Draft, node: fx.Node, done: dict[fx.Node, fx.Node]) -> fx.Node:
    """``node`` computed anew from what the nodes in ``done`` became; it takes in what is computed on the way.

    Args:
        draft: the program; each new call stands right before the one that it repeats.
        node: what is wanted.
        done: for some nodes what stands for them, with the same shape and dtype.
    """
    if node in done:
        return done[node]
    changed = [i for i in node.all_input_nodes if _depends(i, done)]
    if not changed:
        return node
    replaced = {i: replayed(draft, i, done) for i in changed}
    with draft.graph.inserting_before(node):
        done[node] = draft.graph.node_copy(node, lambda n: replaced.get(n, n))
    return done[node]


def _depends(node: fx.Node, done: dict[fx.Node, fx.Node]) -> bool:
    stack, seen = [node], set[fx.Node]()
    first = min(done)
    while stack:
        current = stack.pop()
        if current in done:
            return True
        if current in seen or current < first:
            continue
        seen.add(current)
        stack.extend(current.all_input_nodes)
    return False
