"""How likely chance alone would bring a matrix as near to a fit as it is."""

from __future__ import annotations

import math

import scipy.special
import torch
from torch import Tensor

from paramaudit.numerics.noise import left_over

_TINY = 1e-290
"""Below this the incomplete beta function may have underflowed."""


def log_chance(left: float, entries: int, fitted: int) -> float:
    """The logarithm of how likely ``entries`` normal numbers are as near to a fit of ``fitted`` ones.

    Of numbers without structure a fit of k out of N leaves a part of the squared norm that is distributed
    as Beta((N - k) / 2, k / 2): an orthogonal projection of a direction drawn evenly.

    Args:
        left: what is left over, as a part of the Frobenius norm.
        entries: N, the numbers of the matrix.
        fitted: k, at least 1 is counted: a common gain is always free.

    Returns:
        ``-inf`` where the fit is exact, 0 where it has as many numbers as there are entries.

    Source:
        Muirhead, Aspects of Multivariate Statistical Theory (1982), theorem 1.5.7.
    """
    fitted = max(1, fitted)
    if fitted >= entries or left >= 1.0:
        return 0.0
    if left <= 0.0:
        return -math.inf
    first, second, part = (entries - fitted) / 2, fitted / 2, left * left
    chance = float(scipy.special.betainc(first, second, part))
    if chance > _TINY:
        return math.log(chance)
    # far out: the integrand at its end, over its first exponent, times what (1 - t) ^ (k/2 - 1) adds at most
    bend = max(0.0, (second - 1) * math.log1p(-part)) if second < 1 else 0.0
    return first * math.log(part) - math.log(first) + bend - float(scipy.special.betaln(first, second))


def only_smooth(weight: Tensor, left: float, fitted: int) -> bool:
    """Whether polynomials of as many coefficients a row, or a column, and one more, leave as little.

    A smooth matrix is near many fits, as a function is near a few terms of a series, and has none of their
    names for it.

    Args:
        weight: ``(m, n)``.
        left: what the fit in question leaves over, as a part of the Frobenius norm.
        fitted: how many numbers it has.
    """
    for lines in (weight, weight.T):
        count, size = lines.shape
        terms = -(-fitted // count) + 1
        if fitted == 0 or terms >= size:
            continue
        along = torch.linspace(-1, 1, size, dtype=lines.dtype)
        basis = torch.linalg.qr(torch.linalg.vander(along, N=terms)).Q
        if left_over(lines - lines @ basis @ basis.T, lines) <= left:
            return True
    return False
