"""Orthogonal polynomials by their three-term recurrence, in about two roots of the degree vector steps.

``P[k+1] = (A[k] x + B[k]) P[k] - C[k] P[k-1]`` is run for every block of degrees at once from both unit
starts; what leads into each block then joins them. Columns are rescaled by powers of two between blocks, so
that Hermite's and Laguerre's, which grow past any float, are still told apart. Everything is a formula of the
exponents, in float64 where the device has it.

Source: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 22.7 (recurrences); Szego,
Orthogonal Polynomials (1939), 4.5; NIST Handbook (2010), table 18.9.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Family:
    """A family with its textbook normalisation.

    Attributes:
        kind: ``"jacobi"`` on [-1, 1], ``"laguerre"`` on [0, inf) or ``"hermite"`` on the line.
        name: how it is called; families of the same kind and exponents differ in scale only.
        alpha: the weight's exponent at 1, or at 0 for Laguerre's.
        beta: the weight's exponent at -1.
    """

    kind: str
    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def asymmetric(self) -> bool:
        """Whether its polynomials are not even and odd in turn."""
        return self.kind == "laguerre" or self.alpha != self.beta

    @property
    def stretch(self) -> float:
        """Its variable in units of that of the first family of the same kind."""
        return math.sqrt(2.0) if self.name == "hermite-e" else 1.0


LEGENDRE = Family("jacobi", "legendre")
_NAMED = (
    LEGENDRE,
    Family("jacobi", "chebyshev-t", -0.5, -0.5),
    Family("jacobi", "chebyshev-u", 0.5, 0.5),
    Family("jacobi", "chebyshev-v", -0.5, 0.5),
    Family("jacobi", "chebyshev-w", 0.5, -0.5),
    Family("jacobi", "gegenbauer-3/2", 1.0, 1.0),
    Family("jacobi", "gegenbauer-2", 1.5, 1.5),
)
EXPONENTS = (-0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Exponents that are looked for; others are read off and stored."""


def named(kind: str, alpha: float = 0.0, beta: float = 0.0) -> tuple[Family, ...]:
    """The families of a kind and exponents, the best known first: they are the same up to scales of rows."""
    if kind == "hermite":
        return Family(kind, "hermite"), Family(kind, "hermite-e")
    if kind == "laguerre":
        return (Family(kind, "laguerre", alpha),)
    known = tuple(one for one in _NAMED if (one.alpha, one.beta) == (alpha, beta))
    if not known and alpha == beta:
        known = (Family(kind, "gegenbauer", alpha, beta),)
    plain = () if known and known[0] is LEGENDRE else (Family(kind, "jacobi", alpha, beta),)
    return (*known, *plain)


FAMILIES: tuple[Family, ...] = (
    *(named("jacobi", a, b)[0] for a in EXPONENTS for b in EXPONENTS),
    *(named("laguerre", a)[0] for a in EXPONENTS),
    named("hermite")[0],
)
"""Families that are looked for, one of each kind and exponents."""


def short(family: Family) -> bool:
    """Whether its exponents are among those that are looked for, so that nobody needs to store them."""
    return family.kind == "hermite" or {family.alpha, family.beta} <= set(EXPONENTS)


@dataclass(frozen=True)
class Steps:
    """``A``, ``B`` and ``C`` of a recurrence, ``(degrees - 1,)`` each; ``C[0]`` is not used."""

    a: Tensor
    b: Tensor
    c: Tensor


def orthonormal(family: Family, count: int, exponents: Tensor) -> tuple[Tensor, Tensor]:
    """Diagonal and what stands beside it of the Jacobi matrix, ``(count,)`` each; all of the latter positive.

    ``x p[k] = beside[k] p[k+1] + diagonal[k] p[k] + beside[k-1] p[k-1]``, and ``p[0] = 1``.

    Args:
        family: gives the kind.
        count: at least 1.
        exponents: ``(2,)``, alpha and beta.
    """
    k = torch.arange(count, dtype=exponents.dtype, device=exponents.device)
    after = k + 1
    if family.kind == "hermite":
        return torch.zeros_like(k), (after / 2).sqrt() * family.stretch
    alpha, beta = exponents[0], exponents[1]
    if family.kind == "laguerre":
        return 2 * k + 1 + alpha, (after * (after + alpha)).sqrt()
    both = alpha + beta
    # the formulas are 0/0 at their first place for some exponents, and there others hold
    bottom = (2 * k[1:] + both) * (2 * k[1:] + both + 2)
    diagonal = torch.cat([((beta - alpha) / (both + 2))[None], (beta**2 - alpha**2) / bottom])
    first = 4 * (1 + alpha) * (1 + beta) / ((2 + both) ** 2 * (3 + both))
    j = after[1:]
    top = 4 * j * (j + alpha) * (j + beta) * (j + both)
    squares = torch.cat([first[None], top / ((2 * j + both) ** 2 * (2 * j + both + 1) * (2 * j + both - 1))])
    return diagonal, squares.sqrt()


def unit_steps(family: Family, degrees: int, exponents: Tensor) -> Steps:
    """The recurrence of polynomials of equal length under the weight, the first one being 1."""
    diagonal, beside = orthonormal(family, max(1, degrees - 1), exponents)
    before = torch.cat([torch.zeros_like(beside[:1]), beside[:-1]])
    keep = slice(0, degrees - 1)
    return Steps((1 / beside)[keep], (-diagonal / beside)[keep], (before / beside)[keep])


def textbook(family: Family, count: int, exponents: Tensor) -> Tensor:
    """``A[k]``, by which the textbook's leading coefficient grows from degree to degree, ``(count,)``."""
    k = torch.arange(count, dtype=exponents.dtype, device=exponents.device)
    if family.kind == "laguerre":
        return -1 / (k + 1)
    if family.kind == "hermite":
        return torch.full_like(k, 1.0 if family.name == "hermite-e" else 2.0)
    alpha, beta = exponents[0], exponents[1]
    if family.name == "chebyshev-t":
        return 2 - (k == 0).to(k.dtype)
    if family.name in ("chebyshev-v", "chebyshev-w"):
        return torch.full_like(k, 2.0)
    if family.name != "jacobi":
        return 2 * (k + alpha + 0.5) / (k + 1)
    both = alpha + beta
    j = k[1:]
    later = (2 * j + both + 1) * (2 * j + both + 2) / (2 * (j + 1) * (j + both + 1))
    return torch.cat([(both / 2 + 1)[None], later])


def row_lengths(family: Family, degrees: int, exponents: Tensor) -> tuple[Tensor, Tensor]:
    """Textbook polynomials are ``sign 2^size`` times those of equal length: sizes, signs ``(degrees,)``."""
    _, beside = orthonormal(family, degrees, exponents)
    ratios = (textbook(family, degrees, exponents) * beside)[: degrees - 1]
    zero = torch.zeros_like(beside[:1])
    sizes = torch.cat([zero, ratios.abs().log2().cumsum(0)])
    return sizes, torch.cat([zero + 1, ratios.sign().cumprod(0)])


AT_ONCE = 64
"""Steps of a recurrence between two looks at its exponents: polynomials grow by 1e250 in so many."""


@dataclass(frozen=True)
class Table:
    """Values ``mantissas 2^exponents``, ``(degrees, n)``; the exponents are whole and have no gradient."""

    mantissas: Tensor
    exponents: Tensor

    @cached_property
    def largest(self) -> Tensor:
        """The exponent of each column's largest value, about, ``(n,)``."""
        return (self.exponents + self.mantissas.detach().abs().clamp_min(1e-300).log2().floor()).amax(0)

    @cached_property
    def scaled(self) -> Tensor:
        """Every column over the power of two of its largest value."""
        return self.mantissas * torch.exp2((self.exponents - self.largest).clamp_min(-1000.0))

    @cached_property
    def level(self) -> Tensor:
        """Every column of unit length."""
        return self.scaled / self._lengths

    @cached_property
    def lengths(self) -> Tensor:
        """The logarithm to base 2 of each column's length, ``(n,)``."""
        return self.largest + self._lengths.log2()

    @cached_property
    def _lengths(self) -> Tensor:
        return self.scaled.square().sum(0).sqrt()


def table(steps: Steps, nodes: Tensor) -> Table:
    """The values of ``P[0] = 1`` to ``P[m-1]`` at nodes ``(n,)``; the recurrence has m - 1 steps."""
    count = len(steps.a)
    size = max(2, min(2 * math.isqrt(count), AT_ONCE))
    inside = _inside(steps, nodes, -(-count // size), size)
    value, before = torch.ones_like(nodes), torch.zeros_like(nodes)
    exponent = torch.zeros_like(nodes)
    rows, exponents = [value[None]], [exponent[None]]
    for of_value, of_before in inside:
        part = of_value * value + of_before * before
        rows.append(part)
        exponents.append(exponent.expand(size, -1))
        shift = part[-2:].detach().abs().amax(0).clamp(1e-300, 1e300).log2().floor()
        before, value = part[-2:] * torch.exp2(-shift)
        exponent = exponent + shift
    return Table(torch.cat(rows)[: count + 1], torch.cat(exponents)[: count + 1])


def _inside(steps: Steps, nodes: Tensor, blocks: int, size: int) -> Tensor:
    """By what the two values before each block become those in it, ``(blocks, 2, size, n)``."""
    missing = blocks * size - len(steps.a)
    a, b, c = (
        F.pad(values, (0, missing)).reshape(blocks, size).T[..., None]
        for values in (steps.a, steps.b, steps.c)
    )
    ones, zeros = torch.ones_like(nodes).expand(blocks, -1), torch.zeros_like(nodes).expand(blocks, -1)
    value, before = torch.stack([ones, zeros]), torch.stack([zeros, ones])
    found = []
    for along, against in zip((a * nodes + b).unbind(0), c.unbind(0), strict=True):
        value, before = along * value - against * before, value
        found.append(value)
    return torch.stack(found, 2).transpose(0, 1)


def wide(device: torch.device) -> torch.dtype:
    """The dtype that formulas are computed in."""
    return torch.float32 if device.type == "mps" else torch.float64


def exponents_of(family: Family, device: torch.device) -> Tensor:
    """Alpha and beta ``(2,)`` as numbers on a device."""
    first = torch.full((1,), family.alpha, dtype=wide(device), device=device)
    return torch.cat([first, torch.full_like(first, family.beta)])
