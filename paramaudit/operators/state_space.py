"""One step of a linear state space: the next state from the old one and an input.

What it finds:    A map whose input is a state beside other numbers and whose output takes the state's place,
                  as the graph says: x' = A x + B u. A and B are stored, and a bias where it is more than
                  what cancelling biases leave behind. ``poles`` are the eigenvalues of A.
Why it matters:   A network of any depth that is such a step holds n (n + m) numbers and no more.
Proof:            The gap to the original is bounded for all inputs and compared with the original's own
                  rounding.
Swap safety:      Exact at any state and input. That the step is linear does not say which filter it came
                  from: A = (I - K H) F and B = K of a Kalman filter are a state space like any other, and
                  every stable A with an invertible B is the steady state of some Kalman filter.
Source:           Kailath, Linear Systems (1980), chapter 2. Anderson and Moore, Optimal Filtering (1979),
                  chapter 4 (steady state).
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from paramaudit.numerics.layers import owned, parameter, plus
from paramaudit.numerics.noise import kept_bias, stored, usable
from paramaudit.records import Example, Json, Matrix, Operator, State


class StateSpaceStep(nn.Module):
    """``x' = A x + B u`` for ``(..., n + m)`` to ``(..., n)``, the state at ``first`` of the input.

    Args:
        transition: A, ``(n, n)``.
        entry: B, ``(n, m)``.
        first: where the state starts in the input.
        bias: ``(n,)`` or None.
    """

    def __init__(self, transition: Tensor, entry: Tensor, first: int = 0, bias: Tensor | None = None) -> None:
        super().__init__()
        self.first = first
        self.transition, self.entry = owned(transition), owned(entry)
        self.bias = parameter(bias)

    def arguments(self) -> dict[str, Json]:
        """Sizes, A and B, the poles as ``[real, imaginary]``, and whether all lie inside the unit circle."""
        poles = sorted(np.linalg.eigvals(_array(self.transition)), key=lambda p: (-abs(p), -p.imag))
        return {
            "states": self.transition.shape[0],
            "inputs": self.entry.shape[1],
            "A": _array(self.transition).tolist(),
            "B": _array(self.entry).tolist(),
            "poles": [[float(pole.real), float(pole.imag)] for pole in poles],
            "stable": bool(max(map(abs, poles)) < 1),
            "bias": self.bias is not None,
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """The next state."""
        last = self.first + self.transition.shape[0]
        state = inputs[..., self.first : last]
        rest = torch.cat([inputs[..., : self.first], inputs[..., last:]], dim=-1)
        outputs = state @ self.transition.T + rest @ self.entry.T
        return plus(outputs, self.bias, inputs.dtype)


def _array(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return values.detach().to("cpu", torch.float64).numpy()


def propose(view: Matrix) -> StateSpaceStep | None:
    """The step itself, where the graph says which inputs are the state."""
    state = view.state
    rows, columns = view.weight.shape
    if state is None or state.size != rows or rows == columns or not usable(view):
        return None
    last = state.first + state.size
    entry = torch.cat([view.weight[:, : state.first], view.weight[:, last:]], dim=1)
    return StateSpaceStep(view.weight[:, state.first : last], entry, state.first, kept_bias(view))


def _step(states: int, inputs: int, first: int = 0, seed: int = 0, bias: bool = False) -> Matrix:
    """A stable random step; ``first`` inputs stand before the state."""
    rng = np.random.default_rng([states, inputs, seed])
    transition = rng.standard_normal((states, states))
    transition *= 0.9 / np.abs(np.linalg.eigvals(transition)).max()
    entry = rng.standard_normal((states, inputs))
    weight = np.concatenate([entry[:, :first], transition, entry[:, first:]], axis=1)
    view = stored(weight, rng.standard_normal(states) if bias else None)
    return Matrix(view.weight, view.bias, view.dtype, State(first, states))


def _kalman(states: int, measured: int) -> Matrix:
    """The constant-gain Kalman filter of a random system: ``(I - K H) F`` and ``K``."""
    rng = np.random.default_rng([states, measured])
    transition = rng.standard_normal((states, states))
    transition *= 0.95 / np.abs(np.linalg.eigvals(transition)).max()
    seen = rng.standard_normal((measured, states))
    noise = 0.1 * np.eye(states)
    covariance = scipy.linalg.solve_discrete_are(transition.T, seen.T, noise, np.eye(measured))
    innovation = seen @ covariance @ seen.T + np.eye(measured)
    gain = np.linalg.solve(innovation.T, seen @ covariance.T).T
    weight = np.concatenate([(np.eye(states) - gain @ seen) @ transition, gain], axis=1)
    view = stored(weight, np.full(states, 1e-9))
    return Matrix(view.weight, view.bias, view.dtype, State(0, states))


def _of_unknown_state(states: int) -> Matrix:
    view = _step(states, 3)
    return Matrix(view.weight, view.bias, view.dtype)


OPERATOR = Operator(
    "state-space",
    propose,
    finds=(
        Example("Kalman filter of constant gain", lambda: _kalman(5, 5)),
        Example("fewer measurements than states, tiny bias", lambda: _kalman(6, 2)),
    ),
    ignores=(
        Example("nobody says which inputs are the state", lambda: _of_unknown_state(4)),
        Example("nothing but the state", lambda: _step(4, 0)),
    ),
)
