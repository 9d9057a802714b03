"""Toeplitz, Hankel and circulant matrices under scales; truths are scipy's own matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from chains import Layers, chain, product, runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.operators import OPERATORS
from paramaudit.plan.offered import affine_evidence
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS}
NAMES = ("toeplitz", "hankel", "circulant")
SEEDS = st.integers(0, 2**31 - 1)
some = settings(max_examples=2, deadline=None, derandomize=True, database=None)


def core(name: str, size: int, rng: np.random.Generator) -> Array:
    if name == "circulant":
        return np.asarray(scipy.linalg.circulant(rng.standard_normal(size)))
    make = scipy.linalg.toeplitz if name == "toeplitz" else scipy.linalg.hankel
    return np.asarray(make(rng.standard_normal(size), rng.standard_normal(size)))


def scales(size: int, rng: np.random.Generator) -> Array:
    return rng.uniform(0.2, 5, size) * rng.choice([-1.0, 1.0], size)


def under(matrix: Array, gauge: str, rng: np.random.Generator) -> Array:
    rows, columns = (scales(size, rng) for size in matrix.shape)
    matrix = matrix * rows[:, None] if "D1" in gauge else matrix
    return matrix * columns if "D2" in gauge else matrix


def layers_of(matrix: Array, dtype: torch.dtype, hidden: bool = False) -> Layers:
    view = stored(matrix, dtype=dtype)
    return chain(view, (2 * matrix.shape[1],)) if hidden else single(view)


def judged(name: str, layers: Layers) -> tuple[Any, Array, Evidence]:
    view = product(layers)
    layer = BY_NAME[name].propose(view)
    assert layer is not None, "nothing was proposed"
    candidate = dense(layer, view.weight.shape[1], view.dtype)
    evidence = affine_evidence(
        layer, view, lambda other: judge(view, other, runner(layers), torch.Generator().manual_seed(0))
    )
    return layer, candidate.weight.numpy(), evidence


def off(found: Array, clean: Array) -> float:
    return float(np.linalg.norm(found - clean) / np.linalg.norm(clean))


@pytest.mark.parametrize("gauge", ["D1", "D2", "D1 D2"])
@pytest.mark.parametrize("name", NAMES)
@some
@given(SEEDS, st.integers(12, 60), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_scales_are_seen_through(
    name: str, gauge: str, seed: int, size: int, hidden: bool, dtype: torch.dtype
) -> None:
    rng = np.random.default_rng(seed)
    clean = under(core(name, size, rng), gauge, rng)
    layer, found, evidence = judged(name, layers_of(clean, dtype, hidden))
    # in float64 a proof by FFT can be as coarse as the numbers, and is then a bound
    assert evidence.tier.safe or (dtype == torch.float64 and evidence.tier is Tier.BOUNDED), evidence.reason
    assert off(found, clean) <= (1e-12 if dtype == torch.float64 else 1e-6)
    numbers = (size if name == "circulant" else 2 * size - 1) + size * (1 + ("D1 D2" in gauge))
    assert floats(layer) <= numbers
    said = layer.arguments()
    assert (said["row_scale"] != "1", said["column_scale"] != "1") == ("D1" in gauge, "D2" in gauge)


@pytest.mark.parametrize("name", NAMES)
def test_signs_alone_are_stored_as_signs(name: str) -> None:
    rng = np.random.default_rng(3)
    matrix = core(name, 48, rng) * rng.choice([-1.0, 1.0], 48)[:, None]
    layer, _, evidence = judged(name, layers_of(matrix, torch.float32))
    assert evidence.tier.safe
    said = layer.arguments()
    assert (said["row_scale"], said["column_scale"]) in (("signs", "1"), ("signs", "signs"))


@pytest.mark.parametrize("size", [32, 45, 200])
@pytest.mark.parametrize("name", NAMES)
def test_named_through_ten_per_cent_of_noise_and_never_safe(name: str, size: int) -> None:
    rng = np.random.default_rng(size)
    clean = under(core(name, size, rng), "D1 D2", rng)
    noise = 0.1 * np.linalg.norm(clean) / size * rng.standard_normal((size, size))
    _, found, evidence = judged(name, layers_of(clean + noise, torch.float32))
    assert evidence.tier is Tier.SUSPECTED, evidence.reason
    assert off(found, clean) <= 0.06


def test_a_kernel_of_powers_is_one() -> None:
    """``q^(i j)`` is ``q^(i^2/2) q^(j^2/2) q^(-(i-j)^2/2)``; Bluestein, IEEE Trans. AU-18 (1970)."""
    steps = np.arange(40)
    layer, _, evidence = judged("toeplitz", layers_of(0.99 ** np.outer(steps, steps), torch.float32))
    assert evidence.tier.safe, evidence.reason
    assert floats(layer) <= 40 + 40 + 79


@pytest.mark.parametrize("shape", [(30, 71), (71, 30), (9, 200)])
def test_any_shape(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    clean = under(
        scipy.linalg.toeplitz(rng.standard_normal(shape[0]), rng.standard_normal(shape[1])), "D1 D2", rng
    )
    for name, matrix in (("toeplitz", clean), ("hankel", clean[:, ::-1].copy())):
        _, found, evidence = judged(name, layers_of(matrix, torch.float32))
        assert evidence.tier.safe, evidence.reason
        assert off(found, matrix) <= 1e-6


def negatives(size: int) -> dict[str, Array]:
    rng = np.random.default_rng(size)
    left, right = rng.standard_normal(size), rng.standard_normal(size)
    replaced = under(core("toeplitz", size, rng), "D1 D2", rng)
    replaced[size // 2] = rng.standard_normal(size)
    steps = np.arange(size)
    wandering = 1 + 0.2 * np.sin(np.outer(steps, steps) / size)
    two = np.zeros((size, size))
    two[steps, steps], two[steps[1:], steps[:-1]] = left, right[1:]
    return {
        "cauchy": 1 / (np.sort(rng.uniform(0, 1, size))[:, None] + np.sort(rng.uniform(1, 2, size))),
        "cauchy of signs": 1 / np.subtract.outer(np.sort(left), np.sort(right) + 0.003),
        "rank one": np.outer(left, right),
        "rank one, noisy": np.outer(left, right) + 1e-3 * rng.standard_normal((size, size)),
        "smooth walks": rng.standard_normal((size, size)).cumsum(1),
        "smooth in both": rng.standard_normal((size, size)).cumsum(1).cumsum(0),
        "one row replaced": replaced,
        "wandering gain": core("toeplitz", size, rng) * wandering,
        "two diagonals": two,
        "gaussian": rng.standard_normal((size, size)),
        "diagonal": np.diag(left),
    }


@pytest.mark.parametrize("size", [24, 64])
@pytest.mark.parametrize("kind", list(negatives(8)))
def test_what_is_none_gets_no_name(kind: str, size: int) -> None:
    matrix = negatives(size)[kind]
    for name in NAMES:
        layers = layers_of(matrix, torch.float32)
        if BY_NAME[name].propose(product(layers)) is not None:
            layer, _, evidence = judged(name, layers)
            # two diagonals are their own 2 n - 1 numbers; nothing is saved and nothing may be said
            assert evidence.tier is Tier.REFUTED, (kind, name, evidence.reason, floats(layer))


@pytest.mark.parametrize("name", NAMES)
@some
@given(SEEDS, st.integers(16, 60))
def test_a_number_changed_by_a_per_cent_is_not_proven(name: str, seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = under(core(name, size, rng), "D1 D2", rng)
    row = int(rng.integers(size))
    matrix[row, np.abs(matrix[row]).argmax()] *= 1.01
    layers = layers_of(matrix, torch.float32)
    if BY_NAME[name].propose(product(layers)) is not None:
        assert not judged(name, layers)[2].tier.safe


@pytest.mark.parametrize("hostile", [np.nan, np.inf, 1e300, 0.0])
def test_hostile_numbers_are_looked_at_without_harm(hostile: float) -> None:
    rng = np.random.default_rng(0)
    for name in NAMES:
        matrix = under(core(name, 20, rng), "D1 D2", rng)
        matrix[3] = hostile
        view = stored(matrix, dtype=torch.float64)
        layer = BY_NAME[name].propose(view)
        assert layer is None or bool(torch.isfinite(dense(layer, 20, torch.float64).weight).all())


@pytest.mark.parametrize("name", ["toeplitz", "hankel"])
@pytest.mark.parametrize("size", [32, 60, 96, 257])
def test_eight_bits_a_row_are_called_by_their_name(name: str, size: int) -> None:
    """Means of diagonals are off by more than half a step; what was stored is not."""
    rng = np.random.default_rng(size)
    clean = core(name, size, rng)
    step = np.abs(clean).max(1, keepdims=True) / 127
    layer, _, evidence = judged(name, layers_of(np.round(clean / step) * step, torch.float32))
    assert evidence.tier is Tier.BOUNDED, evidence.reason
    assert "int8" in evidence.reason
    assert floats(layer) == 2 * size - 1
