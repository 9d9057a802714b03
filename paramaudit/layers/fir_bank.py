"""Filters with a few taps over the same input.

What it computes: ``y[t] = sum_j b_j x[t - j]`` for each of k filters, zeros outside the input: causal, or as
                  ``numpy.convolve`` in its modes "full", "same" and "valid"; one filter's outputs after
                  another's.
Replaces:         A dense layer n to k m: k m n numbers are k times a few taps.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             With ``linear_phase`` half of the taps are stored, and training keeps the other half their
                  mirror image. More than 64 taps are convolved by FFT. Half precision is computed in float32.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 5.7 (linear phase) and 6.5.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paramaudit.numerics.initial import Numbers, filled
from paramaudit.operators.fir import Fir

MODES = ("causal", "full", "same", "valid")


class FirBank(Fir):
    """k filters of the last dimension, ``(..., n)`` to ``(..., k m)``.

    Args:
        n: samples.
        taps: first taps ``(t,)`` or ``(k, t)``, from the newest sample on; t is at most n.
        mode: "causal", with m = n; or "full" (m = n + t - 1), "same" (m = n) or "valid" (m = n - t + 1).
        linear_phase: whether taps stay the same forwards and backwards, but perhaps for their sign.

    Raises:
        ValueError: for a mode that there is not, too many taps, or taps that are no mirror image.

    Example:
        >>> FirBank(256, [[0.25, 0.5, 0.25], [-0.5, 0.0, 0.5]], mode="same")(torch.randn(8, 256)).shape
        torch.Size([8, 512])
    """

    def __init__(self, n: int, taps: Numbers, mode: str = "same", linear_phase: bool = False) -> None:
        shape = torch.as_tensor(taps).shape
        if len(shape) not in (1, 2) or not 1 <= shape[-1] <= n or not shape.numel():
            raise ValueError(f"taps must be (t,) or (k, t) with t from 1 to {n}, not {tuple(shape)}")
        if mode not in MODES:
            raise ValueError(f"there is no mode {mode!r}; known are {', '.join(MODES)}")
        count = shape[-1]
        values = filled(taps, *shape).reshape(-1, count)
        symmetry = _symmetry(values) if linear_phase else 0
        kept = {0: count, 1: (count + 1) // 2, -1: count // 2}[symmetry]
        more = {"full": count - 1, "valid": 1 - count}.get(mode, 0)
        first = {"same": -((count - 1) // 2), "valid": 1 - count}.get(mode, 0)
        super().__init__(n + more, n, first, values[:, :kept], count, symmetry)
        self.mode = mode

    def extra_repr(self) -> str:
        """The arguments that are not trained, for ``print``."""
        return f"{self.columns}, taps={self.taps}, mode={self.mode!r}, linear_phase={self.symmetry != 0}"


def _symmetry(taps: Tensor) -> int:
    """1 or -1, which the mirror image of all taps is multiplied by."""
    for sign in (1, -1):
        if taps.shape[1] + sign > 1 and torch.equal(taps, sign * taps.flip(1)):
            return sign
    raise ValueError("taps of linear phase must be the same forwards and backwards, or the opposite")
