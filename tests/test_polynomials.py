"""Orthogonal polynomials under scales, dtypes and noise: scipy's are named; what is near them is not."""

from __future__ import annotations

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.special
import torch
from chains import product, runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import left_over, stored
from paramaudit.numerics.polynomials import Family, table, unit_steps
from paramaudit.operators.orthogonal_polynomial import propose
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=6, deadline=None, derandomize=True, database=None)

JACOBI = {
    (0.0, 0.0): "legendre",
    (-0.5, -0.5): "chebyshev-t",
    (0.5, 0.5): "chebyshev-u",
    (-0.5, 0.5): "chebyshev-v",
    (0.5, -0.5): "chebyshev-w",
    (1.0, 1.0): "gegenbauer-3/2",
    (1.0, 2.0): "jacobi",
    (3.0, 0.0): "jacobi",
}


def orthonormal(diagonal: Array, beside: Array) -> Array:
    """Eigenvectors of the Jacobi matrix (Golub and Welsch 1969): rows are degrees, columns Gauss nodes.

    Signs of columns are settled by the last row, which alternates; at the ends of the line the first is
    too small for a sign.
    """
    _, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside)
    size = len(vectors)
    return np.asarray(vectors * np.sign(vectors[-1]) * (-1.0) ** (size - 1 - np.arange(size)))


def jacobi(size: int, alpha: float, beta: float) -> Array:
    nodes, weights = scipy.special.roots_jacobi(size, alpha, beta)
    values = scipy.special.eval_jacobi(np.arange(size)[:, None], alpha, beta, nodes) * np.sqrt(weights)
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def hermite(size: int) -> Array:
    return orthonormal(np.zeros(size), np.sqrt(np.arange(1, size) / 2))


def laguerre(size: int, alpha: float) -> Array:
    k = np.arange(1, size)
    return orthonormal(2.0 * np.arange(size) + 1 + alpha, np.sqrt(k * (k + alpha)))


def truth(kind: str, size: int, rng: np.random.Generator) -> tuple[Array, dict[str, Any]]:
    if kind == "jacobi":
        alpha, beta = list(JACOBI)[int(rng.integers(len(JACOBI)))]
        name = JACOBI[alpha, beta]
        said = {"family": name} | ({"alpha": alpha, "beta": beta} if name == "jacobi" else {})
        return jacobi(size, alpha, beta), said
    if kind == "hermite":
        return hermite(size), {"family": "hermite", "nodes": "gauss-hermite"}
    alpha = float(rng.choice([0.0, 0.5, 2.0]))
    return laguerre(size, alpha), {"family": "laguerre", "alpha": alpha, "nodes": "gauss-laguerre"}


def graded(view: Matrix) -> tuple[Any, Tier, Array]:
    """The layer, its tier and its map."""
    layers = single(view)
    view = product(layers)
    layer = propose(view)
    if layer is None:
        return None, Tier.REFUTED, np.zeros(view.weight.shape)
    candidate = dense(layer, view.weight.shape[1], view.dtype)
    evidence = judge(view, candidate, runner(layers), torch.Generator().manual_seed(0))
    return layer, evidence.tier, candidate.weight.numpy()


@pytest.mark.parametrize("kind", ["jacobi", "hermite", "laguerre"])
@pytest.mark.parametrize("gauge", ["none", "D1 D2"])
@few
@given(SEEDS, st.integers(12, 200), st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_a_family_at_its_gauss_nodes_is_named(
    kind: str, gauge: str, seed: int, size: int, dtype: torch.dtype, transposed: bool
) -> None:
    rng = np.random.default_rng(seed)
    matrix, said = truth(kind, size, rng)
    if gauge != "none":
        rows, columns = (rng.uniform(0.5, 2, size) * rng.choice([-1, 1], size) for _ in range(2))
        matrix = rows[:, None] * matrix * columns
    view = stored(matrix.T if transposed else matrix, dtype=dtype)
    layer = propose(view)
    assert layer is not None
    found = dense(layer, size, dtype).weight.numpy()
    arguments = layer.arguments()
    if said["family"].startswith("chebyshev"):  # at its Gauss nodes, the transpose is one of another kind
        assert arguments["family"].startswith("chebyshev")
    else:
        assert {key: arguments[key] for key in said} == said
        assert arguments["transposed"] == transposed
    assert floats(layer) == (0 if gauge == "none" else 2 * size)
    bound = 1e-10 if dtype is torch.float64 else 2e-7
    off = np.linalg.norm((found.T if transposed else found) - matrix) / np.linalg.norm(matrix)
    assert off <= bound
    if dtype is torch.float32:
        assert graded(view)[1].safe


READ: dict[str, tuple[Any, dict[str, Any], int]] = {
    "legendre": (np.polynomial.legendre.legvander, {"family": "legendre"}, 120),
    "chebyshev": (np.polynomial.chebyshev.chebvander, {"family": "chebyshev-t"}, 120),
    "hermite": (np.polynomial.hermite.hermvander, {"family": "hermite"}, 120),
    "hermite-e": (np.polynomial.hermite_e.hermevander, {"family": "hermite-e"}, 120),
    "laguerre": (np.polynomial.laguerre.lagvander, {"family": "laguerre", "alpha": 0.0}, 120),
}


@pytest.mark.parametrize("kind", READ)
@pytest.mark.parametrize("seed", range(2))
def test_any_nodes_are_read_off_and_counted(kind: str, seed: int) -> None:
    build, said, most = READ[kind]
    rng = np.random.default_rng(seed)
    nodes = rng.exponential(2, 60) if kind == "laguerre" else rng.uniform(-1, 1, 60)
    layer, tier, _ = graded(stored(build(nodes, 9)))
    assert layer is not None
    assert tier.safe
    assert floats(layer) <= most
    arguments = layer.arguments()
    expected = {**said, "nodes": "stored", "transposed": True}
    assert {key: arguments[key] for key in expected} == expected


@pytest.mark.parametrize(("alpha", "beta"), [(0.501, 0.0), (0.3, 0.8), (0.1, 0.1)])
def test_an_exponent_beside_a_short_one_is_never_taken_for_it(alpha: float, beta: float) -> None:
    grid = np.linspace(-1, 1, 64)
    matrix = scipy.special.eval_jacobi(np.arange(9)[:, None], alpha, beta, grid)
    layer, tier, found = graded(stored(matrix))
    assert layer is not None
    # by how much products round differs between processors, and with it whether as small a gap is safe
    assert tier.safe or tier is Tier.BOUNDED
    assert np.linalg.norm(found - matrix) <= 2.0**-23 * np.linalg.norm(matrix)
    said = layer.arguments()
    assert said["family"] == "jacobi"
    assert (said["alpha"], said["beta"]) == pytest.approx((alpha, beta), abs=1e-6)
    assert floats(layer) == 2
    _, tier, found = graded(stored(jacobi(48, alpha, beta)))
    off = np.linalg.norm(found - jacobi(48, alpha, beta))
    assert not tier.safe or off <= 1e-5


def near_misses(rng: np.random.Generator, size: int) -> dict[str, Array]:
    legendre = jacobi(size, 0.0, 0.0)
    replaced = legendre.copy()
    replaced[size // 3] = rng.standard_normal(size) / np.sqrt(size)
    swapped = legendre.copy()
    swapped[[4, 5]] = swapped[[5, 4]]
    bumped = legendre * (1 + 1e-3 * (np.arange(size) == size // 2)[:, None] * (np.arange(size) == 3))
    return {
        "one row replaced": replaced,
        "two rows swapped": swapped,
        "one number off": bumped,
        "random": rng.standard_normal((size, size)),
        "smooth walks": np.cumsum(np.cumsum(rng.standard_normal((size, size)), 1), 1) / size**1.5,
        "powers": np.vander(np.linspace(-1, 1, size), 8, increasing=True).T,
    }


@settings(few, max_examples=2)
@given(SEEDS, st.integers(16, 64))
def test_a_near_miss_is_never_safe(seed: int, size: int) -> None:
    for name, matrix in near_misses(np.random.default_rng(seed), size).items():
        assert not graded(stored(matrix))[1].safe, name


@pytest.mark.parametrize("noise", ["float16", "bfloat16", "int8", "1 %", "10 %"])
@pytest.mark.parametrize("kind", ["legendre", "hermite", "laguerre"])
def test_noise_averages_out(kind: str, noise: str) -> None:
    size, rng = 96, np.random.default_rng(1)
    clean = {"legendre": jacobi(size, 0, 0), "hermite": hermite(size), "laguerre": laguerre(size, 0)}[kind]
    if noise == "int8":
        step = np.abs(clean).max(1, keepdims=True) / 127
        held = np.round(clean / step) * step
    elif noise.endswith("%"):
        held = clean + float(noise[:-1]) / 100 / np.sqrt(size) * rng.standard_normal(clean.shape)
    else:
        held = torch.from_numpy(clean).to(getattr(torch, noise)).double().numpy()
    view = Matrix(torch.from_numpy(held), None)
    layer = propose(view)
    assert layer is not None
    assert layer.arguments()["family"] == kind
    found = dense(layer, size, torch.float64).weight.numpy()
    assert np.linalg.norm(found - clean) <= 0.3 * np.linalg.norm(held - clean)


def test_a_kind_of_chebyshev_has_its_textbook_rows() -> None:
    theta = np.linspace(0.1, 3.0, 50)
    k = np.arange(7)[:, None]
    for name, values in (
        ("chebyshev-v", np.cos((k + 0.5) * theta) / np.cos(theta / 2)),
        ("chebyshev-w", np.sin((k + 0.5) * theta) / np.sin(theta / 2)),
    ):
        layer, tier, _ = graded(stored(values))
        assert layer is not None
        assert tier.safe
        assert layer.arguments()["family"] == name
        assert layer.arguments()["rows"] != "stored"
        assert not layer.arguments()["gain"]


def test_hermite_functions_store_the_ends_of_their_grid_and_a_gain() -> None:
    grid, k = np.linspace(-6, 6, 200), np.arange(20)[:, None]
    norms = np.sqrt(2.0**k * scipy.special.factorial(k) * np.sqrt(np.pi))
    layer, tier, _ = graded(stored(scipy.special.eval_hermite(k, grid) * np.exp(-(grid**2) / 2) / norms))
    assert layer is not None
    assert tier.safe
    assert floats(layer) <= 5
    said = layer.arguments()
    assert (said["family"], said["rows"], said["columns"]) == ("hermite", "unit length", "root of the weight")


def test_a_thousand_points_take_little_time() -> None:
    """Of the processor; a generic matrix is dismissed by a few of its rows."""
    generic = Matrix(torch.from_numpy(np.random.default_rng(0).standard_normal((1024, 1024))), None)
    spent = []
    for _ in range(5):
        start = time.process_time()
        assert propose(generic) is None
        spent.append(time.process_time() - start)
    assert min(spent) < 0.01
    view = stored(hermite(1024))
    layer = propose(view)
    assert layer is not None
    assert floats(layer) == 0
    found = dense(layer, 1024, torch.float64).weight
    assert left_over(found - view.weight, view.weight) <= 1e-7


@pytest.mark.parametrize("node", [0.5, 300.0, 16_000.0, 64_000.0])
def test_values_far_out_do_not_overflow(node: float) -> None:
    """Laguerre's by their recurrence in fractions (Abramowitz and Stegun, 22.7.12)."""
    degrees, x = 4096, Fraction(node)
    values = table(
        unit_steps(Family("laguerre", "laguerre"), degrees, torch.zeros(2, dtype=torch.float64)),
        torch.tensor([node], dtype=torch.float64),
    )
    before, value = Fraction(1), 1 - x
    for k in range(1, 200):
        before, value = value, ((2 * k + 1 - x) * value - k * before) / (k + 1)
    size = float(values.mantissas[200, 0].abs().log2() + values.exponents[200, 0])
    exact = math.log2(abs(value.numerator)) - math.log2(value.denominator)
    assert size == pytest.approx(exact, abs=1e-6)
    assert bool(values.mantissas.isfinite().all())
