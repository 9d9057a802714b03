"""Recursive filters of any low order over the same input.

What it computes: ``y[t] = (sum_j b_j x[t - j] - sum_{j > 0} a_j y[t - j]) / a_0`` for each of k filters, as
                  ``scipy.signal.lfilter``; zero initial state; one filter's outputs after another's.
Replaces:         A dense layer n to k n: k n^2 numbers are a few for each filter.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             Stored are the numerators and the poles, as decay and angle over n samples, so that rounding
                  does not grow with the quality of a resonance. A pair of poles stays a pair, and nothing
                  keeps a trained pole stable: ``BiquadBank`` does. Impulse responses are made in float64,
                      which
                  poles that nearly coincide need; half precision is convolved in float32.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 6.3.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from paramaudit.numerics.initial import Numbers, filled
from paramaudit.numerics.sections import MOST, Filter, Form
from paramaudit.operators.iir import Iir


class RecursiveBank(Iir):
    """k recursive filters of the last dimension, ``(..., n)`` to ``(..., k n)``.

    Args:
        n: samples.
        b: first numerators ``(t,)`` or ``(k, t)``, as ``scipy.signal`` has them.
        a: denominators ``(p + 1,)`` or ``(k, p + 1)``, of order 1 to 16.

    Raises:
        ValueError: when the shapes do not fit, the order is another, or a pole is zero or not inside the unit
            circle.

    Example:
        >>> RecursiveBank(256, [0.1, 0.2, 0.1], [1.0, -1.1, 0.5])(torch.randn(8, 256)).shape
        torch.Size([8, 256])
    """

    def __init__(self, n: int, b: Numbers, a: Numbers) -> None:
        above, below = _rows(b, "b"), _rows(a, "a")
        if len(above) != len(below) or not 1 <= above.shape[1] <= n or not 2 <= below.shape[1] <= MOST + 1:
            raise ValueError(
                f"b and a must be as many filters of 1 to {n} taps and of order 1 to {MOST}, not "
                f"{tuple(above.shape)} and {tuple(below.shape)}"
            )
        filters = tuple(_filter(n, *pair) for pair in zip(above, below, strict=True))
        super().__init__(n, n, 0, filters)

    def extra_repr(self) -> str:
        """The size, and how many filters there are, for ``print``."""
        return f"{self.columns}, filters={len(self.forms)}"


def _rows(numbers: Numbers, name: str) -> Tensor:
    """``(t,)`` or ``(k, t)`` as ``(k, t)``."""
    shape = torch.as_tensor(numbers).shape
    if len(shape) not in (1, 2) or not shape.numel():
        raise ValueError(f"{name} must be one row of numbers, or one a filter, not {tuple(shape)}")
    return filled(numbers, *shape).reshape(-1, shape[-1])


def _filter(n: int, b: Tensor, a: Tensor) -> Filter:
    """Numerator and poles, in the dtype of ``b``."""
    if not float(a[0]):
        raise ValueError("the first number of a must not be 0")
    taps = (b.double() / a[0].double()).tolist()
    found = np.roots(a.double().numpy())
    if len(found) < len(a) - 1 or not bool(((np.abs(found) > 0) & (np.abs(found) < 1)).all()):
        raise ValueError(f"all poles must lie inside the unit circle and not at 0, not at {found.tolist()}")
    upper, real = found[found.imag > 0], found[found.imag == 0].real
    places = np.angle(upper) * (n / math.pi)
    bins = np.rint(places)
    numbers = [*taps, *(-n * np.log(np.abs(upper))), *(places - bins), *(-n * np.log(np.abs(real)))]
    whole = [*bins, *np.where(real < 0, n, 0)]
    form = Form(len(taps), len(upper), len(real))
    return Filter(
        form,
        torch.tensor(numbers, dtype=torch.float64).to(b.dtype),
        torch.tensor(whole, dtype=torch.float64).to(torch.int64),
    )
