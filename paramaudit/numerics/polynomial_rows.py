"""Which polynomials the rows of a matrix are: seen in its first rows, under any scales of both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import torch
from torch import Tensor

from paramaudit.numerics.noise import NOISY
from paramaudit.numerics.polynomial_nodes import FREE, GAUSS, nearly_gauss, placed
from paramaudit.numerics.polynomial_scales import SNAP, fitted
from paramaudit.numerics.polynomials import FAMILIES, LEGENDRE, Family, exponents_of, unit_steps

ROWS, COLUMNS = 16, 128
"""So many rows and columns are looked at to tell family and nodes."""

HIGHER = 160, 160
"""Through noise lower degrees look alike, and so many rows and columns tell the finalists apart."""

FINALISTS = 4

KEPT = 32
"""Of all guesses, so many are looked at again."""

_GATE, _GATE_FEW = 0.85, 0.6


@dataclass(frozen=True)
class Guess:
    """Polynomials of a family at nodes of a kind, in descending order where ``turned``."""

    family: Family
    nodes: str
    turned: bool = False


def three_terms(weight: Tensor) -> float:
    """How far the first rows of ``(m, n)`` are from a three-term recurrence, 1 for anything.

    With ``x = W[1] / W[0]`` up to an affine map, ``W[0] W[k+1]`` lies in the span of ``W[1] W[k]``,
    ``W[0] W[k]`` and ``W[0] W[k-1]``, products element by element, whatever the columns' scales.
    """
    rows = weight[:4]
    sizes = rows.abs().amax(1, keepdim=True)
    if len(rows) < 4 or weight.shape[1] < 6 or not bool((sizes > 0).all()):
        return 1.0
    rows = rows / sizes
    worst = 0.0
    for k in (1, 2):
        basis = torch.stack([rows[1] * rows[k], rows[0] * rows[k], rows[0] * rows[k - 1]], 1)
        target = rows[0] * rows[k + 1]
        whole = float(target.norm())
        if not whole > 0:
            return 1.0
        frame = torch.linalg.qr(basis).Q
        worst = max(worst, float((target - frame @ (frame.T @ target)).norm()) / whole)
    return worst


def possible(weight: Tensor) -> bool:
    """Whether rows may be polynomials at all, noise included."""
    return three_terms(weight) <= (_GATE_FEW if weight.shape[1] < 64 else _GATE)


def nearest(weight: Tensor, noise: float) -> Sequence[Guess]:
    """The guesses that come nearest in a sample, at most :data:`FINALISTS`; perhaps none."""
    guesses, nodes = _guesses(), _nodes(weight.shape[1])
    everyone = torch.arange(len(guesses))
    order = everyone[_missed(weight, guesses, nodes, (8, 32), 4).argsort()[:KEPT]]
    left = _missed(weight, [guesses[i] for i in order.tolist()], nodes[order], (ROWS, COLUMNS), 8)
    best = float(left.min())
    if not best <= NOISY:
        return ()
    near = order[[int(i) for i in left.argsort()[:FINALISTS] if float(left[i]) <= 1.2 * best + SNAP * noise]]
    found = [guesses[i] for i in near.tolist()]
    if len(found) == 1 or len(weight) < HIGHER[0]:
        return found
    left = _missed(weight, found, nodes[near], HIGHER, 8)
    most = min(NOISY, 1.2 * float(left.min()) + SNAP * noise)
    return [guess for guess, off in zip(found, left.tolist(), strict=True) if off <= most]


def _missed(
    weight: Tensor, guesses: Sequence[Guess], nodes: Tensor, most: tuple[int, int], steps: int
) -> Tensor:
    """What each guess leaves over in so many rows and columns, ``(guesses,)``."""
    degrees, points = min(most[0], weight.shape[0]), weight.shape[1]
    places = torch.linspace(0, points - 1, min(most[1], points)).long()
    values = _leveled(guesses, nodes[:, places], degrees)
    missed: Tensor = fitted(weight[:degrees, places], values, steps)[2]
    return missed


@cache
def _guesses() -> tuple[Guess, ...]:
    found = []
    for family in FAMILIES:
        own = family.name not in ("legendre", "chebyshev-t")  # whose Gauss nodes have names of their own
        if own:
            found.append(Guess(family, GAUSS))
        if family.kind == "laguerre":
            found.append(Guess(family, GAUSS, turned=True))
        if family.kind == "jacobi":
            found.extend(Guess(family, kind) for kind in FREE)
            found.append(Guess(family, "uniform-open", turned=True))
    return tuple(found)


@lru_cache(maxsize=1)
def _nodes(points: int) -> Tensor:
    """About the nodes of every guess ``(guesses, n)``, for both sides of a square; not to be written to."""
    cpu = torch.device("cpu")
    free = {kind: placed(kind, LEGENDRE, points, cpu) for kind in FREE if kind != "gauss-legendre"}
    free["gauss-legendre"] = nearly_gauss(LEGENDRE, points)
    guesses = _guesses()
    own = {guess.family: nearly_gauss(guess.family, points) for guess in guesses if guess.nodes == GAUSS}
    rows = [own[guess.family] if guess.nodes == GAUSS else free[guess.nodes] for guess in guesses]
    return torch.stack(
        [row.flip(0) if guess.turned else row for guess, row in zip(guesses, rows, strict=True)]
    )


@cache
def _steps(degrees: int) -> Tensor:
    """The recurrences of all families, ``(3, families, degrees - 1)``; not to be written to."""
    cpu = torch.device("cpu")
    steps = [unit_steps(family, degrees, exponents_of(family, cpu)) for family in FAMILIES]
    return torch.stack([torch.stack([getattr(one, name) for one in steps]) for name in ("a", "b", "c")])


def _leveled(guesses: Sequence[Guess], nodes: Tensor, degrees: int) -> Tensor:
    """Polynomials of equal length, columns of unit length: ``(guesses, degrees, n)``."""
    steps, place = _steps(degrees), {family: i for i, family in enumerate(FAMILIES)}
    a, b, c = steps[:, [place[guess.family] for guess in guesses]]
    values = [torch.ones_like(nodes), a[:, :1] * nodes + b[:, :1]]
    for k in range(1, degrees - 1):
        values.append((a[:, k, None] * nodes + b[:, k, None]) * values[-1] - c[:, k, None] * values[-2])
    table = torch.stack(values, 1)
    leveled: Tensor = table / table.norm(dim=1, keepdim=True)
    return leveled
