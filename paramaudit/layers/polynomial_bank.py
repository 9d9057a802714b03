"""Orthogonal polynomials at nodes: a frame's coefficients, or values from coefficients.

What it computes: The matrix of the polynomials of degree 0 to m - 1 at n nodes, times the frame; or its
                  transpose, which makes values of coefficients. Jacobi's with any exponents (Legendre,
                  Chebyshev, Gegenbauer), Laguerre's, Hermite's.
Replaces:         A dense layer n to m that stores the table: m n numbers are none.
Faster when:      Never: the table is computed with every call, so it saves storage and not time.
Mind:             Nothing is trained. The table is computed in float64. At its own Gauss nodes and
                  orthonormal, m = n is an orthogonal matrix, whose transpose is its inverse.
Source:           Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 22.7. Szego, Orthogonal
                  Polynomials (1939).
"""

from __future__ import annotations

from paramaudit.numerics.polynomial_layer import OrthogonalPolynomial
from paramaudit.numerics.polynomial_nodes import FREE, GAUSS
from paramaudit.numerics.polynomial_scales import Scales
from paramaudit.numerics.polynomials import Family

FAMILIES = {
    "legendre": (0.0, 0.0),
    "chebyshev-t": (-0.5, -0.5),
    "chebyshev-u": (0.5, 0.5),
    "chebyshev-v": (-0.5, 0.5),
    "chebyshev-w": (0.5, -0.5),
}
"""Families of Jacobi's by name, with their exponents."""

KINDS = (*FAMILIES, "jacobi", "laguerre", "hermite", "hermite-e")


class PolynomialBank(OrthogonalPolynomial):
    """Polynomials of degree 0 to m - 1 at n nodes, ``(..., n)`` to ``(..., m)``, or back.

    Args:
        m: how many degrees.
        n: how many nodes, at least 2; from the least to the greatest.
        family: "legendre", "chebyshev-t" to "chebyshev-w", "jacobi", "laguerre", "hermite" (the physicists')
            or "hermite-e" (the probabilists'), in the textbook's normalisation.
        nodes: "gauss", the roots of the family's polynomial of degree n; or on [-1, 1] "uniform" (ends
            included), "uniform-open" (without the last), "uniform-middles", "chebyshev", "chebyshev-lobatto",
            "gauss-legendre".
        orthonormal: whether rows and columns are scaled so that the matrix is orthogonal; m is then n, and
            the nodes are "gauss".
        alpha: exponent at 1, of Jacobi's and Laguerre's; above -1.
        beta: exponent at -1, of Jacobi's.
        transposed: whether coefficients ``(..., m)`` become values ``(..., n)``.

    Raises:
        ValueError: when there are no such polynomials or nodes.

    Example:
        >>> round(PolynomialBank(3, 5, nodes="uniform")(torch.ones(5))[2].item(), 4)
        1.25
    """

    def __init__(
        self,
        m: int,
        n: int,
        family: str = "legendre",
        nodes: str = GAUSS,
        orthonormal: bool = False,
        alpha: float = 0.0,
        beta: float = 0.0,
        transposed: bool = False,
    ) -> None:
        if m < 1 or n < 2 or (orthonormal and m != n):
            raise ValueError(
                f"there are no {m} {'orthonormal ' if orthonormal else ''}polynomials at {n} nodes"
            )
        known = _family(family, alpha, beta)
        if nodes not in (GAUSS, *FREE) or ((known.kind != "jacobi" or orthonormal) and nodes != GAUSS):
            raise ValueError(f"there are no nodes {nodes!r} for these polynomials; known are {GAUSS}, {FREE}")
        columns = "level" if orthonormal else "plain"
        scales = Scales(known, turned=False, unit=orthonormal, columns=columns, gains=None, weights=None)
        super().__init__(nodes, (m, n), scales, transposed=transposed)


def _family(name: str, alpha: float, beta: float) -> Family:
    """The family with its exponents."""
    if name not in KINDS:
        raise ValueError(f"there is no family {name!r}; known are {', '.join(KINDS)}")
    if min(alpha, beta) <= -1:
        raise ValueError(f"exponents must be above -1, not {alpha} and {beta}")
    if (beta and name != "jacobi") or (alpha and name not in ("jacobi", "laguerre")):
        raise ValueError(f"{name} has no exponents {alpha} and {beta}")
    if name in FAMILIES:
        return Family("jacobi", name, *FAMILIES[name])
    return Family("hermite" if name == "hermite-e" else name, name, alpha, beta)
