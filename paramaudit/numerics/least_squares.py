"""The best affine map through samples, and how much of them it leaves unexplained."""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-10
"""Added to the normal equations, relative to their mean diagonal: numbers that never move get no weight."""


def best_affine(inputs: Tensor, outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The weight ``(out, in)`` and bias ``(out,)`` with the least squared error on samples.

    Args:
        inputs: ``(samples, in)``, float64.
        outputs: ``(samples, out)``, float64.

    Source:
        Golub and Van Loan, Matrix Computations, 5.3 (normal equations) and 6.1 (ridge).
    """
    center, middle = inputs.mean(0), outputs.mean(0)
    moved = inputs - center
    gram = moved.T @ moved
    gram.diagonal().add_(RIDGE * float(gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)))
    weight = torch.linalg.solve(gram, moved.T @ (outputs - middle)).T
    return weight, middle - weight @ center


def unexplained(outputs: Tensor, predicted: Tensor) -> float:
    """What a prediction leaves of the samples' spread: 0 is perfect, 1 no better than their mean.

    The root of the squared error over the squared distance from the mean; both are ``(samples, out)``.
    """
    spread = float((outputs - outputs.mean(0)).norm())
    off = float((outputs - predicted).norm())
    if spread == 0.0:
        return 0.0 if off == 0.0 else float("inf")
    return off / spread
