"""What a module reads and returns while the model runs on recorded inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from paramaudit.graph.parts import part
from paramaudit.graph.program import Program, placeholders
from paramaudit.graph.run import evaluate

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class Recording:
    """A module's input ``(rows, in)`` and output ``(rows, out)`` in float64, and the nodes they stand at."""

    source: fx.Node
    end: fx.Node
    inputs: Tensor
    outputs: Tensor


def record(program: Program, path: str, data: Sequence[Tensor]) -> Recording:
    """Run the program on ``data`` and keep what the module at ``path`` reads and returns.

    Raises:
        LookupError: the module is no function of one tensor with one result; says why.
    """
    inside = part(program, path)
    for what, nodes in (("reads", inside.sources), ("returns", inside.ends)):
        if len(nodes) != 1:
            msg = f"it {what} {len(nodes)} tensors; only a module that {what} one can be fitted"
            raise LookupError(msg)
    (source,), (end,) = inside.sources, inside.ends
    if not all(n.meta["val"].is_floating_point() and n.meta["val"].dim() for n in (source, end)):
        raise LookupError("it does not map numbers to numbers")
    seen: list[tuple[Tensor, Tensor]] = []
    for rows in zip(*(torch.split(tensor, _rows(program)) for tensor in data), strict=True):
        known = dict(zip(placeholders(program.graph), rows, strict=True))
        first, last = evaluate(program.module, [source, end], known, dtype=None)
        seen.append(tuple(_flat(value) for value in (first, last)))  # type: ignore[arg-type]
    inputs, outputs = (torch.cat(parts) for parts in zip(*seen, strict=True))
    if len(inputs) != len(outputs):
        raise LookupError("it does not return one row for each row that it reads")
    if not bool(inputs.isfinite().all() & outputs.isfinite().all()):
        raise LookupError("some of what it reads or returns is not finite on these data")
    return Recording(source, end, inputs, outputs)


def _rows(program: Program) -> int:
    """How many rows the program takes at once: the fixed number, where its contract has one."""
    fixed = [spec.shape[0] for spec in program.contract.inputs if isinstance(spec.shape[0], int)]
    return min(fixed, default=ROWS_AT_ONCE)


def _flat(value: Tensor) -> Tensor:
    return value.detach().to(torch.float64).reshape(-1, value.shape[-1])
