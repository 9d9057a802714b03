"""A linear map that is nearly Toeplitz or Hankel in the sense of displacement rank.

What it finds:    A square matrix W with ``Z W - W Z'`` of low rank r, where Z shifts round and Z' shifts
                  round with a change of sign: inverses of Toeplitz matrices, products of a few of them,
                  Toeplitz plus low rank; and the same of its mirror image (Hankel-like).
                  Toeplitz and Hankel matrices themselves have rank 2, and fewer numbers under their own
                  names. Vandermonde- and Cauchy-like matrices, whose nodes would have to be found, are not
                  looked for.
Why it matters:   n^2 numbers are 2 n r, and a product costs O(r n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. W is half the sum of r products of a circulant and a skew-circulant matrix, whose
                  first columns are the factors of the displacement.
Swap safety:      The same function, with factors that are trainable: displacement rank stays at most r. Half
                  precision is transformed in float32.
Source:           Kailath, Kung and Morf, Displacement ranks of matrices and linear equations, J. Math. Anal.
                  Appl. 68 (1979). Pan, Structured Matrices and Polynomials (2001), example 4.4.2.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.layers import fast_length, owned, parameter, plus, widened
from paramaudit.numerics.noise import NOISY, kept_bias, stored, usable
from paramaudit.numerics.rank import cliff, leading_factors, sketched_rank
from paramaudit.numerics.rank_one import shares
from paramaudit.records import Example, Json, Matrix, Operator

WORTH = 0.25
"""A rank above this part of n is not low."""

SAMPLE = 48
"""Rows and columns of the displacement that are looked at first."""


class LowDisplacement(nn.Module):
    """``1/2 sum_k C(first[k]) S(second[k])`` on the last dimension, ``(..., n)`` to ``(..., n)``.

    C is the circulant matrix with that first column, S the skew-circulant one.

    Args:
        first: ``(r, n)``.
        second: ``(r, n)``.
        mirrored: whether the input is read backwards.
        bias: ``(n,)`` or None.
    """

    def __init__(self, first: Tensor, second: Tensor, mirrored: bool, bias: Tensor | None = None) -> None:
        super().__init__()
        self.first, self.second = owned(first), owned(second)
        self.mirrored = mirrored
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """The size, the rank of the displacement, and what the matrix is like."""
        rank, size = self.first.shape
        kind = "hankel" if self.mirrored else "toeplitz"
        return {"n": size, "rank": rank, "like": kind, "bias": self.bias is not None}

    def forward(self, inputs: Tensor) -> Tensor:
        """Convolve with every skew-circulant, then with every circulant, and add up."""
        size = self.first.shape[1]
        wide = widened(inputs.flip(-1) if self.mirrored else inputs).unsqueeze(-2)
        length = fast_length(2 * size - 1)
        spectrum = torch.fft.rfft(wide, n=length) * torch.fft.rfft(widened(self.second), n=length)
        whole = torch.fft.irfft(spectrum, n=length)
        turned = whole[..., :size] - F.pad(whole[..., size : 2 * size - 1], (0, 1))
        mixed = (torch.fft.rfft(turned) * torch.fft.rfft(0.5 * widened(self.first))).sum(-2)
        return plus(torch.fft.irfft(mixed, n=size), self.bias, inputs.dtype)


def propose(view: Matrix) -> LowDisplacement | None:
    """The factors of the displacement, of the matrix or of its mirror image, whichever has the lower rank."""
    weight = view.weight
    size = weight.shape[0]
    if weight.shape[1] != size or size < 16:
        return None
    found: list[LowDisplacement] = []
    for mirrored in (False, True):
        if not _looks_so(weight, mirrored) or not usable(view):
            continue
        layer = _fitted(view, mirrored)
        found += [] if layer is None else [layer]
    return min(found, key=lambda layer: len(layer.first), default=None)


def _looks_so(weight: Tensor, mirrored: bool) -> bool:
    """Whether some rows and columns of the displacement have a rank below a quarter of theirs."""
    size = len(weight)
    count = min(SAMPLE, size)
    rows, columns = torch.linspace(0, size - 1, count).long(), torch.linspace(0, size - 1, count).long()
    later = (columns + 1) % size
    sign = torch.where(columns == size - 1, -1.0, 1.0).to(weight.dtype)
    at, then = (size - 1 - columns, size - 1 - later) if mirrored else (columns, later)
    part = weight[(rows - 1)[:, None], at] - sign * weight[rows[:, None], then]
    return float(shares(part)[int(WORTH * count)]) >= 1 - NOISY**2 / 4


def _displacement(weight: Tensor) -> Tensor:
    """``Z W - W Z'``: rows moved down and round, columns to the left and round with a change of sign."""
    right = weight.roll(-1, 1)
    right[:, -1] *= -1
    return weight.roll(1, 0) - right


def _fitted(view: Matrix, mirrored: bool) -> LowDisplacement | None:
    weight = view.weight.flip(1) if mirrored else view.weight
    moved = _displacement(weight)
    generator = torch.Generator().manual_seed(0)
    worth = int(WORTH * len(weight))
    about = sketched_rank(moved, worth, view.noise, generator)
    if about == 0:
        return None
    left, values = leading_factors(moved, about, generator)
    rank = cliff(values, min(worth, about + 8), view.noise)
    if not 0 < rank <= worth:
        return None
    # the first factor as it will be stored, so that only the second one's rounding is left
    first = (left[:, :rank] * values[:rank].sqrt()).to(view.dtype).to(weight.dtype)
    second = torch.linalg.lstsq(first, moved).solution
    return LowDisplacement(first.T, second.flip(1), mirrored, kept_bias(view))


def _toeplitz(size: int, seed: int, diagonal: float = 0.0) -> NDArray[np.float64]:
    column, row = np.random.default_rng(seed).standard_normal((2, size))
    return np.asarray(scipy.linalg.toeplitz(column, row), dtype=np.float64) + diagonal * np.eye(size)


def _inverse(size: int, seed: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(_toeplitz(size, seed, 2 * size**0.5)), dtype=np.float64)


def _with_bias(size: int) -> Matrix:
    return stored(_toeplitz(size, 3) @ _toeplitz(size, 4), np.random.default_rng(5).standard_normal(size))


def _plus_low_rank(size: int) -> NDArray[np.float64]:
    first, second = np.random.default_rng(6).standard_normal((2, size))
    return _toeplitz(size, 7) + np.outer(first, second)


def _beside(size: int) -> NDArray[np.float64]:
    noise = np.random.default_rng(8).standard_normal((size, size))
    return _inverse(size, 8) + 0.001 * noise / size


def _orthogonal(size: int) -> NDArray[np.float64]:
    return np.asarray(np.linalg.qr(np.random.default_rng(4).standard_normal((size, size)))[0])


def _noisy(size: int) -> Matrix:
    clean = _inverse(size, 9)
    return stored(clean * (1 + 0.01 * np.random.default_rng(3).standard_normal(clean.shape)))


OPERATOR = Operator(
    "low-displacement",
    propose,
    finds=(
        Example("inverse of a Toeplitz matrix", lambda: stored(_inverse(64, 0))),
        Example("odd size", lambda: stored(_inverse(45, 1))),
        Example("product of two Toeplitz matrices, bias", lambda: _with_bias(60)),
        Example("Toeplitz plus rank one", lambda: stored(_plus_low_rank(72))),
        Example("inverse of a Hankel matrix", lambda: stored(np.fliplr(_inverse(64, 2)))),
    ),
    ignores=(
        Example("orthogonal at random", lambda: stored(_orthogonal(64))),
        Example("1 % noise", lambda: _noisy(64)),
        Example("a thousandth of another matrix", lambda: stored(_beside(64))),
    ),
)
