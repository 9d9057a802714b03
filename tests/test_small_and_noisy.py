"""A name for few numbers is told through noise where chance does not explain it, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from plants import eight_bits
from verdicts import noisy, verdict

from paramaudit.numerics.chance import log_chance, only_smooth
from paramaudit.numerics.noise import stored
from paramaudit.numerics.residual import noise_like
from paramaudit.numerics.storage import storage_noise
from paramaudit.operators import block_diagonal, circulant, fir, hankel, low_rank, toeplitz
from paramaudit.records import Matrix, Tier

Array = np.ndarray


@pytest.mark.parametrize(("left", "entries", "fitted"), [(0.3, 64, 15), (0.05, 256, 31), (0.4, 900, 450)])
def test_chance_is_that_of_a_projection(left: float, entries: int, fitted: int) -> None:
    law = scipy.stats.beta((entries - fitted) / 2, fitted / 2)
    assert log_chance(left, entries, fitted) == pytest.approx(law.logcdf(left**2), rel=1e-9)


@pytest.mark.parametrize("fitted", [1, 2, 15])
def test_far_out_chance_goes_on_as_it_came(fitted: int) -> None:
    """Below what a double holds the logarithm still falls by (N - k) for every factor e that less is left."""
    steps = [log_chance(10.0**-power, 64, fitted) for power in (8, 10, 12, 14)]
    assert np.diff(steps) == pytest.approx(-(64 - fitted) * np.log(100), rel=1e-6)


def test_nothing_left_and_nothing_free() -> None:
    assert log_chance(0.0, 64, 3) == -np.inf
    assert log_chance(0.1, 64, 64) == log_chance(1.0, 64, 3) == 0.0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", [0.01, 0.1])
def test_a_small_noisy_filter_has_its_name(seed: int, part: float) -> None:
    rng = np.random.default_rng(seed)
    toeplitz_matrix = scipy.linalg.toeplitz(rng.standard_normal(8), rng.standard_normal(8))
    assert verdict(toeplitz.OPERATOR, stored(noisy(toeplitz_matrix, part, seed)))[0] is Tier.SUSPECTED
    ring = scipy.linalg.circulant(rng.standard_normal(8))
    assert verdict(circulant.OPERATOR, stored(noisy(ring, part, seed)))[0] is Tier.SUSPECTED


@pytest.mark.parametrize("part", [0.1, 0.3])
@pytest.mark.parametrize("size", [8, 16])
def test_small_blocks_are_found_through_noise(size: int, part: float) -> None:
    """Blocks of one size, far from zero: where entries are near it no gap is left."""
    rng = np.random.default_rng(size)
    parts = rng.choice([-1.0, 1.0], (4, size, size)) * rng.uniform(0.8, 1.2, (4, size, size))
    view = stored(noisy(scipy.linalg.block_diag(*parts), part, 3))
    layer = block_diagonal.propose(view)
    assert layer is not None
    assert layer.arguments()["blocks"] == [[4, size, size]]
    assert verdict(block_diagonal.OPERATOR, view)[0] is Tier.SUSPECTED


@pytest.mark.parametrize("size", [8, 10, 16, 20])
def test_a_smooth_matrix_is_near_many_fits(size: int) -> None:
    walks = np.random.default_rng(size).standard_normal((size, size)).cumsum(1).cumsum(1)
    values = np.linalg.svd(walks, compute_uv=False)
    missed = float(np.sqrt((values[1:] ** 2).sum() / (values**2).sum()))
    assert only_smooth(torch.from_numpy(walks), missed, 2 * size)
    rough = np.random.default_rng(1).standard_normal((size, size))
    assert not only_smooth(torch.from_numpy(rough), 0.3, 2 * size)


@pytest.mark.parametrize("size", [8, 12, 20])
def test_few_numbers_of_something_else_are_no_noise(size: int) -> None:
    rng = np.random.default_rng(size)
    row, flipped, ramp = np.zeros((3, size, size))
    row[2] = rng.standard_normal(size)
    flipped[1, 3], flipped[4, 2] = 1.0, -1.0
    ramp += np.linspace(-1, 1, size) + 0.3 * rng.standard_normal((size, size))
    for damage in (row, flipped, ramp):
        assert not noise_like(torch.from_numpy(damage + 1e-6 * rng.standard_normal((size, size))))


def test_eight_bits_of_a_sparse_matrix_are_known() -> None:
    """A few taps among zeros: only the numbers that are not zero were rounded."""
    taps = np.random.default_rng(4).standard_normal(5)
    clean = scipy.linalg.toeplitz(np.r_[taps, np.zeros(55)], np.zeros(60))
    step = np.abs(clean).max(axis=1, keepdims=True) / 127
    held = torch.from_numpy(np.round(clean / step) * step)
    meant = torch.from_numpy(clean)
    assert storage_noise(held, meant).startswith("int8")
    assert not storage_noise(held, meant + 0.02 * torch.eye(60, dtype=torch.float64).flip(0))
    assert verdict(fir.OPERATOR, Matrix(held, None, torch.float64))[0] is Tier.BOUNDED


@pytest.mark.parametrize(("rows", "columns", "rank"), [(8, 8, 1), (17, 389, 1), (389, 17, 1), (30, 31, 3)])
def test_low_rank_of_few_rows_is_known_in_bfloat16(rows: int, columns: int, rank: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        product = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
        tier, said = verdict(low_rank.OPERATOR, stored(product, dtype=torch.bfloat16))
        assert tier in (Tier.ROUNDING, Tier.BOUNDED)
        assert said["rank"] == rank


@pytest.mark.parametrize("size", [32, 60, 129])
@pytest.mark.parametrize("seed", range(3))
def test_scaled_diagonals_are_known_in_eight_bits(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, last = rng.standard_normal((2, size))
    rows, columns = (rng.uniform(0.5, 2, size) * rng.choice([-1.0, 1.0], size) for _ in range(2))
    kinds = {
        toeplitz.OPERATOR: scipy.linalg.toeplitz(first, last),
        hankel.OPERATOR: scipy.linalg.hankel(first, last),
        circulant.OPERATOR: scipy.linalg.circulant(first),
    }
    for operator, plain in kinds.items():
        held = eight_bits(rows[:, None] * plain * columns)
        tier, said = verdict(operator, stored(held, dtype=torch.float64))
        assert tier is Tier.BOUNDED
        assert said["row_scale"] == said["column_scale"] == "stored"


@pytest.mark.parametrize("seed", range(8))
def test_a_short_filter_is_one_tap_exact_in_its_first_row(seed: int) -> None:
    taps = np.random.default_rng(seed).standard_normal(5)
    held = eight_bits(scipy.linalg.toeplitz(np.r_[taps, np.zeros(59)], np.zeros(64)))
    tier, said = verdict(fir.OPERATOR, stored(held, dtype=torch.float64))
    assert tier in (Tier.EXACT, Tier.BOUNDED)
    (found,) = said["filters"]
    assert np.abs(np.array(found) - taps).max() <= np.abs(taps).max() / 127
