"""Steps of a state space: named where the graph hands a state in and out, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from pipeline import after, assert_same, found, scan
from torch import Tensor, nn


class Step(nn.Module):
    """A bias-free chain that computes ``x' = A x + B u`` from ``[x, u]`` or ``[u, x]``."""

    def __init__(self, transition: np.ndarray, entry: np.ndarray, state_last: bool = False) -> None:
        super().__init__()
        self.state_last = state_last
        step = np.concatenate([entry, transition] if state_last else [transition, entry], axis=1)
        rng = np.random.default_rng(5)
        first = rng.standard_normal((3 * step.shape[1], step.shape[1]))
        last = step @ np.linalg.pinv(first)
        self.layers = nn.Sequential(
            nn.Linear(step.shape[1], len(first), bias=False), nn.Linear(len(first), len(step), bias=False)
        )
        with torch.no_grad():
            self.layers[0].weight.copy_(torch.from_numpy(first))
            self.layers[1].weight.copy_(torch.from_numpy(last))

    def forward(self, state: Tensor, reading: Tensor) -> Tensor:
        return self.layers(torch.cat([reading, state] if self.state_last else [state, reading], -1))


class Hidden(Step):
    """The same map, but what comes out is not what came in."""

    def forward(self, state: Tensor, reading: Tensor) -> Tensor:
        return super().forward(state.tanh(), reading)


def system(states: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([states, inputs])
    transition = rng.standard_normal((states, states))
    return transition * 0.9 / np.abs(np.linalg.eigvals(transition)).max(), rng.standard_normal(
        (states, inputs)
    )


@pytest.mark.parametrize("state_last", [False, True])
@pytest.mark.parametrize(("states", "inputs"), [(1, 3), (2, 5), (5, 2), (9, 1)])
def test_a_step_is_named_with_its_matrices(states: int, inputs: int, state_last: bool) -> None:
    transition, entry = system(states, inputs)
    model = Step(transition, entry, state_last)
    result = scan(model, torch.randn(4, states), torch.randn(4, inputs))
    (finding,) = [f for f in found(result, "state-space") if f.applied_by_default]
    assert after(result) == states * (states + inputs)
    assert np.allclose(finding.arguments["A"], transition, atol=1e-6)
    assert np.allclose(finding.arguments["B"], entry, atol=1e-6)
    poles = np.array(finding.arguments["poles"]) @ [1, 1j]
    truth = scipy.linalg.eigvals(transition)
    assert np.allclose(np.sort_complex(poles.round(6)), np.sort_complex(truth.round(6)), atol=2e-5)
    assert finding.arguments["stable"]
    assert_same(result, model, torch.randn(7, states), torch.randn(7, inputs), within=1e-5)


def test_a_map_of_two_inputs_is_no_step_unless_the_state_comes_back() -> None:
    transition, entry = system(4, 3)
    result = scan(Hidden(transition, entry), torch.randn(4, 4), torch.randn(4, 3))
    assert not found(result, "state-space")
    assert after(result) == 4 * 7


def test_an_unstable_step_says_so() -> None:
    transition, entry = system(3, 2)
    result = scan(Step(2 * transition, entry), torch.randn(4, 3), torch.randn(4, 2))
    (finding,) = [f for f in found(result, "state-space") if f.applied_by_default]
    assert finding.arguments["stable"] is False
