"""A table that has the shape of a gamma density.

What it finds:    ``t^(k-1) exp(-t / s)`` times a gain, with t counted in samples from 0 or 1: gammatone
                  envelopes, alpha functions (k = 2), responses of one gamma density, exponential decays
                  (k = 1) are left to geometric ramps.
Why it matters:   n numbers are three: shape, scale and gain.
Proof:            The computed numbers must have the bits of the stored ones, or the largest difference is
                  stated.
Swap safety:      Exact where it was proven. The numbers are computed on the CPU at each call, so that
                  another device changes nothing. The three parameters stay trainable, in float64.
Source:           Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions 1 (1994), chapter
                  17; Patterson et al., An efficient auditory filterbank based on the gammatone function
                  (1987).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from paramaudit.numerics.layers import owned
from paramaudit.numerics.tables import Computed, close, gains, line, rounder, same, snapped, stored_table
from paramaudit.records import Example, Json, Operator, Table

_MOST_SHAPES = 4
_FEW = 64
_LEAST_EXCESS = 0.1
"""A shape nearer to 1 than that is an exponential decay."""


def _density(size: int, first: int, shape: Tensor, scale: Tensor) -> Tensor:
    """``(t / s)^(k-1) exp(-t / s)`` at ``first``, ``first + 1``, ..., float64; at 0 it is 0."""
    place = (torch.arange(size, dtype=torch.float64) + first) / scale
    wave = torch.exp((shape - 1) * place.clamp_min(1e-300).log() - place)
    return torch.where(place > 0, wave, 0.0)


class GammaDensity(Computed):
    """A gamma density in the shape that the table had.

    Args:
        size: of the table; all but one dimension are 1.
        first: the time of its first number, 0 or 1.
        numbers: shape k, scale s in samples, and gain ``(3,)``.
    """

    def __init__(self, size: torch.Size, first: int, numbers: Tensor) -> None:
        super().__init__()
        self.size, self.first = size, first
        self.numbers = owned(numbers)

    def arguments(self) -> dict[str, Json]:
        """The parameters of the density."""
        shape, scale, gain = self.numbers.tolist()
        size = self.size.numel()
        return {"n": size, "first_time": self.first, "shape": shape, "scale": scale, "gain": gain}

    def forward(self) -> Tensor:
        """The density."""
        shape, scale, gain = self.numbers.to("cpu", torch.float64).unbind()
        return self.finished(
            (_density(self.size.numel(), self.first, shape, scale) * gain).reshape(self.size)
        )


def propose(view: Table) -> GammaDensity | None:
    """The first density with these bits, or the first that is near."""
    values = line(view.values)
    if values is None:
        return None
    near: GammaDensity | None = None
    for first, shape, scale in _densities(values, view.noise):
        wave = _density(len(values), first, *torch.tensor([shape, scale], dtype=torch.float64))
        for gain in _gains(values, wave, shape, scale, view.noise):
            numbers = torch.tensor([shape, scale, gain], dtype=torch.float64)
            made = wave * gain
            if same(values, made, view.dtype):
                return GammaDensity(view.values.shape, first, numbers)
            if near is None and close(values, made, view.noise):
                near = GammaDensity(view.values.shape, first, numbers)
    return near


def _densities(values: Tensor, noise: float) -> Iterator[tuple[int, float, float]]:
    """First time, shape and scale of densities near to these numbers, round ones first."""
    for first in (0, 1):
        place = torch.arange(len(values), dtype=torch.float64) + first
        few = torch.linspace(0, len(values) - 1, min(_FEW, len(values))).long()
        found = _fitted(values[few], place[few], noise)
        found = _fitted(values, place, noise) if found is not None and len(few) < len(values) else found
        if found is None:
            continue
        shape, scale = found
        tolerance = 1e-5 + 64 * noise
        shapes = rounder(shape, tolerance)
        for k in shapes[:_MOST_SHAPES] if len(shapes) > 1 else shapes:
            # the mean of the times does not move with the shape: k s is known best
            for s in rounder(scale * shape / k if abs(k - shape) > tolerance else scale, tolerance):
                yield first, k, s


def _fitted(values: Tensor, place: Tensor, noise: float) -> tuple[float, float] | None:
    """Shape and scale by least squares on logarithms, where the numbers are all of one sign but at time 0."""
    size = values.abs()
    if float(place[0]) == 0 and float(size[0]) > 2 * noise * float(size.max()):
        return None
    known = (size > 1e-5 * size.max()) & (place > 0)
    if int(known.sum()) < 6 or bool((values[known].sign() != values[known][0].sign()).any()):
        return None
    time, logs, weight = place[known], size[known].log(), size[known] / size.max()
    terms = torch.stack([torch.ones_like(time), time.log(), -time], dim=1)
    solved = torch.linalg.lstsq(terms * weight[:, None], (logs * weight)[:, None]).solution[:, 0]
    excess, rate = float(solved[1]), float(solved[2])
    if excess < _LEAST_EXCESS or rate * float(time[-1]) < 1e-3:
        return None
    off = ((terms @ solved - logs).abs() * weight).max()
    return (excess + 1, 1 / rate) if float(off) <= max(1e-3, 8 * noise) else None


def _gains(values: Tensor, wave: Tensor, shape: float, scale: float, noise: float) -> list[float]:
    """Gains of :func:`gains`, and those of a density of unit area whose samples are a round time apart."""
    found = [1.0 if gain is None else gain for gain in gains(values, wave, noise)]
    area = scale * float(torch.tensor(shape, dtype=torch.float64).lgamma().exp())
    rate = found[-1] * area
    short = snapped(rate, 1e-5 + 64 * noise, 4)
    slow = snapped(1 / rate, 1e-5 + 64 * noise, 4) if rate else None
    steps = [short] if short is not None else []
    steps += [1 / slow] if slow else []
    return [step / area for step in steps] + found


# --- examples -----------------------------------------------------------------------------------


def _pdf(size: int, step: float, shape: float, scale: float) -> np.ndarray:
    density: np.ndarray = scipy.stats.gamma.pdf(np.arange(size) * step, shape, scale=scale)
    return density


def _alpha() -> np.ndarray:
    """Rises and decays with one time constant, 1 at its largest."""
    time = np.arange(64) / 8
    return time * np.exp(1 - time)


def _noisy() -> np.ndarray:
    return _pdf(64, 0.2, 4, 1) * (1 + 0.01 * np.random.default_rng(0).standard_normal(64))


def _one_off() -> np.ndarray:
    values = _pdf(64, 0.2, 4, 1)
    values[15] *= 1.01
    return values


def _log_normal() -> np.ndarray:
    values: np.ndarray = scipy.stats.lognorm.pdf(np.arange(64) / 8, 0.5)
    return values


OPERATOR = Operator(
    "gamma-density",
    propose,
    finds=(
        Example("shape 4, 5 samples a scale", lambda: stored_table(_pdf(64, 0.2, 4, 1))),
        Example("shape 8.6, scale 0.547 s, at 2 Hz", lambda: stored_table(_pdf(40, 0.5, 8.6, 0.547))),
        Example("alpha function", lambda: stored_table(_alpha())),
        Example("of unit sum", lambda: stored_table(_pdf(64, 0.25, 3, 1) / _pdf(64, 0.25, 3, 1).sum())),
    ),
    ignores=(
        Example("1 % noise", lambda: stored_table(_noisy())),
        Example("one number off by 1 %", lambda: stored_table(_one_off())),
        Example("log-normal density", lambda: stored_table(_log_normal())),
        Example("Gaussian", lambda: stored_table(np.exp(-0.5 * ((np.arange(64) - 20) / 6) ** 2))),
    ),
    view=Table,
)
