"""The Kalman and filter layers against the packages that this field uses: filterpy and python-control."""

from __future__ import annotations

import control
import filterpy.kalman
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import covariance, randn, sections, stable
from numpy.typing import NDArray
from torch import Tensor

from paramaudit import layers

Array = NDArray[np.float64]
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 10_000)
STATES, SEEN = st.integers(1, 7), st.integers(1, 7)


def system(size: int, many: int, seed: int, radius: float = 0.9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """F, H, Q, R; a radius above 1 makes the state grow."""
    return (
        stable(size, seed, radius),
        randn(many, size, seed=seed + 1),
        covariance(size, seed + 2),
        covariance(many, seed + 3),
    )


def peer(constants: tuple[Tensor, ...], state: Tensor, before: Tensor) -> filterpy.kalman.KalmanFilter:
    """The same filter in filterpy, which updates the covariance in Joseph's form too."""
    f, h, q, r = (t.numpy().copy() for t in constants)
    made = filterpy.kalman.KalmanFilter(dim_x=len(f), dim_z=len(h))
    made.F, made.H, made.Q, made.R = f, h, q, r
    made.x, made.P = state.numpy().reshape(-1, 1).copy(), before.numpy().copy()
    return made


def close(found: Tensor, wanted: Array, within: float = 1e-10) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found.numpy() - wanted).max() <= within * max(1.0, np.abs(wanted).max())


# --- Kalman filters ------------------------------------------------------------------------------


@PROPERTY
@given(size=STATES, many=SEEN, seed=SEEDS, radius=st.sampled_from([0.5, 0.99, 1.3]))
@torch.no_grad()
def test_one_step_is_filterpys(size: int, many: int, seed: int, radius: float) -> None:
    constants = system(size, many, seed, radius)
    state, before, z = randn(size, seed=seed + 4), covariance(size, seed + 5), randn(many, seed=seed + 6)
    other = peer(constants, state, before)
    other.predict()
    other.update(z.numpy().reshape(-1, 1))
    found, after = layers.KalmanFilter(*constants)(state, before, z)
    close(found, other.x[:, 0])
    close(after, other.P)


@PROPERTY
@given(size=STATES, many=SEEN, length=st.integers(1, 60), seed=SEEDS)
@torch.no_grad()
def test_sequences_are_filterpys(size: int, many: int, length: int, seed: int) -> None:
    constants = system(size, many, seed)
    state, before = randn(2, size, seed=seed + 4), covariance(size, seed + 5)
    z = randn(2, length, many, seed=seed + 6)
    states, covariances = layers.KalmanFilter(*constants).filter(state, before, z)
    for row in range(2):
        other = peer(constants, state[row], before)
        means, spreads, _, _ = other.batch_filter(list(z[row].numpy()[..., None]))
        close(states[row], means[..., 0])
        close(covariances, spreads)  # one covariance serves both


def test_another_noise_is_another_filter() -> None:
    constants = system(4, 2, 7)
    other = peer((*constants[:3], 2 * constants[3]), torch.zeros(4), torch.eye(4))
    other.predict()
    other.update(np.ones((2, 1)))
    with torch.no_grad():
        found, _ = layers.KalmanFilter(*constants)(
            torch.zeros(4).double(), torch.eye(4).double(), torch.ones(2).double()
        )
    assert np.abs(found.numpy() - other.x[:, 0]).max() > 1e-2


@PROPERTY
@given(size=STATES, many=SEEN, seed=SEEDS)
@torch.no_grad()
def test_the_steady_gain_is_controls(size: int, many: int, seed: int) -> None:
    f, h, q, r = (t.numpy() for t in system(size, many, seed))
    steady = layers.KalmanFilter(*(torch.from_numpy(v) for v in (f, h, q, r))).steady_state()
    gain = steady.gain.numpy()
    # dlqe gives the gain of the predictor, F K, and the covariance before an observation
    predictor, predicted, poles = control.dlqe(f, np.eye(size), h, q, r)
    close(torch.from_numpy(f @ gain), predictor)
    close(steady.gain, np.linalg.solve(h @ predicted @ h.T + r, h @ predicted).T)
    # the filter's transition (I - K H) F has the predictor's poles, F (I - K H)
    mine = np.poly(np.linalg.eigvals(steady.transition.numpy()))
    np.testing.assert_allclose(mine, np.poly(poles), rtol=0, atol=1e-8)


def test_the_steady_gain_solves_controls_riccati_equation() -> None:
    f, h, q, r = (t.numpy() for t in system(5, 3, 11))
    predicted, _, regulator = control.dare(f.T, h.T, q, r)
    found = layers.KalmanFilter(*(torch.from_numpy(v) for v in (f, h, q, r))).steady_state()
    close(torch.from_numpy(f @ found.gain.detach().numpy()), regulator.T)
    close(found.gain.detach(), predicted @ h.T @ np.linalg.inv(h @ predicted @ h.T + r))


@PROPERTY
@given(size=STATES, many=SEEN, length=st.integers(2, 60), seed=SEEDS)
@torch.no_grad()
def test_the_steady_filter_is_controls_response(size: int, many: int, length: int, seed: int) -> None:
    layer = layers.KalmanFilter(*system(size, many, seed)).steady_state()
    state, z = randn(size, seed=seed + 4), randn(length, many, seed=seed + 5)
    a, k = layer.transition.numpy(), layer.gain.numpy()
    # read out after the step: A x + K z
    made = control.ss(a, k, a, k, dt=1)
    wanted = control.forced_response(made, inputs=z.numpy().T, initial_state=state.numpy(), squeeze=False)
    close(layer.filter(state, z), wanted.outputs.T)


# --- filters -------------------------------------------------------------------------------------


def response(numerator: Array, denominator: Array, x: Tensor) -> Array:
    """A discrete transfer function in powers of the delay, applied to ``(n,)``; control counts upwards."""
    size = max(len(numerator), len(denominator))
    numerator, denominator = (np.pad(v, (0, size - len(v))) for v in (numerator, denominator))
    made = control.tf(numerator, denominator, dt=1)
    found: Array = control.forced_response(made, inputs=x.numpy()).outputs
    return found


@PROPERTY
@given(n=st.integers(2, 200), seed=SEEDS)
@torch.no_grad()
def test_biquads_are_controls_transfer_functions(n: int, seed: int) -> None:
    bank, x = sections(3, seed), randn(n, seed=seed)
    found = layers.BiquadBank(3, bank)(x)
    for row, numbers in zip(found, bank.numpy(), strict=True):
        close(row, response(numbers[:3], numbers[3:], x), 1e-9)


@PROPERTY
@given(n=st.integers(2, 200), radius=st.floats(0.3, 0.999), angle=st.floats(0.1, 3.0), seed=SEEDS)
@torch.no_grad()
def test_resonators_are_controls_transfer_functions(n: int, radius: float, angle: float, seed: int) -> None:
    x = randn(n, seed=seed)
    layer = layers.ResonatorBank(1, 0.7, radius, angle).double()
    poles = [1.0, -2 * float(layer.radius) * np.cos(float(layer.angle)), float(layer.radius) ** 2]
    close(layer(x)[0], response(np.array([0.7]), np.array(poles), x), 1e-6)


@PROPERTY
@given(n=st.integers(2, 120), delay=st.integers(1, 30), percent=st.integers(-95, 95).filter(bool), seed=SEEDS)
@torch.no_grad()
def test_combs_are_controls_transfer_functions(n: int, delay: int, percent: int, seed: int) -> None:
    x, precise = randn(n, seed=seed), torch.tensor(percent / 100, dtype=torch.float64)
    echo = np.eye(1, delay + 1)[0]
    echo[delay] = -percent / 100
    close(layers.FeedbackComb(delay, precise)(x), response(np.ones(1), echo, x), 1e-9)
    passed = echo[::-1]  # z^-delay - gain
    close(layers.AllPass(delay, precise)(x), response(passed, echo, x), 1e-9)


@pytest.mark.parametrize("delay", [3, 8])
@torch.no_grad()
def test_an_all_pass_has_controls_spectrum(delay: int) -> None:
    denominator = np.eye(1, delay + 1)[0]
    denominator[delay] = -0.7
    made = control.tf(denominator[::-1], denominator, dt=1)
    wanted = made(np.exp(2j * np.pi * np.arange(257) / 512))
    assert np.abs(np.abs(wanted) - 1).max() < 1e-9
    layer = layers.AllPass(delay, torch.tensor(0.7, dtype=torch.float64))
    impulse = torch.eye(1, 512, dtype=torch.float64)[0]
    close(torch.fft.rfft(layer(impulse)), wanted, 1e-8)  # 512 samples hold all of the answer but 0.7 ** 64
