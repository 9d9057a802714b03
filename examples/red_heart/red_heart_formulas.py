"""The hidden signal processing as float64 matrices (out, in), each written from its textbook formula."""

import numpy as np
import pywt
from red_heart_truth import FRAME, Array, Truth

MELS = 64
_SAMPLES = np.arange(FRAME)
_LAGS = _SAMPLES[:, None] - _SAMPLES


def windowed_rdft(truth: Truth) -> Array:
    """Real, then imaginary part of the chosen rFFT bins under a periodic Hann window, (128, 256)."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * _SAMPLES / FRAME)
    bins = np.arange(truth.first_bin, truth.last_bin + 1)
    angle = 2 * np.pi * np.outer(bins, _SAMPLES) / FRAME
    matrix: Array = np.concatenate([np.cos(angle), -np.sin(angle)]) * window
    return matrix


def resonators(truth: Truth) -> Array:
    """Seven two-pole filters from rest, one below the other, (1792, 256)."""
    blocks = []
    for b0, radius, angle in truth.resonators:
        ringing = b0 * radius**_SAMPLES * np.sin((_SAMPLES + 1) * angle) / np.sin(angle)
        blocks.append(_causal(ringing))
    return np.concatenate(blocks)


def comb(truth: Truth) -> Array:
    """The feedback comb y[n] = x[n] + g y[n - d] from rest, (256, 256)."""
    echoes = np.zeros(FRAME)
    times = np.arange(0, FRAME, truth.comb_delay)
    echoes[times] = truth.comb_gain ** np.arange(len(times))
    return _causal(echoes)


def delay_line(truth: Truth) -> Array:
    """The impulse response (256,) of the sparse delays."""
    response = np.zeros(FRAME)
    response[truth.delays] = truth.gains
    return response


def equaliser(truth: Truth) -> Array:
    """A real gain on each rFFT bin: a symmetric circulant, (256, 256)."""
    return _circular(np.fft.irfft(truth.equaliser, FRAME))


def hilbert() -> Array:
    """The imaginary part of the analytic signal: response -i sign(f), (256, 256)."""
    response = np.zeros(FRAME // 2 + 1, dtype=complex)
    response[1:-1] = -1j
    return _circular(np.fft.irfft(response, FRAME))


def dct() -> Array:
    """The orthonormal DCT-II, (256, 256)."""
    matrix: Array = np.cos(np.pi * np.outer(_SAMPLES, 2 * _SAMPLES + 1) / (2 * FRAME)) * (2 / FRAME) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


def wavelet(truth: Truth) -> Array:
    """The periodised wavelet transform, coarsest band first as in `pywt.wavedec`, (256, 256)."""
    filters = pywt.Wavelet(truth.wavelet)
    approximation = np.eye(FRAME)
    details: list[Array] = []
    for _ in range(truth.level):
        half = len(approximation) // 2
        low, high = np.zeros((2, half, 2 * half))
        rows = np.arange(half)
        for tap, (smooth, sharp) in enumerate(zip(filters.dec_lo, filters.dec_hi, strict=True)):
            # Periodisation starts half a filter in; the shorter signals wrap round more than once.
            columns = (2 * rows + filters.dec_len // 2 - tap) % (2 * half)
            low[rows, columns] += smooth
            high[rows, columns] += sharp
        details.append(high @ approximation)
        approximation = low @ approximation
    return np.concatenate([approximation, *reversed(details)])


def mel(truth: Truth) -> Array:
    """64 triangles of height one, equally spaced on Slaney's mel scale from 0 to Nyquist, (64, 129).

    At 8 kHz no triangle is narrower than a bin, so that no row is empty.
    """
    nyquist = truth.sample_rate / 2
    octave = np.log(6.4) / 27
    top = 15 + np.log(nyquist / 1000) / octave
    mels = np.linspace(0, top, MELS + 2)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(octave * (mels - 15)))
    bins = np.linspace(0, nyquist, FRAME // 2 + 1)
    return np.stack([np.interp(bins, hertz[row : row + 3], [0, 1, 0]) for row in range(MELS)])


def envelopes(truth: Truth) -> Array:
    """The ADSR curves in the basis 1, t, max(t - knot, 0) for each knot: (7, 2 + 18)."""
    knots = truth.knots
    coefficients = np.zeros((len(truth.adsr), 2 + len(knots)))
    for row, (attack, decay, sustain, release) in zip(coefficients, truth.adsr, strict=True):
        slopes = [1 / attack, (sustain - 1) / decay, 0.0, -sustain / release]
        row[1] = slopes[0]
        for bend, change in zip((attack, attack + decay, 1 - release), np.diff(slopes), strict=True):
            row[2 + np.searchsorted(knots, bend)] += change
    return coefficients


def _causal(response: Array) -> Array:
    """The lower triangular Toeplitz matrix that convolves with `response` from rest."""
    return np.where(_LAGS >= 0, response[np.maximum(_LAGS, 0)], 0.0)


def _circular(response: Array) -> Array:
    matrix: Array = response[_LAGS % FRAME]
    return matrix
