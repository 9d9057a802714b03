"""Where a model runs: what is there, a copy that lives there, and leaving the model as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn


def unavailable(device: str) -> str | None:
    """Why ``device`` cannot be measured here, or None."""
    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        return "torch sees no CUDA device"
    if kind not in ("cpu", "cuda"):
        return f"{kind} devices are not measured"
    return None


def on_device(model: nn.Module, device: str) -> nn.Module:
    """Return ``model`` if all of it is on ``device``, else a copy that is.

    Args:
        model: left as it is. In a graph, the devices that nodes name (``arange(device=...)``) follow.
        device: e.g. "cuda".
    """
    target = torch.device(device)
    held = [*model.parameters(), *model.buffers(), *_plain_tensors(model).values()]
    if held and all(t.device.type == target.type for t in held):
        return model
    if not held and target.type == "cpu":
        return model
    with warnings.catch_warnings():
        # Copying a graph's input structure trips a deprecation inside torch 2.13.
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        moved = copy.deepcopy(model).to(target)
    for (module, name), tensor in _plain_tensors(moved).items():
        setattr(module, name, tensor.to(target))
    for module in moved.modules():
        if isinstance(module, fx.GraphModule):
            _rename_devices(module, target)
    return moved


def _plain_tensors(model: nn.Module) -> dict[tuple[nn.Module, str], Tensor]:
    return {(m, n): t for m in model.modules() for n, t in vars(m).items() if isinstance(t, Tensor)}


def _rename_devices(graph: fx.GraphModule, target: torch.device) -> None:
    def rename(value: Any) -> Any:
        return target if isinstance(value, torch.device) else value

    for node in graph.graph.nodes:
        node.args = fx.node.map_aggregate(node.args, rename)
        node.kwargs = fx.node.map_aggregate(node.kwargs, rename)
    graph.recompile()


@contextmanager
def restored(*models: nn.Module, device: str = "cpu") -> Iterator[None]:
    """Put buffers (running statistics, caches) and the random state back on leaving.

    Args:
        models: whose buffers and plain tensors are kept.
        device: where they run.
    """
    state = [t for m in models for t in (*m.buffers(), *_plain_tensors(m).values())]
    kept = [(t.detach(), t.detach().clone()) for t in state]
    generators = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=generators):
        try:
            yield
        finally:
            for tensor, value in kept:
                if not torch.equal(tensor, value):
                    tensor.copy_(value)
