"""Mutants of layers that stand for a matrix: alone, behind a chain of layers, or on frames of a signal."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from chains import Layers, chain, product, runner, single
from torch import Tensor, nn

from mutants import changes
from mutants.changes import Broken
from mutants.verdicts import Verdict, settled
from paramaudit.numerics.frames import Framed, frame_matrix
from paramaudit.numerics.sliding import on_windows, window_matrices
from paramaudit.numerics.tables import Computed
from paramaudit.operators import looking_at
from paramaudit.plan.kernels import on_frames
from paramaudit.plan.offered import affine_evidence
from paramaudit.prove.affine import dense, judge
from paramaudit.prove.rounding import Run, witness
from paramaudit.records import Evidence, Example, Kernel, Matrix, Measured, Operator, Tier

REFUSED = (RuntimeError, IndexError, ValueError, KeyError, TypeError, NotImplementedError, ZeroDivisionError)
"""What a layer raises that was built wrongly: it does not run, so it is no mutant."""


@dataclass(frozen=True, eq=False)
class Case:
    """A map as it is stored, what runs it, the layer proposed for it, and the rounding it was seen to do."""

    operator: str
    name: str
    view: Matrix
    run: Run
    layer: nn.Module

    @functools.cached_property
    def observed(self) -> tuple[Measured, Tensor]:
        """The largest rounding error that was seen, and the input."""
        return witness(self.run, self.view, seeded())

    @property
    def seen(self) -> float:
        """The rounding that the original was seen to make."""
        return self.observed[0].value

    def evidence(self, layer: nn.Module) -> Evidence:
        """What the pipeline says of a layer: the two steps of a plan, the dear one only where it decides."""

        def judged(candidate: Matrix) -> Evidence:
            return judge(self.view, candidate, self.run, seeded(), lambda: self.observed)

        try:
            first = judged(dense(layer, self.view.weight.shape[1], self.view.dtype))
        except ValueError as error:
            return Evidence(Tier.REFUTED, str(error))
        return affine_evidence(layer, self.view, judged) if first.tier.safe else first


def seeded(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def cases(dtype: torch.dtype, *, hidden: bool = False, only: str = "", every: int = 1) -> Iterator[Case]:
    """Every find of every operator of matrices and kernels, or one; ``hidden`` in three layers.

    ``every`` so many of them is made, which is much less work than to make all and to skip most.
    """
    finds = [
        (view, operator, example)
        for view in ((Matrix,) if hidden else (Matrix, Kernel))
        for operator in looking_at(view)
        for example in operator.finds
        if only in ("", operator.name)
    ]
    for view, operator, example in finds[::every]:
        if view is Matrix:
            yield _matrix_case(operator, example, dtype, hidden)
        else:
            yield _kernel_case(operator, example, dtype)


def _matrix_case(operator: Operator, example: Example, dtype: torch.dtype, hidden: bool) -> Case:
    """The layer is always the one for the example as it is: what a coarse dtype hides is not asked here."""
    meant = example.build()
    columns = meant.weight.shape[1]
    layer = operator.propose(meant)
    assert layer is not None
    lower = replace(meant, dtype=dtype)
    layers: Layers = chain(lower, (2 * columns + 17, 2 * columns)) if hidden else single(lower)
    if hidden:
        layer = operator.propose(replace(product(layers), state=meant.state))
        assert layer is not None
    return _case(operator, example, layers, layer)


def _case(operator: Operator, example: Example, layers: Layers, layer: nn.Module) -> Case:
    view, run = product(layers), runner(layers)
    word = str(view.dtype).removeprefix("torch.") + (", in a chain" if len(layers) > 1 else "")
    return Case(operator.name, f"{example.name} ({word})", view, run, layer)


def _kernel_case(operator: Operator, example: Example, dtype: torch.dtype) -> Case:
    meant = example.build()
    stored = meant.weight.to(dtype).to(torch.float64)
    bias = None if meant.bias is None else meant.bias.to(dtype).to(torch.float64)
    kernel = replace(meant, weight=stored, bias=bias, dtype=dtype)
    view, layer = frame_matrix(kernel), operator.propose(meant)
    name = f"{example.name} ({str(dtype).removeprefix('torch.')})"
    if isinstance(layer, Computed):
        view = Matrix(window_matrices(kernel, stored)[0].contiguous(), None, dtype)
        return Case(operator.name, name, view, on_windows(kernel, 0), OnWindows(layer, kernel))
    assert view is not None
    assert isinstance(layer, Framed)
    return Case(operator.name, name, view, on_frames(view), layer.inner)


class OnWindows(nn.Module):
    """A convolution by a computed kernel, on windows of its first group of channels."""

    def __init__(self, inner: Computed, kernel: Kernel) -> None:
        super().__init__()
        self.inner, self.kernel = inner, kernel

    def forward(self, windows: Tensor) -> Tensor:
        """``(n, in)`` to ``(n, out)``."""
        return windows @ window_matrices(self.kernel, self.inner())[0].T.to(windows)


def merged_chain(out: int, columns: int, seed: int, dtype: torch.dtype = torch.float32) -> Case:
    """A chain of random layers and the one Linear that it merges to."""
    generator = seeded(seed)
    weight = torch.randn(out, columns, dtype=torch.float64, generator=generator)
    bias = torch.randn(out, dtype=torch.float64, generator=generator)
    layers = chain(Matrix(weight, bias, dtype), (2 * columns + 3, columns + 5), seed)
    view, run = product(layers), runner(layers)
    linear = nn.Linear(columns, out, dtype=torch.float64)
    assert view.bias is not None
    with torch.no_grad():
        linear.weight.copy_(view.weight.to(dtype))
        linear.bias.copy_(view.bias.to(dtype))
    return Case("linear-chain", f"{columns} to {out}", view, run, linear)


def mutants(case: Case, seed: int = 0) -> Iterator[Broken]:
    """Every way to break the layer of a case."""
    matrix = on_basis(case.layer, case.view.weight.shape[1])[:, :-1]
    generator = seeded(seed)
    yield from changes.stored(case.layer, generator)
    yield from changes.built(case.layer)
    whole = torch.from_numpy(matrix)
    yield from changes.around(case.layer, whole, generator)
    if case.seen > 0:
        yield from changes.nudges(case.layer, whole, case.seen, generator)


def judged(case: Case, broken: Broken) -> Verdict | None:
    """The verdict on one mutant; None when it does not run or computes what the layer computed before."""
    change, layer = broken
    try:
        now = _seen(_as_stored(layer, case.view.dtype), case.view)
    except REFUSED:
        return None
    before = _seen_before(case)
    if now.shape != before.shape or not np.isfinite(now).all():
        return None
    if np.abs(now - before).max() <= 1e-12 * np.abs(before).max():
        return None
    return verdict(case, change, layer)


def verdict(case: Case, change: str, layer: nn.Module) -> Verdict:
    """The verdict on a layer that differs from the case's own."""
    mine = _numbers(case.view)
    stored = _as_stored(layer, case.view.dtype)
    rounded = on_basis(stored, case.view.weight.shape[1])
    apart = max(_off(stored, case.view), float(np.linalg.norm(rounded - mine, 2)))
    evidence = case.evidence(layer)
    kept = torch.from_numpy(rounded).to(case.view.dtype).to(torch.float64).numpy()
    return settled(
        case.operator,
        case.name,
        change,
        safe=evidence.tier.safe,
        apart=apart,
        witness=case.seen,
        rounded=evidence.tier is Tier.EXACT and np.array_equal(kept, mine),
    )


def _seen(layer: nn.Module, view: Matrix) -> np.ndarray:
    """What a layer computes in float64 on every unit vector, on zero, and on a batch of many sizes."""
    columns = view.weight.shape[1]
    far = _inputs(columns)
    with torch.no_grad():
        values: Tensor = layer(far) / far.norm(dim=1, keepdim=True)
    return np.concatenate([on_basis(layer, columns).T, values.numpy()])


@functools.lru_cache(maxsize=2)
def _seen_before(case: Case) -> np.ndarray:
    return _seen(_as_stored(case.layer, case.view.dtype), case.view)


def on_basis(layer: nn.Module, columns: int) -> np.ndarray:
    """``[W | b]`` of a layer, ``(out, in + 1)``, from what it does to each unit vector alone."""
    with torch.no_grad():
        layer = copy.deepcopy(layer).eval()
        bias: Tensor = layer(torch.zeros(1, columns, dtype=torch.float64))[0]
        weight: Tensor = layer(torch.eye(columns, dtype=torch.float64)) - bias
    return np.concatenate([weight.T.numpy(), bias[:, None].numpy()], 1)


def _as_stored(layer: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(layer).to(dtype).to(torch.float64)


def _numbers(view: Matrix) -> np.ndarray:
    bias = torch.zeros(len(view.weight), dtype=torch.float64) if view.bias is None else view.bias
    return torch.cat([view.weight, bias[:, None]], 1).numpy()


@functools.lru_cache(maxsize=8)
def _inputs(columns: int) -> Tensor:
    rows = torch.randn(12, columns, dtype=torch.float64, generator=seeded(7))
    scales = torch.tensor([0.01, 1.0, 1e3, 1e7], dtype=torch.float64).repeat(3)
    return rows * scales[:, None]


def _off(layer: nn.Module, view: Matrix) -> float:
    """The largest distance from the map on inputs of many sizes, per ``|[x;1]|``: a lower bound."""
    x = _inputs(view.weight.shape[1])
    mine = _numbers(view)
    with torch.no_grad():
        off = np.linalg.norm(layer(x).numpy() - (x.numpy() @ mine[:, :-1].T + mine[:, -1]), axis=1)
    return float((off / np.sqrt((x.numpy() ** 2).sum(1) + 1)).max())
