"""What every operator of tables must hold to; a new file in the folder is tested by being there."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import pytest
import torch
from operator_cases import cases, layer_of
from torch import Tensor, nn

from paramaudit.numerics.layers import floats
from paramaudit.operators import OPERATORS, looking_at
from paramaudit.prove.table import judge_table
from paramaudit.records import Evidence, Example, Operator, Table, Tier

TABLES = looking_at(Table)
BY_NAME = {operator.name: operator for operator in OPERATORS}
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


FINDS = pytest.mark.parametrize(("operator", "example"), cases(TABLES, "finds"))
IGNORES = pytest.mark.parametrize(("operator", "example"), cases(TABLES, "ignores"))
EACH = pytest.mark.parametrize("operator", TABLES, ids=lambda operator: operator.name)


def made(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """What the layer computes once it is moved to a dtype."""
    with torch.no_grad():
        values = copy.deepcopy(layer).to(dtype)()
    assert isinstance(values, Tensor)
    return values


def judged(view: Table, layer: nn.Module) -> Evidence:
    return judge_table(view, made(layer, view.dtype))


@FINDS
def test_a_find_is_proposed_exact_and_cheaper(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    evidence = judged(view, layer)
    assert evidence.tier is Tier.EXACT, evidence.reason
    assert floats(layer) < view.values.numel()
    assert made(layer, view.dtype).dtype == view.dtype
    assert torch.equal(made(layer, view.dtype), view.values)


@FINDS
def test_one_number_changed_is_never_passed(operator: Operator, example: Example) -> None:
    view = example.build()
    sizes = view.values.double().abs().flatten()
    at = int((sizes > 1e-3 * sizes.max()).nonzero()[:, 0][len(sizes) // 7])
    for factor in (1.01, 1 + 2.5 * float(torch.finfo(view.dtype).eps)):
        values = view.values.clone()
        flat = values.view(-1)
        flat[at] = flat[at] * factor
        assert not torch.equal(values, view.values)
        changed = Table(values, view.dtype)
        evidence = judged(changed, layer_of(operator, example))
        assert evidence.tier is not Tier.EXACT
        assert evidence.gap is not None
        assert evidence.gap.value == float((values.double() - view.values.double()).abs().max())
        again = operator.propose(changed)
        if again is not None and (operator.name != "symmetric" or floats(again) > 1):
            assert judged(changed, again).tier is not Tier.EXACT


@IGNORES
def test_a_near_miss_is_never_proven(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = operator.propose(view)
    assert layer is None or not judged(view, layer).tier.safe


@EACH
def test_the_view_is_left_as_it_is(operator: Operator) -> None:
    for example in (*operator.finds, *operator.ignores):
        view = example.build()
        before = view.values.clone()
        operator.propose(view)
        assert torch.equal(view.values, before)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@FINDS
def test_a_table_stored_in_another_dtype_is_found(
    operator: Operator, example: Example, dtype: torch.dtype
) -> None:
    """Rounding to a shorter dtype moves no formula: it is found, and either exact or off by a unit or so."""
    table = made(layer_of(operator, example), torch.float64).to(dtype)
    layer = operator.propose(Table(table, dtype))
    assert layer is not None
    evidence = judged(Table(table, dtype), layer)
    assert evidence.gap is not None
    assert evidence.gap.value <= 2 * float(torch.finfo(dtype).eps) * float(table.double().abs().max())


@FINDS
def test_the_layer_moves_between_dtypes(operator: Operator, example: Example) -> None:
    layer = copy.deepcopy(layer_of(operator, example))
    exact = made(layer, torch.float64)
    for dtype in (*DTYPES, torch.float64):
        with torch.no_grad():
            moved = layer.to(dtype)()
        assert moved.dtype == dtype
        assert moved.shape == exact.shape
        coarsest = float(torch.finfo(torch.bfloat16).eps)
        assert float((moved.double() - exact).abs().max()) <= coarsest * float(exact.abs().max())


@FINDS
def test_the_state_goes_round(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(), layer())


@FINDS
def test_the_layer_exports(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = copy.deepcopy(layer_of(operator, example)).to(view.dtype)
    exported = torch.export.export(layer, ())
    assert not exported.constants, "a constant in the program is a stored number"
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    assert torch.equal(torch.export.load(file).module()(), view.values)


@FINDS
def test_arguments_are_plain_data(operator: Operator, example: Example) -> None:
    arguments = layer_of(operator, example).arguments()
    assert json.loads(json.dumps(arguments)) == arguments


@FINDS
def test_what_is_stored_is_trainable(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    for name, parameter in layer.named_parameters():
        if not parameter.requires_grad:
            assert isinstance(layer.arguments()["scale"], str)
            assert str(layer.arguments()["scale"]).startswith("torch.")
            continue
        (gradient,) = torch.autograd.grad(layer().double().sum(), parameter, allow_unused=True)
        assert gradient is not None, name
        assert bool(gradient.isfinite().all())


SHAPES = ((8,), (9,), (64,), (1000,), (8, 4), (64, 16), (33, 7), (5, 40))


@EACH
@pytest.mark.parametrize("draw", ["normal", "uniform", "low rank", "signs", "walk"])
def test_nothing_is_claimed_of_random_numbers(operator: Operator, draw: str) -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for shape in SHAPES:
            values = rng.standard_normal(shape) if draw != "uniform" else rng.uniform(-1, 1, shape)
            if draw == "low rank" and len(shape) == 2:
                values = np.outer(values[:, 0], values[0])
            elif draw == "walk":
                values = values.cumsum(axis=0)
            elif draw == "signs" and values.size >= 64:
                values = np.sign(values)
            assert operator.propose(Table(torch.from_numpy(values).float())) is None, (seed, shape)


@EACH
@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, float("nan"), float("inf"), 1e-310, 1e300])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (16,), (8, 6), (3, 4, 5)], ids=str)
def test_odd_numbers_and_shapes_are_no_accident(
    operator: Operator, number: float, shape: tuple[int, ...]
) -> None:
    values = torch.full(shape, number, dtype=torch.float64)
    assert operator.propose(Table(values, torch.float64)) is None
    if values.numel() > 2:
        spoilt = torch.arange(float(values.numel()), dtype=torch.float64).reshape(shape)
        spoilt.view(-1)[1] = number
        layer = operator.propose(Table(spoilt, torch.float64))
        assert layer is None or not judged(Table(spoilt, torch.float64), layer).tier.safe or number == 1.0


def test_zeros_of_another_sign_are_not_the_same_number() -> None:
    values = torch.tensor([0.0, 1.0, 2.0])
    evidence = judge_table(Table(values), torch.tensor([-0.0, 1.0, 2.0]))
    assert evidence.tier is Tier.BOUNDED
    assert "sign of zeros" in evidence.reason


def test_numbers_that_the_dtype_does_not_hold_are_refused() -> None:
    values = torch.linspace(0.0, 1.0, 9, dtype=torch.float64) / 3
    assert judge_table(Table(values, torch.float32), values.float()).tier is Tier.REFUTED


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (lambda t: t.half().float(), "as float16 stores them"),
        (lambda t: t.bfloat16().float(), "as bfloat16 stores them"),
        (lambda t: (t * (127 / t.abs().max())).round() * (t.abs().max() / 127), "as int8 with a scale"),
    ],
)
def test_a_gap_of_storage_is_told(storage: object, words: str) -> None:
    clean = torch.from_numpy(np.sin(np.linspace(0, 7, 200))).float()
    assert callable(storage)
    evidence = judge_table(Table(storage(clean)), clean)
    assert evidence.tier is Tier.BOUNDED
    assert words in evidence.reason
    noisy = clean + 1e-3 * torch.from_numpy(np.random.default_rng(0).standard_normal(200)).float()
    other = judge_table(Table(noisy), clean)
    assert "stores them" not in other.reason
