"""A linear map that is (part of) a discrete Hartley transform.

What it finds:    A matrix whose rows are different rows of the Hartley transform of any size, cos + sin of
                  Fourier bins: all of them, a range, a subset, in any order. A common gain or one a row,
                  signs of rows; with cos - sin, which are the same rows backwards, bins are counted the
                  other way (``sign`` -1). Usual normalisations are computed; another gain is stored as one
                  number or, where rows differ, m. Square ones are
                  also found under n scales and an order of their columns.
Why it matters:   m n numbers are none, and a product costs O(n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Rows are where the orthonormal transform of a row is one-hot.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored. Half
                  precision is transformed in float32. Below some hundred points a dense product can win.
Source:           Bracewell, The Hartley Transform (1986), chapters 3 and 4; J. Opt. Soc. Am. 73 (1983).
                  By real FFT: Sorensen et al., IEEE Trans. ASSP 33 (1985).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.noise import stored
from paramaudit.numerics.real_transforms import fitted, hartley
from paramaudit.numerics.transform_rows import TransformRows, nearest
from paramaudit.records import Example, Matrix, Operator


def propose(view: Matrix) -> TransformRows | Gauged | None:
    """The rows, counted the other way where only then they are a range; or columns scaled and reordered."""
    size = view.weight.shape[1]
    return fitted(view, "hartley", _plain(view)) if size >= 4 else None


def _plain(view: Matrix) -> TransformRows | None:
    size = view.weight.shape[1]
    found = nearest(view, [hartley(size)])
    if found is None or found.rows is None:
        return found
    other = nearest(view, [hartley(size, -1)])
    return found if other is None or other.rows is not None else other


def _matrix(size: int, sign: int = 1) -> NDArray[np.float64]:
    angle = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return np.asarray(np.cos(angle) + sign * np.sin(angle), dtype=np.float64)


def _shuffled(size: int) -> Matrix:
    """Half the rows in any order, signs at random, a bias."""
    rng = np.random.default_rng(size)
    rows = _matrix(size)[rng.permutation(size)[: size // 2]]
    return stored(rows * rng.choice([-1.0, 1.0], (len(rows), 1)), rng.standard_normal(len(rows)))


def _between(size: int, bins: float, points: float) -> Matrix:
    """Bins or points, or both, between those of the transform, as its other types have them."""
    angle = 2 * np.pi * np.outer(np.arange(size) + bins, np.arange(size) + points) / size
    return stored(np.cos(angle) + np.sin(angle))


def _turned(size: int) -> Matrix:
    """A phase of 40 degrees instead of 45."""
    angle = 2 * np.pi * (np.outer(np.arange(size), np.arange(size)) % size) / size
    return stored(np.sqrt(2) * np.cos(angle - np.deg2rad(40)))


def _one_row(size: int) -> Matrix:
    rows = _matrix(size)
    rows[5] = np.random.default_rng(2).standard_normal(size)
    return stored(rows)


def _noisy(size: int) -> Matrix:
    return stored(_matrix(size) * np.random.default_rng(3).normal(1, 0.01, (size, size)))


OPERATOR = Operator(
    "hartley",
    propose,
    finds=(
        Example("64 points", lambda: stored(_matrix(64))),
        Example("45 points, orthonormal", lambda: stored(_matrix(45) / np.sqrt(45))),
        Example("inverse, 48 points", lambda: stored(_matrix(48) / 48)),
        Example("other sign, 51 points, negative", lambda: stored(-_matrix(51, -1))),
        Example("rows 3 to 20 of 40", lambda: stored(_matrix(40)[3:21])),
        Example("any gain", lambda: stored(0.377 * _matrix(60))),
        Example("half the rows, shuffled, own signs, bias", lambda: _shuffled(90)),
        Example("a gain for every row", lambda: stored(np.linspace(-2, 3, 52)[:, None] * _matrix(52))),
        Example("eight points", lambda: stored(_matrix(8))),
    ),
    ignores=(
        Example("half a bin beside", lambda: _between(64, 0.5, 0.0)),
        Example("half a point beside", lambda: _between(64, 0.0, 0.5)),
        Example("half a bin and a point beside", lambda: _between(64, 0.5, 0.5)),
        Example("a phase of 40 degrees", lambda: _turned(64)),
        Example("49 points cut to 48", lambda: stored(_matrix(49)[:48, :48])),
        Example("one row replaced", lambda: _one_row(64)),
        Example("1 % noise", lambda: _noisy(64)),
    ),
    transposes=True,
)
