"""What tables that are computed have in common: layers without inputs, and few numbers to look at first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
FEWEST = 8
"""A table of fewer numbers is nothing but its numbers: any formula with a few parameters would do."""


class Computed(nn.Module):
    """A layer that stores (nearly) no tensor: it keeps in mind which dtype and device it was moved to.

    Its numbers are computed on the CPU and then moved, so that the device does not change them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dtype, self.device = torch.float64, torch.device("cpu")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)
        moved = fn(torch.empty(0, dtype=self.dtype, device=self.device))
        self.dtype, self.device = moved.dtype, moved.device
        return self

    def finished(self, values: Tensor) -> Tensor:
        """Computed numbers in the dtype, and on the device, that the layer was moved to."""
        values = values.to(self.dtype)
        return values if self.device.type == "cpu" else values.to(self.device)


def gained(values: Tensor, gain: Tensor | None) -> Tensor:
    """``values`` times a stored gain, which is 1 where there is none; in float64 where either is."""
    return values if gain is None else values * gain.to("cpu", torch.promote_types(values.dtype, gain.dtype))


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
