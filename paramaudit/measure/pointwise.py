"""FLOPs of elementwise operators: one per output element, whatever the function.

So an exponential, a sine, a GELU and an addition cost 1 each, as in fvcore's and most papers' tables; a
comparison of floating-point numbers costs 1. The exceptions below do visibly more. Elementwise work on
integers and booleans is no floating-point work: 0. Complex numbers are counted in real operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paramaudit.measure.operands import Arguments, Rule, any_complex, first

# Elementwise, but not tagged as such by torch: FLOPs per output element.
_PER_ELEMENT = {
    "aten.addcmul": 2,
    "aten.addcdiv": 2,
    "aten.lerp": 3,
    "aten.glu": 2,
    "aten.polar": 4,
    "aten.hardswish": 1,
    "aten.prelu": 1,
    "aten._prelu_kernel": 1,
    "aten.floor_divide": 1,
    "aten.log_sigmoid_forward": 1,
    "aten.hann_window": 4,  # angle, cosine, scale, shift
    "aten.hamming_window": 4,
}

# Real operations per element between complex numbers.
_COMPLEX = {
    "aten.add": 2,
    "aten.sub": 2,
    "aten.rsub": 2,
    "aten.neg": 2,
    "aten.abs": 4,  # two squares, a sum, a root
    "aten.angle": 1,
    "aten.exp": 5,  # exponential, cosine, sine, two products
    "aten.reciprocal": 6,
}
_COMPLEX_PRODUCT = 6
_COMPLEX_QUOTIENT = 11  # times the conjugate, over the squared magnitude


def is_pointwise(operator: torch._ops.OpOverload) -> bool:
    """Whether torch says that the operator works element by element."""
    return torch.Tag.pointwise in operator.tags


def pointwise(name: str, a: Arguments, out: Any) -> int | None:
    """FLOPs of one elementwise call; None for a complex function that has no entry.

    Args:
        name: as given by :func:`~paramaudit.measure.operands.name_of`.
        a: the arguments by name.
        out: the result.
    """
    between_complex = any_complex(a) or any_complex(out)
    per_element = _complex_cost(name, a) if between_complex else _PER_ELEMENT.get(name, 1)
    if per_element is None:
        return None
    if name in ("aten.add", "aten.sub") and a.get("alpha", 1) != 1:
        per_element += 1
    return per_element * first(out).numel()


def _complex_cost(name: str, a: Arguments) -> int | None:
    if name == "aten.polar":
        return _PER_ELEMENT[name]
    if name not in ("aten.mul", "aten.div"):
        return _COMPLEX.get(name)
    if all(_is_complex(a[operand]) for operand in ("self", "other")):
        return _COMPLEX_PRODUCT if name == "aten.mul" else _COMPLEX_QUOTIENT
    if name == "aten.mul" or _is_complex(a["self"]):
        return 2  # a real factor or divisor touches both parts
    return None


def _is_complex(operand: Any) -> bool:
    return operand.is_complex() if isinstance(operand, Tensor) else isinstance(operand, complex)


def _named(name: str) -> Rule:
    return lambda a, out: pointwise(name, a, out)


RULES: dict[str, Rule] = {name: _named(name) for name in _PER_ELEMENT}
