"""A linear map that is a bank of recursive filters of low order.

What it finds:    ``y[t] = sum_j b_j x[t - j] - sum_j a_j y[t - j]`` from rest, of order up to 16: resonators,
                  one-pole smoothers, Butterworth and elliptic filters; several of them over the same input,
                  one block after another or row by row in turn; later or earlier by some samples. Stored
                  are the numerator, without its trailing zeros and without its zeros at DC and Nyquist
                  (those are counted), and the poles: a two-pole resonator is three numbers (b0, radius,
                  angle). A pole is held as decay and detuning over the whole
                  response, beside the whole bin nearest to its angle (an index), so that rounding
                  does not grow with the quality of the resonance.
Why it matters:   m n numbers are at most 2 p + 1 a filter, and a product costs O((m + n) log(m + n)).
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding. The order is the rank of the Hankel matrix of the impulse response (the mean of
                  each diagonal), the poles are its matrix pencil's; all numbers are then fitted until every
                  sample is met within 6 standard deviations.
Swap safety:      Exact at any input of n numbers. The numbers are trainable within the family; nothing keeps
                  a trained pole stable. Half precision is computed in float32, the response in float64.
Source:           Kailath, Linear Systems (1980), 5.1. Hua and Sarkar, Matrix pencil method, IEEE Trans.
                  ASSP 38 (1990). Oppenheim and Schafer, Discrete-Time Signal Processing, 6.3.
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit.numerics.blocks import Stack, deviations, stacked
from paramaudit.numerics.convolution import convolved
from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import kept_bias, stored
from paramaudit.numerics.response import impulse_matrix
from paramaudit.numerics.sections import Filter, identify, poles, responses
from paramaudit.records import Example, Json, Matrix, Operator


class Iir(nn.Module):
    """k recursive filters of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        rows: m, the outputs of one filter.
        columns: n.
        first: the lag ``row - column`` at which responses begin.
        filters: one for each block.
        interleaved: whether outputs take turns between the filters.
        bias: ``(k m,)`` or None.
    """

    bins: Tensor

    def __init__(
        self,
        rows: int,
        columns: int,
        first: int,
        filters: tuple[Filter, ...],
        interleaved: bool = False,
        bias: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.first, self.interleaved = rows, columns, first, interleaved
        self.forms = tuple(one.form for one in filters)
        self.values = owned(torch.cat([one.values for one in filters]))
        self.register_buffer("bins", torch.cat([one.bins for one in filters]))
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Shape of a block, order of blocks, and each filter's numerator and poles (one of each pair)."""
        filters: list[Json] = []
        for one in self._filters(self.values.detach().double()):
            radius, angle = poles(one, self.rows - self.first)
            found: list[Json] = [
                {"radius": r, "angle": a} for r, a in zip(radius.tolist(), angle.tolist(), strict=True)
            ]
            entry: dict[str, Json] = {
                "order": 2 * one.form.pairs + one.form.reals,
                "b": list(one.values[: one.form.taps].tolist()),
                "zeros_at_dc": one.form.dc,
                "zeros_at_nyquist": one.form.nyquist,
                "poles": found,
            }
            filters.append(entry)
        return {
            "rows": self.rows,
            "columns": self.columns,
            "interleaved": self.interleaved,
            "starts_at": self.first,
            "filters": filters,
            "bias": self.bias is not None,
        }

    def _filters(self, values: Tensor) -> list[Filter]:
        own = torch.split(values, [form.numbers for form in self.forms])
        bins = torch.split(self.bins, [form.bins for form in self.forms])
        return [Filter(*one) for one in zip(self.forms, own, bins, strict=True)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Write the impulse responses down and convolve with them."""
        # in float64 where there is one: powers of a rounded pole would drift
        filters = self._filters(self.values.float() if inputs.device.type == "mps" else self.values.double())
        found: dict[int, Tensor] = {}
        for form in dict.fromkeys(self.forms):
            same = [index for index, other in enumerate(self.forms) if other == form]
            values = torch.stack([filters[index].values for index in same])
            bins = torch.stack([filters[index].bins for index in same])
            of_form = responses(form, values, bins, self.rows - self.first).unbind(0)
            found |= dict(zip(same, of_form, strict=True))
        bank = torch.stack([found[index] for index in range(len(filters))])
        outputs = convolved(inputs, bank, self.rows, self.first, self.interleaved)
        return plus(outputs, self.bias, inputs.dtype)


def propose(view: Matrix) -> Iir | None:
    """The filter of every block of a stack."""
    stack = view.once(stacked)
    if stack is None or stack.values.shape[1] < 6:
        return None
    for units in deviations(stack, view):
        found = _bank(stack, units, view.dtype)
        if found and sum(one.form.numbers for one in found) < stack.values.numel():
            shape = stack.rows, stack.columns, stack.first
            return Iir(*shape, tuple(found), stack.interleaved, kept_bias(view))
    return None


def _bank(stack: Stack, units: Tensor, dtype: torch.dtype) -> list[Filter]:
    """The filter of every block; none when one block has none."""
    filters: list[Filter] = []
    for response, unit in zip(stack.values, units, strict=True):
        found = identify(response, unit, stack.lags, dtype)
        if found is None:
            return []
        filters.append(found)
    return filters


def _resonator(size: int, gain: float, radius: float, angle: float) -> NDArray[np.float64]:
    a = np.array([1.0, -2 * radius * np.cos(angle), radius**2])
    return impulse_matrix(size, np.array([gain]), a)


def _resonators(size: int, count: int, interleaved: bool = False) -> Matrix:
    """Resonators over the same input, with a bias when they take turns."""
    rng = np.random.default_rng(count)
    draws = rng.uniform([0.05, 0.85, 0.1], [0.5, 0.99, 3.0], (count, 3)).tolist()
    blocks = [_resonator(size, *draw) for draw in draws]
    stack = np.stack(blocks, axis=1 if interleaved else 0).reshape(-1, size)
    return stored(stack, rng.standard_normal(len(stack)) if interleaved else None)


def _mixed(size: int) -> Matrix:
    """Filters of several forms: two real poles, an elliptic one, a smoother with negative pole."""
    two_real = impulse_matrix(size, np.array([1.0, -0.3]), np.array([1.0, -1.4, 0.45]))
    elliptic = impulse_matrix(size, *scipy.signal.ellip(3, 1, 30, 0.3))
    alternating = impulse_matrix(size, np.array([0.5]), np.array([1.0, 0.8]))
    return stored(np.concatenate([two_real, elliptic, alternating]))


def _drifting(size: int) -> Matrix:
    """The second of three resonators loses a little more with every sample."""
    blocks = [_resonator(size, 0.2, 0.95, angle) for angle in (0.5, 1.1, 2.0)]
    time = np.arange(size)
    ringing = blocks[1][:, 0] * np.exp(-2e-5 * time**2)
    blocks[1] = impulse_matrix(size, ringing)
    return stored(np.concatenate(blocks))


def _many_poles(size: int) -> Matrix:
    """Twenty-four resonators added up: an order of 48."""
    angles = np.sort(np.random.default_rng(2).uniform(0.1, 3.0, 24))
    return stored(np.stack([_resonator(size, 0.1, 0.97, angle) for angle in angles]).sum(0))


def _random(size: int) -> Matrix:
    response = np.random.default_rng(1).standard_normal(size)
    return stored(impulse_matrix(size, response))


OPERATOR = Operator(
    "iir",
    propose,
    finds=(
        Example("resonator", lambda: stored(_resonator(128, 0.3, 0.95, 0.7))),
        Example("five resonators", lambda: _resonators(96, 5)),
        Example("seven resonators in turns, with a bias", lambda: _resonators(48, 7, interleaved=True)),
        Example("undamped", lambda: stored(_resonator(200, 0.4, 1.0, 1.0))),
        Example("one pole", lambda: stored(impulse_matrix(60, np.array([0.1]), np.array([1.0, -0.9])))),
        Example("Butterworth of order 4", lambda: stored(impulse_matrix(128, *scipy.signal.butter(4, 0.2)))),
        Example(
            "high-pass of order 4", lambda: stored(impulse_matrix(96, *scipy.signal.butter(4, 0.1, "high")))
        ),
        Example("filters of several forms", lambda: _mixed(64)),
    ),
    ignores=(
        Example("one resonator of three drifts", lambda: _drifting(128)),
        Example("order 48", lambda: _many_poles(128)),
        Example(
            "random response",
            lambda: _random(90),
        ),
    ),
)
