"""Structured matrices drawn at random, made with numpy and scipy alone: named, read off, graded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from chains import chain, product, runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.numerics.polynomial_scales import Scales
from paramaudit.numerics.polynomials import LEGENDRE
from paramaudit.operators import OPERATORS
from paramaudit.operators.orthogonal_polynomial import OrthogonalPolynomial
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS if operator.view is Matrix}
SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16])
few = settings(max_examples=6, deadline=None, derandomize=True, database=None)


def hankel(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    rows, columns = rng.integers(12, 96, 2)
    matrix = scipy.linalg.hankel(rng.standard_normal(rows), rng.standard_normal(columns))
    return matrix, rows + columns - 1, {"rows": rows, "columns": columns}


def identity(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    size = int(rng.integers(8, 97))
    return np.eye(size), 0, {"n": size}


def monomial(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    size = int(rng.integers(8, 97))
    gains = rng.uniform(0.3, 3.0, size) * rng.choice([-1.0, 1.0], size)
    return np.roll(np.diag(gains), 3, axis=0)[rng.permutation(size)], size, {"n": size, "stores": "gains"}


def signs(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    size = int(rng.integers(8, 97))
    turned = rng.choice([-1.0, 1.0], size)
    turned[0] = -1
    return np.diag(turned)[rng.permutation(size)], 0, {"n": size, "stores": "signs"}


def block_diagonal(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    shapes = [tuple(int(s) for s in shape) for shape in rng.integers(3, 20, (int(rng.integers(2, 5)), 2))]
    matrix = scipy.linalg.block_diag(*(rng.standard_normal(shape) for shape in shapes))
    rows, columns = rng.permutation(len(matrix)), rng.permutation(matrix.shape[1])
    blocks = [[shapes.count(shape), *shape] for shape in sorted(set(shapes))]
    return matrix[rows][:, columns], sum(r * c for r, c in shapes), {"blocks": blocks, "reordered": True}


def kronecker(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    m1, n1, m2, n2 = (int(p) for p in rng.choice([3, 5, 7], 4))
    matrix = np.kron(rng.standard_normal((m1, n1)), rng.standard_normal((m2, n2)))
    return matrix, m1 * n1 + m2 * n2, {"factors": [[m1, n1], [m2, n2]], "terms": 1}


def monarch(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    """``M[(l, j), (k, i)] = L[j, l, k] R[k, j, i]``: Dao et al. (2022), equation 1."""
    groups, blocks, tall, wide = (int(p) for p in rng.choice([5, 7, 11], 4))
    left, right = rng.standard_normal((groups, tall, blocks)), rng.standard_normal((blocks, groups, wide))
    matrix = np.einsum("jlk,kji->ljki", left, right).reshape(tall * groups, blocks * wide)
    return matrix, left.size + right.size, {"right": list(right.shape), "left": list(left.shape)}


def butterfly(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    levels = int(rng.integers(4, 7))
    size = 2**levels
    matrix = np.eye(size)
    for level in range(levels):
        apart = size >> (level + 1)
        one = np.zeros((size, size))
        places = np.arange(size)
        one[places, places] = rng.standard_normal(size)
        one[places, places ^ apart] = rng.standard_normal(size)
        matrix = matrix @ one
    return matrix, 2 * size * levels, {"n": size, "levels": levels, "widest": "last"}


def inverse(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    """The inverse of a Toeplitz matrix, displacement rank 2."""
    size = int(rng.integers(16, 97))
    matrix = scipy.linalg.toeplitz(*rng.standard_normal((2, size))) + 2 * np.sqrt(size) * np.eye(size)
    return np.linalg.inv(matrix), 4 * size, {"n": size, "rank": 2, "like": "toeplitz"}


def polynomials(rng: np.random.Generator) -> tuple[Array, int, dict[str, Any]]:
    """Chebyshev's of the first kind by their definition, ``cos(k arccos x)``, under a common gain."""
    degrees, points = int(rng.integers(5, 12)), int(rng.integers(24, 97))
    values = np.cos(np.arange(degrees)[:, None] * np.arccos(np.linspace(-1, 1, points)))
    return 0.37 * values, 1, {"family": "chebyshev-t", "nodes": "uniform", "rows": "textbook"}


PLANTS: dict[str, tuple[str, Callable[[np.random.Generator], tuple[Array, int, dict[str, Any]]]]] = {
    "identity": ("identity", identity),
    "monomial": ("monomial", monomial),
    "signs": ("monomial", signs),
    "hankel": ("hankel", hankel),
    "block-diagonal": ("block-diagonal", block_diagonal),
    "kronecker": ("kronecker", kronecker),
    "low-displacement": ("low-displacement", inverse),
    "monarch": ("monarch", monarch),
    "butterfly": ("butterfly", butterfly),
    "orthogonal-polynomial": ("orthogonal-polynomial", polynomials),
}
EACH = pytest.mark.parametrize("plant", PLANTS)


def graded(name: str, view: Matrix, widths: tuple[int, ...] = ()) -> tuple[Any, Evidence | None]:
    layers = chain(view, widths) if widths else single(view)
    seen = product(layers)
    layer = BY_NAME[name].propose(seen)
    if layer is None:
        return None, None
    candidate = dense(layer, seen.weight.shape[1], seen.dtype)
    return layer, judge(seen, candidate, runner(layers), torch.Generator().manual_seed(0))


@EACH
@few
@given(SEEDS, DTYPES)
def test_a_plant_is_named_and_read_off(plant: str, seed: int, dtype: torch.dtype) -> None:
    name, build = PLANTS[plant]
    matrix, numbers, arguments = build(np.random.default_rng(seed))
    layer, evidence = graded(name, stored(matrix, dtype=dtype))
    assert evidence is not None, "nothing was proposed"
    assert evidence.tier is not Tier.REFUTED, evidence.reason
    if dtype is torch.float32:
        assert evidence.tier.safe, evidence.reason
    assert floats(layer) == numbers
    said = layer.arguments()
    assert {key: said[key] for key in arguments} == arguments


@EACH
@few
@given(SEEDS)
def test_a_plant_is_proven_in_a_chain(plant: str, seed: int) -> None:
    name, build = PLANTS[plant]
    matrix, _, _ = build(np.random.default_rng(seed))
    _, evidence = graded(name, stored(matrix), (2 * matrix.shape[1],))
    assert evidence is not None
    assert evidence.tier.safe, evidence.reason


@EACH
@pytest.mark.parametrize("noise", [0.01, 0.1])
def test_noise_is_seen_through_and_never_safe(plant: str, noise: float) -> None:
    name, build = PLANTS[plant]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        clean, numbers, _ = build(rng)
        rms = np.sqrt(np.mean(clean**2))
        noisy = stored(clean + noise * rms * rng.standard_normal(clean.shape))
        layer, evidence = graded(name, noisy)
        if name == "low-displacement" or (noise > 0.01 and name == "block-diagonal"):
            assert evidence is None or not evidence.tier.safe  # these need a gap
            continue
        assert evidence is not None
        assert not evidence.tier.safe
        off = dense(layer, clean.shape[1], torch.float64).weight.numpy() - clean
        assert np.linalg.norm(off) <= 0.8 * noise * rms * np.sqrt(clean.size)
        assert floats(layer) <= max(numbers, clean.shape[0]) or name == "block-diagonal"  # blocks may join


@EACH
@few
@given(SEEDS)
def test_a_near_miss_is_not_safe(plant: str, seed: int) -> None:
    """One row replaced by another of the same length, or where that only adds to the rank, 1 % noise."""
    name, build = PLANTS[plant]
    rng = np.random.default_rng(seed)
    matrix, _, _ = build(rng)
    row = rng.integers(len(matrix))
    other = rng.standard_normal(matrix.shape[1])
    if name == "low-displacement":
        matrix = matrix * (1 + 0.01 * rng.standard_normal(matrix.shape))
    else:
        matrix[row] = other * np.linalg.norm(matrix[row]) / np.linalg.norm(other)
    _, evidence = graded(name, stored(matrix))
    assert evidence is None or not evidence.tier.safe, evidence.reason


def smallest(matrix: Array) -> str:
    """What the planner takes: the proven operator with the fewest numbers, then the first name."""
    found = []
    for name in sorted(BY_NAME):
        layer, evidence = graded(name, stored(matrix))
        if evidence is not None and evidence.tier.safe:
            found.append((floats(layer), name))
    return min(found)[1]


def _preferred() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    values = rng.standard_normal(63)
    return {
        "identity": np.eye(32),
        "permutation": np.eye(32)[rng.permutation(32)],
        "monomial": -np.eye(32)[rng.permutation(32)],
        "diagonal": np.diag(rng.standard_normal(32)),
        "circulant": scipy.linalg.circulant(values[:32]),
        "toeplitz": scipy.linalg.toeplitz(values[:32], values[31:]),
        "hankel": scipy.linalg.hankel(values[:32], values[31:]),
        "low-rank": np.outer(values[:32], values[31:]),
        "kronecker": np.kron(values[:16].reshape(4, 4), values[16:32].reshape(4, 4)),
        "block-diagonal": scipy.linalg.block_diag(*rng.standard_normal((4, 8, 8))),
    }


@pytest.mark.parametrize("name", _preferred())
def test_the_fewest_numbers_give_the_name(name: str) -> None:
    assert smallest(_preferred()[name]) == name


def test_legendre_at_a_thousand_gauss_nodes() -> None:
    """Against numpy's nodes and scipy's values: a node's last bit is worth k^2 / 2 of its polynomial's."""
    size = 1024
    nodes, weights = np.polynomial.legendre.leggauss(size)
    some = np.array([0, 1, 2, 3, 511, 1023])
    values = scipy.special.eval_legendre(some[:, None], nodes)
    matrix = values * np.sqrt((some + 0.5)[:, None] * weights)
    scales = Scales(LEGENDRE, False, True, "level", None, None)
    rows = OrthogonalPolynomial("gauss-legendre", (size, size), scales)
    found = rows.values(torch.device("cpu")).numpy()
    assert np.abs(found[some] - matrix).max() <= 1e-10
    np.testing.assert_allclose(found @ found.T, np.eye(size), rtol=0, atol=1e-10)
