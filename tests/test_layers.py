"""What every public layer must hold to: gradients, dtypes, devices, export, state; see layer_cases.py."""

from __future__ import annotations

import copy
import doctest
import importlib
import io
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from layer_cases import CASES, TABLES, Case
from torch import Tensor, nn

import paramaudit
from paramaudit import layers

EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
FILES = sorted(entry.name for entry in pkgutil.iter_modules(layers.__path__))
ONE_DTYPE = {
    *("StyleMap", "LowRank", "Kronecker", "Monarch", "Butterfly", "BlockDiagonal", "StateSpaceStep"),
    *("Piecewise", "HardKnee"),
}
DOCUMENTS = Path(__file__).parents[1] / "docs" / "layers.md"
HEADINGS = ("What it computes:", "Replaces:", "Faster when:", "Mind:", "Source:")


def flat(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def error(found: Tensor, wanted: Tensor) -> float:
    """Relative to the length of what is wanted."""
    wide = found.to("cpu", wanted.dtype)
    return float((wide - wanted).norm() / wanted.norm())


def moved(case: Case, dtype: torch.dtype, device: str = "cpu") -> tuple[nn.Module, tuple[Tensor, ...]]:
    return case.build().to(device, dtype), tuple(t.to(device, dtype) for t in case.inputs())


def test_every_layer_is_in_the_documents_and_their_examples_run() -> None:
    text = DOCUMENTS.read_text(encoding="utf-8")
    assert [name for name in layers.__all__ if f"\n| `{name}` |" not in text] == []
    with torch.random.fork_rng(devices=[]):
        result = doctest.testfile(str(DOCUMENTS), module_relative=False)
    assert result.failed == 0
    assert result.attempted > len(layers.__all__)


def test_every_layer_has_a_case() -> None:
    assert {type(case.build()).__name__ for case in (*CASES, *TABLES)} == set(layers.__all__)
    assert paramaudit.layers is layers


@pytest.mark.parametrize("file", FILES)
def test_documentation_has_its_headings_and_its_examples_run(file: str) -> None:
    module = importlib.import_module(f"paramaudit.layers.{file}")
    text = module.__doc__ or ""
    positions = [text.find(f"\n{heading}") for heading in HEADINGS]
    assert min(positions) > 0
    assert positions == sorted(positions)
    classes = [name for name in layers.__all__ if getattr(layers, name).__module__ == module.__name__]
    with torch.random.fork_rng(devices=[]):
        result = doctest.testmod(module, extraglobs={"torch": torch})
    assert result.failed == 0
    assert result.attempted >= len(classes) > 0


@EACH
def test_gradients(case: Case) -> None:
    layer = case.build()
    inputs = tuple(t.requires_grad_() for t in case.inputs())
    names = [name for name, _ in layer.named_parameters()]

    def outputs(*values: Tensor) -> Tensor | tuple[Tensor, ...]:
        changed = dict(zip(names, values[len(inputs) :], strict=True))
        result: Tensor | tuple[Tensor, ...] = torch.func.functional_call(
            layer, changed, values[: len(inputs)]
        )
        return result

    values = (*inputs, *(p.detach().clone().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradcheck(outputs, values)


def test_gradients_of_a_complex_spectrum() -> None:
    layer = layers.Spectrum(12, (1, 6), output="complex")
    inputs = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(layer, (inputs.requires_grad_(),))


def test_gradients_through_a_sequence() -> None:
    case = next(case for case in CASES if case.name == "SteadyKalmanFilter")
    layer, (state, _) = case.build(), case.inputs()
    observations = torch.randn(3, 2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def outputs(transition: Tensor, gain: Tensor, *inputs: Tensor) -> Tensor:
        result: Tensor = type(layer)(transition, gain).filter(*inputs)
        return result

    assert torch.autograd.gradcheck(layer.filter, (state.requires_grad_(), observations.requires_grad_()))
    layer.filter(state, observations).square().sum().backward()
    assert all(float(p.grad.abs().min()) > 0 for p in layer.parameters())


@EACH
@torch.no_grad()
def test_dtypes(case: Case) -> None:
    exact = flat(case.build()(*case.inputs()))
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        layer, inputs = moved(case, dtype)
        for found, wanted in zip(flat(layer(*inputs)), exact, strict=True):
            assert found.dtype == dtype
            # the numbers that are stored are rounded as well, which long echoes add up
            assert error(found, wanted) < 24 * torch.finfo(dtype).eps


@EACH
@torch.no_grad()
def test_inputs_of_another_dtype_than_the_numbers(case: Case) -> None:
    if case.name.partition(",")[0] in ONE_DTYPE:
        pytest.skip("torch's own products want one dtype")
    layer = case.build()
    found = flat(layer(*(t.float() for t in case.inputs())))
    for single, wanted in zip(found, flat(layer(*case.inputs())), strict=True):
        assert single.dtype == torch.float32
        assert error(single, wanted) < 1e-5


@EACH
@torch.no_grad()
def test_leading_dimensions(case: Case) -> None:
    layer, inputs = case.build(), case.inputs()
    for whole, one in zip(flat(layer(*inputs)), flat(layer(*(t[1, 0] for t in inputs))), strict=True):
        torch.testing.assert_close(one, whole[1, 0], rtol=1e-10, atol=1e-10)


@EACH
def test_state(case: Case) -> None:
    layer = case.build()
    assert tuple(layer.state_dict()) == case.state
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = copy.deepcopy(layer)
    for tensor in other.state_dict().values():
        tensor.zero_()
    other.load_state_dict(torch.load(file, weights_only=True))
    for found, wanted in zip(flat(other(*case.inputs())), flat(layer(*case.inputs())), strict=True):
        assert torch.equal(found, wanted)


@EACH
def test_export_with_any_batch(case: Case) -> None:
    layer, inputs = moved(case, torch.float32)
    batches = tuple({0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC} for _ in inputs)
    exported = torch.export.export(layer, inputs, dynamic_shapes=batches)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    again = torch.export.load(file).module()
    more = tuple(torch.cat([t, 2 * t, t], 1)[:2] for t in inputs)
    for found, wanted in zip(flat(again(*more)), flat(layer(*more)), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@EACH
@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(case: Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    for dtype, most in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        layer, inputs = moved(case, dtype)
        wanted = flat(layer(*inputs))
        on_cuda, there = moved(case, dtype, "cuda")
        found = flat(on_cuda(*there))
        for a, b in zip(found, wanted, strict=True):
            assert a.device.type == "cuda"
            assert error(a, b.detach()) < most


def test_layers_come_when_first_used() -> None:
    code = "import sys, paramaudit; assert 'torch' not in sys.modules; paramaudit.layers.Spectrum(8)"
    subprocess.run([sys.executable, "-c", code], check=True)
