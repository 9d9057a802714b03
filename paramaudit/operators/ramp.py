"""A table of equal steps or equal ratios.

What it finds:    Numbers that rise or fall by the same step (linspace, arange, a scale in decibels) or by
                  the same factor (logspace, a bank of centre frequencies, gains at equal steps in
                  decibels).
Why it matters:   n numbers are two, the first and the last, or none where they count from 0.
Proof:            The computed numbers must have the bits of the stored ones, or the largest difference is
                  stated.
Swap safety:      Exact where it was proven. The numbers are computed on the CPU at each call, so that
                  another device changes nothing. The two ends stay trainable, in float64, but where
                  torch.linspace itself makes the numbers; the steps stay equal.
Source:           The definitions of numpy.linspace, numpy.geomspace and torch.linspace.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from paramaudit.numerics.layers import parameter
from paramaudit.numerics.tables import MACHINE, Computed, close, line, rounder, same, stored_table
from paramaudit.records import Example, Json, Operator, Table

_SCALES = ("linear", "geometric", "torch.linspace in float32")


def _steps(scale: str, size: int, ends: Tensor) -> Tensor:
    """``(size,)`` numbers from the first to the second of ``ends``, in float64."""
    if scale == "linear":
        # from both ends, so that the last one is met as well as the first
        share = torch.arange(size, dtype=torch.float64)
        return torch.where(share < size - 1, ends[0] + share * ((ends[1] - ends[0]) / (size - 1)), ends[1])
    if scale == "geometric":
        share = torch.arange(size, dtype=torch.float64) / (size - 1)
        return ends[0] * (ends[1] / ends[0]) ** share
    first, last = ends.to(torch.float32).unbind()
    return torch.linspace(first, last, size, dtype=torch.float32)


class Ramp(Computed):
    """Equal steps in the shape that the table had.

    Args:
        scale: ``linear``, ``geometric`` or ``torch.linspace in float32``.
        shape: of the table; all but one dimension are 1.
        ends: the first and the last number ``(2,)``; None for 0 and n - 1.
    """

    def __init__(self, scale: str, shape: torch.Size, ends: Tensor | None) -> None:
        super().__init__()
        self.scale, self.shape = scale, shape
        self.ends = parameter(ends)
        if self.ends is not None and scale not in ("linear", "geometric"):
            self.ends.requires_grad_(False)  # torch's own function has no gradient

    def arguments(self) -> dict[str, Json]:
        """The scale and its ends."""
        size = self.shape.numel()
        first, last = [0.0, size - 1.0] if self.ends is None else self.ends.tolist()
        return {"n": size, "scale": self.scale, "first": first, "last": last}

    @property
    def requires(self) -> tuple[str, ...]:
        """What the bits need beyond arithmetic that rounds correctly."""
        return () if self.scale in ("linear", "geometric") else (MACHINE,)

    def forward(self) -> Tensor:
        """All steps."""
        size = self.shape.numel()
        if self.ends is None:
            return self.finished(torch.arange(size, dtype=torch.float64).reshape(self.shape))
        ends = self.ends.to("cpu", torch.float64)
        return self.finished(_steps(self.scale, size, ends).reshape(self.shape))


def propose(view: Table) -> Ramp | None:
    """The first ramp with these bits, or the first that is near."""
    values = line(view.values)
    if values is None or not _even(values, view.noise):
        return None
    near: Ramp | None = None
    for scale, ends in _candidates(values, view.noise):
        made = _steps(scale, len(values), ends)
        if same(values, made, view.dtype):
            counting = scale == "linear" and ends.tolist() == [0.0, len(values) - 1.0]
            return Ramp(scale, view.values.shape, None if counting else ends)
        if near is None and close(values, made, view.noise) and _fits(scale, values, made, view.noise):
            near = Ramp(scale, view.values.shape, ends)
    return near


def _even(values: Tensor, noise: float) -> bool:
    """Whether a few steps, or ratios, are about the same."""
    places = torch.linspace(0, len(values) - 1, 8).long()
    few = values[places]
    one_sign = bool((few * few[0] > 0).all())
    for numbers in (few, few.abs().log()) if one_sign else (few,):
        between = places.diff()
        rises = numbers.diff() / between
        slack = 16 * noise * (1 + float(numbers.abs().max())) + 1e-4 * abs(float(numbers[-1] - numbers[0]))
        if float(((rises - rises[0]) * between).abs().max()) <= slack:
            return True
    return False


def _fits(scale: str, values: Tensor, made: Tensor, noise: float) -> bool:
    """A geometric ramp must be near each number by itself, not only near the largest."""
    if scale != "geometric":
        return True
    return bool(((values - made).abs() <= max(1e-3, 4 * noise) * values.abs()).all())


def _candidates(values: Tensor, noise: float) -> Iterator[tuple[str, Tensor]]:
    first, last = float(values[0]), float(values[-1])
    for scale in _SCALES:
        if scale == "geometric" and (first * last <= 0 or first == last):
            continue
        for start in rounder(first, 2 * noise):
            for stop in rounder(last, 2 * noise):
                yield scale, torch.tensor([start, stop], dtype=torch.float64)
    for step in rounder((last - first) / (len(values) - 1), 8 * noise):
        for start in rounder(first, 2 * noise):
            yield "linear", torch.tensor([start, start + step * (len(values) - 1)], dtype=torch.float64)


# --- examples -----------------------------------------------------------------------------------


def _bent() -> np.ndarray:
    return np.linspace(0, 1, 64) + 0.002 * np.linspace(-1, 1, 64) ** 2


def _one_off() -> np.ndarray:
    values = np.linspace(1, 2, 64)
    values[17] *= 1.01
    return values


def _walk() -> np.ndarray:
    return np.cumsum(1 + 0.01 * np.random.default_rng(0).standard_normal(64))


OPERATOR = Operator(
    "ramp",
    propose,
    finds=(
        Example("linspace", lambda: stored_table(np.linspace(-0.3, 1.7, 61))),
        Example("linspace of torch", lambda: Table(torch.linspace(0.1, 0.7, 100))),
        Example("counting", lambda: stored_table(np.arange(50.0))),
        Example("steps of 0.1", lambda: stored_table(0.1 * np.arange(33))),
        Example("decibels", lambda: stored_table(np.linspace(-60.0, 12.0, 25))),
        Example(
            "gains of equal steps in decibels",
            lambda: stored_table(10 ** (np.linspace(-60.0, 12.0, 25) / 20)),
        ),
        Example("logspace", lambda: stored_table(np.logspace(-4, 2, 40))),
        Example("negative ratios", lambda: stored_table(-np.geomspace(1, 512, 16))),
    ),
    ignores=(
        Example("slightly bent", lambda: stored_table(_bent())),
        Example("one number off by 1 %", lambda: stored_table(_one_off())),
        Example("uneven steps", lambda: stored_table(_walk())),
        Example("constant", lambda: stored_table(np.full(64, 0.5))),
        Example(
            "sorted uniform numbers", lambda: stored_table(np.sort(np.random.default_rng(1).random(256)))
        ),
    ),
    view=Table,
)
