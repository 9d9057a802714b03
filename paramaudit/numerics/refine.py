"""Least squares for formulas with few unknowns: Gauss-Newton from a good start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

HALVINGS = 12

CREEPING = 1e-2
"""A step that takes less than this part of the residual away is the last: near a solution the next takes
none, and far from one there is none to come to."""

HOPELESS = 100.0
"""With a residual of so many standard deviations nothing was found, and nobody asks how well."""


@dataclass(frozen=True)
class Fit:
    """Parameters ``(p,)``, their standard deviations, infinite where nothing fits, and the worst residual.

    The latter is in units of its own deviation.
    """

    values: Tensor
    deviations: Tensor
    worst: float


def refine(
    formula: Callable[[Tensor], Tensor], start: Tensor, target: Tensor, unit: Tensor, steps: int = 8
) -> Fit:
    """The parameters near ``start`` with which a formula meets the target best.

    Args:
        formula: ``(p,)`` to ``(m,)``, differentiable, float64.
        start: ``(p,)``.
        target: ``(m,)``.
        unit: ``(m,)``, the standard deviation of each number of the target.
        steps: at most so many.

    Source:
        Bjorck, Numerical Methods for Least Squares Problems (1996), 9.2.
    """

    def off(values: Tensor) -> Tensor:
        return (formula(values) - target) / unit

    values, residual = start, off(start)
    for _ in range(steps if len(start) else 0):
        change = _solved(_jacobian(off, values), residual)[0]
        taken = _shortened(off, values, change, float(residual.norm()))
        if taken is None:
            break
        gained = float(residual.norm()) - float(taken[1].norm())
        values, residual = taken
        if gained <= CREEPING * float(residual.norm()):
            break
    worst = float(residual.abs().max())
    if not len(start):
        return Fit(values, start, worst)
    if not worst <= HOPELESS:
        return Fit(values, torch.full_like(values, torch.inf), worst)
    return Fit(values, _solved(_jacobian(off, values), residual)[1], worst)


def _jacobian(formula: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """All derivatives ``(m, p)``: the backward pass is linear in what goes in, so its derivative tells."""
    with torch.enable_grad():
        leaf = values.detach().clone().requires_grad_()
        outputs = formula(leaf)
        weights = torch.zeros_like(outputs, requires_grad=True)
        (back,) = torch.autograd.grad(outputs, leaf, weights, create_graph=True)
        columns = [torch.autograd.grad(entry, weights, retain_graph=True)[0] for entry in back]
    return torch.stack(columns, dim=1)


def _solved(jacobian: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
    """The step ``(p,)`` that takes most of the residual away, and the parameters' standard deviations."""
    sizes = jacobian.norm(dim=0).clamp_min(torch.finfo(jacobian.dtype).tiny)
    if not bool(jacobian.isfinite().all()):
        return torch.zeros_like(sizes), torch.full_like(sizes, torch.inf)
    left, values, right = torch.linalg.svd(jacobian / sizes, full_matrices=False)
    inverse = torch.where(values > 1e-13 * values.max(), 1 / values, 0.0)
    step = right.T @ (inverse * (left.T @ residual)) / sizes
    return -step, (right.T * inverse).norm(dim=1) / sizes


def _shortened(
    off: Callable[[Tensor], Tensor], values: Tensor, change: Tensor, before: float
) -> tuple[Tensor, Tensor] | None:
    """The step, or the first of its halves that is no step back."""
    for _ in range(HALVINGS):
        tried = values + change
        residual = off(tried)
        if float(residual.norm()) <= before:  # False when it is NaN
            return tried, residual
        change = change / 2
    return None
