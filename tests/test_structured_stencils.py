"""Convolutions that are textbook stencils, against scipy's filters; and in a captured model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from affine_programs import program
from torch import Tensor, nn

from paramaudit.graph.surgery import Draft
from paramaudit.numerics.frames import frame_matrix
from paramaudit.numerics.layers import floats
from paramaudit.operators.stencil import OPERATOR
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.kernels import apply_kernels, on_frames
from paramaudit.plan.offered import proven_affine
from paramaudit.prove.affine import dense, judge
from paramaudit.records import Evidence, Example, Kernel

pytestmark = pytest.mark.usefixtures("single_threaded")

FINDS = pytest.mark.parametrize("example", OPERATOR.finds, ids=lambda example: example.name)
IGNORES = pytest.mark.parametrize("example", OPERATOR.ignores, ids=lambda example: example.name)


def judged(view: Kernel) -> Evidence | None:
    layer, matrix = OPERATOR.propose(view), frame_matrix(view)
    if layer is None:
        return None
    candidate = dense(layer.inner, matrix.weight.shape[1], matrix.dtype)
    return judge(matrix, candidate, on_frames(matrix), torch.Generator().manual_seed(0))


@FINDS
def test_a_find_is_proven_and_computes_the_convolution(example: Example) -> None:
    view = example.build()
    evidence = judged(view)
    assert evidence is not None
    assert evidence.tier.safe, evidence.reason
    layer = OPERATOR.propose(view)
    assert floats(layer) <= 2 < view.weight.numel()
    assert proven_affine(layer.inner, view.weight.shape[2])
    signal = torch.randn(2, view.groups, 60, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = F.conv1d(signal, view.weight, None, view.stride, view.padding, 1, view.groups)
    torch.testing.assert_close(layer(signal), expected, rtol=0, atol=1e-6)


@IGNORES
def test_a_near_miss_is_never_proven(example: Example) -> None:
    evidence = judged(example.build())
    assert evidence is None or not evidence.tier.safe, evidence.reason


def test_random_kernels_get_no_name() -> None:
    for seed in range(500):
        rng = np.random.default_rng(seed)
        weight = torch.from_numpy(rng.standard_normal((2, 1, int(rng.integers(5, 17)))))
        assert OPERATOR.propose(Kernel(weight, None)) is None


class Smoothed(nn.Module):
    """Every channel smoothed and halved, then a head."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv1d(6, 6, 5, stride=2, padding=2, groups=6, bias=False)
        taps = torch.tensor([1.0, 4, 6, 4, 1]) / 16
        self.smooth.weight = nn.Parameter(taps.expand(6, 1, 5).clone())
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.smooth(x)).transpose(1, 2))


def test_a_smoother_in_a_model_is_named_and_stores_nothing() -> None:
    model, signal = Smoothed().eval(), torch.randn(2, 6, 40)
    draft, book = Draft(program(model, signal, static=(-2,))), Book()
    apply_kernels(draft, Choice(), book, set())
    (finding,) = [f for f in book.findings if f.applied_by_default]
    assert (finding.operator, finding.path, finding.parameters_after) == ("stencil", "smooth", 0)
    assert finding.arguments["stencils"] == ["binomial"]
    torch.testing.assert_close(draft.finish().module(signal), model(signal), rtol=1e-5, atol=1e-5)
