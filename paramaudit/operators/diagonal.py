"""A linear map that scales each number by itself.

What it finds:    A square matrix with nothing off its diagonal. When all gains agree within the noise, one
                  is stored (snapped to a whole number where it is one).
Why it matters:   n^2 numbers are n, or 1, and n^2 multiplications are n.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding.
Swap safety:      Exact. The gains stay trainable; a trained diagonal stays diagonal.
Source:           Golub and Van Loan, Matrix Computations, 1.2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.entries import one_a_row
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, left_over, spread, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Diagonal(nn.Module):
    """Gains on the last dimension, ``(..., n)`` to ``(..., n)``.

    Args:
        size: n.
        gains: ``(n,)``, or ``(1,)`` for a common one.
        bias: ``(n,)`` or None.
    """

    def __init__(self, size: int, gains: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.size = size
        self.gains = owned(gains)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, and whether all gains are one."""
        return {"n": self.size, "common": len(self.gains) == 1, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Multiply by the gains."""
        return plus(inputs * self.gains, self.bias, inputs.dtype)


def propose(view: Matrix) -> Diagonal | None:
    """The diagonal, when little is beside it."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 2 or not one_a_row(weight) or not usable(view):
        return None
    gains = weight.diagonal().clone()
    residual = weight - torch.diag(gains)
    if left_over(residual, weight) > NOISY:
        return None
    mean = gains.mean()
    tolerance = SIGMAS * spread(residual, size) + 4 * view.noise * float(gains.abs().max())
    if float((gains - mean).abs().max()) <= tolerance:
        whole = mean.round()
        clean = whole if float((mean - whole).abs()) <= tolerance else mean
        # to the last bit where all are the same already
        gains = gains[:1] if bool((gains == gains[0]).all()) else clean.reshape(1)
    return Diagonal(size, gains, kept_bias(view))


def _gains(size: int, seed: int, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(seed)
    return stored(np.diag(rng.standard_normal(size)), rng.standard_normal(size) if bias else None)


def _bidiagonal(size: int) -> Matrix:
    return stored(np.eye(size) + np.diag(np.full(size - 1, 0.02), 1))


def _turned(size: int) -> Matrix:
    """A diagonal in a slightly rotated basis: off the diagonal there is 1 %."""
    rng = np.random.default_rng(7)
    rotation, _ = np.linalg.qr(np.eye(size) + 0.005 * rng.standard_normal((size, size)))
    return stored(rotation @ np.diag(rng.standard_normal(size)) @ rotation.T)


OPERATOR = Operator(
    "diagonal",
    propose,
    finds=(
        Example("gains", lambda: _gains(64, 0)),
        Example("gains, odd size, bias", lambda: _gains(33, 1, bias=True)),
        Example("a common gain", lambda: stored(0.7 * np.eye(40))),
        Example("signs", lambda: stored(np.diag(np.sign(np.random.default_rng(2).standard_normal(50))))),
    ),
    ignores=(
        Example("two diagonals", lambda: _bidiagonal(32)),
        Example("a diagonal in a slightly turned basis", lambda: _turned(48)),
        Example("reversed order", lambda: stored(np.fliplr(np.diag(np.arange(1.0, 21.0))))),
    ),
    transposes=True,
)
