"""A linear map through a bottleneck: a product of two thin matrices.

What it finds:    A matrix whose singular values fall off a cliff after the first r, down to the noise of the
                  stored numbers, with r (m + n) < m n.
Why it matters:   m n numbers and multiplications are r (m + n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding; truncation of what is more than rounding is at most ``bounded``.
Swap safety:      The same function, with factors that are trainable; trained factors keep the rank.
Source:           Eckart and Young, Psychometrika 1 (1936). Halko, Martinsson and Tropp, Finding structure
                  with randomness, SIAM Review 53 (2011).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored
from paramaudit.numerics.rank import cliff, leading_factors, sketched_rank
from paramaudit.numerics.residual import noise_like
from paramaudit.records import Example, Json, Matrix, Operator

STEP = 1.3
"""A step of singular values that counts where what is below it is noise."""


class LowRank(nn.Module):
    """``left @ (right @ x)`` on the last dimension, ``(..., n)`` to ``(..., m)``.

    Args:
        left: ``(m, r)``.
        right: ``(r, n)``.
        bias: ``(m,)`` or None.
    """

    def __init__(self, left: Tensor, right: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.left = owned(left)
        self.right = owned(right)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape and rank."""
        rows, rank = self.left.shape
        return {"rows": rows, "columns": self.right.shape[1], "rank": rank, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Down to r numbers, then up."""
        return plus((inputs @ self.right.T) @ self.left.T, self.bias, inputs.dtype)


def propose(view: Matrix) -> LowRank | None:
    """The factors up to the cliff, when there is one and they are smaller."""
    weight = view.weight
    rows, columns = weight.shape
    worth = (rows * columns - 1) // (rows + columns)
    generator = torch.Generator().manual_seed(0)
    if worth < 1:
        return None
    about = sketched_rank(weight, worth, view.noise, generator)
    if about == 0:
        return None
    left, values = leading_factors(weight, about, generator)
    most = min(worth, about + 8)
    rank = cliff(values, most, view.noise) or _above_noise(
        weight, left, cliff(values, most, view.noise, STEP)
    )
    if not 0 < rank <= worth:
        return None
    # the first factor as it will be stored, so that only the second one's rounding is left
    first = (left[:, :rank] * values[:rank].sqrt()).to(view.dtype).to(weight.dtype)
    second = torch.linalg.lstsq(first, weight).solution
    return LowRank(first, second, kept_bias(view))


def _above_noise(weight: Tensor, left: Tensor, rank: int) -> int:
    """The rank, where all that is beyond it is little and looks like noise; else 0."""
    basis = left[:, :rank]
    residual = weight - basis @ (basis.T @ weight)
    return rank if rank and left_over(residual, weight) <= NOISY and noise_like(residual) else 0


def _product(rows: int, columns: int, rank: int, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(rows + rank)
    weight = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns)) / rank
    return stored(weight, rng.standard_normal(rows) if bias else None)


def _projector(size: int, rank: int) -> Matrix:
    basis, _ = np.linalg.qr(np.random.default_rng(10).standard_normal((size, rank)))
    return stored(basis @ basis.T)


def _smooth(size: int) -> Matrix:
    """A Gaussian kernel between points of the line: singular values fall faster than exponentially."""
    points = np.linspace(0, 1, size)
    return stored(np.exp(-8 * (points[:, None] - points[None, :]) ** 2))


def _decaying(size: int) -> Matrix:
    """Singular values 1, 0.9, 0.81, ...: no cliff, and little is noise."""
    rng = np.random.default_rng(11)
    left, _ = np.linalg.qr(rng.standard_normal((size, size)))
    right, _ = np.linalg.qr(rng.standard_normal((size, size)))
    return stored(left * 0.9 ** np.arange(size) @ right)


def _noisy(size: int, rank: int) -> Matrix:
    clean = _product(size, size, rank).weight.numpy()
    return stored(clean + 0.01 * np.random.default_rng(12).standard_normal((size, size)))


OPERATOR = Operator(
    "low-rank",
    propose,
    finds=(
        Example("rank 1", lambda: _product(48, 32, 1)),
        Example("rank 9 of 97, bias", lambda: _product(131, 97, 9, bias=True)),
        Example("rank 20, wide", lambda: _product(64, 200, 20)),
        Example("projector", lambda: _projector(80, 12)),
        Example("Gaussian kernel", lambda: _smooth(96)),
    ),
    ignores=(
        Example("full rank", lambda: stored(np.random.default_rng(13).standard_normal((64, 64)))),
        Example("slow decay", lambda: _decaying(64)),
        Example("rank 5 with 1 % noise", lambda: _noisy(64, 5)),
    ),
    transposes=True,
)
