"""Tables by formula: what every public one must hold to, and their numbers against numpy and scipy."""

from __future__ import annotations

import copy
import io
import math

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import TABLES, Case, randn
from numpy.typing import NDArray
from torch import Tensor, nn

from paramaudit import layers

Array = NDArray[np.float64]
EACH = pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
PROPERTY = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SIZES = st.integers(2, 300)


def same(layer: nn.Module, wanted: Array, within: float = 1e-12) -> None:
    found = layer.double()().detach().numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= within * max(1.0, np.abs(wanted).max())


class Added(nn.Module):
    """A table that is added to every row of a batch."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.table()


@EACH
@torch.no_grad()
def test_dtypes(case: Case) -> None:
    exact = case.build().double()()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        found = case.build().to(dtype)()
        assert found.dtype == dtype
        # computed in float64 and rounded once; a half that is stored is rounded as it is stored
        torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=0)


@EACH
def test_gradients(case: Case) -> None:
    layer = case.build().double()
    names = [name for name, _ in layer.named_parameters()]
    values = [p.detach().double().requires_grad_() for p in layer.parameters()]
    assert names == list(case.state)
    if names:
        assert torch.autograd.gradcheck(
            lambda *v: torch.func.functional_call(layer, dict(zip(names, v, strict=True)), ()), values
        )


@EACH
def test_state(case: Case) -> None:
    layer = case.build()
    assert tuple(layer.state_dict()) == case.state
    other = copy.deepcopy(layer)
    for tensor in other.state_dict().values():
        tensor.fill_(1.0)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(), layer())


@EACH
def test_export_with_any_batch(case: Case) -> None:
    model = Added(case.build().float())
    shape = model.table().shape
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(model, (torch.zeros(3, *shape),), dynamic_shapes=dynamic)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    more = randn(5, *shape).float()
    torch.testing.assert_close(torch.export.load(file).module()(more), model(more))


@EACH
@pytest.mark.gpu
def test_cuda_has_the_same_numbers(case: Case) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    found = case.build().to("cuda")()
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), case.build()(), rtol=1e-12, atol=1e-12)


# --- numbers -------------------------------------------------------------------------------------


@PROPERTY
@given(
    rows=SIZES,
    pairs=st.integers(1, 100),
    base=st.floats(10, 1e6),
    first=st.integers(0, 5),
    order=st.sampled_from(["interleaved", "halves", "halves, cosine first"]),
)
def test_sinusoids_are_those_of_the_paper(rows: int, pairs: int, base: float, first: int, order: str) -> None:
    angles = (np.arange(rows)[:, None] + first) / base ** (2 * np.arange(pairs) / (2 * pairs))
    if order == "interleaved":
        wanted = np.empty((rows, 2 * pairs))
        wanted[:, ::2], wanted[:, 1::2] = np.sin(angles), np.cos(angles)
    else:
        pair = [np.sin(angles), np.cos(angles)]
        wanted = np.concatenate(pair[::-1] if "first" in order else pair, 1)
    same(layers.SinusoidTable(rows, 2 * pairs, base, order, first), wanted, 1e-10)
    same(layers.RotaryFrequencies(2 * pairs, base), base ** (-np.arange(pairs) / pairs))


WINDOWS = ("hann", "hamming", "blackman", "bartlett", "triang", "parzen", "bohman", "cosine", "lanczos")
SHAPED = {"tukey": 0.4, "kaiser": 7.5, "gaussian": 3.0}


@PROPERTY
@given(n=st.integers(3, 300), name=st.sampled_from([*WINDOWS, *SHAPED]), periodic=st.booleans())
def test_windows_are_scipys(n: int, name: str, periodic: bool) -> None:
    wanted = scipy.signal.get_window((name, SHAPED[name]) if name in SHAPED else name, n, fftbins=periodic)
    same(layers.WindowTable(n, name, periodic, SHAPED.get(name)), wanted)


@PROPERTY
@given(n=SIZES, start=st.floats(0.01, 100), stop=st.floats(0.01, 100))
def test_ramps_are_numpys(n: int, start: float, stop: float) -> None:
    same(layers.RampTable(n, -start, stop), np.linspace(-start, stop, n))
    same(layers.RampTable(n, start, stop, geometric=True), np.geomspace(start, stop, n))


@PROPERTY
@given(n=SIZES, shape=st.floats(1.1, 8), scale=st.floats(0.5, 20), first=st.integers(0, 1))
def test_gamma_densities_are_scipys(n: int, shape: float, scale: float, first: int) -> None:
    wanted = scipy.stats.gamma.pdf(np.arange(n) + first, shape, scale=scale)
    same(layers.GammaTable(n, shape, scale, 1 / (scale * math.gamma(shape)), first), wanted)


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize(
    ("shape", "mirror"), [((7,), "rows"), ((6, 3), "rows"), ((4, 5), "columns"), ((3, 3), "both")]
)
def test_symmetric_tables_are_their_own_mirror_image(shape: tuple[int, ...], mirror: str, odd: bool) -> None:
    axes = {"rows": (0,), "columns": (1,), "both": tuple(range(len(shape)))}[mirror]
    whole = randn(*shape).numpy()
    whole = whole - np.flip(whole, axes) if odd else whole + np.flip(whole, axes)
    line = whole.reshape(-1) if mirror == "both" else whole
    size = line.shape[axes[-1] if mirror == "columns" else 0]
    kept = np.take(line, np.arange(size // 2 if odd else (size + 1) // 2), 1 if mirror == "columns" else 0)
    same(layers.Symmetric(torch.from_numpy(kept), torch.Size(shape), mirror, odd), whole, 0)
