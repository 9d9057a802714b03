"""A captured model: an aten graph whose parameters are ``get_attr`` nodes under their original names."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from paramaudit.records import Contract


@dataclass(frozen=True)
class Program:
    """One captured model.

    ``module`` is a GraphModule of aten calls. ``parameters`` and ``buffers`` are all stored tensors of
    the original by state-dict key, those that the graph never reads included. ``types`` maps every
    module path to its class name. ``args`` and ``kwargs`` are the example inputs. ``guards`` are the
    conditions on sizes under which it was captured, as torch writes them.
    """

    module: fx.GraphModule
    contract: Contract
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    types: Mapping[str, str] = field(default_factory=dict)
    guards: tuple[str, ...] = ()

    @property
    def graph(self) -> fx.Graph:
        """The aten graph."""
        return self.module.graph

    def call(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the graph and return its outputs by name."""
        with torch.no_grad():
            leaves = pytree.tree_leaves(self.module(*args, **kwargs))
        return dict(zip(self.contract.outputs, leaves, strict=True))


def placeholders(graph: fx.Graph) -> list[fx.Node]:
    """Input nodes in order."""
    return [node for node in graph.nodes if node.op == "placeholder"]


def output_node(graph: fx.Graph) -> fx.Node:
    """The single output node."""
    return graph.output_node()


def output_leaves(graph: fx.Graph) -> list[Any]:
    """The flat list of returned values (nodes or constants)."""
    return pytree.tree_leaves(output_node(graph).args[0])


def aligned(original: Program, other: Program, values: Sequence[Any]) -> list[Any]:
    """The outputs of ``other`` in the order of ``original``: by name where both have the same names."""
    mine, theirs = original.contract.outputs, other.contract.outputs
    if sorted(mine) != sorted(theirs):
        return list(values)
    return [values[theirs.index(name)] for name in mine]


def copy_module(module: fx.GraphModule) -> fx.GraphModule:
    """A copy of the graph over the same tensors; attributes that no node reads are left behind."""
    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(module.graph, values, return_output_node=True)
    if result is None:
        msg = "a program without an output cannot be copied"
        raise ValueError(msg)
    value, old = result if isinstance(result, tuple) else (result, None)
    new = graph.output(value)
    if old is not None:
        new.meta = copy.copy(old.meta)
    graph.set_codegen(module.graph._codegen)
    return fx.GraphModule(module, graph)


def attribute(module: torch.nn.Module, target: str) -> Any:
    """The object behind a ``get_attr`` or ``call_module`` target."""
    value: Any = module
    for part in target.split("."):
        value = getattr(value, part)
    return value


def stored(module: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that the graph reads, by name: ``get_attr`` targets and tensors of called layers."""
    seen: set[str] = set()
    for node in module.graph.nodes:
        if node.op not in ("get_attr", "call_module") or str(node.target) in seen:
            continue
        seen.add(str(node.target))
        value = attribute(module, str(node.target))
        if isinstance(value, Tensor):
            yield str(node.target), value
        elif node.op == "call_module":
            for name, tensor in (*value.named_parameters(), *value.named_buffers()):
                yield f"{node.target}.{name}", tensor


def module_path(node: fx.Node) -> str:
    """The dotted path of the innermost module that a node belongs to ("" for the root)."""
    stack = node.meta.get("nn_module_stack") or {}
    for path, _ in reversed(list(stack.values())):
        if isinstance(path, str) and not path.startswith("_empty_nn_module_stack"):
            return path.split("@")[0]
    return ""


def common_path(paths: Iterable[str]) -> str:
    """The longest module path that contains all of ``paths``."""
    split = [path.split(".") if path else [] for path in paths]
    if not split:
        return ""
    shared: list[str] = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def fingerprint(program: Program) -> str:
    """SHA-256 of the graph's text and of every stored tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for node in program.graph.nodes:
        digest.update(f"{node.op}|{node.name}|{node.target}|{node.args}|{node.kwargs}\n".encode())
    for name, tensor in sorted((*program.parameters.items(), *program.buffers.items())):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}\n".encode())
        data = tensor.detach().cpu().contiguous()
        if data.numel():
            digest.update(data.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
