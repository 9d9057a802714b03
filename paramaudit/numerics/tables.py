"""What tables that are computed have in common: layers without inputs, and few numbers to look at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.records import Table

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
MACHINE = "functions of float32 such as sine and power, rounded as on the machine of the proof"
"""What a table needs that was computed by float32 functions."""

FEWEST = 8
"""A table of fewer numbers is nothing but its numbers: any formula with a few parameters would do."""


class Computed(nn.Module):
    """A layer whose few numbers stay in float64 on the CPU, where the table is computed before it is moved.

    Moving the layer sets what the table is moved to: neither a device nor a short dtype changes its numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtype, self.device = torch.float64, torch.device("cpu")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:  # noqa: ARG002 - torch's
        moved = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        self.dtype, self.device = moved.dtype, moved.device
        return self

    def finished(self, values: Tensor) -> Tensor:
        """Computed numbers in the dtype, and on the device, that the layer was moved to."""
        values = values.to(self.dtype)
        return values if self.device.type == "cpu" else values.to(self.device)


def stored_table(values: NDArray[np.floating[Any]], dtype: torch.dtype = torch.float32) -> Table:
    """The view of an array of any shape as a checkpoint of that dtype would hold it."""
    return Table(torch.from_numpy(np.ascontiguousarray(values)).to(dtype), dtype)


def gained(values: Tensor, gain: Tensor | None) -> Tensor:
    """``values`` times a stored gain in float64, which is exact for two factors of float32; None is 1."""
    return values if gain is None else values.to(torch.float64) * gain.to("cpu", torch.float64)


def gains(values: Tensor, shape: Tensor, noise: float) -> list[float | None]:
    """Factors of a table ``values`` over its formula ``shape`` that come to mind, likely ones first.

    None is 1; then those of the unit sum, the unit energy and the unit maximum, where the table has it, the
    ratio at the largest entry, and least squares.
    """
    peak = int(shape.abs().argmax())
    ratio = float(values[peak] / shape[peak])
    tolerance = 1e-6 + 8 * noise
    found: list[float | None] = [None] if abs(ratio - 1) <= tolerance else []
    for unit in (shape.sum(), shape.square().sum().sqrt(), shape.abs().max()):
        if float(unit) and abs(ratio * float(unit) - 1) <= tolerance:
            found.append(1 / float(unit))
    # shortest first, and the ratio itself
    return [*found, *rounder(ratio, tolerance), float((values * shape).sum() / shape.square().sum())]


def same(values: Tensor, computed: Tensor, dtype: torch.dtype) -> bool:
    """Whether a formula in float64, rounded to ``dtype``, gives these numbers."""
    return torch.equal(computed.to(dtype).to(values.dtype), values)


def rounder(value: float, tolerance: float) -> list[float]:
    """The numbers of few digits near a value, shortest first, and the value itself."""
    short = [snapped(value, tolerance, digits) for digits in range(1, 8)]
    return [*dict.fromkeys(number for number in short if number is not None), value]


def line(values: Tensor) -> Tensor | None:
    """A table of one dimension ``(n,)`` in float64, with dimensions of size 1 left out; None for any other.

    None, too, where it is too short, not finite, or the same number throughout.
    """
    if max(values.shape, default=0) != values.numel() or values.numel() < FEWEST:
        return None
    flat = values.reshape(-1)
    if not flat.is_floating_point() or not bool(flat[:FEWEST].isfinite().all()):
        return None
    flat = flat.to("cpu", torch.float64)
    usable = bool(flat.isfinite().all()) and bool((flat != flat[0]).any())
    sizes = flat.abs().max()
    return flat if usable and 1e-30 < float(sizes) < 1e30 else None


def close(values: Tensor, computed: Tensor, noise: float) -> bool:
    """Whether a formula is near enough to be worth a proof: a few units of the noise, or a thousandth."""
    size = float(values.abs().max())
    return float((values.double() - computed.double()).abs().max()) <= max(1e-3, 4 * noise) * size


def snapped(value: float, tolerance: float, digits: int = 3) -> float | None:
    """The number of few digits within a relative ``tolerance``, or None."""
    short = float(f"{value:.{digits - 1}e}")
    return short if abs(value - short) <= tolerance * abs(short) else None
