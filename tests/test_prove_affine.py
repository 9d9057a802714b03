"""The prover of affine maps: bounds that hold, errors that were seen, verdicts that are never too kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import scipy.linalg
import scipy.signal
import torch
from chains import Layers, chain, nudged, product, runner, single
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paramaudit.numerics.exact import AffinePair
from paramaudit.prove.affine import dense, gap, judge
from paramaudit.prove.rounding import COPIES, witness
from paramaudit.records import Matrix, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

SEEDS = st.integers(0, 2**31 - 1)
SIZES = st.integers(1, 12)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=seeded(seed))


def float32_view(rows: int, columns: int, seed: int = 0, bias: bool = True) -> tuple[Layers, Matrix]:
    layers = single(
        Matrix(randn(rows, columns, seed=seed), randn(rows, seed=seed + 1) if bias else None, torch.float32)
    )
    return layers, product(layers)


def moved(view: Matrix, change: Tensor) -> Matrix:
    return Matrix(view.weight + change, view.bias, view.dtype)


# --- gap ----------------------------------------------------------------------------------------


@given(SIZES, SIZES, SEEDS, st.integers(-280, 280))
def test_gap_bounds_the_difference_for_every_input(rows: int, columns: int, seed: int, power: int) -> None:
    scale = 10.0**power
    one = Matrix(scale * randn(rows, columns, seed=seed), scale * randn(rows, seed=seed + 1))
    two = Matrix(scale * randn(rows, columns, seed=seed + 2), None)
    bound = gap(one, two)
    assert (bound.norm, bound.per) == ("spectral", "|[x;1]|")
    inputs = randn(64, columns, seed=seed + 3) * torch.logspace(-3, 3, 64, dtype=torch.float64)[:, None]
    off = inputs @ (one.weight - two.weight).T + one.bias
    ratio = (off / scale).norm(dim=1) / (inputs.square().sum(1) + 1).sqrt()
    assert float(ratio.max()) <= bound.value / scale * (1 + 1e-12)


@given(SIZES, SIZES, SEEDS)
def test_gap_is_reached(rows: int, columns: int, seed: int) -> None:
    one, two = (
        Matrix(randn(rows, columns, seed=seed), None),
        Matrix(randn(rows, columns, seed=seed + 1), None),
    )
    largest = float(torch.linalg.svdvals(one.weight - two.weight)[0])
    assert largest <= gap(one, two).value <= largest * (1 + 1e-10)


@pytest.mark.parametrize("rank", [1, 30, 1030])
def test_gap_of_large_maps_is_bounded_closely(rank: int) -> None:
    difference = randn(1030, rank) @ randn(rank, 1050, seed=1)
    bound = gap(Matrix(difference, None), Matrix(torch.zeros(1030, 1050, dtype=torch.float64), None)).value
    largest = float(torch.linalg.svdvals(difference)[0])
    assert largest * (1 - 1e-12) <= bound <= 1.4 * largest


def test_gap_of_equal_maps_is_zero_and_of_nan_infinite() -> None:
    view = float32_view(5, 7)[1]
    assert gap(view, view).value == 0.0
    assert gap(view, moved(view, torch.full((5, 7), math.nan))).value == math.inf


def test_gap_wants_equal_shapes() -> None:
    with pytest.raises(ValueError, match="7 numbers to 5, the candidate 6 numbers to 5"):
        gap(float32_view(5, 7)[1], float32_view(5, 6)[1])


# --- witness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("widths", [(), (40, 50)], ids=["one layer", "chain"])
def test_the_witness_was_observed(dtype: torch.dtype, widths: tuple[int, ...]) -> None:
    clean = Matrix(randn(9, 14), randn(9, seed=1), dtype)
    layers = chain(clean, widths) if widths else single(clean)
    view, run = product(layers), runner(layers)
    seen, kept = witness(run, view, seeded())
    assert kept.dtype == dtype
    assert kept.shape == (14,)
    assert view.bias is not None
    x = [Fraction(v) for v in kept.double().tolist()]
    exact = [
        sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b))
        for row, b in zip(view.weight.tolist(), view.bias.tolist(), strict=True)
    ]
    outputs = [run(kept[None])[0], *run(kept.repeat(COPIES, 1))]  # alone, and as one of a batch
    errors = [[Fraction(y) - e for y, e in zip(o.double().tolist(), exact, strict=True)] for o in outputs]
    error = max(math.sqrt(sum(o * o for o in off)) for off in errors) / math.sqrt(1 + sum(v * v for v in x))
    assert seen.value > 0
    assert error * (1 - 1e-6) <= seen.value <= error * (1 + 1e-12)
    if dtype != torch.float64 or not widths:
        size = float(torch.linalg.matrix_norm(view.weight, 2))
        assert seen.value <= 100 * torch.finfo(dtype).eps * (size + 10)


def test_an_implementation_without_error_has_no_witness() -> None:
    order = torch.randperm(30, generator=seeded())
    view = Matrix(torch.eye(30, dtype=torch.float64)[order], None)
    seen, _ = witness(lambda x: x[:, order], view, seeded())
    assert seen.value == 0.0


def test_inputs_that_overflow_do_not_count() -> None:
    layers = single(Matrix(300 * torch.ones(4, 400, dtype=torch.float64), None, torch.float16))
    seen, kept = witness(runner(layers), product(layers), seeded())
    assert math.isfinite(seen.value)
    assert bool(runner(layers)(kept[None]).isfinite().all())


def test_the_same_seed_sees_the_same() -> None:
    layers, view = float32_view(20, 31)
    first, second = (witness(runner(layers), view, seeded(5)) for _ in range(2))
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


@given(SIZES, SEEDS)
def test_pairs_hold_more_digits_and_say_how_many(columns: int, seed: int) -> None:
    weight, inputs, bias = (
        randn(2, columns, seed=seed),
        randn(3, columns, seed=seed + 1),
        randn(2, seed=seed + 2),
    )
    pair = AffinePair(weight, bias)
    (high, low), dropped = pair(inputs), pair.dropped(inputs)
    for i in range(3):
        missed = Fraction(0)
        for j in range(2):
            terms = [
                Fraction(a) * Fraction(b) for a, b in zip(inputs[i].tolist(), weight[j].tolist(), strict=True)
            ]
            true = sum(terms, Fraction(float(bias[j])))
            off = true - Fraction(float(high[i, j])) - Fraction(float(low[i, j]))
            missed += off**2
        assert missed <= Fraction(float(dropped[i])) ** 2
        assert float(dropped[i]) <= 2.0**-62 * columns * float(inputs[i].norm() * weight.norm())


def test_numbers_of_different_sizes_are_kept_to_the_last_bit() -> None:
    weight = torch.tensor([[1.0, 2.0**-40, 2.0**-3]], dtype=torch.float64)
    inputs = torch.tensor([[2.0**30, 1.0 + 2.0**-4, 3.0]], dtype=torch.float64)
    high, low = AffinePair(weight, None)(inputs)
    true = 2**30 + Fraction(1 + 2.0**-4) / 2**40 + Fraction(3, 8)
    assert Fraction(float(high)) + Fraction(float(low)) == true


# --- judge --------------------------------------------------------------------------------------


def test_equal_numbers_are_exact() -> None:
    layers, view = float32_view(8, 11)
    evidence = judge(view, view, runner(layers), seeded())
    assert evidence.tier == Tier.EXACT
    assert evidence.gap is not None
    assert evidence.gap.value == 0.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_numbers_that_were_rounded_to_be_stored_are_exact(dtype: torch.dtype) -> None:
    computed = Matrix(randn(8, 11), randn(8, seed=1), dtype)
    layers = single(computed)
    evidence = judge(product(layers), computed, runner(layers), seeded())
    assert evidence.tier == Tier.EXACT
    assert "rounded to" in evidence.reason


def test_half_an_ulp_is_the_rule() -> None:
    layers = single(Matrix(1 + randn(8, 11).abs(), None, torch.bfloat16))
    view = product(layers)
    change = torch.zeros(8, 11, dtype=torch.float64)
    change[2, 3] = 0.02 * view.weight[2, 3]
    assert judge(view, moved(view, change), runner(layers), seeded()).tier != Tier.EXACT


def test_a_merged_chain_rounded_to_its_dtype_is_exact() -> None:
    layers = chain(Matrix(randn(8, 11), None), (30,))
    view = product(layers)
    merged = product(single(view))
    assert judge(view, merged, runner(layers), seeded()).tier == Tier.EXACT


@given(st.integers(2, 40), st.integers(2, 40), SEEDS, st.floats(1e-3, 100))
def test_rounding_is_a_gap_below_the_witness_and_nothing_else(
    rows: int, columns: int, seed: int, factor: float
) -> None:
    layers, view = float32_view(rows, columns, seed % 1000)
    seen, _ = witness(runner(layers), view, seeded())
    change = randn(rows, columns, seed=seed)
    change *= factor * seen.value / float(torch.linalg.svdvals(change)[0])
    candidate = moved(view, change)
    evidence = judge(view, candidate, runner(layers), seeded())
    if evidence.tier == Tier.EXACT:
        assert torch.equal(candidate.weight.float(), view.weight.float())
        return
    assert evidence.gap is not None
    assert evidence.witness == seen
    assert (evidence.tier == Tier.ROUNDING) == (evidence.gap.value <= seen.value)
    if factor > 1.001:
        assert not evidence.tier.safe
    if factor < 0.999:
        assert evidence.tier == Tier.ROUNDING


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_what_differs_is_refuted_with_an_input(part: str) -> None:
    layers, view = float32_view(20, 33)
    assert view.bias is not None
    weight, bias = view.weight.clone(), view.bias.clone()
    if part == "weight":
        weight[4, 5] += 1.0
    else:
        bias[4] += 1.0
    candidate = Matrix(weight, bias)
    evidence = judge(view, candidate, runner(layers), seeded())
    assert evidence.tier == Tier.REFUTED
    assert evidence.counterexample is not None
    assert evidence.counterexample.dtype == view.dtype
    x = evidence.counterexample.double()
    off = (view.weight - weight) @ x + view.bias - bias
    assert evidence.witness is not None
    assert evidence.gap is not None
    error = float(off.norm() / (x.square().sum() + 1).sqrt())
    assert 0.5 * evidence.gap.value <= error <= evidence.gap.value
    assert f"{error:.1e}" in evidence.reason


def test_a_small_difference_is_bounded_and_says_by_how_much() -> None:
    layers, view = float32_view(20, 20)
    evidence = judge(view, moved(view, 1e-3 * torch.eye(20, dtype=torch.float64)), runner(layers), seeded())
    assert evidence.tier == Tier.BOUNDED
    assert "1.0e-03" in evidence.reason


@pytest.mark.parametrize("which", ["original", "candidate"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("part", ["weight", "bias"])
def test_numbers_that_are_not_finite_refute(which: str, number: float, part: str) -> None:
    layers, view = float32_view(5, 6)
    assert view.bias is not None
    weight, bias = view.weight.clone(), view.bias.clone()
    (weight[1] if part == "weight" else bias)[2] = number
    broken = Matrix(weight, bias)
    pair = (broken, view) if which == "original" else (view, broken)
    for original, candidate in (pair, (broken, broken)):
        evidence = judge(original, candidate, runner(layers), seeded())
        assert evidence.tier == Tier.REFUTED
        assert "NaN or infinite" in evidence.reason


def test_other_shapes_are_refuted() -> None:
    layers, view = float32_view(5, 6)
    evidence = judge(view, float32_view(6, 6)[1], runner(layers), seeded())
    assert evidence.tier == Tier.REFUTED
    assert "6 numbers to 5" in evidence.reason


def test_nothing_and_something_differ() -> None:
    layers = single(Matrix(torch.zeros(6, 6, dtype=torch.float64), None))
    view = product(layers)
    assert judge(view, view, runner(layers), seeded()).tier == Tier.EXACT
    tiny = moved(view, 1e-30 * torch.eye(6, dtype=torch.float64))
    assert judge(view, tiny, runner(layers), seeded()).tier == Tier.REFUTED


def test_an_implementation_of_something_else_buys_no_rounding() -> None:
    layers, view = float32_view(20, 20)
    run = runner(layers)
    evidence = judge(view, moved(view, 1e-2 * randn(20, 20)), lambda x: run(x) + x.relu(), seeded())
    assert not evidence.tier.safe


def test_an_implementation_that_is_never_finite_buys_nothing() -> None:
    _, view = float32_view(6, 6)
    evidence = judge(view, moved(view, 1e-6 * randn(6, 6)), lambda x: x * math.nan, seeded())
    assert not evidence.tier.safe


# --- dense --------------------------------------------------------------------------------------


def test_dense_reads_an_affine_layer_as_it_will_be_stored() -> None:
    layer = nn.Linear(7, 4, dtype=torch.float64)
    before = layer.weight.detach().clone()
    view = dense(layer, 7, torch.float32)
    torch.testing.assert_close(view.weight, before.float().double(), rtol=0, atol=1e-15)
    assert view.bias is not None
    assert torch.equal(view.bias, layer.bias.detach().float().double())
    assert torch.equal(layer.weight, before)


def test_dense_wants_an_affine_layer() -> None:
    with pytest.raises(ValueError, match="ReLU is not an affine map"):
        dense(nn.ReLU(), 7, torch.float32)


# --- the certificate on chains ------------------------------------------------------------------


def feedback_comb() -> np.ndarray:
    impulse = scipy.signal.lfilter([1.0], [1.0, *np.zeros(36), -0.55], np.eye(256)[0])
    return scipy.linalg.toeplitz(impulse, np.zeros(256))


def equaliser() -> np.ndarray:
    gains = np.random.default_rng(0).uniform(0.2, 2.0, 129).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(np.eye(256), axis=0) * gains[:, None], n=256, axis=0)


def windowed_spectrum() -> np.ndarray:
    taps = scipy.signal.get_window("hann", 256)
    transform = np.fft.rfft(np.eye(256) * taps[:, None], axis=0)[1:65]
    return np.concatenate([transform.real, transform.imag])


@pytest.mark.parametrize(
    ("build", "widths"),
    [(feedback_comb, (1492, 1492)), (equaliser, (1882, 1882)), (windowed_spectrum, (512,))],
)
def test_a_chain_that_computes_a_map_is_told_from_one_that_nearly_does(
    build: Callable[[], np.ndarray], widths: tuple[int, ...]
) -> None:
    clean = Matrix(torch.from_numpy(build()), None)
    layers = chain(clean, widths)
    evidence = judge(product(layers), clean, runner(layers), seeded())
    assert evidence.tier == Tier.ROUNDING, evidence.reason
    for which in range(len(layers)):
        other = nudged(layers, which, share=0.001, amount=0.01)
        evidence = judge(product(other), clean, runner(other), seeded())
        assert not evidence.tier.safe, evidence.reason
        assert evidence.gap is not None
        assert evidence.witness is not None
        assert evidence.gap.value > 10 * evidence.witness.value
