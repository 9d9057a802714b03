"""The atlas benchmark's negatives: matrices that no name is right for, many of them next to one.

A negative says which names would be wrong; ``None`` stands for every name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.linalg
from atlas_cases import Array, hartley, rdft, unit

SIZES = (16, 32, 64, 96, 128)


@dataclass(frozen=True)
class Negative:
    """One matrix and the names that are wrong for it."""

    kind: str
    matrix: Array
    wrong: frozenset[str] | None = None


def _gaussian(n: int, rng: np.random.Generator) -> Array:
    return rng.standard_normal((n, n))


def _orthogonal(n: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.standard_normal((n, n)))[0]


def _heavy(n: int, rng: np.random.Generator) -> Array:
    return rng.standard_t(3, (n, n))


def _trained(n: int, rng: np.random.Generator) -> Array:
    """Noise with a power law of singular values on top, as trained layers have."""
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for _ in range(2))
    return rng.standard_normal((n, n)) / math.sqrt(n) + (left / np.arange(1, n + 1) ** 0.7) @ right


def _uniform(n: int, rng: np.random.Generator) -> Array:
    return rng.uniform(-1, 1, (n, n))


def _signs(n: int, rng: np.random.Generator) -> Array:
    return rng.choice([-1.0, 1.0], (n, n))


def _smooth(n: int, rng: np.random.Generator) -> Array:
    """Smooth random walks, row by row."""
    return np.cumsum(np.cumsum(rng.standard_normal((n, n)), axis=1), axis=1) / n**1.5


def _cauchy(n: int, rng: np.random.Generator) -> Array:
    x, y = np.sort(rng.uniform(0, 1, n)), np.sort(rng.uniform(2, 3, n))
    return 1 / (x[:, None] - y) + 0.3 * rng.standard_normal((n, n))


def _gabor(n: int, rng: np.random.Generator) -> Array:
    """A bank of Gabor atoms of random centres, widths and phases, as learned front ends have."""
    t = np.arange(n)
    centre, width = rng.uniform(0.3, 0.7, (n, 1)) * n, rng.uniform(0.05, 0.3, (n, 1)) * n
    return np.exp(-(((t - centre) / width) ** 2)) * np.cos(
        rng.uniform(0.05, 3, (n, 1)) * t + rng.uniform(0, 6, (n, 1))
    )


def paley(q: int) -> Array:
    """The Paley Hadamard matrix of order q + 1, q a prime that leaves 3 modulo 4."""
    squares = {(k * k) % q for k in range(1, q)}
    chi = np.array([0] + [1 if k in squares else -1 for k in range(1, q)], dtype=float)
    core = np.array([[chi[(j - i) % q] for j in range(q)] for i in range(q)])
    skew = np.block([[np.zeros((1, 1)), np.ones((1, q))], [-np.ones((q, 1)), core]])
    return skew + np.eye(q + 1)


def two_dimensional(m: int) -> Array:
    """The Fourier transform of an m x m torus in real form; as long as that of a circle of m^2."""
    one = np.fft.fft(np.eye(m))
    both = np.kron(one, one)
    return np.concatenate([both.real, both.imag])


_KINDS: tuple[tuple[str, Callable[[int, np.random.Generator], Array]], ...] = (
    ("Gaussian", _gaussian),
    ("random orthogonal", _orthogonal),
    ("heavy tails", _heavy),
    ("power-law spectrum", _trained),
    ("uniform", _uniform),
    ("random signs", _signs),
    ("smooth random walks", _smooth),
    ("noisy Cauchy", _cauchy),
    ("Gabor atoms", _gabor),
)


def _operators(n: int) -> Iterator[tuple[str, str, Array]]:
    """Operators with their names, to be damaged."""
    for kind in (1, 2, 3, 4):
        yield f"dct-{kind}", "dct", scipy.fft.dct(np.eye(n), type=kind, axis=0, norm="ortho")
        yield f"dst-{kind}", "dst", scipy.fft.dst(np.eye(n), type=kind, axis=0, norm="ortho")
    yield "hartley", "hartley", hartley(n)
    yield "rdft", "rdft", rdft(n)
    if n & (n - 1) == 0:
        yield "hadamard", "hadamard", scipy.linalg.hadamard(n).astype(float)


def _damaged(n: int, rng: np.random.Generator) -> Iterator[Negative]:
    for label, name, matrix in _operators(n):
        one = unit(matrix)
        row = one.copy()
        row[rng.integers(len(row))] = rng.standard_normal(n) * math.sqrt(np.mean(one**2))
        yield Negative(f"{label}, one row replaced", row, frozenset({name}))
        flipped = one * np.where(rng.random(one.shape) < max(0.01, 2 / one.size), -1, 1)
        if np.abs(flipped - one).max() > 0.1 * np.abs(one).max():
            yield Negative(f"{label}, 1 % of signs flipped", flipped, frozenset({name}))


def negatives(count: int, seed: int = 0) -> Iterator[Negative]:
    """At least ``count`` negatives of every kind in turn."""
    made = 0
    while made < count:
        rng = np.random.default_rng([seed, made])
        n = SIZES[int(rng.integers(len(SIZES)))]
        batch = [Negative(kind, build(n, rng)) for kind, build in _KINDS]
        batch += _damaged(n, rng)
        if n == 128:
            batch.append(Negative("Paley", paley(127), frozenset({"hadamard"})))
            batch.append(Negative("Z16 x Z16 as Z256", two_dimensional(16), frozenset({"dft", "rdft"})))
        for negative in batch:
            made += 1
            yield negative
