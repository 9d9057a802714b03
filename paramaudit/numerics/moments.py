"""Spectral moments from a few rows: enough to see that a matrix has no low rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from paramaudit.numerics.norms import back

SAMPLED = 256
"""So many rows are compared with one another: the fourth moment of 4096 rows is then known to some 2 %."""

ERROR = 0.02
"""What the moments of a small part of the rows may be off by, relative."""

LITTLE = 1e-12
"""A column this much shorter than the longest is none."""

HEAVIEST = 24
"""So many directions of a trained layer are taken out: they stand out of what is left as it was drawn."""


def emptiness(matrix: Tensor, generator: torch.Generator, trained: bool = False) -> float:
    """About the largest part of the squared singular values, by number, that can be zero.

    Rows are scaled to the same length first, which leaves the rank as it is. For any polynomial p with
    p(0) = 1, the part of the spectrum that lies at zero is at most the mean of p^2 over all of it. Here p
    is the quadratic one of the least mean; that takes four moments, which are estimated without bias from
    the products of a sample of rows.

    Args:
        matrix: ``(m, n)``, m at most n.
        generator: picks the rows.
        trained: whether columns are brought to about the same length first, and the heaviest directions of
            other rows taken out; neither makes the rank any larger, and trained layers have both.

    Returns:
        A little above ``c^2 / (1 + c + c^2)`` for a Gaussian matrix, with c = m / n; at least ``1 - r / m``
        for one of rank r. Infinite when a sampled number is not finite, or the estimates are no spectrum's
        moments.

    Source:
        Akhiezer, The classical moment problem (1965), 2.5 (the largest mass at a point); Kong and Valiant,
        Spectrum estimation from samples, Annals of Statistics 45 (2017) (moments from cycles of rows).
    """
    rows = len(matrix)
    count = min(rows, SAMPLED)
    order = torch.randperm(rows, generator=generator)
    some = _float(matrix[order[:count]] if count < rows else matrix)
    if trained:
        some = _plainer(some, _float(matrix[order[count : 2 * count]]), generator)
    size = torch.linalg.vector_norm(some, dim=1, keepdim=True)
    some = some / torch.where(size > 0, size, torch.inf)
    beside = (some @ some.T).double().fill_diagonal_(0.0)
    return _least(*_moments(beside, rows), ERROR * (1 - count / rows))


def _float(rows: Tensor) -> Tensor:
    """Rows in single precision, brought to where it neither overflows nor loses small ones."""
    low, high = torch.aminmax(rows) if rows.numel() else (0.0, 0.0)
    return (rows / max(-float(low), float(high), torch.finfo(rows.dtype).tiny)).float()


def _plainer(some: Tensor, others: Tensor, generator: torch.Generator) -> Tensor:
    """Rows without differences in the length of columns and without the heaviest directions of other rows."""
    lengths = torch.linalg.vector_norm(some, dim=0)
    # a column of next to nothing is left out, which lowers the rank
    scale = torch.where(lengths > LITTLE * lengths.max(), lengths, torch.inf)
    whole = bool(lengths.isfinite().all() and others.isfinite().all())
    if len(others) <= HEAVIEST or not whole:
        return some / scale
    some, others = some / scale, others / scale
    # two steps of subspace iteration (Halko, Martinsson and Tropp, 4.4): an eigensolver takes longer
    start = torch.randn(len(others), HEAVIEST, generator=generator)
    heavy = torch.linalg.qr(back(others, start)).Q
    heavy = torch.linalg.qr(back(others, others @ heavy)).Q
    heavy = torch.linalg.qr(back(others, others @ heavy)).Q
    plain: Tensor = some - (some @ heavy) @ heavy.T
    return plain


def _moments(beside: Tensor, rows: int) -> tuple[float, float, float]:
    """The second to fourth moment of ``I + F`` of so many rows, from a part ``(s, s)`` of F."""
    count = len(beside)
    # how many walks over 2, 3 and 4 different rows there are for each one over rows of the sample
    more = [1.0]
    for gone in (1, 2, 3):
        more.append(more[-1] * ((rows - gone) / (count - gone) if rows > gone and count > gone else 1.0))
    powers = beside.square()
    lengths = powers.sum(1)
    walks = beside @ beside
    pairs = float(lengths.sum()) / count
    triples = float((walks * beside).sum()) / count
    there_and_back = float(powers.square().sum()) / count
    forks = float(lengths.square().sum()) / count - there_and_back
    cycles = float(walks.square().sum()) / count - 2 * forks - there_and_back
    two, three = more[1] * pairs, more[2] * triples
    four = more[3] * cycles + 2 * more[2] * forks + more[1] * there_and_back
    return 1 + two, 1 + 3 * two + three, 1 + 6 * two + 4 * three + four


def _least(second: float, third: float, fourth: float, error: float) -> float:
    """The least mean of p^2 over quadratic p with p(0) = 1, for a spectrum of mean 1 with such moments.

    That is one over the kernel at zero of the spectrum's orthogonal polynomials. The estimates' own relative
    error is added to their matrix, which raises the result.
    """
    hankel = torch.tensor(
        [[1.0, 1.0, second], [1.0, second, third], [second, third, fourth]], dtype=torch.float64
    )
    hankel = hankel + error * torch.diag(hankel.diagonal() * torch.tensor([0.0, 1.0, 1.0]))
    factor, failed = torch.linalg.cholesky_ex(hankel)
    if failed:  # so it does also where a moment is not finite
        return math.inf
    first = torch.linalg.solve_triangular(factor, torch.eye(3, 1, dtype=torch.float64), upper=False)
    return 1 / float(first.square().sum())
