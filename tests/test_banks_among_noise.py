"""Mel filter banks are named through noise; other humps side by side are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from verdicts import noisy, verdict, view_of

from paramaudit.operators.filter_bank import OPERATOR
from paramaudit.records import Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

Array = NDArray[np.float64]


def points(rate: float, count: int) -> Array:
    """HTK's mel scale (Young et al., The HTK Book, 5.4), from 0 to Nyquist."""
    mel = np.linspace(0, 2595 * np.log10(1 + rate / 1400), count + 2)
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def triangles(rate: float, bins: int, edges: Array) -> Array:
    place = np.linspace(0, rate / 2, bins)
    return np.stack(
        [np.interp(place, edges[row : row + 3], [0.0, 1.0, 0.0]) for row in range(len(edges) - 2)]
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", [0.03, 0.1, 0.2])
@pytest.mark.parametrize(("rate", "bins", "count"), [(16000, 257, 30), (8000, 129, 20), (22050, 513, 40)])
def test_a_bank_is_named_through_noise(rate: int, bins: int, count: int, part: float, seed: int) -> None:
    clean = triangles(rate, bins, points(rate, count))
    tier, said = verdict(OPERATOR, view_of(noisy(clean, part, seed)))
    assert tier is Tier.SUSPECTED
    assert said["n_mels"] == count
    layer = OPERATOR.propose(view_of(noisy(clean, part, seed)))
    assert layer is not None
    made = layer(torch.eye(bins, dtype=torch.float64)).T.detach().numpy()
    assert np.linalg.norm(made - clean) <= 0.3 * part * np.linalg.norm(clean)


@pytest.mark.parametrize("seed", range(4))
def test_other_humps_with_noise_are_no_bank(seed: int) -> None:
    edges = points(16000, 30)
    place = np.linspace(0, 8000, 513)
    bells = np.exp(-(((place - edges[1:-1, None]) / (0.3 * (edges[2:] - edges[:-2])[:, None])) ** 2))
    square = np.stack([(place > edges[row]) & (place < edges[row + 2]) for row in range(30)]).astype(float)
    rng = np.random.default_rng(seed)
    shuffled = triangles(16000, 513, np.sort(rng.uniform(0, 8000, 32)))
    for other in (bells, square, shuffled):
        tier, _ = verdict(OPERATOR, view_of(noisy(other, 0.03, seed)))
        assert tier in (None, Tier.REFUTED)


@pytest.mark.parametrize("kind", ["gaussian", "heavy tails", "sparse", "one entry a row"])
def test_numbers_without_triangles_are_no_bank(kind: str) -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(4, 40)), int(rng.integers(16, 200)))
        matrix = {
            "gaussian": lambda shape=shape, rng=rng: rng.standard_normal(shape),
            "heavy tails": lambda shape=shape, rng=rng: rng.standard_t(2, shape),
            "sparse": lambda shape=shape, rng=rng: (rng.random(shape) < 0.1) * rng.random(shape),
            "one entry a row": lambda shape=shape, rng=rng: noisy(np.eye(*shape), 0.1, int(rng.integers(99))),
        }[kind]()
        assert verdict(OPERATOR, view_of(matrix))[0] in (None, Tier.REFUTED)
