"""What others answer on the atlas benchmark: a lookup, FAuST, and what low rank or sparsity alone leave."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import scipy.fft
import scipy.linalg
from atlas_cases import Array, complex_dft, hartley, rdft, real_dft, unit

Table = Mapping[str, Array]


def known(n: int) -> dict[str, Array]:
    """The matrices that a plain lookup compares with, each of average column length 1."""
    table: dict[str, Array] = {
        "identity": np.eye(n),
        "dft (complex)": complex_dft(n),
        "dft (real input)": real_dft(n),
        "rdft": rdft(n),
        "hartley": hartley(n),
    }
    for kind in (1, 2, 3, 4):
        table[f"dct-{kind}"] = scipy.fft.dct(np.eye(n), type=kind, axis=0)
        table[f"dst-{kind}"] = scipy.fft.dst(np.eye(n), type=kind, axis=0)
    if n & (n - 1) == 0:
        table["hadamard"] = scipy.linalg.hadamard(n).astype(float)
    return {name: unit(matrix) for name, matrix in table.items()}


def lookup(matrix: Array, table: Table) -> str | None:
    """The first known matrix that ``allclose`` accepts at the tolerance of float32."""
    for name, other in table.items():
        if other.shape == matrix.shape and np.allclose(matrix, other, rtol=1e-4, atol=1e-5):
            return name
    return None


def low_rank_error(matrix: Array, numbers: int) -> float:
    """The relative error that the best low-rank map leaves with this many numbers."""
    rank = max(1, numbers // sum(matrix.shape))
    values = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sqrt((values[rank:] ** 2).sum() / (values**2).sum()))


def sparse_error(matrix: Array, numbers: int) -> float:
    """The relative error that the largest entries alone leave."""
    sizes = np.sort(np.abs(matrix).ravel())[::-1]
    return float(np.sqrt((sizes[max(1, numbers) :] ** 2).sum() / (sizes**2).sum()))


def faust() -> Callable[[Array], tuple[float, float]] | None:
    """FAuST's butterfly factorisation: relative error and seconds, the better of both known permutations.

    None where pyfaust is not installed. Source: Zheng, Riccietti and Gribonval, Efficient identification of
    butterfly sparse matrix factorizations (2022).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pyfaust.fact import butterfly
    except ImportError:
        return None

    def factorise(matrix: Array) -> tuple[float, float]:
        start = time.perf_counter()
        errors = []
        for permutation in (None, "bitrev"):
            options = {} if permutation is None else {"perm": permutation}
            product = butterfly(matrix, type="bbtree", **options).toarray()
            errors.append(float(np.linalg.norm(product - matrix) / np.linalg.norm(matrix)))
        return min(errors), time.perf_counter() - start

    return factorise
