"""Windowed Fourier spectrum of a frame.

What it computes: The real FFT of the frame times a window, some range of its bins; as complex numbers, as
                  real and imaginary parts, as magnitudes or as powers.
Replaces:         A dense layer that learned cosines and sines: 2 n m numbers are none.
Faster when:      From n = 1024 on: about 5 times, 39 times at 4096. Slower at 256 (0.4 times). See
                  benchmarks/results/layers.md (CPU, one thread, batch 8).
Mind:             Nothing is trained. The gradient of a magnitude at a bin that is exactly zero is taken as
                  zero. Half precision is transformed in float32; powers may overflow float16.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 3rd edition, 10.2. Windows: Harris,
                  Proc. IEEE 66 (1978).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import widened
from paramaudit.numerics.windows import WINDOWS, window

OUTPUTS = ("complex", "real-imaginary", "magnitude", "power")


class Spectrum(nn.Module):
    """Bins ``first`` to ``end - 1`` of the windowed frame: ``(..., n)`` to ``(..., end - first)``.

    Args:
        n: samples of a frame.
        bins: first and end bin of the ``n // 2 + 1``; None for all.
        window: a name of :data:`paramaudit.numerics.windows.WINDOWS`, e.g. ``hann`` (periodic, as for
            spectra) or ``hann-symmetric``.
        output: ``complex``; ``real-imaginary``, all real parts and then all imaginary ones, twice as many
            numbers; ``magnitude``; or ``power``, the squared magnitude.

    Raises:
        ValueError: for bins, a window or an output that do not exist.

    Example:
        >>> frame = torch.randn(8, 256)
        >>> Spectrum(256, bins=(1, 65), output="power")(frame).shape
        torch.Size([8, 64])
    """

    def __init__(
        self, n: int, bins: tuple[int, int] | None = None, window: str = "hann", output: str = "magnitude"
    ) -> None:
        super().__init__()
        self.n, self.window, self.output = n, window, output
        self.bins = (0, n // 2 + 1) if bins is None else bins
        if not 0 <= self.bins[0] < self.bins[1] <= n // 2 + 1:
            raise ValueError(f"bins {self.bins} are no range within the {n // 2 + 1} bins of {n} samples")
        if window not in WINDOWS:
            raise ValueError(f"there is no window {window!r}; known are {', '.join(WINDOWS)}")
        if output not in OUTPUTS:
            raise ValueError(f"there is no output {output!r}; known are {', '.join(OUTPUTS)}")

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"{self.n}, bins={self.bins}, window={self.window!r}, output={self.output!r}"

    def forward(self, inputs: Tensor) -> Tensor:
        """Window, transform, pick, and put into the form that was asked for."""
        wide = widened(inputs)
        if self.window != "rectangular":
            wide = wide * window(self.window, self.n, wide.dtype, wide.device)
        bins: Tensor = torch.fft.rfft(wide, n=self.n)[..., self.bins[0] : self.bins[1]]
        if self.output == "complex":
            return bins
        if self.output == "real-imaginary":
            outputs = torch.cat([bins.real, bins.imag], -1)
        elif self.output == "magnitude":
            outputs = bins.abs()
        else:
            outputs = bins.real.square() + bins.imag.square()
        return outputs.to(inputs.dtype)
