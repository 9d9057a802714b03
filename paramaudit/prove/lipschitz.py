"""How far a layer can carry a change of its input: upper bounds on Lipschitz constants, in Euclidean norms.

Elementwise functions: the largest slope. Those of tanh (1) and sigmoid (1/4) are textbook; gelu's slope
``Phi(x) + x phi(x)`` is largest at ``sqrt 2``, where it is 1.12890; silu's is 1.09984 (Ramachandran, Zoph,
Le: Searching for Activation Functions, 2017). The Jacobian of softmax is symmetric with eigenvalues from 0 to
1/2, and 1 bounds it (Gao, Pavel: On the Properties of the Softmax Function, 2017, proposition 4).

A normalisation ``z -> z / s``, ``s = sqrt(|z|^2 / n + eps)``, has the Jacobian ``(I - z z^T / (n s^2)) / s``
and ``s >= sqrt(eps)``, so that its constant is at most ``1 / sqrt(eps)``: true, and large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paramaudit.numerics.norms import spectral_norm_above

SVD_UP_TO = 512
"""Up to this smaller dimension a norm is computed, beyond it two cheap bounds are taken."""


@dataclass(frozen=True)
class Slope:
    """An elementwise function: its largest slope, and the largest absolute value that it takes."""

    lipschitz: float
    bound: float = math.inf


SLOPES = {
    "relu": Slope(1.0),
    "relu6": Slope(1.0, 6.0),
    "hardtanh": Slope(1.0),
    "tanh": Slope(1.0, 1.0),
    "sigmoid": Slope(0.25, 1.0),
    "hardsigmoid": Slope(1 / 6 + 1e-12, 1.0),
    "hardswish": Slope(1.5),
    "log_sigmoid": Slope(1.0),
    "selu": Slope(1.7581),
    "gelu": Slope(1.13),
    "silu": Slope(1.1),
    "mish": Slope(1.09),
    "sin": Slope(1.0, 1.0),
    "cos": Slope(1.0, 1.0),
    "atan": Slope(1.0, math.pi / 2),
    "erf": Slope(1.1284, 1.0),
    "abs": Slope(1.0),
    "clamp": Slope(1.0),
    "clamp_min": Slope(1.0),
    "clamp_max": Slope(1.0),
}
"""By the name of the ATen call; those with a free slope are in :func:`slope`."""


def slope(call: str, negative: float | None = None) -> Slope | None:
    """The slope of an elementwise function; ``negative`` is that of its left part where it has one."""
    if call in ("leaky_relu", "elu") and negative is not None:
        return Slope(max(1.0, abs(negative)))
    return SLOPES.get(call)


def matrix(weight: Tensor) -> float:
    """An upper bound on the spectral norm of ``(out, in)`` numbers in float64."""
    if min(weight.shape) <= SVD_UP_TO:
        return spectral_norm_above(weight)
    slack = 1.0 + (16 * sum(weight.shape) + weight.numel()) * 2.0**-53
    sums = float(weight.abs().sum(0).max()) * float(weight.abs().sum(1).max())
    return min(float(torch.linalg.matrix_norm(weight)), math.sqrt(sums)) * slack


def convolution(kernel: Tensor, groups: int) -> float:
    """An upper bound on the norm of a convolution by ``(out, in / groups, *taps)``, on inputs of any length.

    It is a sum of shifts, each with zeros put in and some results dropped, times one matrix for each tap.
    """
    out, channels = kernel.shape[:2]
    taps = kernel.reshape(groups, out // groups, channels, -1)
    norms = [sum(matrix(group[:, :, t]) for t in range(taps.shape[-1])) for group in taps]
    return max(norms, default=0.0) * (1 + 1e-12)


def normaliser(gain: Tensor | None, eps: float) -> float:
    """Layer, group and root-mean-square norms: at most ``max |gain| / sqrt(eps)``."""
    largest = 1.0 if gain is None else float(gain.abs().max())
    return largest / math.sqrt(eps) * (1 + 1e-12) if eps > 0 else math.inf
