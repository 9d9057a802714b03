"""What an audit tells of one matrix and one operator: the tier, and what was recognised."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.plan.offered import affine_evidence, arguments
from paramaudit.prove.affine import judge
from paramaudit.records import Evidence, Json, Matrix, Operator, Tier

Array = NDArray[np.float64]


def view_of(matrix: Array, dtype: torch.dtype = torch.float64) -> Matrix:
    """The matrix as a layer of that dtype holds it."""
    return Matrix(torch.from_numpy(matrix).to(dtype).to(torch.float64), None, dtype)


def verdict(operator: Operator, view: Matrix) -> tuple[Tier | None, dict[str, Json]]:
    """The tier and the arguments of what an operator proposes; None where it proposes nothing."""
    layer = operator.propose(view)
    if layer is None:
        return None, {}

    def run(inputs: Tensor) -> Tensor:
        return nn.functional.linear(inputs, view.weight.to(view.dtype))

    def judged(candidate: Matrix) -> Evidence:
        return judge(view, candidate, run, torch.Generator().manual_seed(0))

    return affine_evidence(layer, view, judged).tier, dict(arguments(layer))


def noisy(matrix: Array, part: float, seed: int) -> Array:
    """With Gaussian noise of so large a part of the root mean square."""
    rng = np.random.default_rng(seed)
    return matrix + part * np.sqrt(np.mean(matrix**2)) * rng.standard_normal(matrix.shape)
