"""Causal filters over the last dimension by their impulse responses; initial states are zero."""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from paramaudit.numerics.layers import fast_length, widened
from paramaudit.numerics.scan import delayed


def two_pole(first: Tensor, second: Tensor, across: Tensor, size: int) -> Tensor:
    """The first samples of ``1 / (1 + p1 (1 + p2) z^-1 + p2 z^-2)``.

    Powers of the step come by doubling, so that no time is looped over. The state is that of the normalised
    lattice filter, whose step is no longer than 1 in the Euclidean norm: its powers lose no digits. Those
    of the companion matrix would lose all for slow poles, and closed forms fail where two poles meet.

    Args:
        first: p1, ``(k,)``, between -1 and 1.
        second: p2, ``(k,)``, between -1 and 1.
        across: ``sqrt(1 - p1^2)``, ``(k,)``, given because it is known better than from p1.
        size: how many samples.

    Returns:
        ``(k, size)``.

    Source:
        Gray and Markel, A normalized digital filter structure, IEEE Trans. ASSP 23 (1975).
    """
    upper = torch.stack([-first, -second * across], -1)
    power = torch.stack([upper, torch.stack([across, -first * second], -1)], -2)
    states = torch.stack([torch.ones_like(first), first / across], -1).unsqueeze(-1)
    while states.shape[-1] < size:
        states = torch.cat([states, power @ states], -1)
        power = power @ power
    return states[:, 0, :size]


def filtered(numerator: Tensor, poles: Tensor) -> Tensor:
    """``b0 x[t] + b1 x[t-1] + ...`` of samples ``(k, n)`` with a numerator ``(k, m)`` each."""
    outputs = numerator[:, :1] * poles
    for delay in range(1, numerator.shape[1]):
        outputs = outputs + numerator[:, delay : delay + 1] * delayed(poles, delay)
    return outputs


def causal(inputs: Tensor, responses: Tensor) -> Tensor:
    """Filter the last dimension: ``(..., n)`` and impulse responses ``(k, m)`` to ``(..., k, n)``.

    Responses begin at time 0; what is beyond n samples plays no part. Half precision becomes float32. By
    FFT at any length: by default torch's own convolutions are TF32 on CUDA, which keeps but three digits.
    """
    wide = widened(inputs)
    size = wide.shape[-1]
    responses = responses[:, :size].to(wide.dtype)
    length = fast_length(size + responses.shape[-1] - 1)
    spectrum = torch.fft.rfft(wide, n=length).unsqueeze(-2) * torch.fft.rfft(responses, n=length)
    outputs: Tensor = torch.fft.irfft(spectrum, n=length)[..., :size]
    return outputs


def impulse_matrix(
    size: int, numerator: NDArray[np.float64], poles: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """``scipy.signal.lfilter`` of every unit impulse, ``(size, size)``: what a dense layer of a filter holds.

    Args:
        size: samples of input and output.
        numerator: coefficients of ``z^0, z^-1, ..``.
        poles: those of the denominator, the first not 0; None for none.
    """
    denominator = np.ones(1) if poles is None else poles
    return np.asarray(scipy.signal.lfilter(numerator, denominator, np.eye(size), axis=0), dtype=np.float64)
