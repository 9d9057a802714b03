"""Position tables as well-known models make them, written down from their formulas in numpy and torch."""

from __future__ import annotations

import copy
import math
import time

import numpy as np
import pytest
import torch
from torch import Tensor

from paramaudit.numerics.layers import floats
from paramaudit.operators.sinusoid import propose
from paramaudit.prove.table import judge_table
from paramaudit.records import Evidence, Table, Tier


def judged(table: Tensor) -> tuple[dict[str, object], Evidence, int]:
    layer = propose(Table(table, table.dtype))
    assert layer is not None
    evidence = judge_table(Table(table, table.dtype), copy.deepcopy(layer).to(table.dtype)())
    return layer.arguments(), evidence, floats(layer)


def speech(rows: int, width: int) -> Tensor:
    """Logarithmic timescales over half - 1 steps, in float32; sines beside cosines."""
    step = math.log(10000) / (width // 2 - 1)
    scaled = torch.arange(rows)[:, None] * torch.exp(-step * torch.arange(width // 2))[None, :]
    return torch.cat([torch.sin(scaled), torch.cos(scaled)], dim=1)


def translation(rows: int, width: int) -> Tensor:
    """The formula in float64; sines of even columns beside cosines of odd ones, or one more sine."""
    angles = np.array(
        [[p / np.power(10000, 2 * (j // 2) / width) for j in range(width)] for p in range(rows)]
    )
    return torch.from_numpy(
        np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    ).float()


def annotated(rows: int, width: int) -> Tensor:
    """Interleaved, with the frequencies as an exponential in float32."""
    table = torch.zeros(rows, width)
    place = torch.arange(0, rows).unsqueeze(1).float()
    rates = torch.exp(torch.arange(0, width, 2).float() * -(math.log(10000.0) / width))
    table[:, 0::2] = torch.sin(place * rates)
    table[:, 1::2] = torch.cos(place * rates[: width // 2])
    return table


def padded(rows: int, width: int) -> Tensor:
    """Half - 1 steps in float32, a column of zeros if odd, and zeros in the row of the padding token."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float) * -(math.log(10000) / (half - 1)))
    angles = torch.arange(rows, dtype=torch.float).unsqueeze(1) * rates.unsqueeze(0)
    table = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1).view(rows, -1)
    if width % 2:
        table = torch.cat([table, torch.zeros(rows, 1)], dim=1)
    table[1] = 0
    return table


def patches(rows: int, width: int) -> Tensor:
    """A square grid in float64 after a row of zeros for the class token; the column comes first."""
    side = math.isqrt(rows - 1)
    omega = 1.0 / 10000 ** (np.arange(width // 4, dtype=float) / (width / 4.0))
    grid = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    halves = []
    for places in grid:
        angles = np.einsum("m,d->md", places.reshape(-1), omega)
        halves.append(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
    table = np.concatenate(halves, axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, width)), table])).float()


def rotary_angles(rows: int, width: int, base: float = 10000.0) -> Tensor:
    rates = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.int64).float() / width))
    return torch.outer(torch.arange(rows).float(), rates)


def rotary_cosines(rows: int, width: int) -> Tensor:
    angles = rotary_angles(rows, width)
    return torch.cat([angles, angles], dim=-1).cos()


def rotary_sines(rows: int, width: int) -> Tensor:
    return rotary_angles(rows, width, 500000.0).repeat_interleave(2, dim=1).sin()


CASES = [
    (speech, 1500, 384, "halves"),
    (speech, 77, 20, "halves"),
    (translation, 512, 512, "halves"),
    (translation, 50, 33, "halves"),
    (annotated, 500, 64, "interleaved"),
    (annotated, 96, 31, "interleaved"),
    (padded, 130, 48, "halves"),
    (padded, 60, 25, "halves"),
    (patches, 197, 96, "halves"),
    (patches, 50, 24, "halves"),
    (rotary_cosines, 300, 64, "cosine twice"),
    (rotary_sines, 128, 40, "sine repeated"),
]


@pytest.mark.parametrize(("make", "rows", "width", "layout"), CASES)
def test_tables_of_well_known_models_are_exact(make, rows, width, layout):
    arguments, evidence, numbers = judged(make(rows, width))
    assert evidence.tier is Tier.EXACT, evidence.reason
    assert numbers == 0
    assert arguments["layout"] == layout
    assert arguments["base"] == (500000 if make is rotary_sines else 10000)
    assert arguments["zero_rows"] == {padded: [1], patches: [0]}.get(make, [])
    assert arguments["zero_columns"] == (1 if make is padded and width % 2 else 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("make", "rows", "width", "layout"), CASES)
def test_they_are_found_when_stored_in_half(make, rows, width, layout, dtype):
    arguments, evidence, _ = judged(make(rows, width).to(dtype))
    assert evidence.tier is Tier.EXACT, evidence.reason
    assert arguments["layout"] == layout
    assert arguments["base"] == (500000 if make is rotary_sines else 10000)


def test_a_table_in_float32_is_not_the_formula_of_the_paper():
    """Each step in float32 moves far rows by more than the formula's rounding."""
    table = speech(1500, 384)
    rates = 10000 ** (-np.arange(192) / 191)
    angles = np.arange(1500)[:, None] * rates
    formula = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    assert 2e-5 < np.abs(table.double().numpy() - formula).max() < 2e-4


@pytest.mark.parametrize("seed", range(6))
def test_other_bases_scales_and_first_rows_are_read_off(seed):
    rng = np.random.default_rng(seed)
    base = float(rng.choice([100, 1000, 10000, 20000, 1e6]))
    first, half = int(rng.integers(0, 40)), int(rng.integers(4, 40))
    scale, gain = float(rng.choice([0.25, 1.0, 2.0, math.pi / 2])), float(rng.choice([0.5, 1.0, 3.0]))
    places = np.arange(80)[:, None] + first
    angles = places * scale * base ** (-np.arange(half) / half)
    table = gain * np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    arguments, evidence, numbers = judged(torch.from_numpy(table).float())
    assert arguments["layout"] == "halves, cosine first"
    assert (arguments["base"], arguments["first_position"]) == (base, first)
    assert arguments["time_scale"] == pytest.approx(scale, rel=1e-12)
    assert numbers == (gain != 1.0)
    assert evidence.tier in (Tier.EXACT, Tier.BOUNDED)
    assert evidence.gap is not None
    assert evidence.gap.value <= 2e-7 * gain


@pytest.mark.parametrize("seed", range(20))
def test_a_table_that_is_nearly_one_is_never_exact(seed):
    rng = np.random.default_rng(seed)
    table = annotated(64, 24)
    row, column = int(rng.integers(1, 64)), int(rng.integers(0, 24))
    kind = seed % 4
    if kind == 0:
        table[row, column] += 1e-6
    elif kind == 1:
        table[:, column] = table[:, column].roll(1)
    elif kind == 2:
        table[row] = table[row - 1]
    else:
        table += 1e-5 * torch.from_numpy(rng.standard_normal((64, 24))).float()
    layer = propose(Table(table))
    if layer is not None:
        assert judge_table(Table(table), copy.deepcopy(layer).float()()).tier is not Tier.EXACT


@pytest.mark.parametrize("rows", [4096, 16])
def test_frequencies_of_rotary_positions(rows):
    rates = 1.0 / (10000.0 ** (torch.arange(0, rows, 2, dtype=torch.int64).float() / rows))
    layer = propose(Table(rates))
    assert layer is not None
    assert judge_table(Table(rates), copy.deepcopy(layer).float()()).tier is Tier.EXACT
    assert layer.arguments()["base"] == 10000


def test_a_large_trained_table_costs_no_more_than_a_look():
    table = torch.randn(50_000, 256, generator=torch.Generator().manual_seed(0))
    view = Table(table)
    propose(view)
    since = time.perf_counter()
    assert propose(view) is None
    assert time.perf_counter() - since < 0.1
