"""The algebra of folds, branches and dead units, against formulas written out in numpy.

As in ``test_rewrites_algebra`` all numbers are small integers, or powers of two where one divides, so that
original, formula and rewritten program agree to the last bit wherever the formula is polynomial.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from scipy.special import erf, log_softmax, softmax
from test_rewrites_algebra import arrays, integers, rewritten, whole
from torch import Tensor, nn


def image(x: np.ndarray, kernel: np.ndarray, padding: tuple[int, int], stride: int = 1) -> np.ndarray:
    """``sum_i`` of two-dimensional correlations, ``(n, out, h, w)``."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    sums = [
        [sum(correlate2d(a, k, "valid") for a, k in zip(one, row, strict=True)) for row in kernel]
        for one in x
    ]
    return np.array(sums)[:, :, ::stride, ::stride]


class Branches(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 2, (3, 5), stride, (1, 2))
        self.narrow = nn.Conv2d(2, 2, 1, stride, bias=False)
        self.norm = nn.BatchNorm2d(2, eps=0.25) if stride == 1 else nn.Conv2d(2, 2, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(x) - self.narrow(x) + self.wide(x)).relu()


@pytest.mark.parametrize("stride", [1, 2])
def test_branches_add_up(stride):
    module = integers(Branches(stride), 21)
    deviation = np.array([2.0, 0.5])
    if stride == 1:
        module.norm.running_var.copy_(torch.from_numpy(deviation**2 - 0.25).clamp(min=0))
        module.norm.running_mean.copy_(torch.tensor([1.0, -2.0]))
        deviation = np.sqrt(module.norm.running_var.numpy() + 0.25)
    p, x = arrays(module), whole(3, 2, 9, 8)
    got = rewritten(module, whole(2, 2, 7, 6, seed=6), x, "parallel-branches")
    total = image(x.numpy(), p["wide.weight"], (1, 2), stride) + p["wide.bias"][:, None, None]
    total -= image(x.numpy(), p["narrow.weight"], (0, 0), stride)
    if stride == 1:
        scale, mean = p["norm.weight"] / deviation, p["norm.running_mean"]
        total += (x.numpy() - mean[:, None, None]) * scale[:, None, None] + p["norm.bias"][:, None, None]
    else:
        total += image(x.numpy(), p["norm.weight"], (1, 1), stride) + p["norm.bias"][:, None, None]
    assert np.array_equal(got, np.maximum(total, 0))


def test_dilated_taps_stand_where_they_act():
    class Dilated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 2, 3, padding=4, dilation=4)
            self.b = nn.Conv2d(2, 2, 3, padding=4, dilation=4, bias=False)
            self.c = nn.Conv2d(2, 2, 3, padding=2, dilation=2)
            self.d = nn.Conv2d(2, 2, 5, padding=4, dilation=2)

        def forward(self, x: Tensor) -> Tensor:
            return (self.a(x) + self.b(x) + self.c(x) + self.d(x)).relu()

    module = integers(Dilated(), 22)
    p, x = arrays(module), whole(2, 2, 12, 11)
    got = rewritten(module, whole(2, 2, 11, 10, seed=6), x, "parallel-branches")
    total = np.zeros_like(got)
    for name, dilation in (("a", 4), ("b", 4), ("c", 2), ("d", 2)):
        kernel = p[f"{name}.weight"]
        reach = dilation * (kernel.shape[2] - 1)
        wide = np.zeros((2, 2, reach + 1, reach + 1))
        wide[:, :, ::dilation, ::dilation] = kernel
        total += image(x.numpy(), wide, (reach // 2,) * 2) + p.get(f"{name}.bias", np.zeros(2))[:, None, None]
    assert np.array_equal(got, np.maximum(total, 0))


@pytest.mark.parametrize("act", ["mul", "div", "add", "sub"])
def test_a_scale_of_channels(act):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.other = nn.Conv2d(2, 3, 2), nn.Parameter(torch.zeros(3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return getattr(torch, act)(self.conv(x), self.other).relu()

    module = integers(Scaled(), 23)
    with torch.no_grad():
        module.other.copy_(torch.tensor([2.0, -0.5, 4.0])[:, None, None])
    p, x = arrays(module), whole(2, 2, 6, 5)
    got = rewritten(module, whole(2, 2, 5, 4, seed=6), x, "scale-fold")
    conv = image(x.numpy(), p["conv.weight"], (0, 0)) + p["conv.bias"][:, None, None]
    formula = {"mul": np.multiply, "div": np.divide, "add": np.add, "sub": np.subtract}[act]
    assert np.array_equal(got, np.maximum(formula(conv, p["other"]), 0))


@pytest.mark.parametrize("norm", ["instance", "group", "batch"])
def test_a_norm_subtracts_the_bias(norm):
    layers = {
        "instance": nn.InstanceNorm2d(3, eps=0.25),
        "group": nn.GroupNorm(3, 3, eps=0.25, affine=False),
        "batch": nn.BatchNorm2d(3, eps=0.25, affine=False, track_running_stats=False),
    }
    module = integers(nn.Sequential(nn.Conv2d(2, 3, 2), layers[norm]), 24)
    p, x = arrays(module), whole(3, 2, 6, 5)
    got = rewritten(module, whole(2, 2, 5, 4, seed=6), x, "bias-before-norm")
    conv = image(x.numpy(), p["0.weight"], (0, 0)) + p["0.bias"][:, None, None]
    axes = (0, 2, 3) if norm == "batch" else (2, 3)
    mean, variance = conv.mean(axes, keepdims=True), conv.var(axes, keepdims=True)
    np.testing.assert_allclose(got, (conv - mean) / np.sqrt(variance + 0.25), rtol=0, atol=1e-13)


@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_scores_over_positions(function):
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return getattr(torch, function.__name__)(self.score(x) / 4, 1)

    module = integers(Scores(), 25)
    p, x = arrays(module), whole(3, 6, 4)
    got = rewritten(module, whole(2, 5, 4, seed=6), x, "shift-invariant-bias")
    scores = (x.numpy() @ p["score.weight"].T + p["score.bias"]) / 4
    np.testing.assert_allclose(got, function(scores, axis=1), rtol=0, atol=1e-13)


FUNCTIONS = {
    nn.ReLU: lambda t: np.maximum(t, 0),
    nn.GELU: lambda t: t * (1 + erf(t / math.sqrt(2))) / 2,
    nn.SiLU: lambda t: t / (1 + np.exp(-t)),
    nn.Tanh: np.tanh,
}


@pytest.mark.parametrize("which", ["rows", "columns"])
@pytest.mark.parametrize("act", FUNCTIONS)
def test_dead_units(act, which):
    module = integers(nn.Sequential(nn.Linear(3, 6), act(), nn.Linear(6, 2)), 26)
    with torch.no_grad():
        if which == "rows":
            module[0].weight[[0, 4]] = 0.0
        else:
            module[2].weight[:, [0, 4]] = 0.0
    p, x = arrays(module), whole(9, 3)
    got = rewritten(module, whole(4, 3, seed=6), x, "dead-units")
    hidden = FUNCTIONS[act](x.numpy() @ p["0.weight"].T + p["0.bias"])
    expected = hidden @ p["2.weight"].T + p["2.bias"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=0 if act is nn.ReLU else 1e-12)
