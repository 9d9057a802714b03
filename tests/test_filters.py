"""Operators of time on examples drawn at random, made with scipy and textbook formulas alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from chains import Layers, chain, product, runner, single
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from paramaudit.numerics.layers import floats
from paramaudit.numerics.noise import stored
from paramaudit.operators import OPERATORS
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]
BY_NAME = {operator.name: operator for operator in OPERATORS}
TIME = ("comb", "delay", "fir", "iir", "toeplitz")
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=8, deadline=None, derandomize=True, database=None)


def layers_of(matrix: Array, widths: tuple[int, ...] = (), dtype: torch.dtype = torch.float32) -> Layers:
    view = stored(matrix, dtype=dtype)
    return chain(view, widths) if widths else single(view)


def proposed(name: str, layers: Layers) -> tuple[Any, Evidence | None]:
    view = product(layers)
    layer = BY_NAME[name].propose(view)
    if layer is None:
        return None, None
    candidate = dense(layer, view.weight.shape[1], view.dtype)
    return layer, judge(view, candidate, runner(layers), torch.Generator().manual_seed(0))


def proven(name: str, layers: Layers) -> nn.Module:
    layer, evidence = proposed(name, layers)
    assert evidence is not None, "nothing was proposed"
    assert evidence.tier.safe, evidence.reason
    assert isinstance(layer, nn.Module)
    return layer


def never_proven(name: str, matrix: Array) -> None:
    for widths in ((), (2 * matrix.shape[1],)):
        _, evidence = proposed(name, layers_of(matrix, widths))
        assert evidence is None or not evidence.tier.safe, evidence.reason


def smallest(matrix: Array) -> str:
    """The operator that the planner would take: the fewest numbers, then the first name."""
    view = product(layers_of(matrix))
    found = []
    for name, operator in sorted(BY_NAME.items()):
        layer = operator.propose(view) if operator.view.__name__ == "Matrix" else None
        if layer is not None and proposed(name, layers_of(matrix))[1].tier.safe:
            found.append((floats(layer), name))
    return min(found)[1]


def filtered(size: int, b: object, a: object = (1.0,)) -> Array:
    return np.asarray(scipy.signal.lfilter(b, a, np.eye(size), axis=0))


def stacked(blocks: list[Array], interleaved: bool) -> Array:
    return np.stack(blocks, axis=1 if interleaved else 0).reshape(-1, blocks[0].shape[1])


def comb(size: int, delay: int, dry: float, wet: float, feedback: float) -> Array:
    b, a = np.zeros(delay + 1), np.zeros(delay + 1)
    b[[0, -1]], a[[0, -1]] = (dry, wet), (1, -feedback)
    return filtered(size, b, a)


def resonator(size: int, b0: float, radius: float, angle: float) -> Array:
    return filtered(size, [b0], [1, -2 * radius * np.cos(angle), radius**2])


def modes(rng: np.random.Generator, count: int) -> Array:
    """Gain, radius and angle of resonators, ``(count, 3)``."""
    radius, angle = rng.uniform(0.7, 0.995, count), rng.uniform(0.15, 3.0, count)
    return np.stack([rng.uniform(0.1, 1.0, count) * np.sqrt(1 - radius**2), radius, angle], axis=1)


def read(layer: Any) -> Array:
    """The same, as the layer reports them."""
    filters = layer.arguments()["filters"]
    return np.array([(f["b"][0], f["poles"][0]["radius"], f["poles"][0]["angle"]) for f in filters])


# --- combs ---------------------------------------------------------------------------------------


@few
@given(
    SEEDS, st.integers(2, 25), st.floats(0.2, 0.99), st.booleans(), st.sampled_from(["echo", "all", "own"])
)
def test_a_comb_is_read_off(seed: int, delay: int, gain: float, minus: bool, kind: str) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4 * delay, 4 * delay + 90))
    feedback = -gain if minus else gain
    dry, wet = {"echo": (1.0, 0.0), "all": (-feedback, 1.0), "own": tuple(rng.uniform(0.3, 0.7, 2))}[kind]
    layer = proven("comb", layers_of(comb(size, delay, dry, wet, feedback)))
    (found,) = layer.arguments()["combs"]
    assert found["delay"] == delay
    np.testing.assert_allclose([found["dry"], found["wet"]], [dry, wet], atol=1e-6)
    assert found["feedback"] == pytest.approx(feedback, abs=1e-6)
    assert floats(layer) == (3 if kind == "own" else 1)


def test_a_tank_in_a_chain_is_one_number() -> None:
    layer = proven("comb", layers_of(comb(256, 37, 1.0, 0.0, 0.55), (900, 900)))
    (found,) = layer.arguments()["combs"]
    assert (found["delay"], found["starts_at"], floats(layer)) == (37, 0, 1)
    assert found["feedback"] == pytest.approx(0.55, abs=1e-6)


@few
@given(SEEDS, st.booleans())
def test_combs_over_the_same_input(seed: int, interleaved: bool) -> None:
    rng = np.random.default_rng(seed)
    delays, gains = rng.choice(np.arange(3, 20), 3, replace=False), rng.uniform(0.4, 0.9, 3)
    blocks = [comb(83, int(d), 1.0, 0.0, g) for d, g in zip(delays, gains, strict=True)]
    layer = proven("comb", layers_of(stacked(blocks, interleaved)))
    assert [found["delay"] for found in layer.arguments()["combs"]] == delays.tolist()
    assert floats(layer) == 3


def test_a_delay_off_by_one_in_one_block_is_told_or_refused() -> None:
    """The second half of the rows echoes one sample later: no comb, and no delay line."""
    first, second = (comb(101, delay, 1.0, 0.0, 0.6) for delay in (9, 10))
    for name in TIME:
        never_proven(name, np.concatenate([first[:50], second[50:]]))


# --- recursive filters ---------------------------------------------------------------------------


@few
@given(SEEDS, st.integers(1, 4), st.booleans(), st.booleans())
def test_resonators_are_three_numbers_each(seed: int, count: int, interleaved: bool, hidden: bool) -> None:
    rng = np.random.default_rng(seed)
    size, truth = int(rng.integers(40, 160)), modes(rng, count)
    matrix = stacked([resonator(size, *mode) for mode in truth.tolist()], interleaved)
    layer = proven("iir", layers_of(matrix, (2 * size,) if hidden else ()))
    assert floats(layer) == 3 * count
    np.testing.assert_allclose(read(layer), truth, atol=1e-6)


def test_seven_modes_in_a_chain_are_twenty_one_numbers() -> None:
    truth = modes(np.random.default_rng(7), 7)
    matrix = np.concatenate([resonator(256, *mode) for mode in truth.tolist()])
    layer = proven("iir", layers_of(matrix, (900,)))
    assert floats(layer) == 21
    np.testing.assert_allclose(read(layer), truth, atol=1e-6)


@few
@given(
    st.integers(1, 6), st.floats(0.05, 0.9), st.sampled_from(["lowpass", "highpass"]), st.integers(80, 160)
)
def test_classical_designs_are_their_poles_and_a_gain(
    order: int, cutoff: float, kind: str, size: int
) -> None:
    layer = proven("iir", layers_of(filtered(size, *scipy.signal.butter(order, cutoff, kind)), (2 * size,)))
    assert floats(layer) <= 2 * order + 1


@few
@given(SEEDS, st.integers(2, 4))
def test_any_numerator_and_poles(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    spread = np.linspace(0.3, 2.6, order) + rng.uniform(-0.1, 0.1, order)
    poles = rng.uniform(0.6, 0.95, order) * np.exp(1j * spread)
    a = np.poly(np.concatenate([poles, poles.conj()])).real
    b = rng.standard_normal(int(rng.integers(1, 2 * order + 2)))
    layer = proven("iir", layers_of(filtered(140, b, a), (280,)))
    assert floats(layer) <= 2 * order + len(b)
    (found,) = layer.arguments()["filters"]
    assert found["order"] == 2 * order
    np.testing.assert_allclose(sorted(p["angle"] for p in found["poles"]), spread, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_resonators_in_other_dtypes(dtype: torch.dtype) -> None:
    truth = modes(np.random.default_rng(3), 2)
    matrix = np.concatenate([resonator(96, *mode) for mode in truth.tolist()])
    layer, evidence = proposed("iir", layers_of(matrix, dtype=dtype))
    assert evidence is not None
    assert evidence.tier in (Tier.EXACT, Tier.ROUNDING, Tier.BOUNDED), evidence.reason
    np.testing.assert_allclose(read(layer), truth, atol=20 * torch.finfo(dtype).eps)


def test_a_mode_that_changes_is_no_resonator() -> None:
    blocks = [resonator(128, 0.2, 0.95, angle) for angle in (0.5, 1.1, 2.0)]
    time = np.arange(128)
    drifting = filtered(128, blocks[1][:, 0] * np.exp(-1e-5 * time**2))
    never_proven("iir", np.concatenate([blocks[0], drifting, blocks[2]]))


def test_a_pole_off_the_circle_later_on_is_no_filter() -> None:
    """A sine whose amplitude begins to grow: stable first, unstable from the middle of the rows on."""
    calm, growing = (resonator(121, 0.3, radius, 0.9) for radius in (1.0, 1.0005))
    for name in TIME:
        never_proven(name, np.concatenate([calm[:60], growing[60:]]))


def test_one_order_too_few_is_never_proven() -> None:
    """Seventeen poles, one more than is looked for."""
    angles = np.linspace(0.3, 2.8, 8)
    poles = np.concatenate([0.95 * np.exp(1j * angles), 0.95 * np.exp(-1j * angles), [0.9]])
    never_proven("iir", filtered(200, [1.0], np.poly(poles).real))


# --- delays and taps -----------------------------------------------------------------------------


@few
@given(SEEDS, st.integers(1, 12), st.booleans())
def test_a_delay_line_is_its_delays_and_gains(seed: int, taps: int, hidden: bool) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(60, 160))
    delays = np.sort(rng.choice(np.arange(1, size - 8), taps, replace=False))
    if taps > 1 and delays[-1] - delays[0] < 3 * taps:
        delays[-1] = delays[0] + 3 * taps
    kernel = np.zeros(size)
    kernel[delays] = rng.choice([-1.0, 1.0], taps) * rng.uniform(0.1, 0.9, taps)
    layer = proven("delay", layers_of(filtered(size, kernel), (2 * size,) if hidden else ()))
    (line,) = layer.arguments()["lines"]
    assert line["delays"] == delays.tolist()
    np.testing.assert_allclose(line["gains"], kernel[delays], atol=1e-6)
    assert floats(layer) == taps


@few
@given(SEEDS, st.integers(2, 12), st.sampled_from(["full", "same", "valid"]))
def test_taps_are_read_off(seed: int, taps: int, mode: Any) -> None:
    rng = np.random.default_rng(seed)
    size, kernel = int(rng.integers(5 * taps, 150)), rng.standard_normal(taps)
    matrix = np.stack([np.convolve(row, kernel, mode) for row in np.eye(size)], axis=1)
    layer = proven("fir", layers_of(matrix, (2 * size,)))
    np.testing.assert_allclose(layer.arguments()["filters"], [kernel], atol=1e-5)
    assert floats(layer) == taps


def test_the_name_with_the_fewest_numbers_wins() -> None:
    rng = np.random.default_rng(0)
    sparse = np.zeros(80)
    sparse[[4, 31, 60]] = 0.5, -0.4, 0.3
    assert smallest(comb(96, 11, 1.0, 0.0, 0.7)) == "comb"
    assert smallest(resonator(96, 0.3, 0.97, 0.8)) == "iir"
    assert smallest(filtered(80, sparse)) == "delay"
    assert smallest(filtered(80, rng.standard_normal(6))) == "fir"
    assert smallest(filtered(80, rng.standard_normal(80))) == "toeplitz"
    assert smallest(np.roll(np.eye(64), 5, axis=0)) == "permutation"


# --- filter banks --------------------------------------------------------------------------------


def mel_table(rate: int, n_fft: int, count: int, htk: bool, ends: tuple[float, float], area: bool) -> Array:
    def mel(hertz: float) -> float:
        if htk:
            return 2595 * float(np.log10(1 + hertz / 700))
        return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * float(np.log(hertz / 1000) / np.log(6.4))

    def hertz(mel: float) -> float:
        if htk:
            return 700 * (10 ** (mel / 2595) - 1)
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    points = np.array([hertz(m) for m in np.linspace(mel(ends[0]), mel(ends[1]), count + 2)])
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    low, top, high = points[:-2, None], points[1:-1, None], points[2:, None]
    rows = np.maximum(0, np.minimum((bins - low) / (top - low), (high - bins) / (high - top)))
    return rows * 2 / (high - low) if area else rows


@few
@given(SEEDS, st.booleans(), st.booleans())
def test_a_mel_bank_is_its_arguments(seed: int, htk: bool, area: bool) -> None:
    rng = np.random.default_rng(seed)
    rate = int(rng.choice([8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000]))
    n_fft, count = int(rng.choice([400, 512, 1024])), int(rng.integers(12, 70))
    ends = float(rng.integers(0, 100)), float(rng.integers(rate // 3, rate // 2))
    layer = proven("filter-bank", layers_of(mel_table(rate, n_fft, count, htk, ends, area)))
    said = layer.arguments()
    assert (said["sample_rate"], said["f_min"], said["f_max"]) == (rate, *ends)
    assert (said["scale"], said["norm"]) == ("htk" if htk else "slaney", "slaney" if area else "none")
    assert floats(layer) == 0


def test_a_table_computed_in_float32_is_recognised() -> None:
    """Frequencies in float32, as libraries compute them: the table is off by more than its own rounding."""
    points = torch.linspace(0, 2595 * float(np.log10(1 + 8000 / 700)), 82)
    hertz = 700 * (10 ** (points / 2595) - 1)
    bins = torch.linspace(0, 8000, 201)
    slopes = hertz.unsqueeze(0) - bins.unsqueeze(1)
    steps = hertz[1:] - hertz[:-1]
    table = torch.minimum(-slopes[:, :-2] / steps[:-1], slopes[:, 2:] / steps[1:]).clamp_min(0.0).T
    layer, evidence = proposed("filter-bank", [(table.contiguous(), None)])
    assert evidence is not None
    assert evidence.tier in (Tier.ROUNDING, Tier.BOUNDED), evidence.reason
    assert evidence.gap is not None
    assert evidence.gap.value <= 1e-4
    said = layer.arguments()
    assert (said["sample_rate"], said["f_min"], said["f_max"], said["scale"]) == (16000, 0, 8000, "htk")


@pytest.mark.parametrize("row", [3, 20, 39])
def test_a_triangle_out_of_place_is_seen(row: int) -> None:
    table = mel_table(16000, 512, 40, True, (0.0, 8000.0), False)
    moved = mel_table(16000, 512, 40, True, (2.0, 8000.0), False)
    table[row] = moved[row]
    never_proven("filter-bank", table)


@pytest.mark.parametrize("seed", range(6))
def test_a_bank_is_found_whatever_the_last_digits_are(seed: int) -> None:
    """Its feet are seen in the logarithmic part alone, which looks the same at several sample rates."""
    bank = mel_table(8000, 256, 64, False, (0.0, 4000.0), False)
    noise = 1e-7 * np.random.default_rng(seed).standard_normal(bank.shape) * (bank > 0)
    (layer,) = [o.propose(stored(bank + noise)) for o in OPERATORS if o.name == "filter-bank"]
    assert layer is not None
    assert (layer.arguments()["sample_rate"], layer.arguments()["f_max"]) == (8000, 4000)
