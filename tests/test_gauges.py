"""Transforms whose rows and columns are reordered and scaled: named with their orders, and proven."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from chains import product, runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paramaudit.numerics.noise import stored
from paramaudit.operators import OPERATORS
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS}
SEEDS = st.integers(0, 2**31 - 1)
some = settings(max_examples=6, deadline=None, derandomize=True, database=None)


def found(
    name: str, weight: Array, dtype: torch.dtype = torch.float64
) -> tuple[Array, dict[str, Any], Evidence]:
    """The candidate's matrix, what it says of itself, and what the prover says."""
    layers = single(stored(weight, dtype=dtype))
    view = product(layers)
    layer = BY_NAME[name].propose(view)
    assert layer is not None
    candidate = dense(layer, weight.shape[1], dtype)
    evidence = judge(view, candidate, runner(layers), torch.Generator().manual_seed(0))
    return candidate.weight.numpy(), layer.arguments(), evidence


def off(candidate: Array, clean: Array) -> float:
    return float(np.linalg.norm(candidate - clean) / np.linalg.norm(clean))


def shuffled(weight: Array, rng: np.random.Generator) -> Array:
    return weight[rng.permutation(len(weight))][:, rng.permutation(weight.shape[1])]


def real_form(weight: NDArray[np.complex128]) -> Array:
    return np.block([[weight.real, -weight.imag], [weight.imag, weight.real]])


def fourier(size: int, rng: np.random.Generator) -> Array:
    """Shuffled, with complex scales of every row and column."""
    sides = rng.uniform(0.5, 2, (2, size)) * np.exp(2j * np.pi * rng.random((2, size)))
    return real_form(sides[0][:, None] * shuffled(np.fft.fft(np.eye(size)), rng) * sides[1])


def hadamard(size: int, rng: np.random.Generator) -> Array:
    sides = rng.uniform(0.5, 2, (2, size)) * rng.choice([-1.0, 1.0], (2, size))
    return sides[0][:, None] * shuffled(scipy.linalg.hadamard(size).astype(float), rng) * sides[1]


@some
@given(st.integers(8, 48), SEEDS, st.sampled_from([torch.float32, torch.float64]))
def test_fourier_under_every_gauge(size: int, seed: int, dtype: torch.dtype) -> None:
    weight = fourier(size, np.random.default_rng(seed))
    candidate, said, evidence = found("dft", weight, dtype)
    assert said["n"] == size
    assert said["rows"] == "permuted"
    assert said["columns"] == "permuted"
    assert off(candidate, weight) <= (1e-10 if dtype is torch.float64 else 1e-6)
    assert evidence.tier.value in ("exact", "rounding", "bounded")


@some
@given(st.sampled_from([8, 16, 32, 64]), SEEDS, st.sampled_from([torch.float32, torch.float64]))
def test_hadamard_under_every_gauge(size: int, seed: int, dtype: torch.dtype) -> None:
    weight = hadamard(size, np.random.default_rng(seed))
    candidate, said, evidence = found("hadamard", weight, dtype)
    assert said["n"] == size
    assert (said["row_scale"], said["column_scale"]) == ("stored", "stored")
    assert off(candidate, weight) <= (1e-10 if dtype is torch.float64 else 1e-6)
    assert evidence.tier.value in ("exact", "rounding", "bounded")


@pytest.mark.parametrize(
    ("name", "size", "noise"), [("dft", 60, 0.1), ("dft", 64, 0.3), ("hadamard", 128, 0.5)]
)
def test_noise_is_seen_through_and_never_safe(name: str, size: int, noise: float) -> None:
    rng = np.random.default_rng(size)
    if name == "dft":
        clean = np.exp(2j * np.pi * rng.random((size, 1))) * shuffled(np.fft.fft(np.eye(size)), rng)
        both = rng.standard_normal((2, size, size)) / np.sqrt(2)
        weight, truth = real_form(clean * (1 + noise * (both[0] + 1j * both[1]))), real_form(clean)
    else:
        truth = hadamard(size, rng)
        weight = truth * (1 + noise * rng.standard_normal(truth.shape))
    candidate, said, evidence = found(name, weight)
    assert said["n"] == size
    assert off(candidate, truth) <= 0.6 * noise
    assert not evidence.tier.safe


def test_orders_of_hadamard_rows_are_named_and_store_nothing() -> None:
    size = 32
    rows = scipy.linalg.hadamard(size).astype(float)
    changes = (np.diff(rows, axis=1) != 0).sum(1)
    dyadic = [int(f"{k:05b}"[::-1], 2) for k in range(size)]
    named = {"natural": rows, "sequency": rows[np.argsort(changes)], "dyadic": rows[dyadic]}
    for name, weight in named.items():
        candidate, said, evidence = found("hadamard", weight)
        assert (said["rows"], said["columns"], said["stores"]) == (name, "natural", [])
        assert np.array_equal(candidate, weight)
        assert evidence.tier.value == "exact"


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize("size", [12, 17, 32])
def test_plain_fourier_stores_nothing(size: int, norm: Any, sign: int) -> None:
    transform = np.fft.fft if sign < 0 else np.fft.ifft
    _, said, _ = found("dft", real_form(transform(np.eye(size), norm=norm)), torch.float32)
    assert (said["sign"], said["norm"], said["stores"]) == (sign, norm, [])
    assert (said["rows"], said["columns"]) == ("natural", "natural")


@some
@given(st.integers(9, 40), SEEDS, st.sampled_from([1, 2, 3, 4]), st.sampled_from(["dct", "dst"]))
def test_scales_of_rows_and_columns_are_seen_through(size: int, seed: int, kind: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.uniform(0.5, 2, (2, size))
    weight = rows[:, None] * getattr(scipy.fft, name)(np.eye(size), kind, axis=0) * columns
    candidate, said, evidence = found(name, weight)
    assert (said["type"], said["columns"]) == (kind, "natural")
    assert said["column_scale"] == "stored"
    assert off(candidate, weight) <= 1e-10
    assert evidence.tier.value in ("exact", "rounding", "bounded")


@pytest.mark.parametrize("miss", ["row", "signs", "twice"])
@pytest.mark.parametrize("name", ["dft", "hadamard"])
def test_near_misses_are_never_safe(name: str, miss: str) -> None:
    rng = np.random.default_rng(3)
    size = 64 if name == "hadamard" else 32
    weight = hadamard(size, rng) if name == "hadamard" else fourier(size, rng)
    if miss == "row":
        weight[5] = rng.standard_normal(weight.shape[1])
    elif miss == "twice":
        weight[5] = weight[6]
    else:
        weight = np.where(rng.random(weight.shape) < 0.01, -weight, weight)
    view = stored(weight)
    layer = BY_NAME[name].propose(view)
    if layer is not None:
        candidate = dense(layer, weight.shape[1], view.dtype)
        evidence = judge(view, candidate, runner(single(view)), torch.Generator().manual_seed(0))
        assert not evidence.tier.safe


@pytest.mark.parametrize("name", ["dft", "hadamard"])
def test_generic_matrices_are_not_proposed(name: str) -> None:
    for seed in range(1000):
        size = (8, 16)[seed % 2]
        weight = np.random.default_rng(seed).standard_normal((size, size))
        assert BY_NAME[name].propose(stored(weight)) is None
        assert BY_NAME[name].propose(stored(np.linalg.qr(weight)[0])) is None


@pytest.mark.parametrize("size", [32, 512, 2048])
def test_the_usual_gain_of_a_large_hadamard_matrix_is_no_stored_number(size: int) -> None:
    plain = scipy.linalg.hadamard(size) / np.sqrt(size)
    layer = BY_NAME["hadamard"].propose(stored(plain, dtype=torch.float64))
    assert layer is not None
    assert layer.arguments()["scale"] == "1/sqrt(n)"
    assert layer.arguments()["stores"] == []
