"""A linear map that is (part of) a discrete sine transform.

What it finds:    A matrix whose rows are different rows of the discrete sine transform of type 1, 2, 3 or 4
                  of any size: all of them, a range, a subset, in any order. A common gain or one a row,
                  signs of rows, and the last row of type 2 and the last column of type 3 weighted as in the
                  plain, the orthonormal, a transposed or an inverse transform (type 3 is the inverse and the
                  transpose of type 2; 1 and 4 are their own). Usual normalisations are computed; another
                  gain is stored as one number or, where rows differ, m. Square ones are also
                  found under n scales and an order of their columns.
Why it matters:   m n numbers are none, and a product costs O(n log n).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. Type and rows are where the orthonormal transform of a row is one-hot; the last
                  column's weight is the one under which least is left beside that.
Swap safety:      Exact at any input of n numbers. Nothing trainable remains unless a gain is stored. Half
                  precision is transformed in float32. Below some hundred points a dense product can win.
Source:           Britanak, Yip and Rao, Discrete Cosine and Sine Transforms (2007), chapters 2 and 4 (types
                  2 to 4 as cosine transforms of turned or alternating points).
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from paramaudit.numerics.gauge import Gauged
from paramaudit.numerics.noise import stored
from paramaudit.numerics.real_transforms import fitted, sine
from paramaudit.numerics.transform_rows import TransformRows, nearest
from paramaudit.records import Example, Matrix, Operator


def propose(view: Matrix) -> TransformRows | Gauged | None:
    """The nearest of the four types; where none is very near, under scales and an order of the columns."""
    size = view.weight.shape[1]
    if size < 4:
        return None
    return fitted(view, "dst", nearest(view, [sine(size, kind) for kind in (2, 4, 3, 1)]))


def _matrix(size: int, kind: int, norm: str = "backward") -> NDArray[np.float64]:
    return np.asarray(scipy.fft.dst(np.eye(size), kind, norm=norm, axis=0), dtype=np.float64)


def _own_signs(size: int) -> Matrix:
    """A third of the rows in any order, signs at random, a bias."""
    rng = np.random.default_rng(size)
    rows = _matrix(size, 1)[rng.permutation(size)[: size // 3]]
    return stored(rows * rng.choice([-1.0, 1.0], (len(rows), 1)), rng.standard_normal(len(rows)))


def _beside_type_1(size: int, bins: float) -> Matrix:
    """Sines that end at n + 1 points, at frequencies that are off by a part of a bin."""
    return stored(
        np.sin(np.pi * np.outer(np.arange(1, size + 1) + bins, np.arange(1, size + 1)) / (size + 1))
    )


def _one_column(size: int) -> Matrix:
    """Type 3 with a last column that is 1.2 times what it should be."""
    rows = _matrix(size, 3, "ortho")
    rows[:, -1] *= 1.2
    return stored(rows)


OPERATOR = Operator(
    "dst",
    propose,
    finds=(
        Example("type 2 of 64", lambda: stored(_matrix(64, 2))),
        Example("type 2 of 45, orthonormal", lambda: stored(_matrix(45, 2, "ortho"))),
        Example("type 1 of 33", lambda: stored(_matrix(33, 1))),
        Example("type 1 of 40, orthonormal", lambda: stored(_matrix(40, 1, "ortho"))),
        Example("type 3 of 51, orthonormal", lambda: stored(_matrix(51, 3, "ortho"))),
        Example("type 2 of 48, inverse", lambda: stored(scipy.fft.idst(np.eye(48), 2, axis=0))),
        Example("type 2 of 37, transposed", lambda: stored(_matrix(37, 2).T)),
        Example("type 4 of 96, orthonormal", lambda: stored(_matrix(96, 4, "ortho"))),
        Example("type 4 of 57, negative", lambda: stored(-_matrix(57, 4))),
        Example("rows 1 to 12 of 40", lambda: stored(_matrix(40, 2, "ortho")[1:13])),
        Example("any gain", lambda: stored(0.377 * _matrix(60, 3))),
        Example("a third of the rows, own signs, bias", lambda: _own_signs(90)),
        Example("a gain for every row", lambda: stored(np.linspace(-2, 3, 52)[:, None] * _matrix(52, 2))),
        Example("eight points", lambda: stored(_matrix(8, 2, "ortho"))),
        Example("type 3 with one column scaled", lambda: _one_column(64)),
    ),
    ignores=(
        Example("cosine transform, type 2", lambda: stored(scipy.fft.dct(np.eye(48), 2, axis=0))),
        Example("cosine transform, type 4", lambda: stored(scipy.fft.dct(np.eye(48), 4, axis=0))),
        Example("a quarter of a bin beside type 1", lambda: _beside_type_1(64, 0.25)),
        Example("49 points cut to 48", lambda: stored(_matrix(49, 2)[:48, :48])),
    ),
    transposes=True,
)
