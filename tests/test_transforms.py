"""Fast transforms of any size under every gauge, in any dtype; their near misses are never proven."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import pywt
import scipy.fft
import scipy.linalg
import scipy.signal
import torch
from chains import Layers, chain, product, runner, single
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.numerics.wavelets import banks
from paramaudit.operators import OPERATORS
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]

some = settings(max_examples=20, deadline=None, derandomize=True, database=None)
SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])
GAINS = st.one_of(st.sampled_from([1.0, -1.0]), st.floats(0.05, 20.0))
KINDS = st.sampled_from([1, 2, 3, 4])
WAVELETS = [name for name in pywt.wavelist(kind="discrete") if name != "dmey"]  # dmey is only nearly inverted
BY_NAME = {operator.name: operator for operator in OPERATORS}


def judged(name: str, layers: Layers) -> tuple[nn.Module | None, Evidence | None]:
    view = product(layers)
    layer = BY_NAME[name].propose(view)
    if layer is None:
        return None, None
    generator = torch.Generator().manual_seed(0)
    candidate = dense(layer, view.weight.shape[1], view.dtype)
    return layer, judge(view, candidate, runner(layers), generator)


def laid(weight: Array, dtype: torch.dtype, hidden: bool = False) -> Layers:
    view = stored(weight, dtype=dtype)
    return chain(view, (2 * view.weight.shape[1] + 5, 2 * view.weight.shape[1])) if hidden else single(view)


def found(
    name: str, weight: Array, dtype: torch.dtype, hidden: bool = False
) -> tuple[nn.Module, dict[str, Any]]:
    """The layer, its proof being safe, and what it says of itself.

    What made the float64 numbers rounds as much as what computes them does, and that is no rounding that
    the model was seen to make: there the gap alone has to be as small as rounding.
    """
    layer, evidence = judged(name, laid(weight, dtype, hidden))
    assert layer is not None
    assert evidence is not None
    if dtype is torch.float64:
        assert evidence.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED), evidence.reason
        assert evidence.gap is not None
        assert evidence.gap.value <= 1e-12 * float(np.linalg.norm(weight, 2)), evidence.reason
    else:
        assert evidence.tier.safe, evidence.reason
    return layer, layer.arguments()


def missed(name: str, weight: Array) -> None:
    for dtype in (torch.float32, torch.float64):
        _, evidence = judged(name, laid(weight, dtype))
        assert evidence is None or not evidence.tier.safe, evidence.reason


# --- Hilbert ------------------------------------------------------------------------------------


def quarter(size: int) -> Array:
    return np.asarray(scipy.signal.hilbert(np.eye(size), axis=0).imag)


@some
@given(st.integers(4, 70), GAINS, DTYPES, st.booleans())
def test_hilbert_of_any_size(size: int, gain: float, dtype: torch.dtype, hidden: bool) -> None:
    layer, said = found("hilbert", gain * quarter(size), dtype, hidden)
    assert floats(layer) == (abs(gain) != 1.0)
    assert said["gain"] == pytest.approx(gain, rel=1e-5)


@some
@given(st.integers(8, 70), SEEDS, st.sampled_from(["bin", "row", "dc", "circulant", "neighbour"]))
def test_what_is_nearly_a_hilbert_transform_is_not(size: int, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    rows = quarter(size)
    response = np.fft.fft(rows[:, 0])
    if kind == "bin":
        place = int(rng.integers(1, (size - 1) // 2 + 1))
        response[[place, -place]] *= 0.99
    elif kind == "dc":
        response[0] = 0.05
    elif kind == "circulant":
        response += 0.05 * np.fft.fft(rng.standard_normal(size)) / np.sqrt(size)
    rows = scipy.linalg.circulant(np.fft.ifft(response).real)
    if kind == "row":
        place = int(rng.integers(size))
        rows[place] = -rows[place]
    if kind == "neighbour":
        rows = quarter(size + 1)[:size, :size]
    missed("hilbert", rows)


# --- wavelets -----------------------------------------------------------------------------------


def bands(size: int, wavelet: str, level: int) -> list[Array]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the level is high for the size
        rows = [pywt.wavedec(unit, wavelet, mode="periodization", level=level) for unit in np.eye(size)]
    return [np.stack(band, axis=1) for band in zip(*rows, strict=True)]


def joined(size: int, wavelet: str, level: int) -> Array:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        like = pywt.wavedec(np.zeros(size), wavelet, mode="periodization", level=level)
    cuts = np.cumsum([len(band) for band in like])[:-1]
    columns = [pywt.waverec(np.split(unit, cuts), wavelet, mode="periodization") for unit in np.eye(size)]
    return np.stack(columns, axis=1)


def taps(wavelet: str, dual: bool = False) -> Array:
    known = pywt.Wavelet(wavelet)
    return np.array([known.rec_lo, known.rec_hi] if dual else [known.dec_lo, known.dec_hi])


def same_filters(first: str, second: str) -> bool:
    return all(
        taps(first, dual).shape == taps(second, dual).shape
        and np.allclose(taps(first, dual), taps(second, dual), rtol=0, atol=1e-7)
        for dual in (False, True)
    )


@some
@given(st.sampled_from(WAVELETS), st.integers(1, 3), st.integers(6, 12), DTYPES, st.booleans())
def test_a_plain_wavelet_transform_stores_nothing(
    wavelet: str, level: int, coarsest: int, dtype: torch.dtype, inverse: bool
) -> None:
    size = coarsest << level
    weight = joined(size, wavelet, level) if inverse else np.concatenate(bands(size, wavelet, level))
    layer, said = found("wavelet", weight, dtype)
    assert not list(layer.state_dict())
    assert (said["level"], said["inverse"], said["scale"]) == (level, inverse, "1")
    if len(taps(wavelet)[0]) <= size:
        assert same_filters(str(said["wavelet"]), wavelet)
    if not said["backwards"]:
        assert set(said["shifts"]) == {0}
        assert set(said["signs"]) == {1}


@some
@given(
    st.sampled_from(["haar", "db4", "sym6", "coif2", "bior2.4", "bior3.1", "rbio1.3"]),
    st.integers(1, 4),
    SEEDS,
    GAINS,
    st.booleans(),
)
def test_a_wavelet_transform_under_every_gauge(
    wavelet: str, level: int, seed: int, gain: float, inverse: bool
) -> None:
    """Order, signs and shifts of bands at random, time reversed or not, transposed or not."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 4)) << max(level, 4)
    order = rng.permutation(level + 1)
    plain = bands(size, wavelet, level)
    if rng.integers(2):
        plain = [band[::-1, ::-1] for band in plain]
    moved = [np.roll(rng.choice([-1, 1]) * plain[place], int(rng.integers(size)), axis=1) for place in order]
    weight = gain * np.concatenate(moved)
    layer, said = found(
        "wavelet", weight.T if inverse else weight, torch.float32, hidden=bool(rng.integers(2))
    )
    assert floats(layer) == (abs(gain) != 1.0)
    names = [f"a{level}", *(f"d{step}" for step in range(level, 0, -1))]
    assert said["order"] == [names[place] for place in order]
    assert said["inverse"] == inverse


def test_wavelets_go_by_their_first_name() -> None:
    names = {
        "db1": "haar",
        "bior1.1": "haar",
        "rbio1.1": "haar",
        "sym2": "db2",
        "db4": "db4",
        "bior4.4": "bior4.4",
    }
    for wavelet, name in names.items():
        _, said = found("wavelet", np.concatenate(bands(32, wavelet, 2)), torch.float32)
        assert said["wavelet"] == name


def test_every_discrete_wavelet_is_known() -> None:
    assert {bank.wavelet for bank in banks(inverse=False)} == set(pywt.wavelist(kind="discrete"))


@some
@given(st.sampled_from(["haar", "db4", "sym8", "coif1", "bior2.2"]), SEEDS, st.integers(0, 5))
def test_what_is_nearly_a_wavelet_transform_is_not(wavelet: str, seed: int, kind: int) -> None:
    rng = np.random.default_rng(seed)
    size = 16 * int(rng.integers(2, 5))
    other = {"haar": "rbio2.2", "db4": "sym4", "sym8": "db8", "coif1": "db3", "bior2.2": "coif1"}[wavelet]
    rows = np.concatenate(bands(size, wavelet, 2))
    place = int(rng.integers(size))
    if kind == 0:
        rows[place] = -rows[place]
    elif kind == 1:
        rows[place] = rng.standard_normal(size) / np.sqrt(size)
    elif kind == 2:  # the coarsest details one level too coarse
        rows[size // 4 : size // 2] = np.repeat(bands(size, wavelet, 3)[1], 2, axis=0)
    elif kind == 3:  # the second level of another wavelet
        low, high = bands(size, wavelet, 1)
        rows = np.concatenate([np.concatenate(bands(size // 2, other, 1)) @ low, high])
    elif kind == 4:  # both halves split again
        split = np.concatenate(bands(size // 2, wavelet, 1))
        rows = np.concatenate([split @ half for half in bands(size, wavelet, 1)])
    else:  # not periodic: what is wrapped around is dropped
        rows = np.where(
            np.abs(np.subtract.outer(np.arange(size) * 2 % size, np.arange(size))) < size // 2, rows, 0
        )
        assume(not np.array_equal(rows, np.concatenate(bands(size, wavelet, 2))))
    missed("wavelet", rows)


# --- Hartley, cosine and sine transforms --------------------------------------------------------


def hartley(size: int, sign: int = 1) -> Array:
    spectrum = np.fft.fft(np.eye(size), axis=0)
    return np.asarray(spectrum.real - sign * spectrum.imag)


def trigonometric(name: str, size: int, kind: int, norm: str = "backward") -> Array:
    return np.asarray(getattr(scipy.fft, name)(np.eye(size), kind, norm=norm, axis=0))


@some
@given(st.integers(5, 70), st.sampled_from([1, -1]), GAINS, DTYPES, st.booleans(), SEEDS)
def test_hartley_of_any_size(
    size: int, sign: int, gain: float, dtype: torch.dtype, hidden: bool, seed: int
) -> None:
    first, end = sorted(np.random.default_rng(seed).choice(size + 1, 2, replace=False).tolist())
    assume(end - first >= 3)
    layer, said = found("hartley", gain * hartley(size, sign)[first:end], dtype, hidden)
    assert floats(layer) == (abs(gain) != 1.0)
    assert (said["sign"], said["rows"]) == (sign, [first, end - 1])


@some
@given(
    st.integers(5, 60),
    KINDS,
    st.sampled_from(["backward", "forward", "ortho"]),
    DTYPES,
    st.booleans(),
    st.sampled_from(["dct", "dst"]),
)
def test_cosines_and_sines_of_any_size_store_nothing(
    size: int, kind: int, norm: str, dtype: torch.dtype, hidden: bool, name: str
) -> None:
    layer, said = found(name, trigonometric(name, size, kind, norm), dtype, hidden)
    assert not list(layer.state_dict())
    assert (said["type"], said["norm"], said["rows"]) == (kind, norm, [0, size - 1])


@some
@given(st.integers(8, 60), KINDS, SEEDS, st.sampled_from(["dct", "dst", "hartley"]))
def test_some_rows_in_any_order_with_signs(size: int, kind: int, seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    rows = hartley(size) if name == "hartley" else trigonometric(name, size, kind)
    picked = rng.permutation(size)[: int(rng.integers(3, size + 1))]
    layer, said = found(name, rng.choice([-1.0, 1.0], (len(picked), 1)) * rows[picked], torch.float32)
    assert floats(layer) == 0
    assert said["n"] == size


@some
@given(st.integers(8, 60), KINDS, SEEDS, st.sampled_from(["dct", "dst", "hartley"]), st.integers(0, 3))
def test_what_is_nearly_a_transform_is_not(size: int, kind: int, seed: int, name: str, miss: int) -> None:
    rng = np.random.default_rng(seed)

    def rows_of(points: int, change: int = 0) -> Array:
        if name != "hartley":
            return trigonometric(name, points, (kind - 1 + change) % 4 + 1, "ortho")
        return (
            hartley(points) if not change else trigonometric("dct", points, kind, "ortho") * np.sqrt(points)
        )

    rows = rows_of(size)
    place = int(rng.integers(size))
    if miss == 0:
        rows[place] = rng.standard_normal(size) * np.linalg.norm(rows[place]) / np.sqrt(size)
    elif miss == 1:  # one row of a neighbouring type
        rows[place] = rows_of(size, 1)[(place + 1) % size]
    elif miss == 2:  # of a larger transform
        rows = rows_of(size + 1)[:size, :size]
    else:
        rows[:, place] *= 1.001
    missed(name, rows)


@pytest.mark.parametrize(
    ("name", "other"), [("dct", "dst"), ("dst", "dct"), ("hartley", "dct"), ("dct", "hartley")]
)
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_one_transform_is_not_another(name: str, other: str, kind: int) -> None:
    weight = hartley(40) if other == "hartley" else trigonometric(other, 40, kind)
    missed(name, weight)


@pytest.mark.parametrize("name", ["hilbert", "wavelet", "hartley", "dct", "dst"])
def test_bias_is_kept(name: str) -> None:
    weight = BY_NAME[name].finds[0].build().weight
    bias = torch.randn(len(weight), dtype=torch.float64, generator=torch.Generator().manual_seed(1)).float()
    layers = single(Matrix(weight, bias.double(), torch.float32))
    layer, evidence = judged(name, layers)
    assert layer is not None
    assert evidence is not None
    assert evidence.tier.safe
    assert floats(layer) == len(bias)
