"""Two-sided bounds on the spectral norm of a matrix, rigorous in float64.

An upper bound must hold whatever the rounding of its own computation, so each one carries a term
for that. A lower bound is a direction: ``|A v| / |v|`` for a ``v`` that is handed back.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

ROUNDOFF = 2.0**-53
"""Unit roundoff of float64."""

EXACT_UP_TO = 1024
"""Up to this smaller dimension the singular values are computed, beyond it they are bounded."""


def spectral_norm_above(matrix: Tensor) -> float:
    """An upper bound on the largest singular value; infinite when a number is not finite.

    The smallest of: Frobenius norm, ``sqrt(|A|_1 |A|_inf)``, and either the root of the computed largest
    eigenvalue of ``A A^T`` (backward stable: off by a modest multiple of the unit roundoff) or, for large
    matrices, the eighth root of a trace: ``tr((A A^T)^8)^(1/16)``, at most 1.5 times too large at rank 1000.

    Args:
        matrix: ``(rows, columns)``, float64.

    Source:
        Golub and Van Loan, Matrix Computations, 2.3 (norms) and 8.3 (stability of eigenvalues).
    """
    if matrix.numel() == 0:
        return 0.0
    largest = float(matrix.abs().max())
    if not math.isfinite(largest):
        return math.inf
    if largest == 0.0:
        return 0.0
    # A power of two, so that scaling is exact and squares neither overflow nor vanish.
    scale = 2.0 ** max(-1021, min(1022, math.frexp(largest)[1]))
    scaled = matrix / scale
    terms = sum(scaled.shape)
    slack = 1.0 + (16 * terms + scaled.numel()) * ROUNDOFF
    bounds = [
        float(torch.linalg.matrix_norm(scaled)),
        math.sqrt(float(scaled.abs().sum(0).max()) * float(scaled.abs().sum(1).max())),
    ]
    if min(scaled.shape) <= EXACT_UP_TO:
        bounds.append(_gram_root(scaled))
    else:
        bounds.append(_trace_root(scaled))
    return min(bounds) * slack * scale


def _gram_root(matrix: Tensor) -> float:
    """``lambda_max(A A^T)^(1/2)`` with the rounding of product and eigenvalues added; entries of at most 1.

    Much faster than singular values, and as good here: what is lost of small ones is none of the largest.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    # n u |A|_F^2 bounds what the product rounds, and a few times as much what the eigenvalues do
    error = 8 * sum(wide.shape) * ROUNDOFF * float(torch.linalg.matrix_norm(wide)) ** 2
    # of the computed product only one triangle is read, which is that of a symmetric matrix as near
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(wide @ wide.T)[-1])) + error)


def _trace_root(matrix: Tensor) -> float:
    """``tr((A A^T)^8)^(1/16)`` with the rounding of the products added; entries of at most 1."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    error = 2 * sum(wide.shape) * ROUNDOFF
    gram = wide @ wide.T
    # |A|^2 = |A A^T| <= |G| + error |A|_F^2 for the computed G; then the same for G, G^2, G^4.
    added = [error * float(torch.linalg.matrix_norm(wide)) ** 2]
    for _ in range(2):
        added.append(error * float(torch.linalg.matrix_norm(gram)) ** 2)
        gram = gram.T @ gram  # the computed one need not be symmetric
    bound = float(torch.linalg.matrix_norm(gram))
    for term in reversed(added):
        bound = math.sqrt(bound + term)
    return bound


def back(matrix: Tensor, block: Tensor) -> Tensor:
    """``A^T B``, ``(rows, columns)`` and ``(rows, k)`` to ``(columns, k)``, for few columns.

    As ``(B^T A)^T``: the same numbers, but the product reads the matrix along its rows, which is much faster.
    """
    return (block.T.contiguous() @ matrix).T


def top_direction(matrix: Tensor, generator: torch.Generator, steps: int = 24) -> Tensor:
    """A unit vector that the matrix stretches nearly as much as any, by power iteration.

    Args:
        matrix: ``(rows, columns)``, float64, finite.
        generator: draws the starting vectors.
        steps: products with ``A^T A``.

    Returns:
        ``(columns,)``, float64. ``|A v|`` is a lower bound on the largest singular value.
    """
    return next(itertools.islice(top_directions(matrix, generator), steps, None))


def top_directions(matrix: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """What :func:`top_direction` finds after 0, 1, 2, ... steps."""
    columns = matrix.shape[1]
    largest = float(matrix.abs().max()) if matrix.numel() else 0.0
    start = torch.randn(columns, 4, dtype=torch.float64, generator=generator)
    if largest == 0.0 or not math.isfinite(largest):
        first: Tensor = start[:, 0] / torch.linalg.vector_norm(start[:, 0])
        yield from itertools.repeat(first)
    scaled = matrix / largest
    heaviest = int(scaled.square().sum(1).argmax())
    block = torch.cat([start, scaled[heaviest].unsqueeze(1)], dim=1)
    while True:
        stretched = scaled @ block
        best: Tensor = block[:, int(stretched.norm(dim=0).argmax())]
        yield best
        block = torch.linalg.qr(back(scaled, stretched)).Q


def spectral_norm_below(matrix: Tensor, generator: torch.Generator) -> float:
    """A lower bound on the largest singular value: the stretch of :func:`top_direction`."""
    if matrix.numel() == 0:
        return 0.0
    return float((matrix @ top_direction(matrix, generator)).norm()) * (1 - 16 * sum(matrix.shape) * ROUNDOFF)
