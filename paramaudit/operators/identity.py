"""A linear map that hands its input on.

What it finds:    A square matrix that is the identity, with or without a bias.
Why it matters:   n^2 numbers are none, and n^2 multiplications are none.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding.
Swap safety:      Exact. Nothing trainable remains but the bias. The output is a copy, so that whoever changes
                  it in place does not change the input.
Source:           Golub and Van Loan, Matrix Computations, 1.1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Identity(nn.Module):
    """The input again, ``(..., n)`` to ``(..., n)``.

    Args:
        size: n.
        bias: ``(n,)`` or None.
    """

    def __init__(self, size: int, bias: Tensor | None = None) -> None:
        super().__init__()
        self.size = size
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size."""
        return {"n": self.size, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Copy, and add the bias."""
        return plus(inputs.clone(), self.bias, inputs.dtype)


def propose(view: Matrix) -> Identity | None:
    """The identity, when every gain is about one and little is beside them."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 2:
        return None
    # the diagonal alone dismisses most matrices; NaN fails it too
    if not bool(((weight.diagonal() - 1).abs() <= 0.5).all()) or not usable(view):
        return None
    residual = weight - torch.eye(size, dtype=weight.dtype)
    return None if left_over(residual, weight) > NOISY else Identity(size, kept_bias(view))


def _biased(size: int) -> Matrix:
    return stored(np.eye(size), np.random.default_rng(size).standard_normal(size))


def _leaking(size: int) -> Matrix:
    """A thousandth of every input leaks into the next output."""
    return stored(np.eye(size) + 0.001 * np.eye(size, k=-1))


OPERATOR = Operator(
    "identity",
    propose,
    finds=(
        Example("64 numbers", lambda: stored(np.eye(64))),
        Example("odd size, bias", lambda: _biased(37)),
        Example("two numbers", lambda: stored(np.eye(2))),
    ),
    ignores=(
        Example("leaking into the neighbour", lambda: _leaking(40)),
        Example("a gain of 1.01", lambda: stored(1.01 * np.eye(32))),
        Example("reversed order", lambda: stored(np.fliplr(np.eye(24)))),
        Example("the last number dropped", lambda: stored(np.diag(np.r_[np.ones(19), 0.0]))),
    ),
    transposes=True,
)
