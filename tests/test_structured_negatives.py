"""Matrices with nothing to recognise: no structured operator names one, and each says so quickly."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from verdicts import verdict

from paramaudit.numerics.noise import stored
from paramaudit.operators import OPERATORS
from paramaudit.records import Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS if operator.view is Matrix}
NAMES = (
    *("block-diagonal", "butterfly", "hankel", "identity", "kronecker"),
    *("low-displacement", "monarch", "monomial", "orthogonal-polynomial"),
)
GUESSES = ("block-diagonal",)
"""What is guessed of few numbers and falls to the law of chance; the others guess nothing."""


def generic(seed: int) -> Array:
    """Numbers with nothing to recognise: Gaussian, orthogonal, as after training, of heavy tails."""
    rng = np.random.default_rng(seed)
    rows, columns = (int(s) for s in rng.choice([8, 9, 12, 16, 20, 24], 2))
    kind = seed % 4
    if kind == 0:
        return rng.standard_normal((rows, columns))
    if kind == 1:
        return np.linalg.qr(rng.standard_normal((rows, rows)))[0]
    if kind == 2:
        low = rng.standard_normal((rows, 3)) @ rng.standard_normal((3, columns)) / 3
        return low + rng.standard_normal((rows, columns))
    return rng.standard_t(3, (rows, columns))


@pytest.mark.parametrize("kind", range(4), ids=["gaussian", "orthogonal", "low rank", "heavy tails"])
def test_generic_matrices_get_no_name(kind: int) -> None:
    claimed: dict[str, list[int]] = {}
    for seed in range(kind, 1000, 4):
        view = stored(generic(seed))
        for name in NAMES:
            if name in GUESSES:
                named = verdict(BY_NAME[name], view)[0] not in (None, Tier.REFUTED)
            else:
                named = BY_NAME[name].propose(view) is not None
            if named:
                claimed.setdefault(name, []).append(seed)
    assert claimed == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_generic_matrix_is_dismissed_quickly(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    view = Matrix(torch.randn(1024, 1024, dtype=torch.float64, generator=generator), None)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        assert BY_NAME[name].propose(view) is None
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02
