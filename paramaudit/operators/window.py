"""A table that is a window function.

What it finds:    Hann, Hamming, Blackman, Nuttall, Blackman-Harris, flat top, cosine, Bartlett,
                  triangular, Parzen, Bohman and Lanczos windows, and, with one parameter, Tukey, Kaiser,
                  Gaussian and exponential ones: symmetric or periodic, with any gain, from float64 or as
                  torch's own functions make them in float32. A rectangular window is a constant and has
                  no name here.
Why it matters:   n numbers are none; a gain other than 1, and the parameter, stay.
Proof:            The computed window must have the bits of the stored one, or the largest difference is
                  stated.
Swap safety:      Exact where it was proven. The numbers are computed on the CPU at each call, so that
                  another device changes nothing. A parameter and a gain stay trainable, the shape does
                  not.
Source:           Harris, Proc. IEEE 66 (1978); the definitions of scipy.signal.windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.optimize
import scipy.signal
import torch
from torch import Tensor

from paramaudit.numerics.layers import parameter
from paramaudit.numerics.tables import (
    MACHINE,
    Computed,
    close,
    gained,
    gains,
    line,
    rounder,
    same,
    stored_table,
)
from paramaudit.numerics.tapers import FACTORIES, PLAIN, SHAPED, taper
from paramaudit.records import Example, Json, Operator, Table


class Window(Computed):
    """A window function in the shape that the table had.

    Args:
        name: which.
        shape: of the table; all but one dimension are 1.
        periodic: whether it goes on with its first number.
        value: the parameter ``()`` of a window that has one.
        gain: ``()``, None for 1.
        native: whether torch's own function makes it in float32.
    """

    def __init__(
        self,
        name: str,
        shape: torch.Size,
        periodic: bool,
        value: float | None = None,
        gain: float | None = None,
        native: bool = False,
    ) -> None:
        super().__init__()
        self.name, self.shape, self.periodic, self.native = name, shape, periodic, native
        self.value = parameter(None if value is None else torch.tensor(value, dtype=torch.float64))
        self.gain = parameter(None if gain is None else torch.tensor(gain, dtype=torch.float64))

    def arguments(self) -> dict[str, Json]:
        """The name and its numbers."""
        said: dict[str, Json] = {
            "window": self.name,
            "n": self.shape.numel(),
            "symmetric": not self.periodic,
            "gain": 1.0 if self.gain is None else float(self.gain.detach()),
        }
        if self.value is not None:
            said[SHAPED[self.name][0]] = float(self.value.detach())
        if self.native:
            said["recipe"] = f"torch.{self.name}_window in float32"
        return said

    @property
    def requires(self) -> tuple[str, ...]:
        """What the bits need beyond arithmetic that rounds correctly."""
        return (MACHINE,) if self.native else ()

    def forward(self) -> Tensor:
        """The window."""
        size = self.shape.numel()
        if self.native:
            shape = FACTORIES[self.name](size, periodic=self.periodic, dtype=torch.float32)
        else:
            value = None if self.value is None else self.value.to("cpu", torch.float64)
            shape = taper(self.name, size, self.periodic, value)
        return self.finished(gained(shape, self.gain).reshape(self.shape))


def propose(view: Table) -> Window | None:
    """The first window with these bits, or the first that is near."""
    values = line(view.values)
    if values is None:
        return None
    near: Window | None = None
    for name, periodic, value, shape, native in _shapes(values, view.noise):
        for gain in gains(values, shape, view.noise):
            made = shape if gain is None else shape * gain
            if same(values, made, view.dtype) or (near is None and close(values, made, view.noise)):
                near = Window(name, view.values.shape, periodic, value, gain, native)
            if same(values, made, view.dtype):
                return near
    return near


def _shapes(values: Tensor, noise: float) -> Iterator[tuple[str, bool, float | None, Tensor, bool]]:
    """Windows near to these numbers but for a gain."""
    for periodic in (False, True):
        if not _mirrored(values, periodic, noise):
            continue
        size = len(values)
        for name in PLAIN:
            shape = taper(name, size, periodic)
            if _alike(values, shape, noise):
                yield name, periodic, None, shape, False
                if name in FACTORIES:
                    made = FACTORIES[name](size, periodic=periodic, dtype=torch.float32)
                    yield name, periodic, None, made.double(), True
        for name in SHAPED:
            for number in _numbers(name, values, periodic, noise):
                shape = taper(name, size, periodic, torch.tensor(number, dtype=torch.float64))
                if _alike(values, shape, noise):
                    yield name, periodic, number, shape, False


def _mirrored(values: Tensor, periodic: bool, noise: float) -> bool:
    """Whether the numbers are the same backwards, looked at in a few places first."""
    body = values[1:] if periodic else values
    tolerance = 8 * noise * float(values.abs().max())
    few = torch.linspace(0, len(body) - 1, min(8, len(body))).long()
    if bool(((body[few] - body[len(body) - 1 - few]).abs() > tolerance).any()):
        return False
    return bool(((body - body.flip(0)).abs() <= tolerance).all())


def _alike(values: Tensor, shape: Tensor, noise: float) -> bool:
    return close(values, shape * ((values * shape).sum() / shape.square().sum()), noise)


def _numbers(name: str, values: Tensor, periodic: bool, noise: float) -> list[float]:
    """Parameters with which a window has the right ratio at one place to its middle, round ones first."""
    middle = (len(values) + 1) // 2 if periodic else len(values) // 2
    ratios = values[: middle + 1] / values[middle]
    at = int((ratios - 0.5).abs().argmin())
    _, formula, low, high = SHAPED[name]
    length = len(values) + 1 if periodic else len(values)

    def off(logarithm: float) -> float:
        shape = formula(length, torch.tensor(np.exp(logarithm), dtype=torch.float64))
        return float(shape[at] / shape[middle] - ratios[at])

    ends = (float(np.log(low)), float(np.log(high)))
    if not bool(ratios.isfinite().all()) or not off(ends[0]) * off(ends[1]) < 0:
        return []
    found = float(np.exp(scipy.optimize.brentq(off, *ends, xtol=1e-14, rtol=1e-14)))
    return rounder(found, 1e-5 + 64 * noise)


# --- examples -----------------------------------------------------------------------------------


def _scipy(name: str | tuple[str, float], size: int, symmetric: bool, gain: float = 1.0) -> Table:
    return stored_table(gain * scipy.signal.get_window(name, size, fftbins=not symmetric))


def _unit_sum() -> Table:
    values = scipy.signal.windows.hann(63)
    return stored_table(values / values.sum())


def _noisy() -> Table:
    values = scipy.signal.windows.hann(64)
    return stored_table(values * (1 + 0.01 * np.random.default_rng(0).standard_normal(64)))


def _one_off() -> Table:
    values = scipy.signal.windows.hamming(64)
    values[20] *= 1.01
    return stored_table(values)


OPERATOR = Operator(
    "window",
    propose,
    finds=(
        Example("Hann, periodic", lambda: _scipy("hann", 400, False)),
        Example("Hann as torch makes it", lambda: Table(torch.hann_window(512))),
        Example("Hamming, symmetric", lambda: _scipy("hamming", 65, True)),
        Example("Hann of unit sum", _unit_sum),
        Example("Kaiser, beta 8.6", lambda: _scipy(("kaiser", 8.6), 129, True)),
        Example("Gaussian, std 7, times 3", lambda: _scipy(("gaussian", 7.0), 64, True, 3.0)),
        Example("Tukey, alpha 0.25", lambda: _scipy(("tukey", 0.25), 100, True)),
        Example("flat top", lambda: _scipy("flattop", 50, True)),
    ),
    ignores=(
        Example("Hann with 1 % noise", _noisy),
        Example("Hamming with one number off by 1 %", _one_off),
        Example("hump", lambda: stored_table(1 - np.linspace(-1, 1, 64) ** 2)),
        Example("constant", lambda: stored_table(np.ones(64))),
        Example("half of a window", lambda: stored_table(scipy.signal.windows.hann(64)[:32].copy())),
    ),
    view=Table,
)
