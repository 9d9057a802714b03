"""Examples of operators as test cases, and the layer that an operator proposes for each."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import pytest
from torch import nn

from paramaudit.records import Example, Operator


def cases(operators: Iterable[Operator], kind: str) -> list[object]:
    """Every example of a ``kind``, ``"finds"`` or ``"ignores"``, with its operator and a name."""
    return [
        pytest.param(operator, example, id=f"{operator.name}: {example.name}")
        for operator in operators
        for example in getattr(operator, kind)
    ]


@functools.cache
def layer_of(operator: Operator, example: Example) -> nn.Module:
    """What an operator proposes for a find; made once."""
    layer = operator.propose(example.build())
    assert layer is not None
    return layer
