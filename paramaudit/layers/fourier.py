"""Fourier transforms of numbers in real form, of frames and of signals.

What it computes: The complex transform of real and imaginary parts (``numpy.fft.fft`` and ``ifft``); real and
                  imaginary parts of a windowed frame's spectrum (``numpy.fft.rfft``); and those of all frames
                  of a signal, some samples apart.
Replaces:         A dense layer, or a convolution, that learned cosines and sines: its numbers are none.
Faster when:      n is large; ``paramaudit compare`` times a model that holds it on your device.
Mind:             Nothing is trained. Half precision is transformed in float32, and numbers that grow with n
                  may overflow float16. Magnitudes and powers are ``Spectrum``'s.
Source:           Oppenheim and Schafer, Discrete-Time Signal Processing, 8.5 and 10.2 to 10.3. Allen and
                  Rabiner, A unified approach to short-time Fourier analysis and synthesis, Proc. IEEE 65
                  (1977).
"""

from __future__ import annotations

from torch import Tensor

from paramaudit.numerics.frames import Framed
from paramaudit.numerics.gauge import Gauged, Scaling
from paramaudit.numerics.windows import WINDOWS
from paramaudit.operators.dft import LAYOUTS, NORMS, Dft, Fourier
from paramaudit.operators.rdft import RealDft

PARTS = ("real-imaginary", "imaginary-real", "interleaved")


class FourierTransform(Dft):
    """The transform of complex numbers in real form, ``(..., 2 n)`` or ``(..., n)`` to ``(..., 2 n)``.

    Args:
        n: complex numbers of a frame.
        inverse: whether it is ``numpy.fft.ifft``.
        norm: "backward", "ortho" or "forward", as numpy has them.
        inputs: "stacked", all real parts and then all imaginary ones; "interleaved", each beside its own; or
            "real", where there are no imaginary parts.
        outputs: "stacked" or "interleaved".

    Raises:
        ValueError: when there is no such transform.

    Example:
        >>> FourierTransform(16, inputs="real", norm="ortho")(torch.ones(16))[0].item()
        4.0
    """

    def __init__(
        self,
        n: int,
        inverse: bool = False,
        norm: str = "backward",
        inputs: str = "stacked",
        outputs: str = "stacked",
    ) -> None:
        sign = 1 if inverse else -1
        names = {known: name for name, known in NORMS[sign].items()}
        if n < 1 or norm not in names or inputs not in (*LAYOUTS, "real") or outputs not in LAYOUTS:
            raise ValueError(f"there is no transform of {n} points, {norm!r}, from {inputs!r} to {outputs!r}")
        factor = {"1": 1.0, "1/sqrt(n)": n**-0.5, "1/n": 1 / n}[names[norm]]
        super().__init__(Gauged(Fourier(n, sign), Scaling(names[norm], factor)), inputs, outputs)


class RealFourier(RealDft):
    """Real and imaginary parts of a windowed frame's bins, ``(..., n)`` to ``(..., 2 bins)``.

    Args:
        n: samples of a frame.
        bins: first and end bin of the ``n // 2 + 1``; None for all.
        window: a name of :data:`paramaudit.numerics.windows.WINDOWS`, e.g. ``hann`` (periodic) or
            ``hann-symmetric``.
        parts: "real-imaginary", all real parts and then all imaginary ones; "imaginary-real"; or
            "interleaved", each beside its own.

    Raises:
        ValueError: for bins, a window or an order that do not exist.

    Example:
        >>> RealFourier(256, bins=(1, 65), window="hann")(torch.randn(8, 256)).shape
        torch.Size([8, 128])
    """

    def __init__(
        self,
        n: int,
        bins: tuple[int, int] | None = None,
        window: str = "rectangular",
        parts: str = "real-imaginary",
    ) -> None:
        span = (0, n // 2 + 1) if bins is None else bins
        if n < 1 or not 0 <= span[0] < span[1] <= n // 2 + 1:
            raise ValueError(f"bins {span} are no range within the {n // 2 + 1} bins of {n} samples")
        if window not in WINDOWS:
            raise ValueError(f"there is no window {window!r}; known are {', '.join(WINDOWS)}")
        if parts not in PARTS:
            raise ValueError(f"there is no order {parts!r}; known are {', '.join(PARTS)}")
        super().__init__(n, (parts, span, span), window_name=window)


class ShortTimeFourier(Framed):
    """Real and imaginary parts of every frame of a signal, ``(..., time)`` to ``(..., 2 bins, frames)``.

    Args:
        n: samples of a frame.
        hop: samples from the start of a frame to that of the next.
        window, bins, parts: as :class:`RealFourier` has them.
        padding: zeros before and after the signal; n // 2 puts frames' middles at multiples of ``hop``.

    Raises:
        ValueError: when there are no such frames, bins, window or order.

    Example:
        >>> ShortTimeFourier(256, hop=64, window="hann")(torch.randn(8, 1024)).shape
        torch.Size([8, 258, 13])
    """

    def __init__(
        self,
        n: int,
        hop: int,
        window: str = "hann",
        bins: tuple[int, int] | None = None,
        parts: str = "real-imaginary",
        padding: int = 0,
    ) -> None:
        if hop < 1 or padding < 0:
            raise ValueError(f"frames cannot be {hop} samples apart with {padding} zeros before the first")
        super().__init__(RealFourier(n, bins, window, parts), n, hop, padding)

    def forward(self, inputs: Tensor) -> Tensor:
        """Take the signal as one channel."""
        return super().forward(inputs.unsqueeze(-2))
