"""A convolution that is a short-time Fourier transform.

What it finds:    A convolution over one channel (or every channel with the same kernel) whose rows are
                  cosines and sines of Fourier bins under a common window: everything that ``rdft`` finds in
                  a matrix, in the frames that stride and padding cut. Two convolutions of one signal, one
                  for the real and one for the imaginary part, are two finds.
Why it matters:   m n numbers are none, or n where the window has no known formula; a frame costs
                  O(n log n).
Proof:            A convolution over one channel is one matrix times every frame. That matrix is compared
                  with the layer of a frame as any matrix is: the gap is bounded for all inputs and compared
                  with the convolution's own rounding. Cutting frames is no part of what is guessed.
Swap safety:      Exact at any length of signal. Nothing trainable remains unless a gain or window is
                  stored. Padding in front, such as reflection, stays as it is. Half precision is transformed
                  in float32. Smaller is not always faster: below some hundred points a convolution can win.
Source:           Allen and Rabiner, A unified approach to short-time Fourier analysis and synthesis, Proc.
                  IEEE 65 (1977). Oppenheim and Schafer, Discrete-Time Signal Processing, 10.3.
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from numpy.typing import NDArray

from paramaudit.numerics.frames import Framed, frame_matrix, over_frames
from paramaudit.numerics.noise import stored
from paramaudit.operators.rdft import propose as propose_rdft
from paramaudit.records import Example, Kernel, Operator


def propose(view: Kernel) -> Framed | None:
    """The transform of a frame, at this stride and padding."""
    matrix = frame_matrix(view)
    inner = propose_rdft(matrix) if matrix is not None else None
    return None if inner is None else over_frames(inner, view)


def _kernel(rows: NDArray[np.float64], stride: int, padding: int = 0, channels: int = 1) -> Kernel:
    """These rows ``(out, taps)`` for every channel, as a checkpoint in float32 holds them."""
    weight = stored(np.tile(rows, (channels, 1))).weight
    return Kernel(weight[:, None], None, stride, padding, groups=channels, dtype=torch.float32)


def _waves(size: int, taps: NDArray[np.float64]) -> NDArray[np.complex128]:
    """``w[t] exp(-2 pi i k t / n)`` for all bins, ``(n // 2 + 1, n)``."""
    return np.fft.rfft(np.eye(size), axis=0) * taps


def _both(size: int, taps: NDArray[np.float64]) -> NDArray[np.float64]:
    waves = _waves(size, taps)
    return np.concatenate([waves.real, waves.imag])


def _vad(size: int) -> Kernel:
    """Real parts, then imaginary ones with the empty rows of DC and Nyquist, half a frame apart."""
    return _kernel(_both(size, scipy.signal.get_window("hann", size)), size // 2)


def _one_part(size: int, imaginary: bool) -> Kernel:
    waves = _waves(size, scipy.signal.get_window("hann", size))
    return _kernel(waves.imag if imaginary else waves.real, size // 4)


def _centred(size: int) -> Kernel:
    """Zeros of half a frame on both sides, in turns, orthonormal."""
    waves = _waves(size, np.hamming(size)) / np.sqrt(size)
    return _kernel(np.stack([waves.real, waves.imag], 1).reshape(-1, size), size // 4, size // 2)


def _kaiser(size: int) -> Kernel:
    return _kernel(_both(size, np.kaiser(size, 8.0)), size // 3)


def _short_window(size: int) -> Kernel:
    """A window of 3/4 of the frame in its middle."""
    taps = np.pad(scipy.signal.get_window("hann", size - size // 4), size // 8)
    return _kernel(_both(size, taps), size // 4)


def _stereo(size: int) -> Kernel:
    return _kernel(_both(size, np.ones(size)), size, channels=2)


def _between_bins(size: int) -> Kernel:
    """Every frequency a tenth of a bin off."""
    time = np.arange(size)
    rows = np.exp(-2j * np.pi * (np.arange(size // 2)[:, None] + 0.1) * time / size) * np.hanning(size)
    return _kernel(np.concatenate([rows.real, rows.imag]), size // 2)


def _one_row(size: int) -> Kernel:
    rows = _both(size, scipy.signal.get_window("hann", size))
    rows[5] = np.random.default_rng(2).standard_normal(size) / 4
    return _kernel(rows, size // 2)


def _own_channels(size: int) -> Kernel:
    """The second channel is louder."""
    rows = _both(size, np.ones(size))
    weight = stored(np.concatenate([rows, 1.5 * rows])).weight
    return Kernel(weight[:, None], None, size // 2, groups=2)


def _gabor(size: int) -> Kernel:
    """Envelopes of their own for every row, as learned banks have them."""
    rng = np.random.default_rng(0)
    time, bins = np.arange(size), np.arange(size // 2)[:, None]
    centre = rng.uniform(0.4 * size, 0.6 * size, (size // 2, 1))
    width = rng.uniform(size / 12, size / 4, (size // 2, 1))
    envelope = np.exp(-(((time - centre) / width) ** 2))
    phase = 2 * np.pi * bins * time / size
    return _kernel(np.concatenate([envelope * np.cos(phase), envelope * np.sin(phase)]), size // 2)


OPERATOR = Operator(
    "stft",
    propose,
    finds=(
        Example("all bins of 64, Hann window", lambda: _vad(64)),
        Example("all bins of 256, Hann window", lambda: _vad(256)),
        Example("real parts alone", lambda: _one_part(96, imaginary=False)),
        Example("imaginary parts alone", lambda: _one_part(96, imaginary=True)),
        Example("in turns, padded, symmetric Hamming window", lambda: _centred(60)),
        Example("Kaiser window", lambda: _kaiser(63)),
        Example("a window shorter than the frame", lambda: _short_window(64)),
        Example("two channels, no window", lambda: _stereo(32)),
    ),
    ignores=(
        Example("between the bins", lambda: _between_bins(64)),
        Example("one row replaced", lambda: _one_row(64)),
        Example("channels with kernels of their own", lambda: _own_channels(32)),
        Example("Gabor rows", lambda: _gabor(64)),
    ),
    view=Kernel,
)
