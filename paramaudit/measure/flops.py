"""FLOPs of one forward pass, read off the operators that run.

The model runs once on fake tensors: real operators, real shapes, no data, no memory. A graph is walked node
by node, so that each operator is charged to the module that it came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.func import functional_call
from torch.fx._pytree import tree_flatten_spec
from torch.utils._pytree import tree_leaves, tree_map_only

from paramaudit.errors import InputError
from paramaudit.measure.counting import Counting, Ledger
from paramaudit.measure.operands import name_of
from paramaudit.records import Flops

_UNKNOWABLE = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
_FAILURES = (RuntimeError, TypeError, ValueError, IndexError, AssertionError, AttributeError, KeyError)


def flops(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> Flops:
    """Count the FLOPs of one forward pass; 1 multiply-add = 2 FLOPs.

    Sources: matrix products, convolutions and batch norm by fvcore's formulas (times two), Fourier
    transforms by FFTW's convention, everything else as documented in the files of this folder.

    Args:
        model: a ``torch.fx.GraphModule`` of aten operators, such as ``exported_program.module()``, whose
            ``call_module`` nodes may hold any module; or any module that runs on fake tensors.
        args: example inputs; only shapes, dtypes and devices are used.
        kwargs: example keyword inputs.

    Returns:
        The total, or None with the names of what has no rule.

    Raises:
        InputError: the graph does not run on these inputs.
    """
    return flops_by_module(model, args, kwargs)[""]


def flops_by_module(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None
) -> dict[str, Flops]:
    """Count FLOPs per module path, each including its children; ``""`` is the whole model.

    Args:
        model: as for :func:`flops`; paths come from the graph's ``nn_module_stack``.
        args: example inputs.
        kwargs: example keyword inputs.

    Raises:
        InputError: the graph does not run on these inputs.
    """
    ledger = Ledger()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    # Inference mode keeps composite operators (linear, lstm, stft) whole until we decide.
    with torch.inference_mode(), fake, Counting(ledger):
        fake_args, fake_kwargs = tree_map_only(Tensor, fake.from_tensor, (args, dict(kwargs or {})))
        if isinstance(model, fx.GraphModule):
            _Walk(model, ledger, fake).run(
                *_leaves(model, fake_args, fake_kwargs), enable_io_processing=False
            )
        else:
            try:
                _run_opaque(model, fake_args, fake_kwargs, fake)
            except _UncountableError as problem:
                ledger.add(str(problem), None)
    return ledger.totals()


class _Walk(fx.Interpreter):
    """Runs a graph node by node, so that each operator is charged to its module."""

    def __init__(self, graph: fx.GraphModule, ledger: Ledger, fake: FakeTensorMode) -> None:
        super().__init__(graph)
        self.extra_traceback = False
        self.ledger = ledger
        self.fake = fake
        self.stopped = False

    def run_node(self, n: fx.Node) -> Any:
        if self.stopped:  # sizes from here on depend on the data
            return None
        self.ledger.path = _path(n)
        try:
            return super().run_node(n)
        except (*_UNKNOWABLE, *_FAILURES, _UncountableError) as problem:
            culprit = _culprit(problem, n)
            if culprit is None:
                raise InputError(f"the graph does not run on these inputs: {n.name}: {problem}") from problem
            self.ledger.add(culprit, None)
            self.stopped = True
            return None

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return self.fake.from_tensor(value) if isinstance(value, Tensor) else value

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        module = self.fetch_attr(target)
        if isinstance(module, fx.GraphModule) or target == "_guards_fn":
            return _run(module, args, kwargs, self.fake)
        return _run_opaque(module, args, kwargs, self.fake)


class _UncountableError(Exception):
    """A module of unknown content does not run without real numbers."""


def _run(module: nn.Module, args: Any, kwargs: Any, fake: FakeTensorMode) -> Any:
    """Run with fake parameters and buffers, so that nothing of the module's own is changed."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return functional_call(module, {n: fake.from_tensor(t) for n, t in state.items()}, args, kwargs)


def _run_opaque(module: nn.Module, args: Any, kwargs: Any, fake: FakeTensorMode) -> Any:
    try:
        return _run(module, args, kwargs, fake)
    except _UNKNOWABLE as problem:
        raise _UncountableError(_operator(problem) or type(module).__name__) from problem
    except _FAILURES as problem:
        raise _UncountableError(type(module).__name__) from problem


def _culprit(problem: Exception, node: fx.Node) -> str | None:
    """What cannot be counted without real numbers; None if the inputs are at fault."""
    if isinstance(problem, _UncountableError):
        return str(problem)
    if isinstance(problem, _UNKNOWABLE):
        return _operator(problem) or name_of(node.target)
    foreign = node.op == "call_function" and not name_of(node.target).startswith("aten.")
    return name_of(node.target) if foreign else None  # someone else's operator, without a shape function


def _operator(problem: Exception) -> str | None:
    return name_of(problem.func) if hasattr(problem, "func") else None


def _leaves(graph: fx.GraphModule, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The inputs in the order of the graph's placeholders."""
    spec = getattr(graph, "_in_spec", None)
    if spec is None:
        names = [n.target for n in graph.graph.nodes if n.op == "placeholder"]
        return [*args, *(kwargs[name] for name in names[len(args) :] if name in kwargs)]
    try:
        flat = list(tree_flatten_spec((args, kwargs), spec))
    except _FAILURES as problem:
        raise InputError(f"the inputs do not have the graph's structure: {problem!r}") from problem
    if len(tree_leaves((args, kwargs))) != len(flat):
        raise InputError(f"the graph takes {len(flat)} inputs, not {len(tree_leaves((args, kwargs)))}")
    return flat


def _path(node: fx.Node) -> str:
    """The innermost module that the node belongs to, by its path in the original model."""
    stack = [entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values()]
    if stack and not stack[-1].startswith("_empty_nn_module_stack"):
        return str(stack[-1]).partition("@")[0]
    return str(node.target) if node.op == "call_module" and node.target != "_guards_fn" else ""
