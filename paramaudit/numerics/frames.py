"""A convolution over one channel is one matrix, applied to every frame of the signal."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.records import Json, Kernel, Matrix


def framed(signal: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """The frames of a signal ``(..., time)``, ``(..., frames, size)``, with zeros on both sides of it.

    Frame ``i`` is what a kernel of ``size`` taps sees for its ``i``-th output: it starts at
    ``i * stride - padding``.
    """
    if padding:
        signal = F.pad(signal, (padding, padding))
    return signal.unfold(-1, size, stride)


def frame_matrix(kernel: Kernel) -> Matrix | None:
    """The matrix ``(out, taps)`` that a kernel along time applies to every frame of every channel.

    None when there is no such matrix: channels are summed, channels have kernels of their own, taps are
    apart, or it is a transposed convolution or one of images.
    """
    if kernel.weight.dim() != 3 or kernel.transposed:
        return None
    _, inside, taps = kernel.weight.shape
    if inside != 1 or _one(kernel.dilation) != 1:
        return None
    rows = kernel.weight.reshape(kernel.groups, -1, taps)
    if not bool((rows == rows[:1]).all()):
        return None
    if kernel.bias is None:
        return Matrix(rows[0], None, kernel.dtype)
    bias = kernel.bias.reshape(kernel.groups, -1)
    return Matrix(rows[0], bias[0], kernel.dtype) if bool((bias == bias[:1]).all()) else None


def _one(value: int | tuple[int, ...]) -> int:
    """A setting along time."""
    (number,) = (value,) if isinstance(value, int) else value
    return number


class Framed(nn.Module):
    """A layer of the last dimension applied to every frame, as a convolution applies its kernel.

    It maps ``(..., channels, time)`` to ``(..., channels * out, frames)``.

    Args:
        inner: maps frames ``(..., size)`` to ``(..., out)``.
        size: samples of a frame.
        stride: samples from one frame to the next.
        padding: zeros before and after the signal.
    """

    def __init__(self, inner: nn.Module, size: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.inner = inner
        self.size, self.stride, self.padding = size, stride, padding

    def arguments(self) -> dict[str, Json]:
        """What the layer of a frame says, and where frames are."""
        said = getattr(self.inner, "arguments", None)
        known: dict[str, Json] = dict(said()) if callable(said) else {}
        return known | {"hop": self.stride, "padding": self.padding}

    def forward(self, inputs: Tensor) -> Tensor:
        """Cut into frames, apply the layer to each, put frames last."""
        outputs: Tensor = self.inner(framed(inputs, self.size, self.stride, self.padding))
        return outputs.transpose(-1, -2).flatten(-3, -2)


def over_frames(inner: nn.Module, kernel: Kernel) -> Framed:
    """A layer of frames over those that a convolution along time cuts."""
    return Framed(inner, kernel.weight.shape[2], _one(kernel.stride), _one(kernel.padding))
