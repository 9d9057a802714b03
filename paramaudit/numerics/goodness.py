"""Are these numbers independent draws of a known law? Tests with known parameters, joined by Bonferroni.

Everything is a two-dimensional table, since training shows first in what rows have to do with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.special
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 1 << 18
"""Numbers of a table that are looked at; more are sampled by whole rows."""

_VECTORS = 256


@dataclass(frozen=True)
class Law:
    """A symmetric law about zero: uniform up to ``scale``, or normal of deviation ``scale``.

    A normal one may be cut off at ``cut`` deviations.
    """

    kind: str
    scale: float
    cut: float | None = None

    @property
    def second(self) -> float:
        """The mean square."""
        if self.kind == "uniform":
            return self.scale**2 / 3
        return self.scale**2 * (_cut_moments(self.cut)[0] if self.cut else 1.0)

    @property
    def fourth(self) -> float:
        """The mean fourth power."""
        if self.kind == "uniform":
            return self.scale**4 / 5
        return self.scale**4 * (_cut_moments(self.cut)[1] if self.cut else 3.0)

    @property
    def limit(self) -> float:
        """No draw is larger."""
        return self.scale if self.kind == "uniform" else self.scale * (self.cut or math.inf)

    def below(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The distribution function."""
        if self.kind == "uniform":
            result = (values / self.scale + 1) / 2
        else:
            result = scipy.special.ndtr(values / self.scale)
            if self.cut:
                tail = scipy.special.ndtr(-self.cut)
                result = (result - tail) / (1 - 2 * tail)
        return np.clip(result, 0.0, 1.0)


def _cut_moments(cut: float) -> tuple[float, float]:
    """Second and fourth moment of a standard normal cut off at both sides."""
    inside = float(scipy.special.erf(cut / 2**0.5))
    edge = 2 * cut * math.exp(-(cut**2) / 2) / math.sqrt(2 * math.pi) / inside  # by parts
    second = 1 - edge
    return second, 3 * second - cut**2 * edge


def fits(table: Tensor, law: Law, rounding: float = 0.0) -> float:
    """A p-value for independent draws of a law: small where they are none.

    Args:
        table: ``(rows, columns)``, float64; see :func:`sampled`.
        law: with its parameters, none of which is fitted.
        rounding: relative size of storage rounding, by which a draw may pass the law's limit.

    Returns:
        The smallest p-value of Kolmogorov-Smirnov, mean, mean square and largest number, and, of rows and of
        columns, of neighbours, of angles between them, of how much their mean squares vary and whether
        those of neighbours agree, times how many these are.

    Source:
        Stephens, EDF statistics for goodness of fit, J. Amer. Statist. Assoc. 69 (1974), for the
        Kolmogorov-Smirnov tail; Schott, Testing for complete independence in high dimensions, Biometrika
        92 (2005), for angles.
    """
    count = table.numel()
    square = float(table.square().mean())
    spread = math.sqrt((law.fourth - law.second**2) / count)
    largest = float(table.abs().max())
    # the two cheapest first: nearly every wrong law fails them
    if abs(square - law.second) > 8 * spread or largest > law.limit * (1 + 2 * rounding):
        return 0.0
    values = [_two_sided((square - law.second) / spread)]
    values.append(_two_sided(float(table.mean()) * math.sqrt(count / law.second)))
    values.append(_largest(largest * (1 + rounding), law, count))
    values.append(_smirnov(np.sort(table.numpy().ravel()), law))
    values.extend(_two_sided(score) for score in _scores(table, law))
    return min(1.0, len(values) * min(values))


def sampled(table: Tensor) -> Tensor:
    """At most :data:`MOST` numbers in float64, as pairs of neighbouring rows from all over the table."""
    rows = len(table)
    if table.numel() > MOST:
        table = table[:, : MOST // 2]
        pairs = max(1, MOST // (2 * table.shape[1]))
        if rows > 2 * pairs:
            starts = torch.linspace(0, rows - 2, pairs).long()
            table = table[torch.stack([starts, starts + 1], 1).flatten()]
    return table.to(torch.float64)


def _scores(table: Tensor, law: Law) -> Iterator[float]:
    """Standard scores of what rows and columns have to do with each other."""
    for side in (table, table.T):
        vectors, size = side.shape
        if vectors < 2:
            continue
        even, odd = side[0 : vectors - vectors % 2 : 2], side[1::2]
        yield float((even * odd).sum()) / (law.second * math.sqrt(even.numel()))
        energy = (side.square().mean(1) - law.second) / math.sqrt((law.fourth - law.second**2) / size)
        yield float((energy.square() - 1).sum()) / math.sqrt(vectors * (2 + 12 / size))
        yield float((energy[0 : vectors - vectors % 2 : 2] * energy[1::2]).sum()) / math.sqrt(vectors // 2)
        chosen = side[torch.linspace(0, vectors - 1, min(vectors, _VECTORS)).long()]
        lengths = chosen.norm(dim=1, keepdim=True)
        if size > 3 and len(chosen) > 3 and bool((lengths > 0).all()):
            unit = chosen / lengths
            number = len(unit)
            off = float((unit @ unit.T).square().sum() - number) / 2
            mean = number * (number - 1) / (2 * size)
            spread = math.sqrt(number * (number - 1) * (size - 1) / (size**2 * (size + 2)))
            yield (off - mean) / spread


def _smirnov(ordered: NDArray[np.float64], law: Law) -> float:
    count = len(ordered)
    below = law.below(ordered)
    steps = np.arange(count + 1) / count
    apart = max(float((steps[1:] - below).max()), float((below - steps[:-1]).max()))
    root = math.sqrt(count)
    return float(scipy.special.kolmogorov(apart * (root + 0.12 + 0.11 / root)))


def _largest(largest: float, law: Law, count: int) -> float:
    """How likely a largest number this small, or this large where the law has no limit, is among so many."""
    if math.isfinite(law.limit):  # next to the limit is no evidence: storage rounds
        outside = 2 * (1 - float(law.below(np.array([min(largest, law.limit)]))[0]))
    else:
        outside = 2 * float(scipy.special.ndtr(-largest / law.scale))
    lower = math.exp(count * math.log1p(-outside)) if outside < 1 else 0.0
    return lower if math.isfinite(law.limit) else min(1.0, 2 * min(lower, 1 - lower))


def _two_sided(score: float) -> float:
    return float(2 * scipy.special.ndtr(-abs(score)))
