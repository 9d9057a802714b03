"""Loops over time, unrolled by the capture: hidden linear systems are found with their order and poles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import after, found, offered, scan, size
from torch import Tensor, nn

LENGTH = 48


def diagonal_blocks(order: int, rng: np.random.Generator) -> np.ndarray:
    """A real matrix with well separated random poles: rotations, and one real pole where the order is odd."""
    matrix = np.zeros((order, order))
    pairs = order // 2
    for i in range(pairs):
        radius, angle = rng.uniform(0.8, 0.97), np.pi * (i + rng.uniform(0.3, 0.7)) / pairs
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = radius * turn
    if order % 2:
        matrix[-1, -1] = rng.uniform(0.5, 0.9) * rng.choice([-1, 1])
    return matrix


class Loop(nn.Module):
    """``h = A h + B x[t]``, ``y[t] = C h`` from rest, with states that no input drives."""

    def __init__(self, order: int, hidden: int, seed: int = 0, bend: float = 0.0) -> None:
        super().__init__()
        rng = np.random.default_rng([order, seed])
        true = diagonal_blocks(order, rng)
        self.poles = np.linalg.eigvals(true)
        whole, entry, reading = np.zeros((hidden, hidden)), np.zeros((hidden, 1)), np.zeros((1, hidden))
        whole[:order, :order] = true
        rest = hidden - order
        if rest:  # driven by nothing, though it is read and drives the rest
            whole[order:, order:] = 0.5 * np.linalg.qr(rng.standard_normal((rest, rest)))[0]
            whole[:order, order:] = 0.1 * rng.standard_normal((order, rest))
            reading[0, order:] = rng.standard_normal(rest)
        entry[:order, 0] = rng.uniform(0.5, 1.5, order)
        reading[0, :order] = rng.uniform(0.5, 1.5, order)
        turn = np.linalg.qr(rng.standard_normal((hidden, hidden)))[0]
        kept = (turn @ whole @ turn.T, turn @ entry, reading @ turn.T)
        self.transition, self.entry, self.reading = (nn.Parameter(torch.from_numpy(m).float()) for m in kept)
        self.bend = bend

    def forward(self, signal: Tensor) -> Tensor:
        state = signal.new_zeros(signal.shape[0], self.transition.shape[0])
        outputs = []
        for time in range(signal.shape[1]):
            state = state @ self.transition.T + signal[:, time : time + 1] @ self.entry.T
            if self.bend:
                state = torch.tanh(self.bend * state) / self.bend
            outputs.append(state @ self.reading.T)
        return torch.cat(outputs, -1)


def poles(arguments: Any) -> np.ndarray:
    """The poles of a recognised filter, both of each pair."""
    (one,) = arguments["filters"]
    upper = np.array([p["radius"] * np.exp(1j * p["angle"]) for p in one["poles"]])
    return np.concatenate([upper, upper[np.abs(upper.imag) > 1e-9].conj()])


ORDERS = [pytest.param(n, marks=() if n in (1, 2, 16) else pytest.mark.slow) for n in range(1, 17)]


@pytest.mark.parametrize("order", ORDERS)
def test_a_hidden_system_is_found_with_its_order_and_poles(order: int) -> None:
    model = Loop(order, order + 6).eval()
    result = scan(model, torch.randn(3, LENGTH))
    (finding,) = [f for f in result.audit.findings if f.operator == "iir"]
    assert finding.arguments["filters"][0]["order"] == order
    got = poles(finding.arguments)
    assert len(got) == order
    for true in model.poles:
        assert np.abs(got - true).min() < 1e-4
    if finding.applied_by_default:
        assert after(result) <= 2 * order + 1
    signal = torch.randn(5, LENGTH)
    with torch.no_grad():
        expected = model(signal)
    (left,) = result.refactored.call(signal).values()
    torch.testing.assert_close(left, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=3, deadline=None, derandomize=True, database=None)
@given(st.integers(2, 6), st.integers(0, 99))
def test_any_small_system_leaves_its_own_numbers(order: int, seed: int) -> None:
    model = Loop(order, order + 3, seed).eval()
    result = scan(model, torch.randn(3, LENGTH))
    assert [f.operator for f in found(result)] == ["iir"]
    assert after(result) <= 2 * order + 1


def test_a_slightly_bent_cell_is_left_alone() -> None:
    model = Loop(2, 5, bend=0.05).eval()
    result = scan(model, torch.randn(3, LENGTH))
    assert not {"iir", "toeplitz", "linear-chain", "state-space"} & offered(result)
    assert after(result) == size(model)


def test_zeros_that_are_written_are_no_first_state() -> None:
    class Written(Loop):
        def forward(self, signal: Tensor) -> Tensor:
            state = signal.new_zeros(signal.shape[0], self.transition.shape[0])
            state[:, 0] = signal[:, 0].square()
            return state @ self.transition.T + signal[:, 1:2] @ self.entry.T

    model = Written(2, 5).eval()
    result = scan(model, torch.randn(3, 2))
    signal = torch.randn(4, 2)
    (left,) = result.refactored.call(signal).values()
    torch.testing.assert_close(left, model(signal))
