"""Textbook rounding bounds: by the formulas of the book, above what is observed, never a verdict."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

import paramaudit as pa
from paramaudit.prove.worst_case import chain, gamma, transform
from paramaudit.records import Matrix


def test_gamma_is_the_books() -> None:
    u = 2.0**-24
    assert gamma(100, u) == pytest.approx(100 * u / (1 - 100 * u), rel=1e-15)
    assert gamma(256, 2.0**-8) is None
    assert gamma(2**24, u) is None


@pytest.mark.parametrize(
    ("dtype", "unit"), [(torch.float32, 2.0**-24), (torch.float64, 2.0**-53)], ids=["float32", "float64"]
)
def test_one_dense_layer_is_gamma_n(dtype: torch.dtype, unit: float) -> None:
    weight = torch.eye(7, dtype=torch.float64)
    n = 8  # seven products and a bias
    expected = n * unit / (1 - n * unit) * math.sqrt(2)  # |[I | 0]| = 1 beside the 1 that is carried on
    assert chain([(weight, torch.zeros(7, dtype=torch.float64))], dtype) == pytest.approx(expected, rel=1e-9)


def test_half_products_are_summed_in_float32_and_rounded_once() -> None:
    weight = torch.eye(512, dtype=torch.float64)
    found = chain([(weight, None)], torch.bfloat16)
    summed = 512 * 2.0**-24 / (1 - 512 * 2.0**-24)
    assert found == pytest.approx(((1 + summed) * (1 + 2.0**-8) - 1) * math.sqrt(2), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_no_observed_error_is_above_the_bound(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = [3 + 5 * seed, 20, 9]
    layers = [
        (torch.randn(o, i, generator=generator), torch.randn(o, generator=generator))
        for i, o in itertools.pairwise(sizes)
    ]
    exact = [(w.double(), b.double()) for w, b in layers]
    bound = chain(exact, torch.float32)
    assert bound is not None
    x = 10 * torch.randn(200, sizes[0], generator=generator)
    low, high = x, x.double()
    for (w, b), (v, c) in zip(layers, exact, strict=True):
        low, high = low @ w.T + b, high @ v.T + c
    seen = (low.double() - high).norm(dim=1) / torch.sqrt(x.double().square().sum(1) + 1)
    assert 0 < float(seen.max()) <= bound


@pytest.mark.parametrize("n", [8, 64, 1024])
def test_the_error_of_an_fft_is_below_its_bound(n: int) -> None:
    k = np.arange(n)
    angles = 2 * np.pi * np.outer(np.arange(1, n // 2), k) / n
    weight = torch.from_numpy(np.concatenate([np.cos(angles), -np.sin(angles)]))
    bound = transform(Matrix(weight, None, torch.float32), n)
    assert bound is not None
    x = torch.randn(100, n, generator=torch.Generator().manual_seed(0))
    exact = np.fft.rfft(x.double().numpy())[:, 1 : n // 2]
    found = torch.fft.rfft(x)[:, 1 : n // 2].numpy()
    seen = np.linalg.norm(found - exact, axis=1) / np.linalg.norm(np.c_[x, np.ones(100)], axis=1)
    assert 0 < seen.max() <= bound
    assert transform(Matrix(weight, None, torch.float32), n + 1) is None
    assert transform(Matrix(weight, None, torch.bfloat16), n) is None


def test_a_merge_tells_both_bounds_and_its_verdict_ignores_them() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 4))
    (found,) = [f for f in pa.scan(model, torch.randn(3, 8)).findings if f.applied_by_default]
    assert found.worst_case is not None
    assert found.worst_case.original is not None
    assert found.worst_case.refactored is not None
    assert found.worst_case.original > found.worst_case.refactored > found.gap.value  # type: ignore[union-attr]
    assert "Higham" in found.worst_case.source
