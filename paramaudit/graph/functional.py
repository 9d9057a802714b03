"""A graph without hidden effects: what a node returns depends on its arguments only.

An exported graph may hold calls that change a tensor in place. Where that tensor has other names (a view of
it was taken before, or it is read again later) the graph's edges do not tell what is read, and no fact about
the graph can be trusted. So every such call is replaced by one that returns a new tensor; what was written
into a buffer or an input is copied there at the end.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.errors import CaptureError
from paramaudit.graph import facts
from paramaudit.graph.program import attribute

_FRESH = frozenset(
    f"aten::{call}"
    for call in (
        *("linear", "addmm", "mm", "bmm", "matmul", "baddbmm", "embedding", "cat", "stack"),
        *("conv1d", "conv2d", "conv3d", "convolution", "conv_transpose1d", "conv_transpose2d"),
        *("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"),
        *("add", "sub", "mul", "div", "relu", "gelu", "silu", "sigmoid", "tanh", "hardtanh", "relu6", "elu"),
        *("leaky_relu", "hardswish", "clamp", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"),
    )
)
"""Calls that always return new memory, which their result alone names."""


def without_effects(exported: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program's module with its parameters as ``get_attr`` nodes, free of in-place calls.

    The usual ones (``relu_`` on the result of a convolution that nobody else reads) become the same call
    without the effect; for all others the whole program is made functional by ``torch.export``.

    Raises:
        CaptureError: the program cannot be made functional.
    """
    module = unlifted(exported)
    for node in list(module.graph.nodes):
        if facts.writes(node) and (plain := _counterpart(node)) is not None:
            with module.graph.inserting_before(node):
                new = module.graph.call_function(plain, node.args, node.kwargs)
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            module.graph.erase_node(node)
    if not any(facts.writes(node) and not _ends_in_buffer(module, node) for node in module.graph.nodes):
        module.recompile()
        return module
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            return unlifted(exported.run_decompositions({}))
    except Exception as error:
        what = str(error).strip().partition("\n")[0]
        msg = f"the model writes into memory in a way that cannot be followed: {type(error).__name__}: {what}"
        raise CaptureError(msg) from error


def unlifted(exported: torch.export.ExportedProgram) -> fx.GraphModule:
    """The program's module with its parameters as ``get_attr`` nodes under their names.

    Raises:
        CaptureError: a name is taken by the module itself.
    """
    try:
        module = exported.module(check_guards=False)
    except KeyError as error:  # "attribute 'code' already exists"
        msg = f"the model cannot be exported: a graph cannot hold its parameters: {error.args[0]}"
        raise CaptureError(msg) from error
    for node in list(module.graph.nodes):
        if node.op == "call_module" and str(node.target).startswith("_guards"):
            module.graph.erase_node(node)
    return module


def _counterpart(node: fx.Node) -> Any:
    """The call without the effect, where the tensor that is written is new and has no other reader."""
    written = node.args[0] if node.args else None
    if not isinstance(written, fx.Node) or facts.written(node) != [written]:
        return None
    if facts.name(written) not in _FRESH or len(written.users) != 1:
        return None
    kinds = {value.dtype for i in node.all_input_nodes if isinstance(value := i.meta.get("val"), Tensor)}
    target: Any = node.target
    stem = target._schema.name.removeprefix("aten::")
    plain = f"aten::{stem.removesuffix('_')}"
    if len(kinds) != 1 or not stem.endswith("_") or plain not in _FRESH:
        return None
    packet = getattr(torch.ops.aten, stem.removesuffix("_"))
    return getattr(packet, target._overloadname, None)


def _ends_in_buffer(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a call only writes stored tensors, or inputs, that nothing else in the graph reads."""
    written = facts.written(node)
    alone = all(w.op in ("get_attr", "placeholder") and len(w.users) == 1 for w in written)
    if not alone or (node.users and set(written) & set(facts.aliases(node))):
        return False
    return not any(_memory(module, other) & _memory(module, w) for w in written for other in _others(w))


def _others(node: fx.Node) -> list[fx.Node]:
    """The other stored tensors of a graph that somebody reads."""
    return [n for n in node.graph.nodes if n.op == "get_attr" and n is not node and n.users]


def _memory(module: fx.GraphModule, node: fx.Node) -> set[int]:
    """Where a stored tensor lies; two buffers may be views of the same memory."""
    value = attribute(module, str(node.target)) if node.op == "get_attr" else None
    return {value.untyped_storage().data_ptr()} if isinstance(value, Tensor) and value.numel() else set()
