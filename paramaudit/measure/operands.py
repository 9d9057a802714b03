"""What the counting rules share: a call's arguments by name, and a few questions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

Arguments = Mapping[str, Any]

# A rule maps a call's arguments, by their names in torch's schema, and its result to the FLOPs of the
# call; None where the rule does not cover this call.
Rule = Callable[[Arguments, Any], int | None]


def name_of(operator: Any) -> str:
    """``aten.add`` for ``aten.add.Tensor`` and for the in-place ``aten.add_.Tensor``."""
    if not isinstance(operator, torch._ops.OpOverload):
        return str(operator)
    namespace, _, base = operator._schema.name.partition("::")
    in_place = base.endswith("_") and not base.endswith("__")
    return f"{namespace}.{base[:-1] if in_place else base}"


def bound(operator: torch._ops.OpOverload, args: Iterable[Any], kwargs: Mapping[str, Any]) -> Arguments:
    """The arguments by name, defaults filled in."""
    schema = operator._schema.arguments
    named: dict[str, Any] = {a.name: a.default_value for a in schema if a.has_default_value()}
    named.update(zip((a.name for a in schema), args, strict=False))
    named.update(kwargs)
    return named


def tensors(value: Any) -> list[Tensor]:
    """Every tensor in nested tuples, lists and mappings."""
    return [leaf for leaf in torch.utils._pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def first(result: Any) -> Tensor:
    """The first tensor of a result."""
    return tensors(result)[0]


def any_complex(value: Any) -> bool:
    """Whether a complex number takes part."""
    leaves = torch.utils._pytree.tree_leaves(value)
    return any(x.is_complex() if isinstance(x, Tensor) else isinstance(x, complex) for x in leaves)


def any_float(value: Any) -> bool:
    """Whether a floating-point or complex tensor takes part."""
    return any(t.is_floating_point() or t.is_complex() for t in tensors(value))
