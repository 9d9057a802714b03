"""Affine maps of several inputs that meet: one map of the inputs side by side, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import after, assert_same, draw, found, names, safe, scan, size, untouched
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.audit import Scan

PROPERTY = settings(max_examples=5, deadline=None, derandomize=True, database=None)


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([*shape, seed]).standard_normal(shape)


def covariance(count: int, seed: int = 0) -> np.ndarray:
    root = numbers(count, count, seed=seed)
    return root @ root.T / count + 0.1 * np.eye(count)


def parameter(values: np.ndarray, dtype: torch.dtype = torch.float32) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(values.copy()).to(dtype))


class Step(nn.Module):
    """A Kalman step of constant gain with F, H and K as they stand in a textbook."""

    def __init__(self, n: int, m: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        f, h = numbers(n, n, seed=seed), numbers(m, n, seed=seed + 1)
        f *= 0.95 / np.abs(np.linalg.eigvals(f)).max()
        before = scipy.linalg.solve_discrete_are(f.T, h.T, covariance(n, seed + 2), np.eye(m))
        gain = before @ h.T @ np.linalg.inv(h @ before @ h.T + np.eye(m))
        self.F, self.H, self.K = (parameter(v, dtype) for v in (f, h, gain))
        self.truth = np.concatenate([(np.eye(n) - gain @ h) @ f, gain], 1)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        predicted = x @ self.F.T
        return predicted + (z - predicted @ self.H.T) @ self.K.T


class Linears(Step):
    """The same of ``nn.Linear``, the observation first."""

    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m)
        layers = [nn.Linear(w.shape[1], w.shape[0], bias=False) for w in (self.F, self.H, self.K)]
        for layer, weight in zip(layers, (self.F, self.H, self.K), strict=True):
            layer.weight = weight
        del self.F, self.H, self.K
        self.predict, self.observe, self.gain = layers

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        predicted = self.predict(x)
        return torch.add(self.gain(torch.sub(z, self.observe(predicted))), predicted)


class Einsums(Step):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        predicted = torch.einsum("ij,bj->bi", self.F, x)
        innovation = z - torch.einsum("ij,bj->bi", self.H, predicted)
        return predicted + torch.einsum("ij,bj->bi", self.K, innovation)


class Columns(Step):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        predicted = self.F @ x.unsqueeze(-1)
        return (predicted + self.K @ (z.unsqueeze(-1) - self.H @ predicted)).squeeze(-1)


def computed(solve: bool) -> Callable[[int, int], nn.Module]:
    """The gain computed in the forward pass, from covariances that are stored."""

    class Computed(Step):
        def __init__(self, n: int, m: int) -> None:
            super().__init__(n, m, dtype=torch.float64)
            self.P, self.R = (parameter(covariance(k, 9), torch.float64) for k in (n, m))
            del self.K
            f, h, p, r = (v.detach().numpy() for v in (self.F, self.H, self.P, self.R))
            gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + r)
            self.truth = np.concatenate([(np.eye(n) - gain @ h) @ f, gain], 1)

        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            seen = self.H @ self.P @ self.H.T + self.R
            if solve:
                gain = torch.linalg.solve(seen, self.H @ self.P.T).T
            else:
                gain = self.P @ self.H.T @ torch.linalg.inv(seen)
            predicted = x @ self.F.T
            return predicted + (z - predicted @ self.H.T) @ gain.T

    return Computed


WRITTEN = {
    "matrix products": Step,
    "linear layers": Linears,
    "einsum": Einsums,
    "columns": Columns,
    "gain by an inverse": computed(solve=False),
    "gain by a solver": computed(solve=True),
}


def step_of(result: Scan) -> np.ndarray:
    (finding,) = found(result, "state-space")
    return np.concatenate([np.array(finding.arguments["A"]), np.array(finding.arguments["B"])], 1)


@pytest.mark.parametrize("written", list(WRITTEN))
@pytest.mark.parametrize(("n", "m"), [(7, 7), (5, 3), (3, 2)])
def test_a_constant_gain_kalman_step_is_a_state_space(written: str, n: int, m: int) -> None:
    model = WRITTEN[written](n, m)
    dtype = next(model.parameters()).dtype
    sizes = (m, n) if written == "linear layers" else (n, m)
    result = scan(model, *(torch.randn(5, k, dtype=dtype) for k in sizes))
    assert after(result) == n * (n + m) < size(model)
    assert np.abs(step_of(result) - model.truth).max() < 1e-6
    assert safe(result)
    assert_same(result, model, *(torch.randn(3, k, dtype=dtype) for k in sizes), within=1e-5)


@PROPERTY
@given(n=st.integers(2, 9), m=st.integers(1, 9), seed=st.integers(0, 1000), lead=st.sampled_from([1, 2]))
def test_any_size(n: int, m: int, seed: int, lead: int) -> None:
    model = Step(n, m, seed)
    shapes = [((4, 3)[:lead], (6, 5)[:lead])[i] for i in (0, 1)]
    result = scan(model, torch.randn(*shapes[0], n), torch.randn(*shapes[0], m))
    assert after(result) == n * (n + m)
    assert np.abs(step_of(result) - model.truth).max() < 1e-6
    assert_same(result, model, torch.randn(*shapes[1], n), torch.randn(*shapes[1], m), within=1e-5)


def test_one_state_without_a_batch() -> None:
    model = Step(4, 4)
    result = scan(model, torch.randn(4), torch.randn(4))
    assert after(result) == 32
    assert_same(result, model, torch.randn(4), torch.randn(4), within=1e-5)


class Controlled(Step):
    def __init__(self, n: int, m: int) -> None:
        super().__init__(n, m)
        self.G = parameter(numbers(n, 2))

    def forward(self, x: Tensor, u: Tensor, z: Tensor) -> Tensor:
        predicted = x @ self.F.T + u @ self.G.T
        return predicted + (z - predicted @ self.H.T) @ self.K.T


def test_a_control_input_is_part_of_the_step() -> None:
    model = Controlled(6, 5)
    result = scan(model, torch.randn(4, 6), torch.randn(4, 2), torch.randn(4, 5))
    left = np.eye(6) - model.K.detach().double().numpy() @ model.H.detach().double().numpy()
    control = left @ model.G.detach().double().numpy()
    truth = np.concatenate([model.truth[:, :6], control, model.truth[:, 6:]], 1)
    assert after(result) == 6 * 13 < size(model)
    assert np.abs(step_of(result) - truth).max() < 1e-6
    assert_same(result, model, torch.randn(3, 6), torch.randn(3, 2), torch.randn(3, 5), within=1e-5)


def test_verified_end_to_end() -> None:
    model, inputs = Step(7, 7), (torch.randn(4, 7), torch.randn(4, 7))
    new = pa.refactor(model, inputs)
    assert size(new) == 98
    assert torch.allclose(new(*inputs), model(*inputs), atol=1e-5)
    certificate = pa.verify(model, new, inputs)
    assert certificate.equivalent
    assert certificate.tier.safe
    with torch.no_grad():
        next(new.parameters())[0, 0] += 1e-3
    assert not pa.verify(model, new, inputs).equivalent


def test_maps_that_meet_without_a_state_are_one_matrix() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.out = nn.Linear(6, 30), nn.Linear(4, 30), nn.Linear(60, 5)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.out(torch.cat([self.left(a), self.right(b)], -1)).tanh()

    model = Fused().double()
    result = scan(model, draw(4, 6), draw(4, 4))
    assert after(result) == 5 * 10 + 5
    assert names(result) == ["linear-chain"]
    assert_same(result, model, draw(3, 6, seed=5), draw(3, 4, seed=6))


# --- what stays ----------------------------------------------------------------------------------


class Curved(Step):
    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        predicted = x @ self.F.T
        return predicted + (z - predicted @ self.H.T).tanh() @ self.K.T


class Gained(Step):
    """The gain depends on the observation."""

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        predicted = x @ self.F.T
        return predicted + ((z - predicted @ self.H.T) * z.sigmoid()) @ self.K.T


class Written(Step):
    """The state is written before it is read."""

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        x.clamp_(-1, 1)
        return super().forward(x, z)


class Mixed(Step):
    """The observation in another precision."""

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return super().forward(x, z.to(x.dtype))


LEFT = {
    "tanh on the innovation": (Curved, (4, 6), (4, 6)),
    "a gain that depends on the observation": (Gained, (4, 6), (4, 6)),
    "one observation for all states": (Step, (4, 6), (1, 6)),
    "one state for all observations": (Step, (1, 6), (4, 6)),
    "a state without the batch of its observations": (Step, (6,), (4, 6)),
    "a state that is written": (Written, (4, 6), (4, 6)),
}


def same_graph(result: Scan) -> bool:
    mine, theirs = (
        [(n.op, str(n.target), str(n.args)) for n in p.graph.nodes]
        for p in (result.original, result.refactored)
    )
    return mine == theirs


@pytest.mark.parametrize("why", list(LEFT))
def test_near_misses_are_left_alone(why: str) -> None:
    build, first, second = LEFT[why]
    model = build(6, 6)
    inputs = torch.randn(first), torch.randn(second)
    result = scan(model, *inputs)
    assert untouched(result, model)
    assert same_graph(result)
    assert_same(result, model, *inputs, within=1e-6)


def test_another_precision_is_left_alone() -> None:
    model = Mixed(5, 5)
    result = scan(model, torch.randn(4, 5), draw(4, 5))
    assert untouched(result, model)
    assert same_graph(result)


def test_a_gain_that_changes_with_time_is_left_alone() -> None:
    class Full(Step):
        def forward(self, x: Tensor, p: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            before = self.F @ p @ self.F.T + torch.eye(5)
            gain = torch.linalg.solve(self.H @ before @ self.H.T + torch.eye(5), self.H @ before).mT
            predicted = x @ self.F.T
            moved = (gain @ (z - predicted @ self.H.T).unsqueeze(-1)).squeeze(-1)
            return predicted + moved, before - gain @ self.H @ before

    model = Full(5, 5)
    del model.K
    spreads = torch.eye(5).expand(4, 5, 5).clone()
    result = scan(model, torch.randn(4, 5), spreads, torch.randn(4, 5))
    assert not found(result)
    assert after(result) == size(model)


def test_matrices_that_do_not_meet_are_left_alone() -> None:
    class Apart(Step):
        def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            return (x @ self.F.T).relu() @ self.H.T, z @ self.K.T

    model = Apart(6, 6)
    result = scan(model, torch.randn(4, 6), torch.randn(4, 6))
    assert untouched(result, model)
    assert same_graph(result)


def test_two_layers_and_a_sum_are_left_alone() -> None:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.of_state, self.of_input = nn.Linear(6, 6), nn.Linear(4, 6)

        def forward(self, state: Tensor, x: Tensor) -> Tensor:
            return (self.of_state(state) + self.of_input(x)).tanh()

    model = Cell()
    result = scan(model, torch.randn(3, 6), torch.randn(3, 4))
    assert untouched(result, model)  # one bias less is not worth a copy of both inputs
    assert same_graph(result)


def test_matrices_that_are_named_one_by_one_are_kept() -> None:
    class Circular(Step):
        def __init__(self, n: int) -> None:
            super().__init__(n, n)
            circulants = [parameter(scipy.linalg.circulant(numbers(n, seed=s))) for s in range(3)]
            self.F, self.H, self.K = circulants

    model = Circular(16)
    result = scan(model, torch.randn(4, 16), torch.randn(4, 16))
    assert names(result) == ["circulant"] * 3
    assert after(result) == 3 * 16
    assert_same(result, model, torch.randn(3, 16), torch.randn(3, 16), within=1e-5)


def test_other_readers_of_an_input_read_it_directly() -> None:
    class Read(Step):
        def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return super().forward(x, z), x.tanh() * z.sum(-1, keepdim=True), z

    model = Read(6, 6)
    result = scan(model, torch.randn(4, 6), torch.randn(4, 6))
    assert after(result) == 72
    (join,) = [n for n in result.refactored.graph.nodes if "cat" in str(n.target)]
    assert [user.op for user in join.users] == ["call_module"]
    assert_same(result, model, torch.randn(3, 6), torch.randn(3, 6), within=1e-5)


def test_a_matrix_that_is_needed_elsewhere_saves_nothing() -> None:
    class Shared(Step):
        def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x, z), (x.relu() @ self.F.T) @ self.K.T + x.relu() @ self.H.T

    model = Shared(6, 6)
    result = scan(model, torch.randn(4, 6), torch.randn(4, 6))
    assert not found(result, "state-space")
    assert_same(result, model, torch.randn(3, 6), torch.randn(3, 6), within=1e-5)


def test_a_model_that_joins_its_inputs_itself() -> None:
    class Own(Step):
        def forward(self, x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
            joined = torch.cat([x, z], -1)
            halves = joined[..., ::2].tanh(), joined[..., :6].sin(), joined[..., 6:].cos()
            return super().forward(x, z), *halves

    model = Own(6, 6)
    result = scan(model, torch.randn(4, 6), torch.randn(4, 6))
    assert after(result) == 72
    assert_same(result, model, torch.randn(3, 6), torch.randn(3, 6), within=1e-5)


def test_one_step_for_two_pairs_of_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step = Linears(5, 5)

        def forward(self, z: Tensor, x: Tensor, seen: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
            return self.step(z, x), self.step(seen, other)

    model = Twice()
    result = scan(model, *(torch.randn(4, 5) for _ in range(4)))
    assert after(result) == 50
    assert np.abs(step_of(result) - model.step.truth).max() < 1e-6
    assert_same(result, model, *(torch.randn(3, 5) for _ in range(4)), within=1e-5)
