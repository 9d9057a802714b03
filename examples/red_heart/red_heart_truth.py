"""The exact arguments of every formula hidden in the model: what an audit ought to read off the weights."""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

FRAME = 256
EMBEDDING = 768
STATE = 7
TAPS = 32
MODES = 7

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Truth:
    """Every number the hidden formulas need; times are fractions of the unit interval, angles are radians."""

    seed: int
    valence_arousal: Array
    """(2, 768), the linear map."""
    adsr: Array
    """(7, 4), attack, decay, sustain, release of each curve on [0, 1]."""
    resonators: Array
    """(7, 3), b0, radius, angle: y[n] = b0 x[n] + 2 r cos(angle) y[n-1] - r^2 y[n-2]."""
    delays: npt.NDArray[np.int64]
    """(32,), samples, ascending and distinct."""
    gains: Array
    """(32,), one for each delay."""
    equaliser: Array
    """(129,), the real gain of each rFFT bin."""
    transition: Array
    """(7, 7), F of the Kalman filter."""
    observation: Array
    """(7, 7), H."""
    process_noise: Array
    """(7, 7), Q."""
    observation_noise: Array
    """(7, 7), R."""
    gain: Array
    """(7, 7), K, what the gain converges to."""
    comb_delay: int = 37
    comb_gain: float = 0.55
    threshold: float = 0.8
    ratio: float = 4.0
    wavelet: str = "db4"
    level: int = 5
    window: str = "hann"
    first_bin: int = 1
    last_bin: int = 64
    sample_rate: int = 8000
    mel_scale: str = "slaney"

    @property
    def knots(self) -> Array:
        """The times (18,) in (0, 1) at which some envelope bends, ascending."""
        attack, decay, _, release = self.adsr.T
        return np.unique(np.concatenate([attack, attack + decay, 1 - release]))

    @property
    def a(self) -> Array:
        """What the old state is multiplied by, (I - K H) F, (7, 7)."""
        return (np.eye(STATE) - self.gain @ self.observation) @ self.transition

    @property
    def b(self) -> Array:
        """What the observation is multiplied by, K, (7, 7)."""
        return self.gain


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each part, so that no part's numbers depend on another's."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def truth(seed: int = 0) -> Truth:
    """The arguments that `model.build(seed)` hides."""
    rng = stream(seed, "truth")
    delays, gains = _delays(rng)
    transition, observation, process_noise, observation_noise = _state_space(rng)
    # The filter's Riccati equation is the regulator's with both matrices transposed.
    covariance = linalg.solve_discrete_are(transition.T, observation.T, process_noise, observation_noise)
    innovation = observation @ covariance @ observation.T + observation_noise
    return Truth(
        seed=seed,
        valence_arousal=rng.standard_normal((2, EMBEDDING)) / EMBEDDING**0.5,
        adsr=_adsr(rng),
        resonators=_resonators(rng),
        delays=delays,
        gains=gains,
        equaliser=rng.uniform(0.4, 1.6, FRAME // 2 + 1),
        transition=transition,
        observation=observation,
        process_noise=process_noise,
        observation_noise=observation_noise,
        gain=np.linalg.solve(innovation.T, observation @ covariance.T).T,
    )


def _adsr(rng: np.random.Generator) -> Array:
    """Seven curves; four releases serve all, so that 18 of the 21 bends are distinct, 0.02 apart or more."""
    bends = _slots(rng, 0.04, 0.60, 2 * STATE)
    attack = rng.permutation(bends[:STATE])
    decay = rng.permutation(bends[STATE:]) - attack
    shared = rng.permutation([0, 0, 1, 1, 2, 2, 3])
    release = 1 - _slots(rng, 0.66, 0.96, 4)[shared]
    return np.stack([attack, decay, rng.uniform(0.3, 0.85, STATE), release], axis=1)


def _slots(rng: np.random.Generator, low: float, high: float, count: int) -> Array:
    """One point in the middle half of each of `count` equal slots, ascending."""
    width = (high - low) / count
    points: Array = low + width * (np.arange(count) + rng.uniform(0.25, 0.75, count))
    return points


def _resonators(rng: np.random.Generator) -> Array:
    radius = rng.uniform(0.88, 0.98, MODES)
    angle = _slots(rng, 0.15, 2.9, MODES)
    # A two-pole filter rings at about 1 / (1 - r): its gain is set so that every mode is heard.
    b0 = rng.uniform(0.8, 1.6, MODES) * np.sqrt(1 - radius**2) * np.sin(angle)
    return np.stack([b0, radius, angle], axis=1)


def _delays(rng: np.random.Generator) -> tuple[npt.NDArray[np.int64], Array]:
    delays = np.sort(rng.choice(np.arange(1, 240), TAPS, replace=False))
    gains = rng.choice([-1.0, 1.0], TAPS) * rng.uniform(0.15, 0.45, TAPS) * 0.993**delays
    return delays.astype(np.int64), gains


def _state_space(rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """A stable F, an invertible H, and two covariances Q and R."""
    transition = rng.standard_normal((STATE, STATE))
    transition *= 0.9 / np.abs(np.linalg.eigvals(transition)).max()
    observation = np.linalg.qr(rng.standard_normal((STATE, STATE)))[0]
    observation = observation + 0.3 * rng.standard_normal((STATE, STATE)) / STATE**0.5
    process, measured = rng.standard_normal((2, STATE, STATE)) / STATE**0.5
    identity = np.eye(STATE)
    return (
        transition,
        observation,
        0.1 * (process @ process.T + 0.2 * identity),
        0.3 * (measured @ measured.T + 0.2 * identity),
    )
