"""The layer that computes orthogonal polynomials at nodes and multiplies by their values.

The table is made anew in every call and multiplied densely. To run the recurrence over the inputs instead
would take as many operations, in m steps that export as m parts of a graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.layers import Computed, parameter
from paramaudit.numerics.polynomial_nodes import GAUSS, placed
from paramaudit.numerics.polynomial_scales import Scales, column_exponents
from paramaudit.numerics.polynomials import Family, exponents_of, row_lengths, table, unit_steps, wide
from paramaudit.records import Json

STORED = "stored"
BETWEEN = "uniform between"
"""Nodes that are stored, all or only the first and the last."""


class OrthogonalPolynomial(Computed):
    """Polynomials of degree 0 to m - 1 at n nodes, ``(..., n)`` to ``(..., m)``, or the transpose.

    Args:
        nodes: a name of nodes, ``"gauss"`` for the family's own.
        shape: ``(m, n)``.
        scales: the family and what rows and columns are multiplied by.
        points: ``(parts, n)``, nodes that are stored as a sum, or ``(parts, 2)``, the ends of uniform ones.
        exponents: ``(2,)``, alpha and beta, where they are stored.
        descending: whether the nodes descend.
        transposed: whether the map is ``(..., m)`` to ``(..., n)``.
        bias: of the outputs, or None.
    """

    def __init__(
        self,
        nodes: str,
        shape: tuple[int, int],
        scales: Scales,
        *,
        points: Tensor | None = None,
        exponents: Tensor | None = None,
        descending: bool = False,
        transposed: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.family, self.nodes, self.shape = scales.family, nodes, shape
        self.unit, self.columns = scales.unit, scales.columns
        self.descending, self.transposed = descending, transposed
        self.gains, self.weights = parameter(scales.gains), parameter(scales.weights)
        self.points, self.exponents, self.bias = parameter(points), parameter(exponents), parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Family, nodes and degrees, and how rows and columns are scaled."""
        one = self.gains is None or len(self.gains) == 1
        columns = {"level": "unit length", "plain": "plain", "weighted": "root of the weight"}
        return {
            **_named(self.family, self._exponents(torch.device("cpu")).tolist()),
            "nodes": f"gauss-{self.family.name}" if self.nodes == GAUSS else self.nodes,
            "descending": self.descending,
            "degrees": self.shape[0],
            "points": self.shape[1],
            "rows": "stored" if not one else "unit length" if self.unit else "textbook",
            "gain": self.gains is not None,
            "columns": "stored" if self.weights is not None else columns[self.columns],
            "transposed": self.transposed,
            "bias": self.bias is not None,
        }

    def values(self, device: torch.device) -> Tensor:
        """The matrix ``(m, n)`` without gains and weights, in float64 where there is one."""
        family, degrees = self.family, self.shape[0]
        exponents, nodes = self._exponents(device), self._nodes(device)
        found = table(unit_steps(family, degrees, exponents), nodes)
        columns = column_exponents(self.columns, family, found, nodes, exponents)
        if self.unit:
            return found.level if self.columns == "level" else found.level * torch.exp2(columns)
        rows, signs = row_lengths(family, degrees, exponents)
        return found.level * signs[:, None] * torch.exp2(rows[:, None] + columns)

    def _exponents(self, device: torch.device) -> Tensor:
        if self.exponents is None:
            return exponents_of(self.family, device)
        return self.exponents.to(wide(device))

    def _nodes(self, device: torch.device) -> Tensor:
        size = self.shape[1]
        if self.points is None:
            nodes = placed(self.nodes, self.family, size, device)
            return nodes.flip(0) if self.descending else nodes
        points = self.points.to(wide(device)).sum(0)
        if self.nodes == STORED:
            return points
        place = torch.arange(size, dtype=points.dtype, device=device) / (size - 1)
        return points[0] * (1 - place) + points[1] * place

    def matrix(self, device: torch.device) -> Tensor:
        """The values with gains and weights, ``(m, n)`` or the transpose."""
        matrix = self.values(device)
        if self.gains is not None:
            matrix = matrix * self.gains[:, None]
        if self.weights is not None:
            matrix = matrix * self.weights
        return matrix.T if self.transposed else matrix


def _named(family: Family, exponents: list[float]) -> dict[str, Json]:
    """The family as a textbook has it."""
    alpha, beta = exponents
    if family.name == "jacobi":
        return {"family": family.name, "alpha": alpha, "beta": beta}
    if family.name == "laguerre":
        return {"family": family.name, "alpha": alpha}
    if family.name == "gegenbauer":
        return {"family": family.name, "lambda": alpha + 0.5}
    return {"family": family.name}
