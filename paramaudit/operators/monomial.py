"""A linear map that changes the order of its inputs and scales or turns them.

What it finds:    A square matrix with one number in every row and column and zeros elsewhere: a permutation
                  times a diagonal. Gains of plus and minus one are stored as signs, which are whole numbers
                  and no parameters; where the gains differ in sign alone, one size is stored beside them.
                  All gains plus one is ``permutation``, the order left as it is ``diagonal``.
Why it matters:   n^2 numbers are n, one or none (and n indices), and a product is a lookup and a scaling.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding.
Swap safety:      Exact. Gains that are stored stay trainable; order and signs are fixed.
Source:           Horn and Johnson, Matrix Analysis, 0.9.5 (generalised permutations).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from paramaudit.numerics.entries import one_a_row, own_columns
from paramaudit.numerics.layers import parameter, plus
from paramaudit.numerics.noise import NOISY, SIGMAS, kept_bias, left_over, spread, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator


class Monomial(nn.Module):
    """Inputs in another order, each with its gain, ``(..., n)`` to ``(..., n)``.

    Args:
        order: ``(n,)`` int64; output i is made of input ``order[i]``.
        signs: ``(n,)`` int64 of plus and minus one, or None.
        gains: ``(n,)``, or ``(1,)`` for a common one, or None.
        bias: ``(n,)`` or None.
    """

    order: Tensor
    signs: Tensor | None

    def __init__(
        self,
        order: Tensor,
        signs: Tensor | None = None,
        gains: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("order", order.detach().clone())
        self.register_buffer("signs", None if signs is None else signs.detach().clone())
        self.gains = parameter(gains)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, and what is stored beside the order."""
        kept = "signs" if self.gains is None else "gains" if self.signs is None else "signs and a gain"
        return {"n": len(self.order), "stores": kept, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Pick by index and scale."""
        outputs = inputs.index_select(-1, self.order)
        if self.signs is not None:
            outputs = outputs * self.signs.to(inputs.dtype)
        if self.gains is not None:
            outputs = outputs * self.gains
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Monomial | None:
    """The largest entry of every row, when these are in different columns and little is beside them."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 2 or not one_a_row(weight) or not usable(view):
        return None
    order = own_columns(weight)
    if order is None or torch.equal(order, torch.arange(size)):
        return None
    gains = weight[torch.arange(size), order]
    residual = weight.clone()
    residual[torch.arange(size), order] = 0
    if left_over(residual, weight) > NOISY or bool((gains == 0).any()):
        return None
    tolerance = SIGMAS * spread(residual, size) + 4 * view.noise * float(gains.abs().max())
    if float((gains - 1).abs().max()) <= tolerance:
        return None
    signs, sizes = gains.sign().to(torch.int64), gains.abs()
    if float((sizes - 1).abs().max()) <= tolerance:
        return Monomial(order, signs, None, kept_bias(view))
    if float((sizes - sizes.mean()).abs().max()) <= tolerance:
        # to the last bit where all are the same already
        common = sizes[:1] if bool((sizes == sizes[0]).all()) else sizes.mean()[None]
        return Monomial(order, signs, common, kept_bias(view))
    return Monomial(order, None, gains, kept_bias(view))


def _scaled(size: int, gains: str, bias: bool = False) -> Matrix:
    rng = np.random.default_rng(size)
    signs = rng.choice([-1.0, 1.0], size)
    kinds = {"signs": signs, "one size": 0.37 * signs, "own": rng.uniform(0.3, 2, size) * signs}
    matrix = kinds[gains][:, None] * np.eye(size)[rng.permutation(size)]
    return stored(matrix, rng.standard_normal(size) if bias else None)


def _two_in_a_row(size: int) -> Matrix:
    matrix = np.fliplr(np.diag(np.linspace(-2, 3, size)))
    matrix[1, 0] = 0.02
    return stored(matrix)


def _repeated(size: int) -> Matrix:
    order = np.random.default_rng(9).permutation(size)
    order[0] = order[1]
    return stored(-1.5 * np.eye(size)[order])


def _noisy(size: int) -> Matrix:
    rng = np.random.default_rng(3)
    matrix = -2 * np.eye(size)[rng.permutation(size)]
    return stored(matrix + 0.01 * rng.standard_normal((size, size)))


OPERATOR = Operator(
    "monomial",
    propose,
    finds=(
        Example("own gains", lambda: _scaled(64, "own")),
        Example("signs, odd size, bias", lambda: _scaled(37, "signs", bias=True)),
        Example("signs and a gain", lambda: _scaled(50, "one size")),
        Example("negative reversal", lambda: stored(-np.fliplr(np.eye(24)))),
        Example(
            "gains over seven decades", lambda: stored(np.fliplr(np.diag(10.0 ** np.linspace(-4, 3, 32))))
        ),
    ),
    ignores=(
        Example("two numbers in one row", lambda: _two_in_a_row(40)),
        Example("one input twice, one never", lambda: _repeated(40)),
        Example("1 % noise", lambda: _noisy(48)),
    ),
    transposes=True,
)
