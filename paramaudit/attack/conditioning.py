"""How far rounding can move a program's outputs on one input, found by rounding at random.

One run in a dtype shows one rounding error, which may be luckily small: a saturated softmax over two nearly
equal scores is right or wrong as a whole. So each inexact call of the graph gets a random error of the size
of its dtype's rounding, several times over.

Source: stochastic (Monte Carlo) arithmetic, D. S. Parker, UCLA technical report CSD-970002, 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from paramaudit.attack.choices import run_with
from paramaudit.graph import facts
from paramaudit.graph.program import Program
from paramaudit.graph.run import Step, call

AMPLITUDE = 4.0
"""Size of the random errors in units of the dtype's rounding; what they do is scaled by as much again."""
_RUNS = 8
_EXACT = (
    facts.VIEWS
    | facts.SAME
    | frozenset(
        f"aten::{name}"
        for name in (
            *(
                "slice",
                "select",
                "transpose",
                "permute",
                "t",
                "expand",
                "narrow",
                "roll",
                "flip",
                "cat",
                "stack",
            ),
            *("split", "split_with_sizes", "chunk", "unbind", "repeat", "gather", "index", "index_select"),
            *("embedding", "where", "relu", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "amax"),
            *("amin", "abs", "pad", "constant_pad_nd", "masked_fill", "dropout", "to", "_to_copy", "movedim"),
            *("expand_as", "view_as", "tril", "triu", "hardtanh", "relu6", "sign", "round", "floor", "ceil"),
        )
    )
)


def sensitivity(
    program: Program, inputs: Sequence[Any], exact: dict[str, Any], seed: int
) -> dict[str, Tensor]:
    """The largest moves of every output, the same along its last dimension, by name.

    Args:
        program: the original.
        inputs: flat inputs.
        exact: its outputs on them in float64.
        seed: of the random errors.
    """
    generator = torch.Generator().manual_seed(seed)
    moves: dict[str, Tensor] = {}
    for _ in range(_RUNS):
        for name, value in run_with(program, inputs, _rounding(generator)).items():
            true = exact[name]
            if not isinstance(true, Tensor) or true.shape != value.shape or not true.numel():
                continue
            if not (true.is_floating_point() or true.is_complex()):
                apart = (value != true).to(torch.float64)
            else:
                apart = (value - true).abs().nan_to_num(nan=torch.inf)
            moves[name] = torch.maximum(moves[name], apart) if name in moves else apart
    return {n: v.amax(-1, keepdim=True).expand_as(v) if v.dim() else v for n, v in moves.items()}


def _rounding(generator: torch.Generator) -> Step:
    """A step that adds to each inexact result up to a few roundings of the largest entry of its row."""

    def step(node: fx.Node, module: fx.GraphModule, get: Callable[[fx.Node], Any], dtype: Any) -> Any:
        value = call(node, module, get, dtype)
        like = node.meta.get("val")
        if node.op == "get_attr" or facts.name(node) in _EXACT or not isinstance(like, Tensor):
            return value
        if not isinstance(value, Tensor) or not value.is_floating_point() or not value.numel():
            return value
        size = value.abs().amax(-1, keepdim=True) if value.dim() else value.abs()
        draw = 2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1
        eps = torch.finfo(like.dtype).eps if like.is_floating_point() else 0.0
        return value + AMPLITUDE * eps * size * draw.to(value)

    return step
