"""What looking at a matrix costs, and that moments of a few rows tell full rank from low rank."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor

from paramaudit.numerics.moments import emptiness
from paramaudit.operators import looking_at
from paramaudit.records import Matrix


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize("shape", [(256, 256), (1100, 1100), (700, 1400), (300, 1200)])
def test_a_gaussian_matrix_has_the_emptiness_of_its_law(shape: tuple[int, int]) -> None:
    """The Christoffel function at zero of the Marchenko-Pastur law, from its moments."""
    c = shape[0] / shape[1]
    moments = [1.0, 1.0, 1 + c, 1 + 3 * c + c**2, 1 + 6 * c + 6 * c**2 + c**3]
    hankel = np.array([[moments[i + j] for j in range(3)] for i in range(3)])
    expected = 1 / np.linalg.inv(hankel)[0, 0]
    empty = emptiness(gaussian(*shape), torch.Generator().manual_seed(0))
    assert expected - 0.03 <= empty <= expected + 0.1


@pytest.mark.parametrize("size", [96, 640, 1500])
@pytest.mark.parametrize("kind", ["product", "projector", "rows twice"])
def test_low_rank_is_never_dismissed(kind: str, size: int) -> None:
    rank = size // 2 - 1
    if kind == "product":
        matrix = gaussian(size, rank) @ gaussian(rank, size, seed=1)
    elif kind == "projector":
        basis = torch.linalg.qr(gaussian(size, rank)).Q
        matrix = basis @ basis.T
    else:
        matrix = gaussian(size // 2, size).repeat(2, 1)
        rank = size // 2
    empty = emptiness(matrix, torch.Generator().manual_seed(0))
    assert empty >= 0.9 * (1 - rank / size)


def test_a_matrix_that_is_not_finite_says_nothing() -> None:
    matrix = gaussian(64, 64)
    matrix[3, 5] = float("nan")
    assert emptiness(matrix, torch.Generator().manual_seed(0)) == float("inf")


@pytest.mark.slow
def test_all_operators_dismiss_a_large_gaussian_matrix_in_a_fifth_of_a_second() -> None:
    """Time of the processor, so that what else the machine does is no part of it; the best of three."""
    view = Matrix(gaussian(4096, 4096), None, torch.float32)
    spent = []
    for _ in range(3):
        start = time.process_time()
        assert [operator.name for operator in looking_at(Matrix) if operator.propose(view) is not None] == []
        spent.append(time.process_time() - start)
    assert min(spent) < 0.2
