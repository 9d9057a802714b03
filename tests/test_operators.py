"""What every operator of the atlas must hold to; a new file in the folder is tested by being there."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch
from chains import Layers, chain, product, runner, single
from operator_cases import cases, layer_of
from torch import Tensor

from paramaudit.errors import OptionError
from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.operators import OPERATORS, explain, listed, looking_at
from paramaudit.plan.offered import proven_affine
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Example, Matrix, Operator, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

HEADINGS = ("What it finds:", "Why it matters:", "Proof:", "Swap safety:", "Source:")
MATRICES = looking_at(Matrix)
BY_NAME = {operator.name: operator for operator in OPERATORS}


FINDS = pytest.mark.parametrize(("operator", "example"), cases(MATRICES, "finds"))
IGNORES = pytest.mark.parametrize(("operator", "example"), cases(MATRICES, "ignores"))
HIDDEN = pytest.mark.parametrize("hidden", [False, True], ids=["stored", "in a chain"])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded())


def layers_of(example: Example, hidden: bool) -> Layers:
    view = example.build()
    columns = view.weight.shape[1]
    return chain(view, (2 * columns + 17, 2 * columns)) if hidden else single(view)


def seen(layers: Layers, example: Example) -> Matrix:
    """The map of these layers, with what the graph says about the example."""
    return dataclasses.replace(product(layers), state=example.build().state)


@HIDDEN
@FINDS
def test_a_find_is_proposed_proven_and_cheaper(operator: Operator, example: Example, hidden: bool) -> None:
    layers = layers_of(example, hidden)
    view = seen(layers, example)
    layer = operator.propose(view)
    assert layer is not None
    evidence = judge(view, dense(layer, view.weight.shape[1], view.dtype), runner(layers), seeded())
    assert evidence.tier.safe, evidence.reason
    assert floats(layer) < view.weight.numel() + (0 if view.bias is None else view.bias.numel())


@FINDS
def test_one_number_changed_by_one_per_cent_is_seen(operator: Operator, example: Example) -> None:
    clean = product(single(example.build()))
    candidate = dense(layer_of(operator, example), clean.weight.shape[1], clean.dtype)
    sizes = clean.weight.abs()
    alive = (sizes > 1e-6 * sizes.max()).nonzero()
    row, column = alive[sizes[tuple(alive.T)].argsort()[len(alive) // 2]].tolist()
    weight = clean.weight.clone()
    weight[row, column] *= 1.01
    layers = single(Matrix(weight, clean.bias, clean.dtype))
    changed = product(layers)
    evidence = judge(changed, candidate, runner(layers), seeded())
    change = abs(float(changed.weight[row, column] - clean.weight[row, column]))
    if evidence.tier.safe:
        assert evidence.witness is not None
        assert change <= evidence.witness.value, "more than rounding was passed"
    else:
        assert evidence.gap is not None
        assert evidence.gap.value >= 0.9 * change


@HIDDEN
@IGNORES
def test_a_near_miss_is_never_proven(operator: Operator, example: Example, hidden: bool) -> None:
    layers = layers_of(example, hidden)
    view = seen(layers, example)
    layer = operator.propose(view)
    if layer is not None:
        evidence = judge(view, dense(layer, view.weight.shape[1], view.dtype), runner(layers), seeded())
        assert not evidence.tier.safe, evidence.reason


@pytest.mark.parametrize("kind", ["finds", "ignores"])
@pytest.mark.parametrize("operator", MATRICES, ids=lambda operator: operator.name)
def test_the_view_is_left_as_it_is(operator: Operator, kind: str) -> None:
    for example in getattr(operator, kind):
        view = example.build()
        before = copy.deepcopy(view)
        operator.propose(view)
        assert torch.equal(view.weight, before.weight)
        assert (view.bias is None) == (before.bias is None)
        assert view.bias is None or torch.equal(view.bias, before.bias)


@FINDS
def test_the_layer_computes_the_map(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    inputs = randn(3, 2, view.weight.shape[1])
    expected = inputs @ view.weight.T + (0 if view.bias is None else view.bias)
    torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    map_ = dense(layer, view.weight.shape[1], torch.float64)
    probed = inputs @ map_.weight.T + (0 if map_.bias is None else map_.bias)
    torch.testing.assert_close(layer(inputs), probed, rtol=0, atol=1e-12 * float(expected.abs().max()))
    torch.testing.assert_close(layer(inputs[0, 0]), layer(inputs)[0, 0], rtol=1e-12, atol=1e-12)


@FINDS
@torch.no_grad()
def test_the_layer_moves_between_dtypes(operator: Operator, example: Example) -> None:
    layer = copy.deepcopy(layer_of(operator, example))
    inputs = randn(5, example.build().weight.shape[1])
    exact = layer(inputs)
    coarsest = 0.0
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        moved = layer.to(dtype)(inputs.to(dtype))
        assert moved.dtype == dtype
        coarsest = max(coarsest, float(torch.finfo(dtype).eps))  # once rounded, the numbers stay so
        assert float((moved - exact).norm()) <= 8 * coarsest * float(exact.norm())


@FINDS
def test_the_state_goes_round(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    inputs = randn(4, example.build().weight.shape[1])
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(inputs), layer(inputs))
    for name, tensor in layer.state_dict().items():
        assert tensor.dtype in (torch.float64, torch.int64), name


@FINDS
def test_the_layer_exports_with_any_batch(operator: Operator, example: Example) -> None:
    layer = copy.deepcopy(layer_of(operator, example)).float().eval()
    columns = example.build().weight.shape[1]
    dynamic = ({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(layer, (randn(3, 5, columns).float(),), dynamic_shapes=dynamic)
    assert not exported.constants, "a constant in the program is a stored number"
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    again = torch.export.load(file).module()
    inputs = randn(7, 2, columns).float()
    torch.testing.assert_close(again(inputs), layer(inputs), rtol=1e-5, atol=1e-5)


@FINDS
def test_gradients_agree_with_the_dense_map(operator: Operator, example: Example) -> None:
    view = example.build()
    layer = layer_of(operator, example)
    inputs = randn(2, view.weight.shape[1]).requires_grad_()
    direction = randn(2, view.weight.shape[0])
    (gradient,) = torch.autograd.grad(layer(inputs), inputs, direction)
    expected = direction @ view.weight
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


@FINDS
def test_what_is_stored_is_trainable(operator: Operator, example: Example) -> None:
    layer = layer_of(operator, example)
    inputs = randn(2, example.build().weight.shape[1])
    names = [name for name, _ in layer.named_parameters()]
    if not names:
        assert floats(layer) == 0
        return

    def outputs(*values: Tensor) -> Tensor:
        changed = dict(zip(names, values, strict=True))
        result = torch.func.functional_call(layer, changed, (inputs,))
        assert isinstance(result, Tensor)
        return result

    values = tuple(p.detach().clone().requires_grad_() for p in layer.parameters())
    assert torch.autograd.gradcheck(outputs, values, fast_mode=True)


@FINDS
def test_arguments_are_plain_data(operator: Operator, example: Example) -> None:
    arguments = layer_of(operator, example).arguments()
    assert json.loads(json.dumps(arguments)) == arguments


@pytest.mark.parametrize("operator", MATRICES, ids=lambda operator: operator.name)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 5), (64, 64), (192, 48), (48, 192), (97, 97)]
)
def test_nothing_is_proven_of_random_numbers(operator: Operator, shape: tuple[int, int]) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        layers = single(stored(rng.standard_normal(shape), rng.standard_normal(shape[0])))
        view = product(layers)
        layer = operator.propose(view)
        if layer is None:
            continue
        assert min(shape) < 48, "a generic matrix was taken for something"
        evidence = judge(view, dense(layer, shape[1], view.dtype), runner(layers), seeded())
        assert not evidence.tier.safe or floats(layer) <= view.weight.numel() + shape[0]


@pytest.mark.parametrize("operator", MATRICES, ids=lambda operator: operator.name)
@pytest.mark.parametrize("number", [0.0, 1.0, float("nan"), float("inf"), 1e-310, 1e300])
def test_odd_numbers_are_no_accident(operator: Operator, number: float) -> None:
    weight = torch.full((12, 12), number, dtype=torch.float64)
    layer = operator.propose(Matrix(weight, None, torch.float64))
    assert layer is None or np.isfinite(number)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("operator", MATRICES, ids=lambda operator: operator.name)
def test_the_first_find_is_found_in_other_dtypes(operator: Operator, dtype: torch.dtype) -> None:
    view = operator.finds[0].build()
    layers = single(Matrix(view.weight, view.bias, dtype))
    view = seen(layers, operator.finds[0])
    layer = operator.propose(view)
    assert layer is not None
    evidence = judge(view, dense(layer, view.weight.shape[1], dtype), runner(layers), seeded())
    assert evidence.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED), evidence.reason


@pytest.mark.parametrize("size", [16, 33, 400])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", ["boxcar", "hann", "hamming", "blackman"])
def test_known_windows_store_nothing(name: str, symmetric: bool, size: int) -> None:
    taps = scipy.signal.get_window(name, size, fftbins=not symmetric)
    transform = np.fft.rfft(np.eye(size) * taps[:, None], axis=0)
    layer = BY_NAME["rdft"].propose(stored(np.concatenate([transform.real, transform.imag])))
    assert layer is not None
    assert floats(layer) == 0
    assert not dict(layer.named_buffers())
    known = "rectangular" if name == "boxcar" else f"{name}-symmetric" if symmetric else name
    assert layer.arguments()["window"] == known


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_it_is_explained(operator: Operator) -> None:
    text = explain(operator.name)
    assert [heading for heading in HEADINGS if heading not in text] == []
    assert operator.finds
    assert operator.ignores


def test_the_atlas_is_sorted_and_unknown_names_are_told() -> None:
    names = [operator.name for operator in OPERATORS]
    assert names == sorted(set(names))
    with pytest.raises(OptionError, match=r"no operator 'fourier'; known are .*rdft"):
        explain("fourier")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"empty": "X = 1"}, "empty defines no OPERATOR"),
        (
            dict.fromkeys(("one", "two"), "from paramaudit.operators.rdft import OPERATOR"),
            "are both 'rdft'",
        ),
    ],
)
def test_a_broken_file_fails_at_import(
    files: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"atlas_{len(files)}"
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(package)
    try:
        with pytest.raises(ImportError, match=message):
            listed([str(folder)], package)
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]


@FINDS
def test_the_graph_of_the_layer_is_affine_by_its_operators(operator: Operator, example: Example) -> None:
    """The planner believes no layer: it captures it and wants every call to be affine in the input."""
    view = example.build()
    layer = operator.propose(view)
    assert layer is not None
    assert proven_affine(layer, view.weight.shape[1])
