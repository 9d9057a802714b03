"""What every operator of curves must hold to; a new file in the folder is tested by being there."""

from __future__ import annotations

import copy
import io
import itertools
import json

import numpy as np
import pytest
import torch
from curve_networks import exact, network, studied
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_cases import cases, layer_of
from torch import Tensor, nn

from paramaudit.numerics import piecewise
from paramaudit.numerics.layers import floats
from paramaudit.numerics.piecewise import ideal
from paramaudit.operators import OPERATORS, looking_at
from paramaudit.plan.curves import curve_of
from paramaudit.prove.curve import judge_curves
from paramaudit.prove.rounding import Run
from paramaudit.records import Curve, Evidence, Example, Operator, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

CURVES = looking_at(Curve)
BY_NAME = {operator.name: operator for operator in OPERATORS}
FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None)


FINDS = pytest.mark.parametrize(("operator", "example"), cases(CURVES, "finds"))
IGNORES = pytest.mark.parametrize(("operator", "example"), cases(CURVES, "ignores"))
DEEP = pytest.mark.parametrize("deep", [False, True], ids=["one layer", "two layers"])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def judged(view: Curve, run: Run, layer: nn.Module) -> Evidence:
    candidate = curve_of(layer, view)
    assert candidate is not None, "the layer is not proven piecewise linear by its own graph"
    return judge_curves(view, candidate, run, seeded())


def times(view: Curve, *shape: int) -> Tensor:
    """Inputs of the curve: anywhere, or in its domain."""
    share = torch.rand(*shape, 1, dtype=torch.float64, generator=seeded())
    low, high = view.domain or (-4.0, 4.0)
    return low + (high - low) * share


def true(view: Curve, inputs: Tensor) -> Tensor:
    flat = piecewise.at(piecewise.lines_of(view), inputs.reshape(-1))
    return flat.reshape(*inputs.shape[:-1], -1)


@DEEP
@FINDS
def test_a_find_is_proposed_proven_and_cheaper(operator: Operator, example: Example, deep: bool) -> None:
    meant = example.build()
    module = network(meant, units=8, deep=deep)
    view, run = studied(module, meant.domain)
    layer = operator.propose(view)
    assert layer is not None
    evidence = judged(view, run, layer)
    assert evidence.tier.safe, evidence.reason
    assert floats(layer) < floats(module)


@FINDS
def test_one_number_changed_by_one_per_cent_is_seen(operator: Operator, example: Example) -> None:
    meant = example.build()
    layer = layer_of(operator, example)
    module = network(meant, units=8)
    clean = exact(module, meant.domain)
    last = module[-1].weight
    with torch.no_grad():
        row = int(last.abs().sum(1).argmax())
        last[row, last[row].abs().argsort()[-last.shape[1] // 2]] *= 1.01
    view, run = studied(module, meant.domain)
    spots = view.knots
    apart = (true(view, spots[:, None]) - true(clean, spots[:, None])).norm(dim=1)
    change = float((apart / (1 + spots.square()).sqrt()).max())
    evidence = judged(view, run, layer)
    if evidence.tier.safe:
        assert evidence.witness is not None
        assert change <= 2 * evidence.witness.value, "more than rounding was passed"
    else:
        assert evidence.gap is not None
        assert evidence.gap.value >= 0.5 * change


@IGNORES
def test_a_near_miss_is_never_proven(operator: Operator, example: Example) -> None:
    meant = example.build()
    module = network(meant, units=8)
    stored, run = studied(module, meant.domain)
    for view in (meant, stored):
        layer = operator.propose(view)
        if layer is not None:
            evidence = judged(stored, run, layer)
            assert not evidence.tier.safe, evidence.reason


@pytest.mark.parametrize("operator", CURVES, ids=lambda operator: operator.name)
def test_the_view_is_left_as_it_is(operator: Operator) -> None:
    for example in (*operator.finds, *operator.ignores):
        view = example.build()
        before = copy.deepcopy(view)
        operator.propose(view)
        for name in ("knots", "values", "left", "right"):
            assert torch.equal(getattr(view, name), getattr(before, name))


@FINDS
def test_the_layer_computes_the_curve(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    inputs = times(view, 3, 40)
    expected = true(view, inputs)
    torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    torch.testing.assert_close(layer(inputs[0, 0]), layer(inputs)[0, 0], rtol=1e-12, atol=1e-12)


@FINDS
def test_the_layer_is_the_curve_of_its_own_graph(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    candidate = curve_of(layer, Curve(**{**vars(view), "dtype": torch.float64}))
    assert candidate is not None
    inputs = times(view, 500)
    torch.testing.assert_close(true(candidate, inputs), layer(inputs).detach(), rtol=0, atol=1e-11)


@FINDS
@torch.no_grad()
def test_the_layer_moves_between_dtypes(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = copy.deepcopy(layer_of(operator, example))
    inputs = times(view, 50)
    exact_ = layer(inputs)
    steepest = float(
        torch.cat(
            [
                (view.values.diff(dim=0) / view.knots.diff()[:, None]).abs().reshape(-1),
                view.left.abs(),
                view.right.abs(),
            ]
        ).max()
    )
    coarsest = 0.0
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        moved = layer.to(dtype)(inputs.to(dtype))
        assert moved.dtype == dtype
        coarsest = max(coarsest, float(torch.finfo(dtype).eps))  # once rounded, the numbers stay so
        allowed = 8 * coarsest * (steepest * float(inputs.norm()) + float(exact_.norm()))
        assert float((moved - exact_).norm()) <= len(view.knots) * allowed


@FINDS
def test_the_state_goes_round(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    inputs = times(example.build(), 9)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(inputs), layer(inputs))
    assert all(tensor.dtype == torch.float64 for tensor in layer.state_dict().values())


@FINDS
def test_the_layer_exports_with_any_batch(operator: Operator, example: Example) -> None:
    layer = copy.deepcopy(layer_of(operator, example)).float().eval()
    dynamic = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    view = example.build()
    exported = torch.export.export(layer, (times(view, 3, 5).float(),), dynamic_shapes=dynamic)
    assert not exported.constants, "a constant in the program is a stored number"
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    again = torch.export.load(file).module()
    inputs = times(view, 7, 2).float()
    torch.testing.assert_close(again(inputs), layer(inputs), rtol=1e-5, atol=1e-5)


@FINDS
def test_gradients_are_the_slopes(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    inputs = times(view, 20).requires_grad_()
    (gradient,) = torch.autograd.grad(layer(inputs).sum(), inputs)
    step = 1e-7
    expected = (true(view, inputs.detach() + step) - true(view, inputs.detach() - step)).sum(-1) / (2 * step)
    off = (gradient[:, 0] - expected).abs() <= 1e-5 * (1 + expected.abs())
    assert bool(off.all())


@FINDS
def test_what_is_stored_is_trainable(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    inputs = times(example.build(), 5)
    names = [name for name, _ in layer.named_parameters()]
    assert names

    def outputs(*values: Tensor) -> Tensor:
        result = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (inputs,))
        assert isinstance(result, Tensor)
        return result

    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)


@FINDS
def test_arguments_are_plain_data(operator: Operator, example: Example) -> None:
    arguments = layer_of(operator, example).arguments()
    assert json.loads(json.dumps(arguments)) == arguments


@pytest.mark.parametrize("operator", CURVES, ids=lambda operator: operator.name)
@pytest.mark.parametrize("number", [0.0, 1.0, float("nan"), float("inf"), 1e-310, 1e300])
def test_odd_numbers_are_no_accident(operator: Operator, number: float) -> None:
    view = ideal([-1.0, 0.0, 2.0], np.full(3, number), 0.0, 0.0, dtype=torch.float64)
    layer = operator.propose(view)
    assert layer is None or np.isfinite(number)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("operator", CURVES, ids=lambda operator: operator.name)
def test_the_first_find_is_found_in_other_dtypes(operator: Operator, dtype: torch.dtype) -> None:
    meant = operator.finds[0].build()
    module = network(Curve(**{**vars(meant), "dtype": dtype}), units=8)
    view, run = studied(module, meant.domain)
    layer = operator.propose(view)
    assert layer is not None
    evidence = judged(view, run, layer)
    assert evidence.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED), evidence.reason


@pytest.mark.parametrize("operator", CURVES, ids=lambda operator: operator.name)
@pytest.mark.parametrize("widths", [(1, 8, 1), (1, 64, 1), (1, 32, 32, 3)])
def test_random_networks_are_no_knee_and_no_envelope(operator: Operator, widths: tuple[int, ...]) -> None:
    for seed in range(2):
        torch.manual_seed(seed)
        layers = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
        module = nn.Sequential(*layers[:-1]).eval()
        for domain in (None, (0.0, 1.0)):
            view, run = studied(module, domain)
            layer = operator.propose(view)
            if layer is not None and operator.name != "piecewise":
                assert not judged(view, run, layer).tier.safe


# --- the arguments are the truth ----------------------------------------------------------------

TEN = st.integers(0, 10**6)


@FEW
@given(
    st.floats(0.05, 4.0),
    st.one_of(st.floats(1.5, 50.0), st.floats(0.05, 0.7), st.just(np.inf)),
    st.booleans(),
    TEN,
)
def test_threshold_and_ratio_are_read(threshold: float, ratio: float, odd: bool, seed: int) -> None:
    slope = 1 / ratio
    knots = [-threshold, threshold] if odd else [threshold]
    meant = ideal(knots, knots, slope if odd else 1.0, slope)
    module = network(meant, units=16, seed=seed, deep=bool(seed % 2))
    view, run = studied(module)
    layer = BY_NAME["knee"].propose(view)
    assert layer is not None
    said = layer.arguments()
    assert said["threshold"] == pytest.approx(threshold, rel=2e-6, abs=2e-6)
    assert said["side"] == ("both" if odd else "above")
    assert said["gain"] == 1.0
    assert (
        said["ratio"] is None
        if ratio == np.inf
        else said["ratio"] == pytest.approx(ratio, rel=1e-5 * max(1, ratio))
    )
    assert floats(layer) == (1 if ratio == np.inf else 2)
    assert judged(view, run, layer).tier in (Tier.ROUNDING, Tier.BOUNDED)


@FEW
@given(st.integers(1, 4), TEN)
def test_stages_are_read(channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.stack(
        [
            rng.uniform(0.02, 0.2, channels),
            rng.uniform(0.1, 0.3, channels),
            rng.uniform(0.25, 0.85, channels),
            rng.uniform(0.1, 0.4, channels),
        ]
    )
    attack, decay, sustain, release = rows
    corners = [np.array([0, a, a + d, 1 - r, 1]) for a, d, r in zip(attack, decay, release, strict=True)]
    knots = np.unique(np.concatenate(corners))
    values = np.stack(
        [np.interp(knots, t, [0, 1, s, s, 0]) for t, s in zip(corners, sustain, strict=True)], 1
    )
    module = network(ideal(knots, values, 0.0, 0.0, (0.0, 1.0)), units=8, seed=seed)
    view = exact(module, (0.0, 1.0))
    layer = BY_NAME["envelope"].propose(view)
    assert layer is not None
    said = layer.arguments()
    for name, expected in zip(("attack", "decay", "sustain", "release"), rows, strict=True):
        np.testing.assert_allclose(said[name], expected, rtol=0, atol=3e-6)
    assert (said["peak"], said["end"]) == (1.0, 1.0)
    assert floats(layer) == 4 * channels


@FEW
@given(st.integers(1, 20), st.integers(1, 3), TEN)
def test_as_many_knots_as_there_are(count: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    knots = np.cumsum(rng.uniform(0.2, 1.0, count)) - 2
    meant = ideal(knots, rng.standard_normal((count, channels)), 1.0, -1.0)
    module = network(meant, units=5, seed=seed)
    layer = BY_NAME["piecewise"].propose(exact(module))
    assert layer is not None
    found = np.array(layer.arguments()["at"])
    assert len(found) == count
    np.testing.assert_allclose(found, knots, rtol=0, atol=1e-3)
