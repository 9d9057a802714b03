"""Kalman filter, and the linear filter it settles to.

What it computes: One step predicts ``F s`` with covariance ``F P F^T + Q``, and corrects both by an
                  observation ``z = H s + noise`` of covariance R; the covariance in Joseph's form. In steady
                  state the gain K is constant and the step is ``(I - K H) F s + K z``.
Replaces:         A recurrent or dense network that learned to track a linear state.
Faster when:      The full filter never: 0.2 to 0.3 times a network with one hidden layer of 256 to 4096
                  units. The steady one, over a sequence of n numbers in all: equal at n = 1024, 8 times at
                  4096, much slower at 256 (0.09 times). See benchmarks/results/layers.md (CPU, one thread,
                  batch 8).
Mind:             Q and R are trained by their triangular factors, so they stay covariances. F, H and a gain
                  are free: nothing keeps a trained filter stable. Over T observations the full filter
                  takes one step after another, the steady one log2 T steps over all times at once. Half
                  precision is computed in float32.
Source:           Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation
                  (2001), 5.2. Joseph's form: Bucy and Joseph (1968). Steady state: Anderson and Moore,
                  Optimal Filtering (1979), 4.4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned, widened
from paramaudit.numerics.riccati import steady_gain, triangular_factor
from paramaudit.numerics.scan import linear_scan


class SteadyKalmanFilter(nn.Module):
    """``s' = A s + K z``: states ``(..., d)`` and observations ``(..., m)`` to states ``(..., d)``.

    Args:
        transition: A, ``(d, d)``; ``(I - K H) F`` for a Kalman filter.
        gain: K, ``(d, m)``.

    Example:
        >>> layer = SteadyKalmanFilter(0.9 * torch.eye(2), torch.ones(2, 1))
        >>> layer(torch.zeros(8, 2), torch.randn(8, 1)).shape
        torch.Size([8, 2])
        >>> layer.filter(torch.zeros(8, 2), torch.randn(8, 100, 1)).shape
        torch.Size([8, 100, 2])
    """

    def __init__(self, transition: Tensor, gain: Tensor) -> None:
        super().__init__()
        self.transition, self.gain = owned(transition), owned(gain)
        if transition.shape != (len(gain), len(gain)):
            raise ValueError(f"A of shape {tuple(transition.shape)} does not fit K of {tuple(gain.shape)}")

    def forward(self, state: Tensor, observation: Tensor) -> Tensor:
        """One step."""
        wide = widened(state)
        moved = _applied(self.transition, wide) + _applied(self.gain, widened(observation))
        return moved.to(state.dtype)

    def filter(self, state: Tensor, observations: Tensor) -> Tensor:
        """States ``(..., T, d)`` after each of the observations ``(..., T, m)``, from a state before."""
        driven = _applied(self.gain, widened(observations))
        first = driven[..., 0, :] + _applied(self.transition, widened(state))
        driven = torch.cat([first.unsqueeze(-2), driven[..., 1:, :]], -2)
        return linear_scan(self.transition, driven).to(observations.dtype)


class KalmanFilter(nn.Module):
    """One step: ``(..., d)``, ``(..., d, d)`` and ``(..., m)`` to the corrected state and covariance.

    Leading dimensions broadcast; one covariance may serve a batch of states.

    Args:
        transition: first F, ``(d, d)``.
        observation: first H, ``(m, d)``.
        process: first Q, ``(d, d)``, a covariance, perhaps singular.
        noise: first R, ``(m, m)``, a covariance.

    Raises:
        ValueError: when shapes do not fit, or Q or R is no covariance.

    Example:
        >>> eye = torch.eye(3)
        >>> layer = KalmanFilter(0.9 * eye, eye[:2], 0.1 * eye, 0.5 * eye[:2, :2])
        >>> state, covariance = layer(torch.zeros(8, 3), eye, torch.randn(8, 2))
        >>> state.shape, covariance.shape
        (torch.Size([8, 3]), torch.Size([3, 3]))
        >>> layer.steady_state().filter(torch.zeros(8, 3), torch.randn(8, 100, 2)).shape
        torch.Size([8, 100, 3])
    """

    def __init__(self, transition: Tensor, observation: Tensor, process: Tensor, noise: Tensor) -> None:
        super().__init__()
        many, size = observation.shape
        if transition.shape != (size, size) or process.shape != (size, size) or noise.shape != (many, many):
            shapes = [tuple(t.shape) for t in (transition, observation, process, noise)]
            raise ValueError(f"F, H, Q, R of shapes {shapes} do not fit each other")
        self.transition, self.observation = owned(transition), owned(observation)
        self.process_factor = owned(triangular_factor(process, "Q"))
        self.noise_factor = owned(triangular_factor(noise, "R"))

    @property
    def process(self) -> Tensor:
        """Q, ``(d, d)``."""
        return _squared(self.process_factor)

    @property
    def noise(self) -> Tensor:
        """R, ``(m, m)``."""
        return _squared(self.noise_factor)

    def forward(self, state: Tensor, covariance: Tensor, observation: Tensor) -> tuple[Tensor, Tensor]:
        """Predict, then correct by the observation."""
        wide, dtype = widened(state), widened(state).dtype
        f, h = self.transition.to(dtype), self.observation.to(dtype)
        q, r = _squared(self.process_factor.to(dtype)), _squared(self.noise_factor.to(dtype))
        predicted = wide @ f.mT
        # as half of both triangles: Cholesky's algorithm would read, and give gradients to, one alone
        symmetric = 0.5 * (widened(covariance) + widened(covariance).mT)
        before = f @ symmetric @ f.mT + q
        seen = h @ before
        gain = torch.cholesky_solve(seen, torch.linalg.cholesky(seen @ h.mT + r)).mT
        surprise = widened(observation) - predicted @ h.mT
        corrected = predicted + (gain @ surprise.unsqueeze(-1)).squeeze(-1)
        left = torch.eye(len(f), dtype=dtype, device=f.device) - gain @ h
        after = left @ before @ left.mT + gain @ r @ gain.mT
        return corrected.to(state.dtype), after.to(covariance.dtype)

    def filter(self, state: Tensor, covariance: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        """States ``(..., T, d)`` and covariances ``(..., T, d, d)`` after observations ``(..., T, m)``.

        One step after another, as the covariance demands.
        """
        states, covariances = [], []
        for observation in observations.unbind(-2):
            state, covariance = self(state, covariance, observation)
            states.append(state)
            covariances.append(covariance)
        return torch.stack(states, -2), torch.stack(covariances, -3)

    def steady_state(self) -> SteadyKalmanFilter:
        """The filter with the gain that this one settles at, as a layer with numbers of its own.

        Raises:
            numpy.linalg.LinAlgError: when it settles at none, e.g. a growing state that is not observed.
        """
        gain = steady_gain(self.transition, self.observation, self.process, self.noise)
        left = torch.eye(len(gain), dtype=gain.dtype, device=gain.device) - gain @ self.observation.detach()
        return SteadyKalmanFilter(left @ self.transition.detach(), gain)


def _applied(matrix: Tensor, values: Tensor) -> Tensor:
    """A matrix times the last dimension, in the values' dtype."""
    return values @ matrix.to(values.dtype).mT


def _squared(factor: Tensor) -> Tensor:
    """``L L^T`` of the lower triangle."""
    lower = factor.tril()
    return lower @ lower.mT
