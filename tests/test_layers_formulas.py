"""What the public layers of textbook formulas compute, against numpy, scipy, PyWavelets and the formulas."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import scipy.ndimage
import scipy.signal
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import randn, seeded
from numpy.polynomial import hermite, hermite_e, laguerre, legendre
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit import layers

Array = NDArray[np.float64]
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 10_000)
SIZES = st.integers(2, 300)
COUNTS = st.integers(1, 4)


@torch.no_grad()
def agree(
    layer: nn.Module, inputs: Tensor, wanted: Array, within: tuple[float, float] = (1e-10, 1e-5)
) -> None:
    """To dtype accuracy of the largest output, in float64 and in float32."""
    for dtype, most in zip((torch.float64, torch.float32), within, strict=True):
        found = layer.to(dtype)(inputs.to(dtype)).double().numpy()
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= most * max(1.0, np.abs(wanted).max())


# --- gains and orders ----------------------------------------------------------------------------


@PROPERTY
@given(n=SIZES, seed=SEEDS, common=st.booleans(), biased=st.booleans())
def test_diagonal_and_monomial(n: int, seed: int, common: bool, biased: bool) -> None:
    x, gains, bias = randn(3, n, seed=seed), randn(1 if common else n, seed=seed + 1), randn(n, seed=seed + 2)
    shift = bias.numpy() if biased else 0.0
    agree(
        layers.Diagonal(n, gains, bias if biased else None),
        x,
        x.numpy() * np.broadcast_to(gains.numpy(), n) + shift,
    )
    order = seeded(seed).permutation(n)
    matrix = gains.numpy()[:, None] * np.eye(n)[order]
    monomial = layers.Monomial(torch.from_numpy(order), gains=gains, bias=bias if biased else None)
    agree(monomial, x, x.numpy() @ matrix.T + shift)


# --- filters -------------------------------------------------------------------------------------


@PROPERTY
@given(
    n=SIZES,
    taps=st.integers(1, 90),
    count=COUNTS,
    seed=SEEDS,
    mode=st.sampled_from(["causal", "full", "same", "valid"]),
)
def test_fir_bank_is_numpys(n: int, taps: int, count: int, seed: int, mode: str) -> None:
    taps = min(taps, n)
    x, b = randn(n, seed=seed), randn(count, taps, seed=seed + 1)
    rows = [np.convolve(x, one, "full" if mode == "causal" else mode) for one in b.numpy()]
    wanted = np.concatenate([row[:n] if mode == "causal" else row for row in rows])
    agree(layers.FirBank(n, b, mode), x, wanted)


@pytest.mark.parametrize("design", ["even", "odd", "derivative", "even derivative"])
def test_linear_phase_stores_half_of_the_taps_and_keeps_it(design: str) -> None:
    taps = {
        "odd": scipy.signal.firwin(21, 0.3),
        "even": scipy.signal.firwin(20, 0.3),
        "derivative": np.array([1.0, 2.0, 0.0, -2.0, -1.0]),
        "even derivative": np.array([1.0, 2.0, -2.0, -1.0]),
    }[design]
    taps = (taps + taps[::-1] * np.sign(taps[0] * taps[-1])) / 2  # to the last bit
    layer, x = layers.FirBank(64, taps, linear_phase=True).double(), randn(64)
    assert layer.values.numel() == {"odd": 11, "even": 10, "derivative": 2, "even derivative": 2}[design]
    agree(layers.FirBank(64, torch.from_numpy(taps), linear_phase=True), x, np.convolve(x, taps, "same"))
    layer(x).square().sum().backward()
    with torch.no_grad():
        layer.values.sub_(0.01 * layer.values.grad)
        response = layer(torch.eye(64, dtype=torch.float64)[32]).numpy()[32 - (len(taps) - 1) // 2 :][
            : len(taps)
        ]
    sign = -1 if "derivative" in design else 1
    np.testing.assert_allclose(response, sign * response[::-1], atol=1e-12)


@PROPERTY
@given(n=SIZES, count=COUNTS, seed=SEEDS)
def test_delay_bank(n: int, count: int, seed: int) -> None:
    rng = seeded(seed)
    delays = [
        rng.choice(n, int(rng.integers(1, min(n, 6) + 1)), replace=False).tolist() for _ in range(count)
    ]
    gains, x = randn(sum(map(len, delays)), seed=seed), randn(n, seed=seed + 1)
    rest, rows = iter(gains.tolist()), []
    for line in delays:
        row = np.zeros(n)
        for delay in line:
            row[delay:] += next(rest) * x.numpy()[: n - delay]
        rows.append(row)
    agree(layers.DelayBank(n, delays, gains), x, np.concatenate(rows))


@PROPERTY
@given(
    n=SIZES,
    count=COUNTS,
    seed=SEEDS,
    kind=st.sampled_from(["feedback", "wet", "both"]),
    most=st.integers(1, 60),
)
def test_comb_bank_is_scipys(n: int, count: int, seed: int, kind: str, most: int) -> None:
    rng = seeded(seed)
    delays = rng.integers(1, most + 1, count)
    dry, wet = rng.standard_normal((2, count))
    feedback = rng.uniform(0.1, 0.95, count) * rng.choice([-1, 1], count)
    wet, feedback = wet * (kind != "feedback"), feedback * (kind != "wet")
    x, rows = randn(n, seed=seed), []
    for delay, a, b, c in zip(delays, dry, wet, feedback, strict=True):
        above, below = np.zeros((2, delay + 1))
        above[0], above[delay], below[0], below[delay] = a, b, 1.0, -c
        rows.append(scipy.signal.lfilter(above, below, x.numpy()))
    layer = layers.CombBank(
        n,
        delays.tolist(),
        torch.from_numpy(dry),
        None if kind == "feedback" else torch.from_numpy(wet),
        None if kind == "wet" else torch.from_numpy(feedback),
    )
    agree(layer, x, np.concatenate(rows))


@PROPERTY
@given(
    n=st.integers(12, 300),
    order=st.integers(1, 6),
    cut=st.floats(0.1, 0.8),
    kind=st.sampled_from(["lowpass", "highpass", "bandpass", "elliptic"]),
    seed=SEEDS,
)
def test_recursive_bank_is_scipys(n: int, order: int, cut: float, kind: str, seed: int) -> None:
    if kind == "elliptic":
        b, a = scipy.signal.ellip(order, 1, 40, cut)
    elif kind == "bandpass":
        b, a = scipy.signal.butter(min(order, 3), [cut, cut + 0.15], kind)
    else:
        b, a = scipy.signal.butter(order, cut, kind)
    if len(b) > n:
        b, a = b[:1], a
    x, gains = randn(n, seed=seed), np.array([[1.5], [-3.0]])
    wanted = np.concatenate([scipy.signal.lfilter(gain * b, a, x) for gain in gains[:, 0]])
    layer = layers.RecursiveBank(n, torch.from_numpy(gains * b), torch.from_numpy(np.stack([a, a])))
    # float32 numbers are another filter, by as much as its taps cancel
    agree(layer, x, wanted, (1e-8, 1e-5 * float(np.abs(b).sum() / max(np.abs(b.sum()), 1e-2)) * 2**order))


# --- Fourier transforms --------------------------------------------------------------------------


def parted(values: NDArray[np.complex128], order: str) -> Array:
    """Real and imaginary parts in one row, in the order that is named."""
    pair = [values.real, values.imag]
    if order == "interleaved":
        return np.stack(pair, -1).reshape(*values.shape[:-1], -1)
    return np.concatenate(pair[::-1] if order == "imaginary-real" else pair, -1)


@PROPERTY
@given(
    n=st.integers(1, 300),
    inverse=st.booleans(),
    norm=st.sampled_from(["backward", "ortho", "forward"]),
    inputs=st.sampled_from(["stacked", "interleaved", "real"]),
    outputs=st.sampled_from(["stacked", "interleaved"]),
    seed=SEEDS,
)
def test_fourier_transform_is_numpys(
    n: int, inverse: bool, norm: str, inputs: str, outputs: str, seed: int
) -> None:
    pair = randn(2, 3, n, seed=seed).numpy()
    values = pair[0] + (0 if inputs == "real" else 1j * pair[1])
    x = pair[0] if inputs == "real" else parted(values, inputs)
    wanted = (np.fft.ifft if inverse else np.fft.fft)(values, norm=norm)
    agree(
        layers.FourierTransform(n, inverse, norm, inputs, outputs),
        torch.from_numpy(x),
        parted(wanted, outputs),
    )


@PROPERTY
@given(
    n=SIZES,
    name=st.sampled_from(["boxcar", "hann", "hamming", "blackman"]),
    symmetric=st.booleans(),
    parts=st.sampled_from(["real-imaginary", "imaginary-real", "interleaved"]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=SEEDS,
)
def test_real_fourier_is_numpys(
    n: int, name: str, symmetric: bool, parts: str, place: tuple[float, float], seed: int
) -> None:
    first, end = sorted(int(part * (n // 2)) for part in place)
    taps = scipy.signal.get_window(name, n, fftbins=not symmetric)
    x = randn(2, n, seed=seed)
    wanted = np.fft.rfft(x.numpy() * taps)[:, first : end + 1]
    named = "rectangular" if name == "boxcar" else f"{name}-symmetric" if symmetric else name
    agree(layers.RealFourier(n, (first, end + 1), named, parts), x, parted(wanted, parts))


@PROPERTY
@given(
    n=st.integers(2, 80), hop=st.integers(1, 50), more=st.integers(0, 200), centred=st.booleans(), seed=SEEDS
)
def test_short_time_fourier_is_numpys(n: int, hop: int, more: int, centred: bool, seed: int) -> None:
    x, padding = randn(2, n + more, seed=seed), n // 2 if centred else 0
    padded = np.pad(x.numpy(), ((0, 0), (padding, padding)))
    taps = scipy.signal.get_window("hann", n)
    frames = [padded[:, at : at + n] * taps for at in range(0, padded.shape[1] - n + 1, hop)]
    wanted = np.stack([parted(np.fft.rfft(frame), "real-imaginary") for frame in frames], -1)
    agree(layers.ShortTimeFourier(n, hop, padding=padding), x, wanted)


# --- mel ------------------------------------------------------------------------------------------


def mel_of(hertz: Array, scale: str) -> Array:
    """O'Shaughnessy's formula, or Slaney's: linear to 1 kHz, then 27 steps for each factor of 6.4."""
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hertz / 700.0)
    return np.where(
        hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1e-9) / 1000) / np.log(6.4)
    )


def hertz_of(mel: Array, scale: str) -> Array:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@PROPERTY
@given(
    half=st.integers(16, 300),
    mels=st.integers(1, 80),
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
    low=st.floats(0, 300),
    high=st.floats(0.3, 1.0),
    scale=st.sampled_from(["slaney", "htk"]),
    norm=st.sampled_from(["slaney", "none"]),
)
def test_mel_bank_is_librosas(
    half: int, mels: int, rate: int, low: float, high: float, scale: str, norm: str
) -> None:
    """``librosa.filters.mel`` as its source has it: ramps between neighbouring centres."""
    top = high * rate / 2
    ends = mel_of(np.array([low, top]), scale)
    corners = hertz_of(np.linspace(*ends, mels + 2), scale)
    bins, steps = np.fft.rfftfreq(2 * half, 1 / rate), np.diff(corners)
    ramps = corners[:, None] - bins
    weights = np.maximum(0, np.minimum(-ramps[:-2] / steps[:-1, None], ramps[2:] / steps[1:, None]))
    if norm == "slaney":
        weights *= 2 / (corners[2:] - corners[:-2])[:, None]
    x = randn(3, half + 1)
    agree(layers.MelBank(2 * half, mels, rate, low, top, scale, norm), x, x.numpy() @ weights.T)


# --- wavelets, polynomials, stencils, knees ------------------------------------------------------


@PROPERTY
@given(
    wavelet=st.sampled_from(["haar", "db4", "sym5", "coif2", "bior2.2", "rbio3.1", "bior6.8"]),
    level=st.integers(1, 4),
    coarsest=st.integers(1, 12),
    seed=SEEDS,
)
def test_inverse_wavelet_bank_is_pywavelets(wavelet: str, level: int, coarsest: int, seed: int) -> None:
    n = coarsest * 2**level
    x = randn(n, seed=seed)
    cuts = [n >> step for step in range(level, 0, -1)]
    agree(
        layers.InverseWaveletBank(wavelet, level, n),
        x,
        pywt.waverec(np.split(x.numpy(), cuts), wavelet, mode="periodization"),
        (1e-9, 1e-4 if "bio" in wavelet else 1e-5),
    )


def jacobi(count: int, x: Array, alpha: float, beta: float) -> Array:
    return np.stack([scipy.special.eval_jacobi(k, alpha, beta, x) for k in range(count)])


@PROPERTY
@given(m=st.integers(1, 30), n=st.integers(2, 40), seed=SEEDS)
@pytest.mark.parametrize("family", ["legendre", "chebyshev-t", "jacobi", "laguerre", "hermite", "hermite-e"])
def test_polynomial_bank_is_numpys_and_scipys(family: str, m: int, n: int, seed: int) -> None:
    alpha, beta = seeded(seed).uniform(-0.5, 2, 2)
    nodes, values = {
        "legendre": (legendre.leggauss, lambda x: legendre.legvander(x, m - 1).T),
        "chebyshev-t": (
            np.polynomial.chebyshev.chebgauss,
            lambda x: np.polynomial.chebyshev.chebvander(x, m - 1).T,
        ),
        "jacobi": (lambda n: scipy.special.roots_jacobi(n, alpha, beta), lambda x: jacobi(m, x, alpha, beta)),
        "laguerre": (laguerre.laggauss, lambda x: laguerre.lagvander(x, m - 1).T),
        "hermite": (hermite.hermgauss, lambda x: hermite.hermvander(x, m - 1).T),
        "hermite-e": (hermite_e.hermegauss, lambda x: hermite_e.hermevander(x, m - 1).T),
    }[family]
    wanted = values(np.sort(nodes(n)[0]))
    own = {"alpha": alpha, "beta": beta} if family == "jacobi" else {}
    layer = layers.PolynomialBank(m, n, family, **own)
    found = layer(torch.eye(n, dtype=torch.float64)).numpy().T
    # roots are known to the last bits only, and steep polynomials multiply that
    assert np.abs(found - wanted).max(1) == pytest.approx(0, abs=1e-9 * np.abs(wanted).max())
    back = layers.PolynomialBank(m, n, family, transposed=True, **own)
    np.testing.assert_array_equal(back(torch.eye(m, dtype=torch.float64)).numpy(), found)


@pytest.mark.parametrize("n", [2, 7, 64])
def test_orthonormal_polynomials_are_those_of_gauss_quadrature(n: int) -> None:
    nodes, weights = legendre.leggauss(n)
    lengths = np.sqrt((2 * np.arange(n) + 1) / 2)
    wanted = lengths[:, None] * legendre.legvander(nodes, n - 1).T * np.sqrt(weights)
    found = layers.PolynomialBank(n, n, orthonormal=True)(torch.eye(n, dtype=torch.float64)).numpy().T
    np.testing.assert_allclose(found, wanted, atol=1e-12)


NODES = {
    "uniform": lambda n: np.linspace(-1, 1, n),
    "uniform-open": lambda n: np.linspace(-1, 1, n, endpoint=False),
    "uniform-middles": lambda n: np.linspace(-1, 1, n, endpoint=False) + 1 / n,
    "chebyshev": lambda n: np.sort(np.polynomial.chebyshev.chebpts1(n)),
    "chebyshev-lobatto": lambda n: np.sort(np.polynomial.chebyshev.chebpts2(n)),
    "gauss-legendre": lambda n: legendre.leggauss(n)[0],
}


@pytest.mark.parametrize("name", NODES)
def test_polynomials_at_named_nodes(name: str) -> None:
    x = randn(2, 13)
    agree(layers.PolynomialBank(6, 13, nodes=name), x, x.numpy() @ legendre.legvander(NODES[name](13), 5))


def bell(taps: int, width: float) -> Array:
    place = np.arange(taps) - (taps - 1) / 2
    weights = np.exp(-(place**2) / (2 * width**2))
    return weights / weights.sum()


STENCILS = {
    "box": ((5,), np.full(5, 0.2)),
    "binomial": ((5,), np.array([1, 4, 6, 4, 1]) / 16),
    "central difference": ((3,), np.array([-0.5, 0, 0.5])),
    "second difference": ((3,), np.array([1.0, -2, 1])),
    "gaussian 1.5": ((9,), bell(9, 1.5)),
    "sobel x": ((3, 3), np.outer([1, 2, 1], [-1, 0, 1])),
    "prewitt y": ((3, 3), np.outer([-1, 0, 1], [1, 1, 1])),
    "scharr x": ((3, 3), np.outer([3, 10, 3], [-1, 0, 1])),
    "laplacian 5-point": ((3, 3), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])),
    "box by gaussian 1": ((2, 5), np.outer([0.5, 0.5], bell(5, 1.0))),
    "box by box by box": ((2, 3, 2), np.full((2, 3, 2), 1 / 12)),
}


@pytest.mark.parametrize("kind", STENCILS)
def test_a_stencil_filter_is_scipys_correlation(kind: str) -> None:
    taps, weights = STENCILS[kind]
    x = randn(2, *(13, 12, 7)[: len(taps)])
    whole = np.stack([scipy.signal.correlate(one, weights, "valid") for one in x.numpy()])
    agree(layers.StencilFilter(kind, taps), x, whole)
    every = (slice(None), *[slice(None, None, 2)] * len(taps))
    agree(layers.StencilFilter(kind, taps, stride=2), x, whole[every])
    spread = np.zeros([2 * count - 1 for count in taps])
    spread[tuple([slice(None, None, 2)] * len(taps))] = weights
    padded = np.pad(x.numpy(), [(0, 0), *[(3, 3)] * len(taps)])
    wanted = np.stack([scipy.signal.correlate(one, spread, "valid") for one in padded])
    agree(layers.StencilFilter(kind, taps, padding=3, dilation=2), x, wanted)


def test_a_sobel_filter_is_scipys_away_from_the_edges() -> None:
    x = randn(12, 11)
    agree(layers.StencilFilter("sobel y", (3, 3)), x, scipy.ndimage.sobel(x.numpy(), axis=0)[1:-1, 1:-1])


@PROPERTY
@given(
    threshold=st.floats(0.05, 3),
    ratio=st.one_of(st.none(), st.floats(0.2, 30)),
    gain=st.one_of(st.none(), st.floats(0.2, 5)),
    side=st.sampled_from(["both", "above", "below"]),
)
def test_a_hard_knee_is_a_polyline(
    threshold: float, ratio: float | None, gain: float | None, side: str
) -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    beyond = 0.0 if ratio is None else 1 / ratio
    low, high = {"both": (-threshold, threshold), "above": (-9, threshold), "below": (threshold, 9)}[side]
    corners = [-9.0, low, high, 9.0]
    heights = [low - beyond * (low + 9), low, high, high + beyond * (9 - high)]
    wanted = np.interp(x.numpy(), corners, heights) * (gain or 1.0)
    number = (None if value is None else torch.tensor(value, dtype=torch.float64) for value in (ratio, gain))
    agree(layers.HardKnee(torch.tensor(threshold, dtype=torch.float64), *number, side), x, wanted)


def test_piecewise_is_numpys_interpolation() -> None:
    knots, heights = np.array([-1.0, 0.2, 1.7]), np.array([[0.0, 2], [1, 2], [-1, 5]])
    slopes = np.diff(heights, axis=0) / np.diff(knots)[:, None]
    changes = np.diff(np.concatenate([np.zeros((1, 2)), slopes, np.zeros((1, 2))]), axis=0)
    numbers = (torch.from_numpy(v) for v in (knots, changes, np.zeros(2), heights[0]))
    x = np.linspace(-3, 3, 61)
    wanted = np.stack([np.interp(x, knots, column) for column in heights.T], 1)
    agree(layers.Piecewise(*numbers), torch.from_numpy(x)[:, None], wanted)


EYE = torch.eye(2)
REFUSED = {
    "more taps than samples": lambda: layers.FirBank(4, torch.ones(5)),
    "an unknown mode": lambda: layers.FirBank(8, [1.0], "reflect"),
    "taps that are no mirror image": lambda: layers.FirBank(8, [1.0, 2.0], linear_phase=True),
    "a delay beyond the end": lambda: layers.DelayBank(8, [[8]]),
    "a line without delays": lambda: layers.DelayBank(8, [[1], []]),
    "a comb without a delay": lambda: layers.CombBank(8, [0]),
    "a comb that grows": lambda: layers.CombBank(8, [2], feedback=1.0),
    "a comb of nothing": lambda: layers.CombBank(8, [2], feedback=None),
    "a pole on the circle": lambda: layers.RecursiveBank(8, [1.0], [1.0, -1.0]),
    "a pole at zero": lambda: layers.RecursiveBank(8, [1.0], [1.0, -0.5, 0.0]),
    "no poles": lambda: layers.RecursiveBank(8, [1.0], [1.0]),
    "other numbers of filters": lambda: layers.RecursiveBank(8, EYE, [1.0, -0.5]),
    "an unknown norm": lambda: layers.FourierTransform(8, norm="unit"),
    "bins beyond the last": lambda: layers.RealFourier(8, (0, 6)),
    "an unknown order of parts": lambda: layers.RealFourier(8, parts="polar"),
    "frames that do not move": lambda: layers.ShortTimeFourier(8, 0),
    "frequencies beyond Nyquist": lambda: layers.MelBank(64, 8, 8000, f_max=5000),
    "an unknown scale": lambda: layers.MelBank(64, 8, 8000, scale="bark"),
    "a level that does not divide": lambda: layers.InverseWaveletBank("db2", 3, 12),
    "an unknown wavelet": lambda: layers.InverseWaveletBank("db99", 1, 8),
    "an unknown family": lambda: layers.PolynomialBank(3, 5, "bessel"),
    "exponents of Legendre's": lambda: layers.PolynomialBank(3, 5, alpha=1.0),
    "an exponent of -1": lambda: layers.PolynomialBank(3, 5, "jacobi", alpha=-1.0),
    "Hermite's at uniform nodes": lambda: layers.PolynomialBank(3, 5, "hermite", nodes="uniform"),
    "orthonormal and not square": lambda: layers.PolynomialBank(3, 5, orthonormal=True),
    "an unknown stencil": lambda: layers.StencilFilter("median", (3, 3)),
    "a stencil of another size": lambda: layers.StencilFilter("laplacian 5-point", (5, 5)),
    "a Gaussian without its width": lambda: layers.StencilFilter("gaussian", (5,)),
    "a difference of five": lambda: layers.StencilFilter("difference", (5,)),
    "a negative threshold on both sides": lambda: layers.HardKnee(-1.0),
    "a ratio of zero": lambda: layers.HardKnee(1.0, 0.0),
    "an odd number of columns": lambda: layers.SinusoidTable(4, 5),
    "an unknown layout": lambda: layers.SinusoidTable(4, 6, layout="spiral"),
    "an odd rotation": lambda: layers.RotaryFrequencies(3),
    "an unknown window": lambda: layers.WindowTable(8, "flat"),
    "a parameter for Hann": lambda: layers.WindowTable(8, "hann", value=2.0),
    "Kaiser without one": lambda: layers.WindowTable(8, "kaiser"),
    "equal ratios through zero": lambda: layers.RampTable(8, -1.0, 1.0, geometric=True),
    "a density of no shape": lambda: layers.GammaTable(8, 0.0, 1.0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        REFUSED[name]()
