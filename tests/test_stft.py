"""A convolution as one matrix a frame, and the operator for those that are a Fourier transform."""

from __future__ import annotations

import copy
import dataclasses
import io
import json

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramaudit.numerics.frames import Framed, frame_matrix, framed
from paramaudit.numerics.layers import floats
from paramaudit.operators.stft import OPERATOR
from paramaudit.plan.kernels import on_frames
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Example, Kernel, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

FINDS = pytest.mark.parametrize("example", OPERATOR.finds, ids=lambda example: example.name)
IGNORES = pytest.mark.parametrize("example", OPERATOR.ignores, ids=lambda example: example.name)
FEW = settings(max_examples=30, deadline=None, derandomize=True, database=None)
HALF = (torch.float16, torch.bfloat16)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def bank(size: int, taps: np.ndarray) -> np.ndarray:
    """Real rows of all bins, then imaginary ones, by numpy's transform of the unit vectors."""
    waves = np.fft.rfft(np.eye(size), axis=0) * taps
    return np.concatenate([waves.real, waves.imag])


def hann(size: int) -> np.ndarray:
    return bank(size, scipy.signal.get_window("hann", size))


def judged(view: Kernel, layer: Framed) -> Evidence:
    matrix = frame_matrix(view)
    assert matrix is not None
    candidate = dense(layer.inner, matrix.weight.shape[1], view.dtype)
    return judge(matrix, candidate, on_frames(matrix), torch.Generator().manual_seed(0))


def proposed(view: Kernel) -> Framed:
    layer = OPERATOR.propose(view)
    assert isinstance(layer, Framed)
    return layer


def convolved(view: Kernel, signal: Tensor) -> Tensor:
    weight, bias = view.weight.to(signal.dtype), view.bias
    return F.conv1d(signal, weight, bias, view.stride, view.padding, view.dilation, view.groups)


# --- frames -------------------------------------------------------------------------------------

SHAPES = st.tuples(
    st.integers(1, 9), st.integers(1, 7), st.integers(0, 9), st.integers(1, 4), st.integers(1, 3)
)


@FEW
@given(SHAPES, st.integers(0, 20), st.booleans())
def test_a_convolution_is_one_matrix_a_frame(sizes, more, has_bias):
    taps, stride, padding, out, channels = sizes
    rows, shift = drawn(out, taps), drawn(out, seed=1)
    bias = shift.repeat(channels) if has_bias else None
    view = Kernel(rows.repeat(channels, 1)[:, None], bias, stride, padding, groups=channels)
    matrix = frame_matrix(view)
    assert matrix is not None
    assert torch.equal(matrix.weight, rows)
    inner = nn.Linear(taps, out, bias=has_bias, dtype=torch.float64)
    inner.weight.data = matrix.weight
    if matrix.bias is not None:
        inner.bias.data = matrix.bias
    layer = Framed(inner, taps, stride, padding)
    for leading in ((), (1,), (2,)):
        signal = drawn(*leading, channels, max(1, taps - 2 * padding) + more, seed=2)
        torch.testing.assert_close(layer(signal), convolved(view, signal), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        on_frames(dataclasses.replace(matrix, dtype=torch.float64))(drawn(5, taps)), inner(drawn(5, taps))
    )


@FEW
@given(SHAPES, st.integers(0, 20))
def test_frames_start_where_a_kernel_looks(sizes, more):
    taps, stride, padding, _, _ = sizes
    signal = drawn(max(1, taps - 2 * padding) + more)
    time = signal.tolist()
    expected = []
    for start in range(-padding, len(time) + padding - taps + 1, stride):
        expected.append([time[t] if 0 <= t < len(time) else 0.0 for t in range(start, start + taps)])
    assert framed(signal, taps, stride, padding).tolist() == expected


@pytest.mark.parametrize(
    "change",
    [
        {"dilation": 2},
        {"weight": drawn(6, 2, 5)},
        {"weight": drawn(6, 1, 5), "groups": 3},
        {"weight": torch.ones(6, 1, 5), "groups": 3, "bias": drawn(6)},
        {"weight": torch.full((6, 1, 5), float("nan"))},
    ],
    ids=["taps apart", "channels summed", "own kernels", "own biases", "no numbers"],
)
def test_other_convolutions_are_no_matrix_a_frame(change):
    view = dataclasses.replace(Kernel(drawn(6, 1, 5), None), **change)
    assert frame_matrix(view) is None
    assert OPERATOR.propose(view) is None


# --- the operator -------------------------------------------------------------------------------


@FINDS
def test_a_find_is_proposed_proven_and_cheaper(example: Example):
    view = example.build()
    layer = proposed(view)
    evidence = judged(view, layer)
    assert evidence.tier.safe, evidence.reason
    assert floats(layer) < view.weight.numel()
    assert json.loads(json.dumps(layer.arguments())) == layer.arguments()
    assert (layer.arguments()["hop"], layer.arguments()["padding"]) == (view.stride, view.padding)


@FINDS
def test_the_layer_convolves(example: Example):
    view = example.build()
    layer = proposed(view)
    signal = drawn(2, view.groups, 3 * view.weight.shape[2] + 5).requires_grad_()
    mine, theirs = layer(signal), convolved(view, signal)
    size = float(theirs.detach().abs().max())
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6 * size)
    direction = drawn(*theirs.shape, seed=3)
    gradients = [torch.autograd.grad(y, signal, direction)[0] for y in (mine, theirs)]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-6 * float(gradients[1].abs().max()))
    torch.testing.assert_close(layer(signal[0]), mine[0], rtol=1e-12, atol=1e-12)


@FINDS
def test_a_number_changed_by_one_per_cent_is_seen(example: Example):
    view = example.build()
    layer, weight = proposed(view), view.weight.clone()
    sizes = weight[: len(weight) // view.groups, 0].abs()
    row, tap = divmod(int(sizes.flatten().argsort()[int(0.9 * sizes.numel())]), sizes.shape[1])
    weight[row :: len(sizes), 0, tap] *= 1.01
    evidence = judged(dataclasses.replace(view, weight=weight), layer)
    assert not evidence.tier.safe
    assert evidence.gap is not None
    assert evidence.gap.value >= 0.009 * float(sizes[row, tap])


@IGNORES
def test_a_near_miss_is_never_proven(example: Example):
    view = example.build()
    layer = OPERATOR.propose(view)
    assert layer is None or not judged(view, layer).tier.safe


def test_a_transform_is_not_that_of_another_bin_or_window():
    view = Kernel(torch.from_numpy(hann(64))[:, None].float().double(), None, 16)
    other = bank(64, scipy.signal.get_window("hamming", 64))
    shifted = np.roll(hann(64), 1, axis=0)
    for rows in (other, shifted):
        layer = proposed(Kernel(torch.from_numpy(rows)[:, None], None, 16))
        assert judged(view, layer).tier is Tier.REFUTED


@pytest.mark.parametrize("dtype", [torch.float64, *HALF], ids=str)
def test_other_dtypes(dtype: torch.dtype):
    weight = torch.from_numpy(hann(64))[:, None].to(dtype).double()
    view = Kernel(weight, None, 16, dtype=dtype)
    layer = proposed(view)
    assert floats(layer) == 0
    evidence = judged(view, layer)
    assert evidence.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED), evidence.reason
    signal = drawn(2, 1, 200).to(dtype)
    exact = convolved(view, signal.double())
    assert layer(signal).dtype == dtype
    assert float((layer(signal) - exact).norm()) <= 8 * torch.finfo(dtype).eps * float(exact.norm())


def test_a_stored_window_trains_and_its_state_goes_round():
    view = Kernel(torch.from_numpy(bank(24, np.kaiser(24, 6.0)))[:, None], None, 8, dtype=torch.float64)
    layer = proposed(view)
    (name,), (taps,) = zip(*layer.named_parameters(), strict=True)
    assert taps.shape == (24,)
    signal = drawn(2, 1, 60)

    def outputs(values: Tensor) -> Tensor:
        result = torch.func.functional_call(layer, {name: values}, (signal,))
        assert isinstance(result, Tensor)
        return result

    assert torch.autograd.gradcheck(outputs, (taps.detach().clone().requires_grad_(),), fast_mode=True)
    other = copy.deepcopy(layer)
    other.inner.taps.data.zero_()
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(signal), layer(signal))


@FEW
@given(
    st.integers(4, 40),
    st.sampled_from(["boxcar", "hann", "hamming", "blackman"]),
    st.integers(1, 50),
    st.sampled_from(["both", "cosines", "sines", "in turns"]),
)
def test_any_size_hop_and_order_is_found(half, name, hop, order):
    size = 2 * half
    rows = bank(size, scipy.signal.get_window(name, size))
    cosines, sines = rows[: half + 1], rows[half + 1 :]
    chosen = {
        "both": rows,
        "cosines": cosines,
        "sines": sines,
        "in turns": np.stack([cosines, sines], 1).reshape(-1, size),
    }[order]
    view = Kernel(torch.from_numpy(chosen)[:, None].float().double(), None, hop)
    layer = proposed(view)
    assert judged(view, layer).tier.safe
    assert floats(layer) == 0
    named = "rectangular" if name == "boxcar" else name
    assert (layer.arguments()["n"], layer.arguments()["window"]) == (size, named)


@FEW
@given(
    st.integers(12, 40),
    st.sampled_from(["boxcar", "hann", "hamming", "blackman"]),
    st.booleans(),
    st.tuples(st.floats(0, 1), st.floats(0.5, 0.9)),
    st.sampled_from(["both", "cosines", "sines"]),
)
def test_a_window_shorter_than_the_frame_stores_nothing(half, name, symmetric, place, part):
    size = 2 * half
    length = int(place[1] * (size - 4))
    first = 2 + int(place[0] * (size - 4 - length))
    taps = np.zeros(size)
    taps[first : first + length] = scipy.signal.get_window(name, length, fftbins=not symmetric)
    rows = bank(size, taps)
    rows = {"both": rows, "cosines": rows[: half + 1], "sines": rows[half + 1 :]}[part]
    view = Kernel(torch.from_numpy(rows)[:, None].float().double(), None, 8)
    layer = proposed(view)
    assert judged(view, layer).tier.safe
    assert floats(layer) == 0
    known = layer.arguments()
    if part == "both":
        named = "rectangular" if name == "boxcar" else f"{name}-symmetric" if symmetric else name
        found = (known["window"], known["window_first"], known["window_length"])
        assert found == (named, first, length)


@pytest.mark.parametrize("part", [slice(0, 33), slice(33, 66)], ids=["cosines", "sines"])
def test_a_short_window_may_stand_first(part: slice):
    rows = bank(64, np.pad(np.hamming(49)[:-1], (0, 16)))[part]
    view = Kernel(torch.from_numpy(rows)[:, None].float().double(), None, 8)
    layer = proposed(view)
    assert judged(view, layer).tier.safe
    assert (layer.arguments()["window_first"], layer.arguments()["window_length"]) == (0, 48)


@FEW
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_nothing_is_proven_of_random_kernels(out, taps, seed):
    view = Kernel(drawn(out, 1, taps, seed=seed).float().double(), None)
    layer = OPERATOR.propose(view)
    assert layer is None or not judged(view, layer).tier.safe or floats(layer) >= view.weight.numel()
