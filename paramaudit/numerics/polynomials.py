"""Orthogonal polynomials on [-1, 1] by their three-term recurrence, without a loop over degrees.

``P[k+1] = A[k] x P[k] - C[k] P[k-1]`` is a product of 2 x 2 matrices, and all products from the first
on come in log2 m steps. Everything is computed from formulas, in float64 where the device has it.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 22.7 (recurrences) and 25.4.29
(Gauss); Hillis and Steele, Data parallel algorithms, CACM 29 (1986).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

FAMILIES: Mapping[str, float | None] = MappingProxyType(
    {"legendre": 0.5, "chebyshev-t": None, "chebyshev-u": 1.0, "gegenbauer-3/2": 1.5, "gegenbauer-2": 2.0}
)
"""Families by name, with the parameter of Gegenbauer's that they are; Chebyshev's first kind is none."""

NODES = ("uniform", "uniform-open", "uniform-middles", "chebyshev", "chebyshev-lobatto", "gauss-legendre")
"""Nodes by name, in ascending order."""

NEWTON = 4
"""Steps from the asymptotic start to the last bit of a Gauss node."""


def coefficients(family: str, degrees: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """``A[k]`` and ``C[k]`` for ``k = 0 .. degrees - 1``."""
    k = torch.arange(degrees, dtype=_wide(device), device=device)
    parameter = FAMILIES[family]
    if parameter is None:
        return 2 - (k == 0).to(k.dtype), torch.ones_like(k)
    return 2 * (k + parameter) / (k + 1), (k + 2 * parameter - 1) / (k + 1)


def table(family: str, degrees: int, nodes: Tensor) -> Tensor:
    """``P[k](x[j])`` for ``k = 0 .. degrees - 1``, ``(degrees, n)``, normalised as in textbooks."""
    products = _steps(family, degrees - 1, nodes)
    apart = 1
    while apart < degrees - 1:
        products = torch.cat([products[:apart], products[apart:] @ products[:-apart]])
        apart *= 2
    return torch.cat([torch.ones_like(nodes)[None], products[..., 0, 0]])


def lengths(family: str, degrees: int, device: torch.device) -> Tensor:
    """The norm of each polynomial under its family's weight, in units of the first one's, ``(degrees,)``."""
    a, c = coefficients(family, degrees, device)
    ratios = c[1:] * a[:-1] / a[1:]
    return torch.cat([torch.ones_like(a[:1]), ratios.cumprod(0)]).sqrt()


def placed(kind: str, size: int, device: torch.device) -> Tensor:
    """Nodes of a kind in [-1, 1], ``(size,)``, ascending."""
    j = torch.arange(size, dtype=_wide(device), device=device)
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
    return _gauss_legendre(j, size)


def _gauss_legendre(j: Tensor, size: int) -> Tensor:
    """The roots of ``P[n]`` by Newton's method from Tricomi's formula."""
    start = 1 - (size - 1) / (8.0 * size**3)
    nodes = -start * torch.cos(math.pi * (j + 0.75) / (size + 0.5))
    for _ in range(NEWTON):
        last = _multiplied(_steps("legendre", size, nodes))[..., 0]
        value, before = last[..., 0], last[..., 1]
        nodes = nodes - value * (nodes.square() - 1) / (size * (nodes * value - before))
    return nodes


def _steps(family: str, count: int, nodes: Tensor) -> Tensor:
    """The matrices that lead from ``(P[k], P[k-1])`` to the next ones, ``(count, n, 2, 2)``."""
    a, c = coefficients(family, count, nodes.device)
    top = torch.stack([a[:, None] * nodes, (-c[:, None]).expand(count, len(nodes))], -1)
    below = torch.stack([torch.ones_like(top[..., 0]), torch.zeros_like(top[..., 0])], -1)
    return torch.stack([top, below], -2)


def _multiplied(steps: Tensor) -> Tensor:
    """The product of all, the first one applied first; in pairs."""
    while len(steps) > 1:
        odd = steps[-1:] if len(steps) % 2 else steps[:0]
        even = steps[: len(steps) - len(odd)]
        steps = torch.cat([even[1::2] @ even[::2], odd])
    return steps[0]


def _wide(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
