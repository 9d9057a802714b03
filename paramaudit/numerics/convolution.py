"""Convolution of the last dimension with a bank of filters: directly when short, by FFT otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from paramaudit.numerics.layers import fast_length, widened

SHORT = 64
"""Responses of up to this many numbers are convolved directly."""


def convolved(inputs: Tensor, responses: Tensor, rows: int, first: int, interleaved: bool = False) -> Tensor:
    """Every output ``i`` of every filter: ``sum_t response[t] inputs[i - first - t]``, zero outside.

    Args:
        inputs: ``(..., n)``; half precision is computed in float32.
        responses: ``(k, band)``, in any dtype.
        rows: m, the outputs of one filter.
        first: what the first number of a response is the lag of; negative where it looks ahead.
        interleaved: whether outputs take turns between the filters, instead of filter after filter.

    Returns:
        ``(..., k m)``.
    """
    wide = widened(inputs)
    responses = responses.to(wide.dtype)
    short = responses.shape[1] <= SHORT
    outputs = _directly(wide, responses, rows, first) if short else _by_fft(wide, responses, rows, first)
    return (outputs.transpose(-1, -2) if interleaved else outputs).flatten(-2)


def _directly(inputs: Tensor, responses: Tensor, rows: int, first: int) -> Tensor:
    """``(..., n)`` to ``(..., k, m)``."""
    last = first + responses.shape[1] - 1
    padded = F.pad(inputs, (last, rows - inputs.shape[-1] - first))
    outputs = F.conv1d(padded.reshape(-1, 1, padded.shape[-1]), responses.flip(1).unsqueeze(1))
    return outputs.reshape(*inputs.shape[:-1], *outputs.shape[1:])


def _by_fft(inputs: Tensor, responses: Tensor, rows: int, first: int) -> Tensor:
    """``(..., n)`` to ``(..., k, m)``."""
    whole = inputs.shape[-1] + responses.shape[1] - 1
    length = fast_length(whole)
    spectrum = torch.fft.rfft(inputs, n=length).unsqueeze(-2) * torch.fft.rfft(responses, n=length)
    return F.pad(torch.fft.irfft(spectrum, n=length)[..., :whole], (first, rows - first - whole))
