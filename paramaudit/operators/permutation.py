"""A linear map that only puts its input in another order.

What it finds:    A square matrix with a single 1 in every row and column: shuffles, reversals, rotations,
                  the identity. Gains or signs are not permutations.
Why it matters:   n^2 numbers are none, only n indices; nothing is multiplied.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding; where the stored numbers are exactly 0 and 1 the two are the same to the bit.
Swap safety:      Exact, in every dtype. Nothing trainable remains but the bias, if there is one.
Source:           Golub and Van Loan, Matrix Computations, 1.2.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.entries import one_a_row
from paramaudit.numerics.layers import parameter, plus
from paramaudit.numerics.noise import NOISY, kept_bias, left_over, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Permutation(nn.Module):
    """Reorders the last dimension, ``(..., n)`` to ``(..., n)``.

    Args:
        order: ``(n,)`` int64; output i is input ``order[i]``.
        bias: ``(n,)`` or None.
    """

    order: Tensor

    def __init__(self, order: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("order", order.detach().clone())
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, and whether the order is the one that was there."""
        size = len(self.order)
        unchanged = bool((self.order == torch.arange(size, device=self.order.device)).all())
        return {"n": size, "identity": unchanged, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Pick by index."""
        return plus(inputs.index_select(-1, self.order), self.bias, inputs.dtype)


def propose(view: Matrix) -> Permutation | None:
    """The order of the largest entries, when each is about 1 and alone."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 2 or not one_a_row(weight) or not usable(view):
        return None
    largest, order = weight.max(dim=1)
    if bool((order.bincount(minlength=size) != 1).any()):
        return None
    residual = weight.clone()
    residual[torch.arange(size), order] -= 1
    if float((largest - 1).abs().max()) > 0.5 or left_over(residual, weight) > NOISY:
        return None
    return Permutation(order, kept_bias(view))


def _shuffled(size: int, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(size)
    return stored(np.eye(size)[rng.permutation(size)], rng.standard_normal(size) if bias else None)


def _one_sign(size: int) -> Matrix:
    matrix = np.eye(size)[np.random.default_rng(8).permutation(size)]
    matrix[3] *= -1
    return stored(matrix)


def _repeated(size: int) -> Matrix:
    order = np.random.default_rng(9).permutation(size)
    order[0] = order[1]
    return stored(np.eye(size)[order])


def _leaking(size: int) -> Matrix:
    """One per cent of the input leaks into every output."""
    return stored(np.eye(size)[::-1] + 0.01)


OPERATOR = Operator(
    "permutation",
    propose,
    finds=(
        Example("shuffle", lambda: _shuffled(64)),
        Example("shuffle, odd size, bias", lambda: _shuffled(37, bias=True)),
        Example("rotation", lambda: stored(np.roll(np.eye(45), 7, axis=0))),
        Example("identity", lambda: stored(np.eye(16))),
    ),
    ignores=(
        Example("one sign turned", lambda: _one_sign(40)),
        Example("one input twice, one never", lambda: _repeated(40)),
        Example("reversal with leakage", lambda: _leaking(40)),
    ),
    transposes=True,
)
