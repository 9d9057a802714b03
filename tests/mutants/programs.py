"""Mutants of whole refactored programs: one stored number or one call changed after the file was written."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.signal
import torch
from affine_programs import program
from torch import Tensor, nn
from torch.export import ExportedProgram

from mutants.affine import REFUSED, seeded
from mutants.models import MODELS
from mutants.verdicts import Verdict, settled
from paramaudit.certify import certify
from paramaudit.graph.capture import from_exported, reexport
from paramaudit.graph.program import Program
from paramaudit.graph.run import run
from paramaudit.plan import Choice, best_plan
from paramaudit.records import Certificate

_aten = torch.ops.aten
_OTHER_CALLS = {
    _aten.sigmoid.default: _aten.tanh.default,
    _aten.tanh.default: _aten.sigmoid.default,
    _aten.sin.default: _aten.cos.default,
    _aten.relu.default: _aten.abs.default,
    _aten.neg.default: _aten.abs.default,
    _aten.add.Tensor: _aten.sub.Tensor,
    _aten.mul.Tensor: _aten.add.Tensor,
}


@dataclass(frozen=True, eq=False)
class Case:
    """A program and what the plan made of it, as it would be written."""

    name: str
    original: Program
    file: bytes
    operator: str = "whole programs"

    @property
    def written(self) -> ExportedProgram:
        """The program in the file, read anew."""
        return torch.export.load(io.BytesIO(self.file))


class Spectrum(nn.Module):
    """Two layers whose product is a windowed transform, and a small head."""

    def __init__(self, size: int) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        waves = np.fft.rfft(np.eye(size) * scipy.signal.get_window("hann", size)[:, None], axis=0)
        matrix = np.concatenate([waves.real, waves.imag])
        mixed = rng.standard_normal((2 * len(matrix), len(matrix))) / len(matrix) ** 0.5
        inverse = np.linalg.pinv(mixed)
        self.first = nn.Linear(size, len(mixed), bias=False)
        self.second = nn.Linear(len(mixed), len(matrix), bias=False)
        self.head = nn.Linear(len(matrix), 3, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.from_numpy(mixed @ matrix))
            self.second.weight.copy_(torch.from_numpy(inverse))
            self.head.weight.copy_(torch.from_numpy(rng.standard_normal((3, len(matrix)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.second(self.first(x))))


def cases(every: int = 1) -> Iterator[Case]:
    """The models of the rewrites in float32, every so many of them, and one with a transform in it."""
    yield _case("rdft: a hidden transform", Spectrum(48).eval(), (torch.randn(4, 48, generator=seeded()),))
    for model in MODELS[::every]:
        inputs = tuple(x.float() for x in model.inputs)
        yield _case(f"{model.rewrite}: {model.name}", model.build().float(), inputs)


def _case(name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> Case:
    static = (-1,) if inputs[0].dim() < 4 else (-1, -2)
    original = program(module, *inputs, static=static)
    planned, _ = best_plan(original, Choice())
    file = io.BytesIO()
    torch.export.save(reexport(planned), file)
    return Case(name, original, file.getvalue())


def mutants(case: Case, seed: int = 0) -> Iterator[tuple[str, ExportedProgram]]:
    """One number of every stored tensor by 1 % or with the other sign, and every call by another one."""
    generator = seeded(seed)
    for name, tensor in case.written.state_dict.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        place = int(torch.randint(tensor.numel(), (1,), generator=generator))
        for word, factor in (("1 % more", 1.01), ("with the other sign", -1.0)):
            broken = case.written
            with torch.no_grad():
                broken.state_dict[name].reshape(-1)[place] *= factor
            yield f"{name}[{place}] {word}", broken
    for i, node in enumerate(case.written.graph.nodes):
        other = _OTHER_CALLS.get(node.target)
        if other is not None:
            broken = case.written
            list(broken.graph.nodes)[i].target = other
            broken.graph_module.recompile()
            yield f"{node.name} is {other}", broken


def certified(case: Case, written: ExportedProgram) -> Certificate:
    """The certificate of a written program against the original."""
    other = from_exported(written, case.original)
    return certify(case.original, other, Choice(), ("", ""), 0.0, lambda _: None)


def judged(case: Case, broken: tuple[str, ExportedProgram]) -> Verdict | None:
    """The verdict on one mutant; None when it does not run or computes what the original computes."""
    change, written = broken
    try:
        apart, rounding = off(case.original, from_exported(written, case.original))
    except REFUSED:
        return None
    if apart == 0.0:
        return None
    safe = certified(case, written).equivalent is True
    return settled(case.operator, case.name, change, safe=safe, apart=apart, witness=rounding)


def off(original: Program, other: Program, count: int = 40) -> tuple[float, float]:
    """How far two programs are apart in float64, and how far the original in its dtype is from that.

    Both are the largest over outputs and inputs of ``max |difference| / (1 + max |x|)``.
    """
    apart = rounding = 0.0
    generator = seeded(11)
    for trial in range(count):
        scale = 10.0 ** (trial % 4 - 1)
        inputs = [(scale * torch.randn(x.shape, generator=generator)).to(x.dtype) for x in original.args]
        size = 1 + max(float(x.abs().max()) for x in inputs)
        true = run(original, inputs, {}, torch.float64)
        theirs, low = run(other, inputs, {}, torch.float64), run(original, inputs, {}, None)
        for a, b, c in zip(true.values(), theirs.values(), low.values(), strict=True):
            apart = max(apart, float((a - b).abs().max()) / size)
            rounding = max(rounding, float((a - c.to(torch.float64)).abs().max()) / size)
    return (apart if math.isfinite(apart) else math.inf), rounding
