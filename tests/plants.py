"""Matrices of every operator at sizes drawn at random, made with numpy, scipy and pywt alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
from numpy.typing import NDArray

Array = NDArray[np.float64]
Random = np.random.Generator
Said = dict[str, Any]
Build = Callable[[Random, int], tuple[Array, Said]]


@dataclass(frozen=True)
class Plant:
    """One operator: how it is planted, and through what its recogniser says that it sees.

    Attributes:
        name: the operator's.
        build: the matrix at a size of at most so many, and arguments that must be read off it.
        gauges: what rows and columns may be multiplied by or moved, see :func:`gauged`.
        most: the largest size, where it takes long.
        noise: the largest relative noise under which it must still be proposed.
        also: other names that are right for the same matrix under a gauge.
        missed: the shorter formats under whose rounding it may go unseen, or be misread and refuted.
        blurred: more formats, when numbers were rounded to them once and are float32 now; "int8, scaled"
            when that is so under a gauge only.
        stateful: whether the graph says that the map updates its first inputs.
    """

    name: str
    build: Build
    gauges: tuple[str, ...] = ()
    most: int = 441
    noise: float = 0.1
    also: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    blurred: tuple[str, ...] = ()
    stateful: bool = False

    def hidden(self, short: str, gauge: str) -> bool:
        """Whether it may go unseen in float32 numbers that were rounded to a shorter format."""
        scaled = gauge != "none" and f"{short}, scaled" in self.blurred
        return scaled or short in (*self.missed, *self.blurred)


def drawn(rng: Random, least: int, most: int) -> int:
    """A size, small ones as likely as large ones."""
    return int(math.exp(rng.uniform(math.log(least), math.log(max(least, most) + 0.99))))


def signed(rng: Random, low: float, high: float, count: int) -> Array:
    return rng.uniform(low, high, count) * rng.choice([-1.0, 1.0], count)


# --- one number a row, blocks, products ----------------------------------------------------------


def identity(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 8, most)
    return np.eye(size), {"n": size}


def permutation(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 8, most)
    return np.eye(size)[[*rng.permutation(np.arange(1, size)).tolist(), 0]], {"n": size}


def diagonal(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 8, most)
    return np.diag(signed(rng, 0.5, 3, size)), {"n": size}


def monomial(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 8, most)
    gains = signed(rng, 0.5, 3, size)
    return gains[:, None] * np.roll(np.eye(size), 1, 0)[rng.permutation(size)], {"n": size, "stores": "gains"}


def block_diagonal(rng: Random, most: int) -> tuple[Array, Said]:
    count = int(rng.integers(2, 6))
    shapes = [(drawn(rng, 3, most // count), drawn(rng, 3, most // count)) for _ in range(count)]
    matrix = scipy.linalg.block_diag(*(rng.standard_normal(shape) for shape in shapes))
    return matrix, {"blocks": [[shapes.count(shape), *shape] for shape in sorted(set(shapes))]}


def low_rank(rng: Random, most: int) -> tuple[Array, Said]:
    rows, columns = drawn(rng, 16, most), drawn(rng, 16, most)
    rank = int(rng.integers(1, min(rows, columns) // 6 + 1))
    matrix = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    return matrix, {"rows": rows, "columns": columns, "rank": rank}


def kronecker(rng: Random, most: int) -> tuple[Array, Said]:
    side = math.isqrt(most)
    m1, n1, m2, n2 = (drawn(rng, 3, side) for _ in range(4))
    matrix = np.kron(rng.standard_normal((m1, n1)), rng.standard_normal((m2, n2)))
    return matrix, {"factors": [[m1, n1], [m2, n2]], "terms": 1}


def monarch(rng: Random, most: int) -> tuple[Array, Said]:
    """``M[(l, j), (k, i)] = L[j, l, k] R[k, j, i]``: Dao et al. (2022), equation 1."""
    side = math.isqrt(most)
    groups, blocks, tall, wide = (drawn(rng, 4, side) for _ in range(4))
    left, right = rng.standard_normal((groups, tall, blocks)), rng.standard_normal((blocks, groups, wide))
    matrix = np.einsum("jlk,kji->ljki", left, right).reshape(tall * groups, blocks * wide)
    return matrix, {"right": list(right.shape), "left": list(left.shape)}


def butterfly(rng: Random, most: int) -> tuple[Array, Said]:
    levels = int(rng.integers(4, most.bit_length()))
    size = 2**levels
    matrix, places = np.eye(size), np.arange(size)
    for level in range(levels):
        one = np.zeros((size, size))
        one[places, places], one[places, places ^ (size >> (level + 1))] = signed(
            rng, 0.5, 2, 2 * size
        ).reshape(2, -1)
        matrix = matrix @ one
    return matrix, {"n": size, "levels": levels}


# --- diagonals -----------------------------------------------------------------------------------


def toeplitz(rng: Random, most: int) -> tuple[Array, Said]:
    rows, columns = drawn(rng, 12, most), drawn(rng, 12, most)
    return scipy.linalg.toeplitz(rng.standard_normal(rows), rng.standard_normal(columns)), {
        "rows": rows,
        "columns": columns,
    }


def hankel(rng: Random, most: int) -> tuple[Array, Said]:
    matrix, said = toeplitz(rng, most)
    return matrix[::-1].copy(), said


def circulant(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 9, most)
    return scipy.linalg.circulant(rng.standard_normal(size)), {"n": size, "stores": "kernel"}


def low_displacement(rng: Random, most: int) -> tuple[Array, Said]:
    """The inverse of a Toeplitz matrix, displacement rank 2."""
    size = drawn(rng, 20, most)
    matrix = scipy.linalg.toeplitz(*rng.standard_normal((2, size))) + 2 * np.sqrt(size) * np.eye(size)
    return np.linalg.inv(matrix), {"n": size, "rank": 2, "like": "toeplitz"}


def lower(response: Array) -> Array:
    return scipy.linalg.toeplitz(response, np.zeros(len(response)))


def fir(rng: Random, most: int) -> tuple[Array, Said]:
    size, taps = drawn(rng, 24, most), int(rng.integers(2, 7))
    response = np.zeros(size)
    response[:taps] = signed(rng, 0.5, 2, taps)
    return lower(response), {"rows": size, "columns": size, "starts_at": 0}


def delay(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 24, most)
    response = np.zeros(size)
    response[rng.choice(np.arange(3, size // 2), 2, replace=False)] = signed(rng, 0.5, 1, 2)
    lags = np.flatnonzero(response)
    if lags[1] - lags[0] < 4:  # neighbours are a filter
        response[lags[1]], response[lags[0] + size // 4] = 0, response[lags[1]]
    return lower(response), {"rows": size, "columns": size}


def comb(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 32, most)
    spacing, gain = int(rng.integers(2, size // 6)), float(signed(rng, 0.5, 0.95, 1)[0])
    response = np.zeros(size)
    response[::spacing] = gain ** np.arange(len(response[::spacing]))
    return lower(response), {"rows": size, "columns": size}


def iir(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 40, most)
    radius, angle = rng.uniform(0.7, 0.97), rng.uniform(0.3, 2.8)
    below = [1.0, -2 * radius * np.cos(angle), radius**2]
    return lower(scipy.signal.lfilter([1.0], below, np.eye(1, size)[0])), {"rows": size, "columns": size}


def state_space(rng: Random, most: int) -> tuple[Array, Said]:
    states, inputs = drawn(rng, 2, most // 4), drawn(rng, 1, most // 4)
    step = rng.standard_normal((states, states))
    step *= 0.9 / np.abs(np.linalg.eigvals(step)).max()
    return np.concatenate([step, rng.standard_normal((states, inputs))], 1), {
        "states": states,
        "inputs": inputs,
    }


# --- transforms ----------------------------------------------------------------------------------


def dft(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 6, most // 2)
    sign = int(rng.choice([-1, 1]))
    waves = np.exp(sign * 2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)
    return np.block([[waves.real, -waves.imag], [waves.imag, waves.real]]), {"n": size, "sign": sign}


def rdft(rng: Random, most: int) -> tuple[Array, Said]:
    size, name = drawn(rng, 16, most), str(rng.choice(["boxcar", "hann", "hamming", "blackman"]))
    waves = np.fft.rfft(np.diag(scipy.signal.get_window(name, size)), axis=0)
    said = {"n": size, "window": "rectangular" if name == "boxcar" else name}
    return np.concatenate([waves.real, waves.imag]), said


def trigonometric(name: str) -> Build:
    def build(rng: Random, most: int) -> tuple[Array, Said]:
        size, kind = drawn(rng, 9, most), int(rng.integers(1, 5))
        return getattr(scipy.fft, name)(np.eye(size), kind, axis=0), {"n": size, "type": kind}

    return build


def hartley(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 9, most)
    angles = 2 * np.pi * np.outer(np.arange(size), np.arange(size)) / size
    return np.cos(angles) + np.sin(angles), {"n": size}


def hadamard(rng: Random, most: int) -> tuple[Array, Said]:
    size = 2 ** int(rng.integers(3, most.bit_length()))
    return scipy.linalg.hadamard(size).astype(np.float64), {"n": size}


def wavelet(rng: Random, most: int) -> tuple[Array, Said]:
    name = str(rng.choice(["haar", "db2", "db4", "sym5", "coif1", "bior2.2"]))
    level = int(rng.integers(1, 4))
    size = 2**level * drawn(rng, pywt.Wavelet(name).dec_len, max(most // 2**level, 16))
    columns = [np.concatenate(pywt.wavedec(e, name, "periodization", level)) for e in np.eye(size)]
    return np.stack(columns, 1), {"n": size, "wavelet": name, "level": level}


def polynomials(rng: Random, most: int) -> tuple[Array, Said]:
    """Legendre's at their Gauss nodes, rows and columns of unit length (Golub and Welsch, 1969)."""
    size = drawn(rng, 12, most)
    k = np.arange(1, size)
    _, vectors = scipy.linalg.eigh_tridiagonal(np.zeros(size), k / np.sqrt(4.0 * k**2 - 1))
    return vectors * np.sign(vectors[0]), {"family": "legendre", "degrees": size, "points": size}


def hilbert(rng: Random, most: int) -> tuple[Array, Said]:
    size = drawn(rng, 9, most)
    return scipy.signal.hilbert(np.eye(size), axis=0).imag, {"n": size, "gain": 1.0}


def mel(rng: Random, most: int) -> tuple[Array, Said]:
    """HTK mel triangles (Young et al., The HTK Book, 5.4)."""
    half, count = drawn(rng, 128, max(most, 160)), int(rng.integers(8, 25))
    rate = float(rng.choice([8000, 16000, 22050]))
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + rate / 1400), count + 2) / 2595) - 1)
    bins = np.linspace(0, rate / 2, half + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rise, fall)), {"n_fft": 2 * half, "n_mels": count, "scale": "htk"}


# --- disguises -----------------------------------------------------------------------------------


def gauged(matrix: Array, gauge: str, rng: Random) -> Array:
    """The matrix with P1, P2 (orders) and D1, D2 (scales with signs) of rows and of columns."""
    rows, columns = matrix.shape
    matrix = matrix[rng.permutation(rows)] if "P1" in gauge else matrix
    matrix = matrix[:, rng.permutation(columns)] if "P2" in gauge else matrix
    matrix = matrix * signed(rng, 0.5, 2, rows)[:, None] if "D1" in gauge else matrix
    return matrix * signed(rng, 0.5, 2, columns) if "D2" in gauge else matrix


def noisy(matrix: Array, amount: float, rng: Random) -> Array:
    """Gaussian noise of a part of the typical entry."""
    return matrix + amount * np.linalg.norm(matrix) / math.sqrt(matrix.size) * rng.standard_normal(
        matrix.shape
    )


def eight_bits(matrix: Array) -> Array:
    """Whole steps of 1/127 of the largest number of each row."""
    step = np.abs(matrix).max(1, keepdims=True) / 127
    return np.round(matrix / np.where(step > 0, step, 1)) * step


SCALED = ("D1", "D2", "D1 D2")
MOVED = ("P1", "P2", "P1 P2", "P1 P2 D1 D2")
UNDER_SCALES = ("float16, scaled", "bfloat16, scaled", "int8, scaled")
COSINES = ("dct", "dst", "orthogonal-polynomial")

PLANTS = (
    Plant("identity", identity),
    Plant("permutation", permutation, ("P1", "P2", "P1 P2")),
    Plant("diagonal", diagonal, SCALED),
    Plant("monomial", monomial, (*SCALED, *MOVED)),
    Plant("block-diagonal", block_diagonal, (*SCALED, *MOVED), noise=0.01),
    Plant("low-rank", low_rank, (*SCALED, *MOVED), blurred=("float16", "bfloat16", "int8")),
    Plant("kronecker", kronecker),
    Plant("monarch", monarch, SCALED, noise=0.0, missed=("bfloat16", "int8")),
    Plant("butterfly", butterfly, SCALED, most=128),
    Plant("toeplitz", toeplitz, SCALED, blurred=UNDER_SCALES),
    Plant("hankel", hankel, SCALED, blurred=UNDER_SCALES),
    Plant("circulant", circulant, SCALED, also=("toeplitz",), blurred=UNDER_SCALES),
    Plant("low-displacement", low_displacement, noise=0.0, missed=("float64", "bfloat16", "int8")),
    Plant("fir", fir),
    Plant("delay", delay, noise=0.0, missed=("int8",)),
    Plant("comb", comb),
    Plant("iir", iir, missed=("int8",)),
    Plant("state-space", state_space, stateful=True),
    Plant("dft", dft),
    Plant("rdft", rdft, ("D1",), missed=("bfloat16",)),
    Plant("dct", trigonometric("dct"), SCALED, also=COSINES),
    Plant("dst", trigonometric("dst"), SCALED, also=COSINES),
    Plant("hartley", hartley, SCALED),
    Plant("hadamard", hadamard, (*SCALED, *MOVED), most=128),
    Plant("wavelet", wavelet),
    Plant("orthogonal-polynomial", polynomials, SCALED),
    Plant("hilbert", hilbert),
    Plant("filter-bank", mel, ("D1",), noise=0.0),
)


def by_name(plants: Iterable[Plant] = PLANTS) -> dict[str, Plant]:
    return {plant.name: plant for plant in plants}
