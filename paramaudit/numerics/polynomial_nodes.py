"""Nodes that polynomials are evaluated at and that have a formula: even, Chebyshev's, Gauss's of any family.

Gauss's are the eigenvalues of the Jacobi matrix (Golub and Welsch, Math. Comp. 23 (1969)), improved by a step
of Newton's method with the derivative from Christoffel and Darboux (Szego, Orthogonal Polynomials, 3.2.4): at
a root ``p[n]'`` is ``(p[0]^2 + ... + p[n-1]^2) / (b p[n-1])``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paramaudit.numerics.polynomials import (
    LEGENDRE,
    Family,
    exponents_of,
    orthonormal,
    table,
    unit_steps,
    wide,
)

FREE = ("uniform", "uniform-open", "uniform-middles", "chebyshev", "chebyshev-lobatto", "gauss-legendre")
"""Nodes by name that any family on [-1, 1] may have, ascending."""

GAUSS = "gauss"
"""The roots of the family's own next polynomial."""


def placed(kind: str, family: Family, size: int, device: torch.device) -> Tensor:
    """Nodes of a kind ``(size,)``, ascending; even and Chebyshev's lie in [-1, 1]."""
    if kind == GAUSS:
        return _gauss(family, size, device)
    if kind == "gauss-legendre":
        return _gauss(LEGENDRE, size, device)
    j = torch.arange(size, dtype=wide(device), device=device)
    if kind == "uniform":
        return 2 * j / (size - 1) - 1
    if kind == "uniform-open":
        return 2 * j / size - 1
    if kind == "uniform-middles":
        return (2 * j + 1) / size - 1
    if kind == "chebyshev":
        return -torch.cos(math.pi * (j + 0.5) / size)
    if kind == "chebyshev-lobatto":
        return -torch.cos(math.pi * j / (size - 1))
    raise ValueError(f"there are no nodes {kind!r}")


def _gauss(family: Family, size: int, device: torch.device) -> Tensor:
    j = torch.arange(size, dtype=wide(device), device=device)
    known = {"chebyshev-t": (0.5, 0.0), "chebyshev-u": (1.0, 1.0), "chebyshev-v": (1.0, 0.5)}
    if family.name in known:  # sines and cosines themselves
        first, more = known[family.name]
        return -torch.cos(math.pi * (j + first) / (size + more))
    if family.name == "chebyshev-w":
        return -torch.cos(math.pi * (j + 0.5) / (size + 0.5))
    exponents = exponents_of(family, device)
    diagonal, beside = orthonormal(family, size, exponents)
    steps = unit_steps(family, size + 1, exponents)
    nodes = _eigenvalues(diagonal, beside)
    values = table(steps, nodes).scaled
    return nodes - beside[-1] * values[size] * values[size - 1] / values[:size].square().sum(0)


def _eigenvalues(diagonal: Tensor, beside: Tensor) -> Tensor:
    off = torch.diag(beside[:-1], 1)
    nodes: Tensor = torch.linalg.eigvalsh(torch.diag(diagonal) + off + off.T)
    return nodes


def nearly_gauss(family: Family, size: int) -> Tensor:
    """About the same at once, ``(size,)``: near enough to see which family it is.

    Source: Szego, Orthogonal Polynomials, 8.21.10 and 6.31-6.32 (zeros in their order).
    """
    if size <= 48 and family.name != "legendre":
        return _eigenvalues(*orthonormal(family, size, exponents_of(family, torch.device("cpu"))))
    j = torch.arange(size, dtype=torch.float64)
    alpha, beta = family.alpha, family.beta
    if family.kind == "jacobi":
        return -torch.cos(math.pi * (j + 0.75 + beta / 2) / (size + (alpha + beta + 1) / 2))
    if family.kind == "laguerre":
        scale = 4 * size + 2 * alpha + 2
        return scale * torch.cos(_turned(math.pi * (4 * (size - j) - 1) / scale) / 2).square()
    scale = 2 * size + 1.0
    return math.sqrt(scale) * torch.cos(_turned(math.pi * (4 * (size - j) - 1) / scale) / 2)


def _turned(area: Tensor) -> Tensor:
    """The angle whose difference from its sine is an area in [0, 2 pi]."""
    low, high = torch.zeros_like(area), torch.full_like(area, 2 * math.pi)
    for _ in range(40):
        angle = (low + high) / 2
        above = angle - angle.sin() > area
        low, high = torch.where(above, low, angle), torch.where(above, angle, high)
    return (low + high) / 2
