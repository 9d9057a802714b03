"""A name is read through noise, and through nothing but noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import torch
from torch import nn

import paramaudit as pa
from paramaudit.numerics.residual import noise_like
from paramaudit.records import Tier


def tensor(array: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


@pytest.mark.parametrize("shape", [(1, 9), (8, 8), (64, 16), (96, 200)])
def test_noise_is_taken_for_noise(shape: tuple[int, int]) -> None:
    for seed in range(60):
        assert noise_like(tensor(np.random.default_rng(seed).standard_normal(shape)) * 1e-3)
    assert noise_like(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("size", [32, 128])
def test_whatever_is_not_spread_evenly_is_not(size: int) -> None:
    rng = np.random.default_rng(size)
    noise = rng.standard_normal((size, size))
    spike, row, column, direction = (noise.copy() for _ in range(4))
    spike[3, 4] = 9.0
    row[5] *= 3
    column[:, 7] *= 3
    direction += 5 * np.sqrt(size) * np.outer(*np.linalg.qr(rng.standard_normal((size, 2)))[0].T)
    for damaged in (spike, row, column, direction):
        assert not noise_like(tensor(damaged))
    noise[0, 0] = np.nan
    assert not noise_like(tensor(noise))


def scanned(weight: np.ndarray) -> list[tuple[str, Tier, bool]]:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
    findings = pa.scan(layer, torch.randn(4, weight.shape[1])).findings
    return [(f.operator, f.tier, f.applied_by_default) for f in findings]


def test_a_noisy_transform_is_named_and_never_swapped() -> None:
    size = 64
    clean = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")
    noise = np.random.default_rng(0).standard_normal((size, size)) / np.sqrt(size)
    assert ("dct", Tier.SUSPECTED, False) in scanned(clean + 0.1 * noise)
    replaced = clean.copy()
    replaced[7] = noise[7]
    assert [f for f in scanned(replaced) if f[0] == "dct"] == []
