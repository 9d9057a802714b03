"""Mutants of layers that stand for a function of one variable."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from curve_networks import network, studied
from torch import Tensor, nn

from mutants import changes
from mutants.affine import REFUSED, seeded
from mutants.changes import Around, Broken
from mutants.verdicts import Verdict, settled
from paramaudit.operators import looking_at
from paramaudit.plan.curves import curve_of
from paramaudit.prove.curve import judge_curves
from paramaudit.prove.rounding import Run
from paramaudit.records import Curve, Evidence, Tier


@dataclass(frozen=True, eq=False)
class Case:
    """A network of one variable, its curve, what runs it, and the layer that was proposed for it."""

    operator: str
    name: str
    module: nn.Module
    view: Curve
    run: Run
    layer: nn.Module

    def evidence(self, layer: nn.Module) -> Evidence:
        """What the pipeline says of a layer."""
        candidate = curve_of(layer, self.view)
        if candidate is None:
            return Evidence(Tier.REFUTED, "not proven to be a curve")
        return judge_curves(self.view, candidate, self.run, seeded())


def cases(only: str = "") -> Iterator[Case]:
    """Every find of every operator of curves, or of one, as a network of random hidden units computes it."""
    for operator in looking_at(Curve):
        for example in operator.finds if only in ("", operator.name) else ():
            meant = example.build()
            module = network(meant, units=8)
            view, run = studied(module, meant.domain)
            layer = operator.propose(view)
            if layer is not None:
                yield Case(operator.name, example.name, module, view, run, layer)


def mutants(case: Case, seed: int = 0) -> Iterator[Broken]:
    """Every way to break the layer of a case."""
    layer = case.layer
    yield from changes.stored(layer, seeded(seed))
    yield from changes.built(layer)
    yield "a little later", Around(layer, lambda t: t - 0.003)
    yield "1 % faster", Around(layer, lambda t: t * 1.01)
    yield "the other way round", Around(layer, lambda t: -t)
    for word, factor in (("0.1 % more", 1.001), ("with the other sign", -1.0)):
        yield f"all {word}", Around(layer, after=lambda _, y, f=factor: y * f)
    yield "a little higher", Around(layer, after=lambda _, y: y + 0.003)
    yield "bent once more", Around(layer, after=lambda t, y: y + 0.003 * torch.relu(t - 0.4))
    yield "rectified", Around(layer, after=lambda _, y: torch.relu(y - 0.01) + 0.01)
    yield "bent far out", Around(layer, after=lambda t, y: y + 0.01 * torch.relu(t - 1e6))
    yield "channels one on", Around(layer, after=lambda _, y: y.roll(1, -1))
    yield (
        "a channel with the other sign",
        Around(layer, after=lambda _, y: y * changes.unit(y.shape[-1], 0, y, -1.0, 1.0)),
    )


def judged(case: Case, broken: Broken) -> Verdict | None:
    """The verdict on one mutant; None when it does not run or computes what the layer computed before."""
    change, layer = broken
    points = _points(case.view)
    with torch.no_grad():
        before = case.layer(points)
        try:
            now = layer(points)
        except REFUSED:
            return None
        if now.shape != before.shape or not bool(now.isfinite().all()):
            return None
        if float((now - before).abs().max()) <= 1e-12 * float(before.abs().max()):
            return None
        stored = copy.deepcopy(layer).to(case.view.dtype).to(torch.float64)
        true = copy.deepcopy(case.module).to(torch.float64)(points)
        off = (stored(points) - true).norm(dim=1) / torch.sqrt(points[:, 0].square() + 1)
    try:
        evidence = case.evidence(layer)
    except REFUSED:
        return None
    rounding = evidence.witness.value if evidence.witness is not None else 0.0
    safe = evidence.tier.safe
    return settled(case.operator, case.name, change, safe=safe, apart=float(off.max()), witness=rounding)


def _points(view: Curve) -> Tensor:
    """Times of the domain, close together, the knots among them; far out too where there is no end."""
    knots = view.knots.numpy()
    if view.domain is not None:
        grid = np.linspace(*view.domain, 3000)
        knots = knots[(knots >= view.domain[0]) & (knots <= view.domain[1])]
    else:
        far = 2.0 ** np.linspace(-6, 30, 300)
        grid = np.concatenate([np.linspace(-20, 20, 3000), far, -far])
    return torch.from_numpy(np.unique(np.concatenate([grid, knots])))[:, None]
