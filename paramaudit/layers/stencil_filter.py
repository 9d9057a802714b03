"""A textbook stencil over a signal or an image.

What it computes: Every window of the last dimensions times the stencil's weights, as ``torch.nn.Conv2d`` does
                  with one channel: box, binomial, Gaussian, triangle, differences, Sobel, Prewitt, Scharr,
                  Laplacians, the Laplacian of a Gaussian.
Replaces:         A depthwise convolution that stores the stencil: its numbers are none.
Faster when:      Never: the convolution is the same, its weights are computed.
Mind:             Nothing is trained. Weights are computed in float64, windows multiplied in the input's
                  dtype, half precision in float32. Like every convolution of torch it does not turn the
                  weights round.
Source:           Jaehne, Digital Image Processing (2005), 11.4 (box and binomial) and 12.3 (differences).
                  Lindeberg, Scale-space for discrete signals, IEEE Trans. PAMI 12 (1990).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit.numerics.layers import widened
from paramaudit.numerics.stencils import kernel


class StencilFilter(nn.Module):
    """A stencil over the last dimensions, ``(..., *size)`` to ``(..., *smaller)``; all others are a batch.

    Args:
        kind: along each dimension ``box``, ``ones``, ``binomial``, ``triangle``, ``difference``,
            ``central difference``, ``second difference``, ``binomial difference``, ``gaussian 1.5``,
            ``gaussian slope 1.5``, ``gaussian curvature 1.5``, or one for each with `` by `` between, rows
            first; of images ``sobel x``, ``prewitt y``, ``scharr x``, ``laplacian 5-point``,
            ``laplacian 9-point``, ``laplacian oono-puri``, ``laplacian 8-neighbour``,
            ``laplacian of gaussian 1.5``.
        taps: how many weights along each dimension, e.g. ``(3, 3)``; one to three dimensions.
        stride: points from one window to the next.
        padding: zeros on each side.
        dilation: points from one weight to the next.

    Raises:
        ValueError: for a stencil or a size that there is not.

    Example:
        >>> StencilFilter("sobel x", (3, 3), padding=1)(torch.randn(8, 3, 32, 32)).shape
        torch.Size([8, 3, 32, 32])
    """

    def __init__(
        self, kind: str, taps: Sequence[int], stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> None:
        super().__init__()
        self.kind, self.taps = kind, tuple(int(count) for count in taps)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        if not 1 <= len(self.taps) <= 3 or min(self.taps) < 1 or min(stride, dilation) < 1 or padding < 0:
            raise ValueError(f"there is no stencil of {self.taps} with these strides, paddings and dilations")
        try:
            weights = kernel(kind, self.taps)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(f"there is no stencil {kind!r} of {self.taps} weights") from error
        if tuple(weights.shape) != self.taps or not bool(weights.isfinite().all()):
            raise ValueError(f"a stencil {kind!r} has {tuple(weights.shape)} weights, and a Gaussian a width")

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        place = f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}"
        return f"{self.kind!r}, {self.taps}, {place}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Cut the windows and sum them with the weights."""
        wide, count = widened(inputs), len(self.taps)
        windows = F.pad(wide, (self.padding, self.padding) * count) if self.padding else wide
        for taps in self.taps:  # the window's dimensions come last, so the next one is there again
            reach = (taps - 1) * self.dilation + 1
            windows = windows.unfold(-count, reach, self.stride)[..., :: self.dilation]
        # by default torch's own convolutions are TF32 on CUDA, three digits
        weights = kernel(self.kind, self.taps).to(wide.device, wide.dtype)
        return (windows.flatten(-count) @ weights.flatten()).to(inputs.dtype)
