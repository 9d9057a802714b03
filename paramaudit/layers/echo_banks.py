"""Several delay lines, or several combs, over the same input: early reflections and a reverberator's tail.

What it computes: Delay lines ``y[t] = sum of gain[i] x[t - delay[i]]``, or combs
                  ``y[t] = dry x[t] + wet x[t - delay] + feedback y[t - delay]``, side by side; zero initial
                  state; one line's outputs after another's.
Replaces:         A dense layer n to k n that learned echoes: k n^2 numbers are a gain for each delay, or up
                  to three for each comb.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             Delays are whole samples and not trained, nor is the sign of a feedback, which is held as
                  its decay ``-log |feedback|``: nothing keeps a trained decay above 0, where the comb is
                  stable. For one line or comb of any length, take ``DelayLine``, ``FeedbackComb`` or
                  ``AllPass``. Half precision is computed in float32.
Source:           Smith, Physical Audio Signal Processing (2010), tapped delay lines, and comb filters.
                  Schroeder, Natural sounding artificial reverberation, J. Audio Eng. Soc. 10 (1962).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from paramaudit.numerics.initial import Numbers, filled
from paramaudit.operators.comb import STORED, Comb, Kind
from paramaudit.operators.delay import Delay


class DelayBank(Delay):
    """k tapped delay lines of the last dimension, ``(..., n)`` to ``(..., k n)``.

    Args:
        n: samples.
        delays: for each line its delays in samples, none twice; from 0 to n - 1.
        gains: first gains, one number, or one for each delay of all lines in order.

    Raises:
        ValueError: for delays that are repeated or out of range, a line without any, or gains that do not
        fit.

    Example:
        >>> DelayBank(256, [[0, 37], [11, 74, 100]], gains=0.5)(torch.randn(8, 256)).shape
        torch.Size([8, 512])
    """

    def __init__(self, n: int, delays: Sequence[Sequence[int]], gains: Numbers = 1.0) -> None:
        lines = [tuple(int(delay) for delay in line) for line in delays]
        for line in lines:
            if not line or len(set(line)) < len(line) or not 0 <= min(line) <= max(line) < n:
                raise ValueError(f"delays must be different whole numbers from 0 to {n - 1}, not {line}")
        if not lines:
            raise ValueError("there must be at least one delay line")
        first = min(min(line) for line in lines)
        lags = max(max(line) for line in lines) + 1 - first
        places = [k * lags + delay - first for k, line in enumerate(lines) for delay in line]
        shape = len(lines), lags
        super().__init__(n, n, first, shape, torch.tensor(places), filled(gains, len(places)))
        self.delays = tuple(lines)

    def extra_repr(self) -> str:
        """The arguments that are not trained, for ``print``."""
        return f"{self.columns}, delays={self.delays}"


class CombBank(Comb):
    """k comb filters of the last dimension, ``(..., n)`` to ``(..., k n)``.

    Args:
        n: samples.
        delays: of each comb, in samples, at least 1.
        dry: first gains of the input, one number or one a comb.
        wet: of the delayed input; None where there is none.
        feedback: of the delayed output, between -1 and 1 and not 0; None where there is none.

    Raises:
        ValueError: for a delay or a feedback outside that, neither ``wet`` nor ``feedback``, or numbers that
            do not fit.

    Example:
        >>> CombBank(256, [29, 37, 43], feedback=[0.7, -0.6, 0.5])(torch.randn(8, 256)).shape
        torch.Size([8, 768])
    """

    def __init__(
        self,
        n: int,
        delays: Sequence[int],
        dry: Numbers = 1.0,
        wet: Numbers | None = None,
        feedback: Numbers | None = 0.5,
    ) -> None:
        self.delays = tuple(int(delay) for delay in delays)
        if not self.delays or min(self.delays) < 1:
            raise ValueError(f"each comb must delay by at least one sample, not {self.delays}")
        if wet is None and feedback is None:
            raise ValueError("a comb needs a gain of the delayed input or of the delayed output")
        count = len(self.delays)
        signs, numbers = [1] * count, [filled(dry, count)]
        if wet is not None:
            numbers.append(filled(wet, count))
        if feedback is not None:
            gains = _feedback(filled(feedback, count))
            signs = [-1 if negative else 1 for negative in (gains < 0).tolist()]
            numbers.append(-gains.abs().log())
        first, second = (STORED if gain is not None else "0" for gain in (wet, feedback))
        kinds = tuple(
            Kind(delay, 0, STORED, first, second, sign)
            for delay, sign in zip(self.delays, signs, strict=True)
        )
        super().__init__(n, n, 0, kinds, torch.stack(numbers, 1).flatten())

    def extra_repr(self) -> str:
        """The arguments that are not trained, for ``print``."""
        return f"{self.columns}, delays={self.delays}"


def _feedback(gains: Tensor) -> Tensor:
    if not bool(((gains.abs() < 1) & (gains != 0)).all()):
        raise ValueError(f"feedback must lie between -1 and 1 and not be 0, not {gains.tolist()}")
    return gains
