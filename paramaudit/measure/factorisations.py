"""FLOPs of dense factorisations and solves, leading terms.

Source: Blackford and Dongarra, LAPACK Working Note 41 "Installation Guide for LAPACK", appendix
"Operation counts for the BLAS and LAPACK".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from paramaudit.measure.operands import Arguments, Rule, any_complex


def _cubic(numerator: int, denominator: int, name: str) -> Rule:
    """``numerator / denominator * n^3`` for each matrix of the named argument."""

    def rule(a: Arguments, _out: Any) -> int | None:
        matrix: Tensor = a[name]
        n = matrix.shape[-1]
        return None if any_complex(a) else round(matrix.numel() * n * numerator / denominator)

    return rule


def _solve(a: Arguments, _out: Any) -> int | None:
    """LU, then two triangular solves for each right-hand side."""
    n = int(a["A"].shape[-1])
    if any_complex(a):
        return None
    return round(2 * n * int(a["A"].numel()) / 3) + 2 * n * int(a["B"].numel())


def _solve_triangular(a: Arguments, out: Tensor) -> int | None:
    return None if any_complex(a) else int(a["self"].shape[-1]) * out.numel()


RULES: dict[str, Rule] = {
    "aten.linalg_inv_ex": _cubic(2, 1, "A"),
    "aten.linalg_cholesky_ex": _cubic(1, 3, "self"),
    "aten.linalg_lu_factor_ex": _cubic(2, 3, "A"),
    "aten._linalg_solve_ex": _solve,
    "aten.linalg_solve_triangular": _solve_triangular,
}
