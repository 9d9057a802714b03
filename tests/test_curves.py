"""Functions of one variable: exact propagation, the prover of curves, and what the planner does with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from curve_networks import exact, graph, network, part, studied
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import after, assert_same, found, scan
from torch import Tensor, nn

from paramaudit.graph import curves
from paramaudit.numerics import piecewise
from paramaudit.numerics.piecewise import ideal
from paramaudit.prove.curve import curve_gap, judge_curves, norm_below
from paramaudit.records import Curve, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

FEW = settings(max_examples=15, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 10**6)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def values(view: Curve, t: Tensor) -> Tensor:
    return piecewise.at(piecewise.lines_of(view), t)


def spots(view: Curve) -> Tensor:
    """Knots, points between and far out, rounded to no dtype."""
    knots = view.knots
    low, high = view.domain or (-1e4, 1e4)
    some = low + (high - low) * torch.rand(300, dtype=torch.float64, generator=seeded())
    near = torch.cat([knots, (knots[1:] + knots[:-1]) / 2, some, some * 1e-4])
    return near[(near >= low) & (near <= high)]


def assert_exact(module: nn.Module, domain: tuple[float, float] | None = None) -> Curve:
    """The curve agrees with the module in float64, everywhere, as well as it says."""
    view = exact(module, domain)
    t = spots(view)
    with torch.no_grad():
        expected = module.double()(t[:, None])
    off = (values(view, t) - expected).norm(dim=1) / (1 + t.square()).sqrt()
    assert float(off.max()) <= 2 * view.error + 1e-15
    assert view.error <= 1e-8 * (1 + norm_below(view))
    assert bool((view.knots.diff() > 0).all())
    return view


# --- propagation --------------------------------------------------------------------------------


@FEW
@given(st.lists(st.integers(1, 24), min_size=1, max_size=3), st.integers(1, 3), st.booleans(), SEEDS)
def test_a_network_is_its_curve(widths: list[int], out: int, grid: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, width in zip([1, *widths], widths, strict=False):
        layers += [nn.Linear(before, width), nn.ReLU()]
    assert_exact(nn.Sequential(*layers, nn.Linear(widths[-1], out)).eval(), (-0.5, 2.0) if grid else None)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": lambda x: F.relu6(4 * x),
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "hardtanh": lambda x: F.hardtanh(x, -0.3, 0.9),
    "clamp": lambda x: x.clamp(-1.0, 0.25),
    "clamp below": lambda x: x.clamp(min=0.4),
    "clamp above": lambda x: x.clamp_max(0.1),
    "abs": torch.abs,
    "hardsigmoid": lambda x: F.hardsigmoid(3 * x),
    "maximum": lambda x: torch.maximum(x, 0.5 - x),
    "residual": lambda x: x + 0.5 * F.relu(1.5 * x - 0.1) - F.relu(-x),
    "joined": lambda x: torch.cat([F.relu(x), -x], -1),
    "divided": lambda x: (F.relu(x) / 3).neg() + 1,
    "reversed": lambda x: torch.rsub(F.relu(x), 2.0),
}


class Bent(nn.Module):
    """Linear, something that bends, linear."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.name = nn.Linear(1, 9).double(), name
        self.last = nn.Linear(18 if name == "joined" else 9, 2).double()
        self.one, self.each = (nn.Parameter(torch.linspace(-0.7, 0.3, n).double()) for n in (1, 9))

    def forward(self, t: Tensor) -> Tensor:
        y = self.first(t)
        match self.name:
            case "prelu":
                y = F.prelu(y, self.one)
            case "prelu by channel":
                y = F.prelu(y, self.each)
            case "minimum with stored numbers":
                y = torch.minimum(self.each, y)
            case _:
                y = ACTIVATIONS[self.name](y)
        return self.last(y)


STORED = ("prelu", "prelu by channel", "minimum with stored numbers")


@pytest.mark.parametrize("name", [*ACTIVATIONS, *STORED])
def test_every_activation_of_straight_pieces(name: str) -> None:
    assert_exact(Bent(name))


def test_wide_layers_are_quick_enough_to_be_tried() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(1, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 3)
    )
    assert len(exact(module.eval()).knots) > 1000


def test_a_bend_very_far_out_is_seen() -> None:
    module = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).eval()
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0], [1e-9]]))
        module[0].bias.copy_(torch.tensor([0.0, -1.0]))
        module[2].weight.fill_(1.0)
    view = exact(module)
    assert float(view.knots.max()) == pytest.approx(1e9)
    assert float(view.right) == pytest.approx(1 + 1e-9, abs=1e-15)


class Other(nn.Module):
    """Networks that are no function of one variable, or have no straight pieces."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.first, self.last = kind, nn.Linear(1, 16), nn.Linear(16, 1)
        self.register_buffer("rows", torch.linspace(-1, 1, 5)[:, None])

    def forward(self, t: Tensor) -> Tensor:
        y = self.first(t)
        match self.kind:
            case "gelu":
                y = F.gelu(y)
            case "product":
                y = F.relu(y) * F.relu(t)
            case "over the batch":
                y = F.relu(y - y.mean(0, keepdim=True))
            case "a number for each row":
                y = F.relu(y + self.rows)
            case "normed":
                y = F.relu(F.layer_norm(y, (16,)))
            case "steps":
                y = (y > 0).to(y.dtype)
            case "of the last row":
                y = F.relu(y[-1:] + y)
        return self.last(y)


@pytest.mark.parametrize(
    "kind",
    ["gelu", "product", "over the batch", "a number for each row", "normed", "steps", "of the last row"],
)
def test_what_is_no_curve_is_left(kind: str) -> None:
    exported = torch.export.export(Other(kind).eval(), (torch.randn(5, 1),))
    module = exported.module(check_guards=False)
    ends = {p.end for p in curves.parts(module) if p.source.op == "placeholder"}
    assert not ends & set(module.graph.output_node().all_input_nodes)


# --- the prover ---------------------------------------------------------------------------------


def table(seed: int, count: int = 5, channels: int = 1) -> Curve:
    rng = np.random.default_rng(seed)
    knots = np.cumsum(rng.uniform(0.1, 1.0, count)) - 1.5
    return ideal(knots, rng.standard_normal((count, channels)), *rng.standard_normal(2))


@FEW
@given(SEEDS, SEEDS, st.integers(1, 3))
def test_the_gap_bounds_every_difference_and_not_by_much(one: int, other: int, channels: int) -> None:
    first, second = table(one, 5, channels), table(other + 1, 4, channels)
    t = torch.cat([torch.linspace(-6, 6, 5000), torch.tensor([-1e6, 1e6])]).double()
    off = (values(first, t) - values(second, t)).norm(dim=1) / (1 + t.square()).sqrt()
    bound = curve_gap(first, second).value
    assert float(off.max()) <= bound <= 1.03 * float(off.max()) + 1e-12


def test_equal_curves_are_exact_and_other_channels_are_refused() -> None:
    view, run = table(1), studied(network(table(1)))[1]
    assert judge_curves(view, view, run, seeded()).tier is Tier.EXACT
    assert "channels" in judge_curves(view, table(1, channels=2), run, seeded()).reason
    narrow = dataclasses.replace(view, domain=(-1.0, 1.0))
    assert judge_curves(view, narrow, run, seeded()).tier is Tier.REFUTED


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("a bend far out", lambda t: 1e-3 * F.relu(t - 1e4)),
        ("another slope at infinity", lambda t: 1e-3 * F.relu(-t)),
        ("a bump between", lambda t: F.relu(1e-3 - (t - 0.31).abs())),
        ("an offset", lambda t: 1e-3 + 0 * t),
    ],
)
def test_a_small_difference_is_refuted_where_it_is(what: str, change: Callable[[Tensor], Tensor]) -> None:
    module = network(table(2), units=6)
    view, run = studied(module)
    knots = piecewise.sorted_once(view.knots, torch.tensor([0.309, 0.31, 0.311, 1e4, 0.0]).double())
    apart = change(knots[:, None])
    left = float(change(torch.tensor([-2.0])) - change(torch.tensor([-1.0]))) * -1
    right = float(change(torch.tensor([2e4])) - change(torch.tensor([1.9e4]))) / 1e3
    other = Curve(knots, values(view, knots) + apart, view.left + left, view.right + right, None, view.dtype)
    evidence = judge_curves(view, other, run, seeded())
    assert not evidence.tier.safe, what
    assert evidence.gap is not None
    assert evidence.gap.value > 1e-4


def test_a_counterexample_shows_the_difference() -> None:
    module = network(table(2), units=6)
    view, run = studied(module)
    evidence = judge_curves(view, dataclasses.replace(view, values=view.values + 1.0), run, seeded())
    assert evidence.tier is Tier.REFUTED
    assert evidence.counterexample is not None
    assert evidence.counterexample.shape == (1,)


# --- the planner --------------------------------------------------------------------------------


def knee(seed: int = 0, threshold: float = 0.7, ratio: float = 3.0) -> nn.Sequential:
    return network(
        ideal([-threshold, threshold], [-threshold, threshold], 1 / ratio, 1 / ratio), 8, seed, deep=True
    )


def stages(seed: int = 0) -> nn.Sequential:
    t = [0.0, 0.1, 0.3, 0.8, 1.0]
    heights = np.array([[0, 1, 0.5, 0.5, 0], [0, 1, 0.7, 0.7, 0]]).T
    return network(ideal(t, heights, 0.0, 0.0, (0.0, 1.0)), units=8, seed=seed)


class Processor(nn.Module):
    """One variable at every place of a signal, an envelope over a grid, and a layer that reads both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pointwise, self.generator, self.read = knee(), stages(), nn.Linear(12 + 32, 3)
        self.register_buffer("grid", torch.linspace(0, 1, 16)[:, None], persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.pointwise(x.unsqueeze(-1)).squeeze(-1)
        envelope = self.generator(self.grid).flatten().expand(x.shape[0], -1)
        return y, self.read(torch.cat([y, envelope], -1))


def test_a_knee_and_an_envelope_are_named_and_what_is_constant_folds_on() -> None:
    module, x = Processor().eval(), torch.randn(3, 12)
    result = scan(module, x)
    assert_same(result, module, x, within=1e-4)
    [named] = found(result, "knee")
    assert named.path == "pointwise"
    assert named.parameters_after == 2
    assert named.arguments["threshold"] == pytest.approx(0.7, abs=1e-6)
    [named] = found(result, "envelope")
    assert named.path == "generator"
    assert named.parameters_after == 8
    assert named.arguments["attack"] == pytest.approx([0.1, 0.1], abs=1e-6)
    assert named.tier is Tier.ROUNDING
    assert after(result) == 2 + 3 * 12 + 3


class Shared(nn.Module):
    """One network on two inputs of different shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.curve = knee()

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.curve(x), self.curve(y.unsqueeze(-1))


def test_a_shared_network_is_replaced_once() -> None:
    inputs = torch.randn(3, 1), torch.randn(4, 5)
    result = scan(Shared().eval(), *inputs)
    assert_same(result, Shared().eval(), *inputs, within=1e-5)
    assert after(result) == 2
    assert len(found(result, "knee")) == 1


def test_a_curve_before_a_linear_layer_keeps_that_layer() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(knee(), nn.Linear(1, 40), nn.GELU(), nn.Linear(40, 2)).eval()
    x = torch.randn(5, 1)
    result = scan(module, x)
    assert_same(result, module, x, within=1e-5)
    assert len(found(result, "knee")) == 1
    assert after(result) == 2 + 80 + 82


def test_an_envelope_is_none_where_time_is_an_input() -> None:
    """Beyond the grid the network goes on, which no envelope does."""
    module, x = stages(), torch.rand(5, 1)
    result = scan(module, x)
    assert not found(result, "envelope")
    assert_same(result, module, x, within=1e-5)


def test_a_table_is_not_taken_where_the_values_themselves_are_fewer() -> None:
    class Few(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.curve = network(table(4, 12), units=4)
            self.register_buffer("grid", torch.linspace(-1, 1, 4)[:, None])

        def forward(self, x: Tensor) -> Tensor:
            return x * self.curve(self.grid)[:, 0]

    module, x = Few().eval(), torch.randn(3, 4)
    result = scan(module, x)
    assert_same(result, module, x, within=1e-5)
    assert after(result) == 4


def test_a_table_where_nothing_better_fits() -> None:
    module, x = network(table(7, 9, 2), units=4), torch.randn(6, 1)
    result = scan(module, x)
    [named] = found(result, "piecewise")
    assert named.arguments["knots"] == 9
    assert after(result) == 9 + 18 + 4
    assert_same(result, module, x, within=1e-4)


def test_an_operator_that_was_not_wanted_is_not_looked_for() -> None:
    module, x = knee(), torch.randn(6, 1)
    result = scan(module, x, ignore=("knee",))
    assert [f.operator for f in found(result)] == ["piecewise"]


def test_the_whole_graph_is_one_part() -> None:
    captured = graph(knee())
    assert part(captured).end.name == "linear_2"
