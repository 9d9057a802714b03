"""FLOPs of matrix products and convolutions, by fvcore's published formulas.

fvcore counts multiply-adds; one is 2 FLOPs (8 between complex numbers: 4 products, 4 sums). A bias costs
nothing extra: n products need n - 1 additions, and the bias is the n-th. fvcore's handles read the
values of a TorchScript trace; :class:`_TraceValue` answers the same questions from plain tensors.

Not taken from fvcore: ``matmul`` (wrong where shapes broadcast; torch decomposes it into the products
below) and ``einsum`` (reads numpy's printed, rounded figure; decomposed too).

Source: facebookresearch/fvcore, ``fvcore/nn/jit_handles.py``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

from paramaudit.measure.operands import Arguments, Rule, any_complex, first

with warnings.catch_warnings():
    # fvcore scripts one of its losses on import, which torch has deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
    from fvcore.nn import jit_handles


@dataclass(frozen=True)
class _TraceValue:
    """A tensor or None in the place of the ``torch._C.Value`` that fvcore's handles ask."""

    value: Any

    def isCompleteTensor(self) -> bool:  # noqa: N802
        return self.value is not None

    def type(self) -> _TraceValue:
        return self

    def sizes(self) -> list[int]:
        return list(self.value.shape)

    def toIValue(self) -> Any:  # noqa: N802
        return self.value


def _per_multiply_add(a: Arguments) -> int:
    return 8 if any_complex(a) else 2


def _handled(handle: Any, *names: str) -> Rule:
    """A rule that asks an fvcore handle about the named arguments, in that order."""

    def rule(a: Arguments, out: Any) -> int:
        inputs = [_TraceValue(a[name]) for name in names]
        return int(handle(inputs, [_TraceValue(first(out))])) * _per_multiply_add(a)

    return rule


def _linear(a: Arguments, out: Any) -> int:
    if a["weight"].dim() == 1:  # torch allows it, fvcore does not
        return int(a["input"].numel()) * _per_multiply_add(a)
    return _LINEAR(a, out) or 0


def _convolution(a: Arguments, out: Any) -> int:
    shapes = (list(a["input"].shape), list(a["weight"].shape), list(first(out).shape))
    multiply_adds = jit_handles.conv_flop_count(*shapes, transposed=a.get("transposed", False))
    return int(multiply_adds) * _per_multiply_add(a)


def _matrix_vector(a: Arguments, _out: Any) -> int:
    matrix = a["mat"] if "mat" in a else a["self"]
    return int(matrix.numel()) * _per_multiply_add(a)


_LINEAR = _handled(jit_handles.linear_flop_jit, "input", "weight")

RULES: dict[str, Rule] = {
    "aten.linear": _linear,
    "aten.addmm": _handled(jit_handles.addmm_flop_jit, "self", "mat1", "mat2"),
    "aten.mm": _handled(jit_handles.matmul_flop_jit, "self", "mat2"),
    "aten.bmm": _handled(jit_handles.bmm_flop_jit, "self", "mat2"),
    "aten.baddbmm": _handled(jit_handles.bmm_flop_jit, "batch1", "batch2"),
    "aten.addbmm": _handled(jit_handles.bmm_flop_jit, "batch1", "batch2"),
    "aten.mv": _matrix_vector,
    "aten.addmv": _matrix_vector,
    "aten.dot": _matrix_vector,
    "aten.vdot": _matrix_vector,
    "aten.convolution": _convolution,
    "aten._convolution": _convolution,
}


def batch_norm(a: Arguments, out: Any) -> int:
    """Batch norm with stored statistics: fvcore's one multiply-add, two with scale and shift."""
    inputs = [_TraceValue(x) for x in (a["input"], a.get("weight"), None, None, None, False)]
    return int(jit_handles.batchnorm_flop_jit(inputs, [_TraceValue(first(out))])) * 2
