"""Write a layer's own calls into a program, so that later folds see what they compute."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import fx
from torch.fx.node import map_arg

from paramaudit.graph.program import attribute, output_leaves
from paramaudit.graph.surgery import Draft


def written_out(
    draft: Draft,
    module: fx.GraphModule,
    known: MutableMapping[fx.Node, fx.Node],
    place: str,
    tensors: tuple[str, ...],
    path_of: fx.Node,
    numbers: MutableMapping[str, fx.Node],
) -> fx.Node:
    """Emit the calls of a captured layer at the insertion point and return its result.

    Args:
        draft: the program.
        module: the layer, captured.
        known: what stands for the layer's inputs; it takes in the other nodes.
        place: the name under which the layer's numbers are stored.
        tensors: the state-dict keys that they are made from.
        path_of: a node of the module that the calls belong to.
        numbers: nodes that read the layer's numbers, by name; it takes in those that are stored anew.
    """
    (end,) = output_leaves(module.graph)
    for node in module.graph.nodes:
        if node.op == "get_attr":
            leaf = str(node.target)
            if leaf not in numbers:
                value = attribute(module, leaf).detach()
                numbers[leaf] = draft.number(f"{place}.{leaf}", value, value.dtype, tensors, path_of)
            known[node] = numbers[leaf]
        elif node.op == "call_function":
            args, kwargs = map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = draft.call(node.target, *args, path_of=path_of, **kwargs)
    return known[end]
