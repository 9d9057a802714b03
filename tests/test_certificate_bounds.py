"""Bounds that are carried to the outputs: never below what is seen, known where they can be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from paramaudit.audit import Options, scan_loaded
from paramaudit.compose import end_to_end
from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program
from paramaudit.graph.run import run
from paramaudit.pairing import pair
from paramaudit.records import Loaded, Measured, SwapProof, Tier, Traces


def swaps_of(model: nn.Module, *inputs: torch.Tensor) -> tuple[Program, Program, tuple[SwapProof, ...]]:
    done = scan_loaded(Loaded("m", "factory", module=model, args=inputs), Options(), lambda _: None)
    applied = [f for f in done.audit.findings if f.applied_by_default]
    proofs = tuple(SwapProof(f.id, f.tier, f.gap, f.witness, traces=f.traces) for f in applied)
    return done.original, done.refactored, proofs


def moved(first: Program, second: Program, inputs: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """How far each output moves in float64, per the size of the inputs and of their rows."""
    size = math.sqrt(sum(float(x.double().square().sum()) for x in inputs) + inputs[0].shape[0])
    old, new = (run(p, inputs, {}, torch.float64) for p in (first, second))
    return {name: float((old[name] - new[name]).norm()) / size for name in old}


class Residual(nn.Module):
    def __init__(self, activation: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 24), nn.Linear(24, 6)
        self.third, self.norm, self.activation = nn.Linear(6, 6), norm, activation

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = x + self.activation(self.second(self.first(x)))
        z = self.norm(self.third(torch.cat([y, x], -1)[..., 3:9]))
        return torch.softmax(z, -1), 0.5 * y - z


ACTIVATIONS = [nn.ReLU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.LeakyReLU(0.2)]


@pytest.mark.parametrize("seed", range(len(ACTIVATIONS)))
def test_no_output_moves_further_than_its_bound(seed: int) -> None:
    torch.manual_seed(seed)
    norm = nn.LayerNorm(6) if seed % 2 else nn.Identity()
    first, second, swaps = swaps_of(Residual(ACTIVATIONS[seed], norm), torch.randn(5, 6))
    found = end_to_end(first, swaps)
    bounds = {bound.output: bound.value for bound in found.bounds}
    assert found.tier in (Tier.BOUNDED, Tier.ROUNDING)
    assert len(bounds) == 2
    for trial in range(30):
        x = torch.randn(1 + trial % 4, 6) * 10.0 ** (trial % 7 - 3)
        for name, error in moved(first, second, (x,)).items():
            assert 0 <= error <= bounds[name] + 1e-14
    assert max(bounds.values()) < 1  # a bound that says something


def test_a_bound_holds_for_swaps_that_are_no_rounding() -> None:
    """A gap put in by hand, far above any rounding, at both of two places that follow each other."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3))
    other = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 3))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other[0].weight[2, 1] += 1e-3
        other[2].weight[0, 7] -= 2e-3
        other[4].bias[1] += 5e-4
    first, second = (
        capture(Loaded("m", "factory", module=m, args=(torch.randn(3, 4),))) for m in (model, other)
    )
    found = pair(first, second)
    bound = end_to_end(first, (), found.differences).bounds[0].value
    assert len(found.differences) == 3
    assert bound is not None
    worst = max(
        moved(first, second, (s * torch.randn(2, 4),))["output"]
        for s in (0.01, 0.3, 1, 10)
        for _ in range(50)
    )
    assert 1e-4 < worst <= bound < 0.1


def test_what_has_no_bound_is_said_with_the_call() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.b(self.a(x))
            return y * self.c(x).sigmoid(), self.c(x)

    torch.manual_seed(0)
    first, _, swaps = swaps_of(Gate(), torch.randn(3, 6))
    found = end_to_end(first, swaps)
    assert found.tier is Tier.TESTED
    assert "mul" in (found.bounds[0].unknown or "")
    assert found.bounds[1].value == 0.0  # nothing was swapped before it


def test_a_fold_of_rounded_numbers_has_no_bound() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)).eval()
    model[1].running_var.uniform_(0.5, 2.0)
    first, _, swaps = swaps_of(model, torch.randn(3, 2, 9))
    found = end_to_end(first, swaps)
    assert found.tier is Tier.TESTED
    assert "batch-norm-fold" in found.reason


def test_rows_that_nobody_reads_leave_no_gap() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(self.a(x)[..., :3])

    torch.manual_seed(0)
    first, second, swaps = swaps_of(Half(), torch.randn(2, 4))
    assert swaps
    assert end_to_end(first, swaps).tier is Tier.EXACT
    assert moved(first, second, (torch.randn(3, 4),))["output"] < 1e-15


def test_a_gap_whose_source_is_not_known_has_no_bound() -> None:
    first, _, _ = swaps_of(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), torch.randn(2, 4))
    target = next(node.name for node in first.graph.nodes if node.name.startswith("linear"))
    gap = Measured(1e-9, "spectral", "|[x;1]|")
    for places in ((("", target),), (("", ""),), (), (("gone", target),)):
        swap = SwapProof("part:paired-relu", Tier.ROUNDING, gap, None, traces=Traces(places=places))
        found = end_to_end(first, (swap,))
        assert found.tier is Tier.TESTED
        assert "part:paired-relu" in found.reason
