"""What is noise in the numbers of a view, and what is not."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.records import Matrix

NOISY = 0.4
"""A fit that leaves more than this part of the Frobenius norm is no fit."""

SIGMAS = 6.0
"""A number within this many standard deviations of a clean one is taken for the clean one."""


def usable(view: Matrix) -> bool:
    """Whether there is anything to recognise: some number is not zero, and none is NaN or infinite."""
    if not view.weight.numel():
        return False
    low, high = torch.aminmax(view.weight)  # no copy is made, and NaN comes through
    return 0.0 < max(-float(low), float(high)) < math.inf


def finite(tensor: Tensor) -> bool:
    """Whether no number of a floating-point tensor is NaN or infinite."""
    if not tensor.numel():
        return True
    if tensor.element_size() < 2:  # formats that know no order
        return bool(tensor.to(torch.float32).isfinite().all())
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor))  # no copy; NaN comes through


def left_over(residual: Tensor, matrix: Tensor) -> float:
    """The Frobenius norm of a residual as a part of the matrix's; 1 for a zero matrix."""
    whole = float(torch.linalg.vector_norm(matrix))
    return float(torch.linalg.vector_norm(residual)) / whole if whole > 0 else 1.0


def spread(residual: Tensor, fitted: int) -> float:
    """The standard deviation of a residual's entries after ``fitted`` numbers were fitted."""
    free = max(1, residual.numel() - fitted)
    return float(torch.linalg.vector_norm(residual)) / math.sqrt(free)


def kept_bias(view: Matrix) -> Tensor | None:
    """The bias ``(out,)``, or None when it is what cancelling biases leave behind.

    That is at most 64 times the dtype's resolution times the longest row of the weight. Whether
    leaving it out is safe is for the prover to say.
    """
    if view.bias is None:
        return None
    longest = float(view.weight.square().sum(1).max().sqrt())
    if float(view.bias.abs().max()) <= 128 * view.noise * longest:
        return None
    return view.bias.clone()


def stored(
    weight: NDArray[np.float64], bias: NDArray[np.float64] | None = None, dtype: torch.dtype = torch.float32
) -> Matrix:
    """The view of an array as a checkpoint of that dtype would hold it: rounded, then read in float64.

    Args:
        weight: ``(out, in)``.
        bias: ``(out,)`` or None.
        dtype: the checkpoint's dtype.
    """

    def rounded(array: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float64)).to(dtype).to(torch.float64)

    return Matrix(rounded(weight), None if bias is None else rounded(bias), dtype)
