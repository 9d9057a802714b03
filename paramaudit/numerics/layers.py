"""What the computed layers have in common."""

from __future__ import annotations

import scipy.fft
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def owned(values: Tensor) -> nn.Parameter:
    """A trainable copy of these numbers; contiguous, as saving an exported program wants them."""
    return nn.Parameter(values.detach().clone(memory_format=torch.contiguous_format))


def parameter(values: Tensor | None) -> nn.Parameter | None:
    """The same, where there may be none."""
    return None if values is None else owned(values)


def widened(inputs: Tensor) -> Tensor:
    """The same numbers in a dtype for which Fourier transforms exist: half precision becomes float32."""
    return inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs


def plus(outputs: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Add the bias, if there is one, and return the dtype that came in."""
    if bias is not None:
        outputs = outputs + bias.to(outputs.dtype)
    return outputs.to(dtype)


def floats(layer: nn.Module) -> int:
    """How many floating-point numbers a layer stores, as parameters or buffers."""
    return sum(t.numel() for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point())


def fast_length(least: int) -> int:
    """The smallest length of at least this many for which a real Fourier transform is fast."""
    return int(scipy.fft.next_fast_len(least, real=True))


class Computed(nn.Module):
    """A product with a matrix that is made of stored numbers alone, so that the map is affine.

    A subclass says how the matrix is made, of nothing but its own numbers, has a ``bias`` or None,
    and leaves ``forward`` alone.
    """

    bias: nn.Parameter | None

    def matrix(self, device: torch.device) -> Tensor:
        """The matrix ``(out, in)`` of the product, on this device."""
        raise NotImplementedError(type(self).__name__)

    def forward(self, inputs: Tensor) -> Tensor:
        """Make the matrix, multiply and add the bias."""
        product = F.linear(inputs, self.matrix(inputs.device).to(inputs.dtype))
        return plus(product, self.bias, inputs.dtype)
