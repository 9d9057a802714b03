"""Stand-ins for networks of one variable: dense random weights that compute a given curve."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, fx, nn

from paramaudit.graph import curves, probe
from paramaudit.graph.curves import Part
from paramaudit.prove.rounding import Run
from paramaudit.records import Curve


def network(view: Curve, units: int = 3, seed: int = 0, deep: bool = False) -> nn.Sequential:
    """A ReLU network in the curve's dtype that computes it, with some hidden units for every knot.

    ``relu(a (t - k))`` and ``relu(a (k - t))`` of random sizes, in random order; the output is one of the
    many solutions. ``deep`` puts a layer between whose units come in pairs ``u``, ``-c u``: they bend at
    places of their own, and these bends cancel.
    """
    rng = np.random.default_rng(seed)
    knots, values = view.knots.numpy(), view.values.numpy()
    inner = knots if view.domain is None else knots[1:-1]
    inner = inner if len(inner) else np.zeros(1)
    units = max(units, -(-4 // len(inner)))
    place = rng.permutation(np.repeat(inner, units))
    sign = np.where(np.arange(len(place)) % 2 == 0, 1.0, -1.0)
    weight = sign * rng.uniform(0.5, 1.5, len(place))
    hinges = np.maximum(weight * (_spots(inner)[:, None] - place), 0)
    target = _at(view, _spots(inner)) if view.domain is None else _lines(knots, values, _spots(inner))
    design = np.concatenate([hinges, np.ones((len(hinges), 1))], axis=1)
    solution = np.linalg.lstsq(design, target, rcond=None)[0]
    free = rng.standard_normal(solution.shape) * np.abs(solution).mean() / len(solution) ** 0.5
    solution = solution + free - np.linalg.pinv(design) @ (design @ free)
    layers = [(weight[:, None], -weight * place)]
    out = solution[:-1].T
    if deep:
        mixed = rng.standard_normal((len(place), len(place))) / len(place) ** 0.5
        scale = rng.uniform(0.5, 2.0, len(place))
        read = np.linalg.solve(mixed.T, out.T).T
        shift = 0.1 * rng.standard_normal(len(place))
        layers.append(
            (np.concatenate([mixed, -scale[:, None] * mixed]), np.concatenate([shift, -scale * shift]))
        )
        out = np.concatenate([read, -read / scale], axis=1)
        solution[-1] -= read @ shift
    layers.append((out, solution[-1]))
    return stacked(layers, view.dtype)


def stacked(layers: list[tuple[np.ndarray, np.ndarray]], dtype: torch.dtype) -> nn.Sequential:
    """Linear layers with these weights (out, in) and biases, ReLUs between."""
    modules: list[nn.Module] = []
    for weight, bias in layers:
        layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1]).eval()


def _spots(inner: np.ndarray) -> np.ndarray:
    """Three points on every piece and beyond: as many as tell all lines."""
    span = float(np.ptp(inner)) or 1.0
    ends = np.concatenate(
        [[inner[0] - 2 * span, inner[0] - span], inner, [inner[-1] + span, inner[-1] + 2 * span]]
    )
    return np.sort(np.concatenate([ends, (ends[1:] + ends[:-1]) / 2]))


def _at(view: Curve, t: np.ndarray) -> np.ndarray:
    """The curve at points of the real line, by its definition."""
    knots, values = view.knots.numpy(), view.values.numpy()
    rows = np.stack([np.interp(t, knots, column) for column in values.T], axis=1)
    rows += np.minimum(t - knots[0], 0)[:, None] * view.left.numpy()
    rows += np.maximum(t - knots[-1], 0)[:, None] * view.right.numpy()
    return rows


def _lines(knots: np.ndarray, values: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The same on a domain, its first and last piece going on."""
    slopes = np.diff(values, axis=0) / np.diff(knots)[:, None]
    rows = np.stack([np.interp(t, knots, column) for column in values.T], axis=1)
    rows += np.minimum(t - knots[0], 0)[:, None] * slopes[0]
    rows += np.maximum(t - knots[-1], 0)[:, None] * slopes[-1]
    return rows


def graph(module: nn.Module, dtype: torch.dtype = torch.float32) -> fx.GraphModule:
    """The captured graph of a module of one variable, its batch open."""
    batch = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(module, (torch.zeros(5, 1, dtype=dtype),), dynamic_shapes=batch)
    return exported.module(check_guards=False)


def part(module: fx.GraphModule) -> Part:
    """The whole of it."""
    return next(curves.parts(module))


def exact(module: nn.Module, domain: tuple[float, float] | None = None) -> Curve:
    """The curve of a module."""
    return studied(module, domain)[0]


def studied(module: nn.Module, domain: tuple[float, float] | None = None) -> tuple[Curve, Run]:
    """The curve of a module, and the module as a network runs it, through the graph."""
    dtype = next((p.dtype for p in module.parameters()), torch.float64)
    captured = graph(module, dtype)
    found = part(captured)
    run = probe.rows_runner(captured, found.source, found.end, (1, width(found)), dtype)
    return curves.propagated(captured, found, domain, dtype), run


def width(found: Part) -> int:
    """The channels at its end."""
    return int(found.end.meta["val"].shape[-1])


def column(*numbers: float) -> Tensor:
    """Numbers as inputs ``(n, 1)`` in float64."""
    return torch.tensor(numbers, dtype=torch.float64)[:, None]
