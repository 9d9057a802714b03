"""What the public layers compute, against scipy, PyWavelets and recursions written as in the textbook."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import covariance, doubles, randn, sections, seeded, stable
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit import layers

Array = NDArray[np.float64]
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 10_000)
SIZES = st.integers(1, 300)
DTYPES = (torch.float64, 1e-10), (torch.float32, 1e-5)


@torch.no_grad()
def agree(layer: nn.Module, inputs: Tensor, wanted: Array, *, rounded: bool = False) -> None:
    """To dtype accuracy of the largest output; ``rounded`` where float32 numbers are another filter."""
    for dtype, most in DTYPES[: 1 if rounded else 2]:
        found = layer.to(dtype)(inputs.to(dtype)).double().numpy()
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= most * max(1.0, np.abs(wanted).max())


def each(numerators: Array, denominators: Array, x: Array) -> Array:
    """Every filter on the same input, ``(..., n)`` to ``(..., k, n)``."""
    pairs = zip(numerators, denominators, strict=True)
    return np.stack([scipy.signal.lfilter(b, a, x, axis=-1) for b, a in pairs], -2)


# --- spectra and wavelets ------------------------------------------------------------------------


@PROPERTY
@given(n=st.integers(2, 200), seed=SEEDS, name=st.sampled_from(["hann", "hamming", "blackman", "boxcar"]))
def test_spectrum(n: int, seed: int, name: str) -> None:
    first, end = sorted(seeded(seed).choice(n // 2 + 2, 2, replace=False).tolist())
    x = randn(3, n, seed=seed)
    bins = scipy.fft.rfft(x.numpy() * scipy.signal.get_window(name, n))[:, first:end]
    ours = {"boxcar": "rectangular"}.get(name, name)
    wanted = {
        "magnitude": np.abs(bins),
        "power": np.abs(bins) ** 2,
        "real-imaginary": np.concatenate([bins.real, bins.imag], -1),
    }
    for output, values in wanted.items():
        agree(layers.Spectrum(n, (first, end), ours, output), x, values)
    found = layers.Spectrum(n, (first, end), ours, "complex")(x).numpy()
    np.testing.assert_allclose(found, bins, rtol=0, atol=1e-10 * n)


@pytest.mark.parametrize("orthonormal", [False, True])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [2, 9, 64])
def test_transforms(n: int, kind: int, orthonormal: bool) -> None:
    x, norm = randn(3, n, seed=n), "ortho" if orthonormal else None
    agree(layers.CosineTransform(n, kind, orthonormal), x, scipy.fft.dct(x.numpy(), kind, norm=norm))
    agree(layers.SineTransform(n, kind, orthonormal), x, scipy.fft.dst(x.numpy(), kind, norm=norm))
    bins = np.fft.fft(x.numpy()) / (n**0.5 if orthonormal else 1)
    agree(layers.HartleyTransform(n, orthonormal), x, bins.real - bins.imag)


@PROPERTY
@given(
    name=st.sampled_from(["haar", "db4", "sym5", "coif2", "bior2.6", "rbio3.1", "db20", "dmey"]),
    level=st.integers(1, 4),
    blocks=st.integers(1, 9),
    seed=SEEDS,
)
def test_wavelets(name: str, level: int, blocks: int, seed: int) -> None:
    n = blocks * 2**level
    x = randn(2, n, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about filters longer than the signal
        wanted = pywt.wavedec(x.numpy(), name, mode="periodization", level=level)
    layer = layers.WaveletBank(name, level, n)
    layer.filters = torch.tensor(pywt.Wavelet(name).filter_bank[:2], dtype=torch.float64)
    agree(layer, x, np.concatenate(wanted, -1))
    for band, values in zip(layer.double().bands(layer(x)), wanted, strict=True):
        assert band.shape == values.shape


def test_wavelet_filters_are_those_of_pywavelets() -> None:
    for train in (False, True):
        layer = layers.WaveletBank("db4", 1, 8, train=train)
        assert layer.filters.requires_grad == train
        wanted = torch.tensor([pywt.Wavelet("db4").dec_lo, pywt.Wavelet("db4").dec_hi])
        torch.testing.assert_close(layer.filters.detach(), wanted, rtol=0, atol=1e-7)


# --- delays, combs, sections ---------------------------------------------------------------------


@PROPERTY
@given(n=SIZES, taps=st.integers(1, 40), seed=SEEDS)
def test_delay_line(n: int, taps: int, seed: int) -> None:
    delays = seeded(seed).choice(200, taps, replace=False).tolist()
    gains = randn(taps, seed=seed)
    x = randn(2, n, seed=seed + 1)
    kernel = np.zeros(200)
    kernel[delays] = gains.numpy()
    agree(layers.DelayLine(delays, gains), x, scipy.signal.lfilter(kernel, 1.0, x.numpy(), axis=-1))


@PROPERTY
@given(n=SIZES, delay=st.integers(1, 120), gain=st.floats(-0.99, 0.99), seed=SEEDS)
def test_comb_and_all_pass(n: int, delay: int, gain: float, seed: int) -> None:
    x = randn(2, n, seed=seed)
    denominator, numerator = np.zeros(delay + 1), np.zeros(delay + 1)
    denominator[0], denominator[-1] = 1.0, -gain
    numerator[0], numerator[-1] = -gain, 1.0
    comb = layers.FeedbackComb(delay, doubles(gain)[0])
    assert float(comb.gain.detach()) == pytest.approx(gain, abs=1e-14)
    agree(comb, x, scipy.signal.lfilter([1.0], denominator, x.numpy(), axis=-1))
    wanted = scipy.signal.lfilter(numerator, denominator, x.numpy(), axis=-1)
    agree(layers.AllPass(delay, doubles(gain)[0]), x, wanted)


@PROPERTY
@given(n=SIZES, k=st.integers(1, 5), seed=SEEDS)
def test_biquads(n: int, k: int, seed: int) -> None:
    x, sos = randn(2, n, seed=seed), sections(k, seed)
    layer = layers.BiquadBank(k, sos)
    np.testing.assert_allclose(layer.sos.detach(), sos / sos[:, 3:4], rtol=0, atol=1e-13)
    agree(layer, x, each(sos[:, :3].numpy(), sos[:, 3:].numpy(), x.numpy()))


@PROPERTY
@given(n=SIZES, k=st.integers(1, 5), seed=SEEDS)
def test_resonators(n: int, k: int, seed: int) -> None:
    rng = seeded(seed)
    gain, radius, angle = rng.standard_normal(k), rng.uniform(0.05, 0.99, k), rng.uniform(0, math.pi, k)
    x = randn(2, n, seed=seed)
    poles = np.stack([np.ones(k), -2 * radius * np.cos(angle), radius**2], 1)
    layer = layers.ResonatorBank(k, *(torch.from_numpy(v) for v in (gain, radius, angle)))
    agree(layer, x, each(gain[:, None], poles, x.numpy()), rounded=True)
    layer.float()
    radius, angle, gain = (v.detach().double().numpy() for v in (layer.radius, layer.angle, layer.gain))
    poles = np.stack([np.ones(k), -2 * radius * np.cos(angle), radius**2], 1)
    wanted = each(gain[:, None], poles, x.float().double().numpy())
    found = layer(x.float()).detach().numpy()
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("angle", [0.0, 1e-9, math.pi, math.pi / 2])
def test_a_resonator_with_equal_or_nearly_equal_poles(angle: float) -> None:
    layer = layers.ResonatorBank(1, doubles(2.0), doubles(0.97), doubles(angle))
    x = randn(1000)
    wanted = scipy.signal.lfilter([2.0], [1.0, -2 * 0.97 * math.cos(angle), 0.97**2], x.numpy())
    agree(layer, x, wanted[None], rounded=True)


@torch.no_grad()
@pytest.mark.parametrize("angle", [1e-3, 0.01, 1.0, 3.14])
@pytest.mark.parametrize("radius", [0.9, 0.999, 0.99999])
def test_a_slow_resonator_keeps_its_digits_over_many_samples(angle: float, radius: float) -> None:
    x, time = randn(8192), np.arange(8192)
    bank = layers.ResonatorBank(1, 1.0, doubles(radius), doubles(angle))
    ringing = radius**time * np.sin((time + 1) * angle) / math.sin(angle)
    wanted = scipy.signal.oaconvolve(x.numpy(), ringing)[:8192]
    assert np.abs(bank(x)[0].numpy() - wanted).max() <= 1e-11 * np.abs(wanted).max()
    # scipy's own recursion is off the closed form by about 1e-10 here
    sos = doubles(1.0, 0.5, -0.5, 1.0, -2 * radius * math.cos(angle), radius**2)
    wanted = scipy.signal.lfilter(sos[:3].numpy(), sos[3:].numpy(), x.numpy())
    assert np.abs(layers.BiquadBank(1, sos)(x)[0].numpy() - wanted).max() <= 1e-9 * np.abs(wanted).max()


def test_a_struck_resonator_rings_at_its_frequency_and_falls_by_60_db() -> None:
    bank = layers.ResonatorBank.tuned([440.0, 1000.0], decay_time=[0.25, 0.5], sample_rate=8000.0)
    torch.testing.assert_close(bank.frequency.float(), torch.tensor([440.0, 1000.0]), rtol=1e-6, atol=0)
    torch.testing.assert_close(bank.decay_time.float(), torch.tensor([0.25, 0.5]), rtol=1e-6, atol=0)
    struck = torch.zeros(8000)
    struck[0] = 1.0
    rings = bank(struck).detach().double()
    loudest = rings.abs().unfold(-1, 40, 1).amax(-1)
    for ring, loud, hertz, late in zip(rings, loudest, (440, 1000), (2000, 4000), strict=True):
        assert abs(int(torch.fft.rfft(ring).abs().argmax()) - hertz) <= 1
        assert 20 * math.log10(float(loud[late] / loud[0])) == pytest.approx(-60, abs=0.5)


# --- envelopes -----------------------------------------------------------------------------------


@PROPERTY
@given(seed=SEEDS)
def test_envelope(seed: int) -> None:
    rng = seeded(seed)
    attack, decay, release, hold = rng.dirichlet(np.full(4, 2.0), 5).T * 3.0
    sustain = rng.uniform(0, 1, 5)
    times = np.sort(rng.uniform(-0.5, 3.5, 50))
    wanted = np.stack(
        [
            np.interp(times, [0, a, a + d, a + d + h, 3.0], [0, 1, s, s, 0])
            for a, d, s, h in zip(attack, decay, sustain, hold, strict=True)
        ],
        -1,
    )
    parts = (torch.from_numpy(v) for v in (attack, decay, sustain, release))
    agree(layers.Envelope(5, *parts, end=3.0), torch.from_numpy(times), wanted)


def test_a_release_before_the_decay_is_over_falls_from_where_it_is() -> None:
    layer = layers.Envelope(1, attack=0.4, decay=0.4, sustain=0.5, release=0.4, end=1.0)
    found = layer(torch.tensor([0.4, 0.6, 0.8, 1.0]))[:, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0.75, 0.375, 0.0]))


# --- valence and arousal -------------------------------------------------------------------------


def test_style_map() -> None:
    layer, x = layers.StyleMap(7), randn(4, 7).float()
    wanted = x @ layer.sums.weight.T + layer.sums.bias
    torch.testing.assert_close(layer(x), wanted)
    bounded = layers.StyleMap(7, bias=False, bounded=True)
    torch.testing.assert_close(bounded(x), torch.tanh(x @ bounded.sums.weight.T))


# --- Kalman filters ------------------------------------------------------------------------------


def system(size: int, many: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """F, H, Q, R."""
    return (
        stable(size, seed),
        randn(many, size, seed=seed + 1),
        covariance(size, seed + 2),
        covariance(many, seed + 3),
    )


def textbook(constants: tuple[Array, ...], state: Array, covariance: Array, z: Array) -> tuple[Array, Array]:
    """One step with explicit inverses, the covariance in the short form."""
    f, h, q, r = constants
    state, covariance = f @ state, f @ covariance @ f.T + q
    gain = covariance @ h.T @ np.linalg.inv(h @ covariance @ h.T + r)
    return state + gain @ (z - h @ state), (np.eye(len(f)) - gain @ h) @ covariance


@PROPERTY
@given(size=st.integers(1, 7), many=st.integers(1, 4), seed=SEEDS)
@torch.no_grad()
def test_kalman_filter(size: int, many: int, seed: int) -> None:
    given_system = system(size, many, seed)
    layer = layers.KalmanFilter(*given_system)
    torch.testing.assert_close(layer.process, given_system[2], rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.noise, given_system[3], rtol=0, atol=1e-12)
    state, before, z = randn(size, seed=seed), covariance(size, seed + 4), randn(9, many, seed=seed + 5)
    constants = tuple(t.numpy() for t in given_system)
    for dtype, most in DTYPES:
        moved = layer.to(dtype)
        states, covariances = moved.filter(state.to(dtype), before.to(dtype), z.to(dtype))
        s, p = state.numpy(), before.numpy()
        for t in range(9):
            s, p = textbook(constants, s, p, z[t].numpy())
            assert np.abs(states[t].double().numpy() - s).max() <= most * max(1.0, float(z.abs().max()))
            assert np.abs(covariances[t].double().numpy() - p).max() <= most * max(1.0, np.abs(p).max())


@PROPERTY
@given(size=st.integers(1, 7), many=st.integers(1, 4), length=st.integers(1, 70), seed=SEEDS)
@torch.no_grad()
def test_steady_state(size: int, many: int, length: int, seed: int) -> None:
    f, h, q, r = (t.numpy() for t in system(size, many, seed))
    predicted = scipy.linalg.solve_discrete_are(f.T, h.T, q, r)
    gain = predicted @ h.T @ np.linalg.inv(h @ predicted @ h.T + r)
    layer = layers.KalmanFilter(*(torch.from_numpy(v) for v in (f, h, q, r))).steady_state()
    np.testing.assert_allclose(layer.gain, gain, rtol=0, atol=1e-10)
    s, z = randn(2, size, seed=seed), randn(2, length, many, seed=seed + 1)
    wanted, now = [], s.numpy()
    for t in range(length):
        now = now @ f.T @ (np.eye(size) - gain @ h).T + z[:, t].numpy() @ gain.T
        wanted.append(now)
    np.testing.assert_allclose(layer(s, z[:, 0]), wanted[0], rtol=0, atol=1e-10)
    for dtype, most in DTYPES:
        found = layer.to(dtype).filter(s.to(dtype), z.to(dtype)).double().numpy()
        assert np.abs(found - np.stack(wanted, 1)).max() <= most * max(1.0, np.abs(wanted).max())


@torch.no_grad()
def test_the_full_filter_settles_at_the_steady_state() -> None:
    layer = layers.KalmanFilter(*system(5, 2, 3))
    z = randn(400, 2, seed=4)
    states, _ = layer.filter(torch.zeros(5).double(), torch.eye(5).double(), z)
    steady = layer.steady_state().filter(torch.zeros(5).double(), z)
    torch.testing.assert_close(states[-1], steady[-1], rtol=0, atol=1e-9)


def test_a_singular_process_covariance_has_its_factor() -> None:
    f, h, _, r = system(4, 2, 5)
    direction = randn(4, 1)
    layer = layers.KalmanFilter(f, h, direction @ direction.T, r)
    torch.testing.assert_close(layer.process.detach(), direction @ direction.T, rtol=0, atol=1e-12)


# --- refused -------------------------------------------------------------------------------------

EYE = torch.eye(2)
REFUSED = {
    "bins beyond the last": lambda: layers.Spectrum(16, (0, 10)),
    "a cosine transform of type 5": lambda: layers.CosineTransform(8, 5),
    "a cosine transform of type 1 of one point": lambda: layers.CosineTransform(1, 1),
    "a sine transform of nothing": lambda: layers.SineTransform(0),
    "no bins": lambda: layers.Spectrum(16, (3, 3)),
    "unknown window": lambda: layers.Spectrum(16, window="flat"),
    "unknown output": lambda: layers.Spectrum(16, output="phase"),
    "unknown wavelet": lambda: layers.WaveletBank("db99", 1, 8),
    "a level that does not divide": lambda: layers.WaveletBank("db2", 3, 12),
    "a time of zero": lambda: layers.Envelope(2, attack=[0.1, 0.0]),
    "three numbers for two channels": lambda: layers.Envelope(2, attack=[0.1, 0.2, 0.3]),
    "a delay twice": lambda: layers.DelayLine([3, 3]),
    "a negative delay": lambda: layers.DelayLine([-1]),
    "feedback without delay": lambda: layers.FeedbackComb(0),
    "feedback of one": lambda: layers.AllPass(3, 1.0),
    "a section on the circle": lambda: layers.BiquadBank(1, [1, 0, 0, 1, 0, 1]),
    "a section outside the circle": lambda: layers.BiquadBank(1, [1, 0, 0, 1, -2.5, 0.9]),
    "a radius of one": lambda: layers.ResonatorBank(1, radius=1.0),
    "shapes that do not fit": lambda: layers.KalmanFilter(EYE, EYE[:1], EYE, EYE),
    "Q that is not symmetric": lambda: layers.KalmanFilter(
        EYE, EYE, EYE + torch.tensor([[0, 1.0], [0, 0]]), EYE
    ),
    "R with a negative eigenvalue": lambda: layers.KalmanFilter(EYE, EYE, EYE, -EYE),
    "A that is not square": lambda: layers.SteadyKalmanFilter(EYE[:1], EYE),
    "numbers that are not finite": lambda: layers.DelayLine([1], float("nan")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        REFUSED[name]()


@torch.no_grad()
def test_training_cannot_leave_the_stable_filters() -> None:
    combs = layers.FeedbackComb(1), layers.AllPass(1)
    biquads, resonators = layers.BiquadBank(2), layers.ResonatorBank(2)
    for layer in (*combs, biquads, resonators):
        for parameter in layer.parameters():
            parameter.fill_(8.0)
    for layer in combs:
        assert 0.99 < float(layer.gain) < 1
    assert float(np.abs(np.roots(biquads.sos[0, 3:])).max()) < 1
    assert float(resonators.radius.max()) < 1
