"""What noise and short storage leave in doubt: outer columns, windows, gains, numbers beside blocks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.signal
import torch
from numpy.typing import NDArray
from verdicts import noisy, verdict, view_of

from paramaudit.operators import OPERATORS
from paramaudit.records import Json, Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS if operator.view is Matrix}


def told(name: str, matrix: Array, dtype: torch.dtype = torch.float64) -> tuple[Tier | None, dict[str, Json]]:
    return verdict(BY_NAME[name], view_of(matrix, dtype))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("column", ["1", "sqrt(2)", "2"])
@pytest.mark.parametrize(("name", "kind"), [("dct", 1), ("dct", 3), ("dst", 3)])
def test_outer_columns_are_told_from_all_rows(name: str, kind: int, column: str, seed: int) -> None:
    size = 193 + 16 * seed
    matrix = np.asarray(getattr(scipy.fft, name)(np.eye(size), kind, axis=0)) / np.sqrt(2 * size)
    places = {("dct", 1): [0, -1], ("dct", 3): [0], ("dst", 3): [-1]}[name, kind]
    matrix[:, places] *= {"1": 1.0, "sqrt(2)": np.sqrt(2), "2": 2.0}[column]
    tier, said = told(name, noisy(matrix, 0.3, seed))
    assert tier is Tier.SUSPECTED
    assert (said["type"], said["outer_column"]) == (kind, column)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("sym", [True, False], ids=["symmetric", "periodic"])
def test_like_windows_are_told_from_all_rows(sym: bool, seed: int) -> None:
    size = 240 + 17 * seed
    window = scipy.signal.windows.hann(size, sym=sym)
    frames = scipy.fft.rfft(np.diag(window), axis=0)
    matrix = np.concatenate([frames.real, frames.imag])
    tier, said = told("rdft", noisy(matrix, 0.3, seed))
    assert tier is Tier.SUSPECTED
    assert said["window"] == ("hann-symmetric" if sym else "hann")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("name", "kind"), [("dct", 2), ("dct", 3), ("dst", 3), ("dct", 4)])
def test_an_own_gain_keeps_more_digits_than_a_short_dtype_has(
    name: str, kind: int, dtype: torch.dtype
) -> None:
    size = 441
    gain = 1.0005673 / np.sqrt(2 * size)
    matrix = gain * np.asarray(getattr(scipy.fft, name)(np.eye(size), kind, axis=0))
    tier, said = told(name, matrix, dtype)
    assert tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED)
    assert said["type"] == kind
    layer = BY_NAME[name].propose(view_of(matrix, dtype))
    assert layer is not None
    made = layer.to(dtype).double()(torch.eye(size, dtype=torch.float64)).T.detach().numpy()
    assert np.abs(made - matrix).max() <= 2e-5 * np.abs(matrix).max()


@pytest.mark.parametrize("seed", range(6))
def test_what_stored_blocks_leave_is_noise_of_the_rest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = scipy.linalg.block_diag(*(rng.standard_normal((150, 150)) for _ in range(3)))
    matrix = noisy(matrix, 0.01, seed)
    matrix[0, -1] = 6.6 * 0.01 * np.sqrt(1 / 3) * np.sqrt(2 / 3)  # far for all entries, not for those beside
    tier, said = told("block-diagonal", matrix)
    assert tier is Tier.SUSPECTED
    assert said["blocks"] == [[3, 150, 150]]


def test_a_number_beside_blocks_is_no_noise() -> None:
    rng = np.random.default_rng(9)
    matrix = scipy.linalg.block_diag(*(rng.standard_normal((150, 150)) for _ in range(3)))
    matrix = noisy(matrix, 0.01, 9)
    matrix[0, -1] = 0.06
    tier, _ = told("block-diagonal", matrix)
    assert tier is Tier.REFUTED
