"""Convolutions that are textbook stencils, against scipy's filters and the textbooks' numbers."""

from __future__ import annotations

import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F

from paramaudit.numerics.layers import floats
from paramaudit.operators.stencil import OPERATOR, Stencil
from paramaudit.plan.computed_kernels import kernel_evidence
from paramaudit.records import Evidence, Example, Kernel, Tier

pytestmark = pytest.mark.usefixtures("single_threaded")

FINDS = pytest.mark.parametrize("example", OPERATOR.finds, ids=lambda example: example.name)
IGNORES = pytest.mark.parametrize("example", OPERATOR.ignores, ids=lambda example: example.name)


def judged(view: Kernel, layer: Stencil | None) -> Evidence | None:
    if layer is None:
        return None
    with torch.no_grad():
        return kernel_evidence(view, copy.deepcopy(layer).to(view.dtype)(), floats(layer), 0)


def images(*filters: np.ndarray, dtype: torch.dtype = torch.float32, **settings: object) -> Kernel:
    """Filters of one channel as a checkpoint of that dtype holds them."""
    weight = torch.from_numpy(np.stack(filters)).to(dtype).to(torch.float64)[:, None]
    return Kernel(weight, None, dtype=dtype, **settings)


@FINDS
def test_a_find_is_proven_and_computes_the_kernel(example: Example) -> None:
    view = example.build()
    before, layer = view.weight.clone(), OPERATOR.propose(view)
    evidence = judged(view, layer)
    assert evidence is not None
    assert evidence.tier.safe, evidence.reason
    assert floats(layer) <= len(view.weight) < view.weight.numel()
    assert json.loads(json.dumps(layer.arguments())) == layer.arguments()
    assert torch.equal(view.weight, before)
    torch.testing.assert_close(layer(), view.weight, rtol=0, atol=1e-7 * float(before.abs().max()))


@FINDS
def test_one_weight_changed_by_one_per_cent_is_seen(example: Example) -> None:
    view = example.build()
    layer = OPERATOR.propose(view)
    for place in torch.randperm(view.weight.numel(), generator=torch.Generator().manual_seed(0))[:6]:
        weight = view.weight.clone()
        weight.view(-1)[place] *= 1.01
        changed = replace(view, weight=weight.to(view.dtype).to(torch.float64))
        if torch.equal(changed.weight, view.weight):
            continue  # a zero
        evidence, again = judged(changed, layer), judged(changed, OPERATOR.propose(changed))
        for one in (evidence, again):
            if one is not None and one.tier.safe:
                size = float(weight.view(-1)[place].abs() * 0.0099)
                assert one.witness is not None
                assert size <= one.witness.value, "more than rounding was passed"


@FINDS
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_other_dtypes(example: Example, dtype: torch.dtype) -> None:
    view = example.build()
    view = replace(view, weight=view.weight.to(dtype).to(torch.float64), dtype=dtype)
    evidence = judged(view, OPERATOR.propose(view))
    assert evidence is None or evidence.tier is not Tier.REFUTED or dtype is not torch.float64


@FINDS
def test_the_layer_exports_without_stored_numbers_of_its_own(example: Example) -> None:
    layer = copy.deepcopy(OPERATOR.propose(example.build())).to(torch.float32)
    exported = torch.export.export(layer, ())
    assert not exported.constants
    assert torch.equal(exported.module()(), layer())
    assert layer().dtype == torch.float32
    other = copy.deepcopy(layer)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(), layer())
    for gains in layer.parameters():
        (gradient,) = torch.autograd.grad(layer().double().square().sum() / 2, gains)
        expected = (layer().double() ** 2).flatten(1).sum(1) / gains if gains.numel() > 1 else None
        if expected is not None:
            torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=0)


@IGNORES
def test_a_near_miss_is_never_proven(example: Example) -> None:
    view = example.build()
    evidence = judged(view, OPERATOR.propose(view))
    assert evidence is None or not evidence.tier.safe, evidence.reason


@pytest.mark.parametrize("shape", [(5,), (16,), (3, 3), (5, 7), (3, 3, 3)])
def test_random_kernels_get_no_name(shape: tuple[int, ...]) -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        assert OPERATOR.propose(images(rng.standard_normal(shape))) is None


@pytest.mark.parametrize("taps", [3, 4, 7, 9])
def test_random_even_kernels_are_never_proven(taps: int) -> None:
    """They have the symmetry of a stencil, and with few taps hardly more numbers than one has."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        line = rng.uniform(0.1, 1, taps)
        line = line + line[::-1]
        view = images(np.outer(line, line))
        evidence = judged(view, OPERATOR.propose(view))
        assert evidence is None or not evidence.tier.safe


@pytest.mark.parametrize(("taps", "width"), [(5, 1.1), (7, 1.4), (9, 2.0), (23, 3.0), (3, 3.0)])
def test_a_blur_that_was_computed_in_float32(taps: int, width: float) -> None:
    """As common libraries do it: no weight need be the formula's own rounding."""
    place = torch.linspace(-(taps - 1) / 2, (taps - 1) / 2, taps)
    line = torch.exp(-0.5 * (place / width).square())
    line = line / line.sum()
    view = Kernel(torch.outer(line, line).double().expand(3, 1, -1, -1).contiguous(), None, groups=3)
    layer = OPERATOR.propose(view)
    assert layer.arguments()["stencils"] == [f"gaussian {width:g}"]
    assert judged(view, layer).tier.safe


def test_every_width_of_a_gaussian_of_two_digits() -> None:
    for width in (0.5, 0.85, 1.1, 1.6, 2.3, 3.7, 5.0):
        taps = 2 * int(np.ceil(3 * width)) + 1
        line = np.exp(-(((np.arange(taps) - taps // 2) / width) ** 2) / 2)
        kernel = np.outer(line, line) / line.sum() ** 2
        for dtype in (torch.float32, torch.bfloat16):
            view = images(kernel, dtype=dtype)
            layer = OPERATOR.propose(view)
            assert layer.arguments()["stencils"] == [f"gaussian {width:g}"]
            assert judged(view, layer).tier.safe


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 1), (0, 2)])
def test_derivatives_of_a_gaussian(order: tuple[int, int]) -> None:
    impulse = np.zeros((13, 13))
    impulse[6, 6] = 1
    answer = scipy.ndimage.gaussian_filter(impulse, 1.4, order=order, mode="constant", radius=6)
    view = images(answer)
    layer = OPERATOR.propose(view)
    names = ["gaussian 1.4", "gaussian slope 1.4", "gaussian curvature 1.4"]
    wanted = [names[o] for o in order]
    assert layer.arguments()["stencils"] == [wanted[0] if wanted[0] == wanted[1] else " by ".join(wanted)]
    evidence = judged(view, layer)
    assert evidence.tier.safe, evidence.reason


@pytest.mark.parametrize(
    ("weights", "name", "factor"),
    [
        (np.outer([1, 2, 1], [-1, 0, 1]), "sobel x", 1.0),
        (np.outer([-1, 0, 1], [1, 2, 1]) / 8, "sobel y", 0.125),
        (np.outer([1, 4, 6, 4, 1], [-1, -2, 0, 2, 1]), "sobel x", 1.0),
        (np.outer([-1, 0, 1], [1, 1, 1]), "prewitt y", 1.0),
        (np.outer([3, 10, 3], [1, 0, -1]), "scharr x", -1.0),
        ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], "laplacian 5-point", 1.0),
        ([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], "laplacian 8-neighbour", -3.0),
        ([[0.25, 0.5, 0.25], [0.5, -3, 0.5], [0.25, 0.5, 0.25]], "laplacian oono-puri", 1.0),
        ([[-0.5, 0, 0.5]], "one by central difference", 1.0),
        ([[1, -8, 0, 8, -1]], "one by central difference", 12.0),
        (np.outer([1, 2, 1], [1, 2, 1]) / 16, "binomial", 1.0),
        (np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]), "triangle", 1.0),
        (np.ones((2, 2)) / 4, "box", 1.0),
        (np.ones((7, 7)), "ones", 1.0),
        (np.full((3, 3, 3), 1 / 27), "box", 1.0),
    ],
)
def test_textbook_filters_have_their_names(weights: object, name: str, factor: float) -> None:
    view = images(np.array(weights, dtype=np.float64))
    layer = OPERATOR.propose(view)
    said = layer.arguments()
    assert (said["stencils"], said["factors"], said["gains"]) == ([name], [factor], 0)
    assert judged(view, layer).tier is Tier.EXACT


@pytest.mark.parametrize(("size", "stride"), [(3, 2), (4, 2), (5, 3), (6, 3), (8, 4), (16, 8), (64, 32)])
def test_bilinear_upsampling_of_fully_convolutional_networks(size: int, stride: int) -> None:
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 == 1 else factor - 0.5
    grid = np.ogrid[:size, :size]
    kernel = (1 - abs(grid[0] - centre) / factor) * (1 - abs(grid[1] - centre) / factor)
    weight = torch.zeros(4, 4, size, size, dtype=torch.float64)
    weight[range(4), range(4)] = torch.from_numpy(kernel).float().double()
    view = Kernel(weight, None, (stride, stride), transposed=True)
    layer = OPERATOR.propose(view)
    said = layer.arguments()
    assert said["stencils"] == ["triangle"]
    assert said["upsampling"] == f"bilinear, {stride} x {stride}"
    assert judged(view, layer).tier is Tier.EXACT
    x = torch.rand(1, 4, 6, 7, dtype=torch.float64)
    made = F.conv_transpose2d(x, layer(), stride=stride, padding=(size - stride) // 2)
    if size == 2 * stride and stride % 2 == 0:
        wanted = F.interpolate(x, scale_factor=stride, mode="bilinear", align_corners=False)
        inner = slice(stride, -stride)
        torch.testing.assert_close(made[..., inner, inner], wanted[..., inner, inner])


def test_a_gain_a_channel_and_kinds_in_any_order() -> None:
    rng = np.random.default_rng(3)
    sobel, laplacian = np.outer([1.0, 2, 1], [-1.0, 0, 1]), np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
    filters = [rng.uniform(0.5, 2) * (sobel, sobel.T, laplacian)[i] for i in rng.integers(0, 3, 24)]
    view = images(*filters, groups=24)
    layer = OPERATOR.propose(view)
    assert floats(layer) == 24
    assert judged(view, layer).tier.safe


def test_generic_kernels_are_dismissed_at_once() -> None:
    weight = torch.randn(512, 512, 3, 3, dtype=torch.float64)
    depthwise = torch.randn(2048, 1, 7, 7, dtype=torch.float64)
    for kernel in (weight, depthwise):
        start = time.process_time()
        assert OPERATOR.propose(Kernel(kernel, None)) is None
        assert time.process_time() - start < 0.02


@pytest.mark.parametrize("number", [0.0, 1.0, float("nan"), float("inf"), 1e-310, 1e300])
def test_odd_numbers_are_no_accident(number: float) -> None:
    for shape in ((2, 1, 5), (2, 1, 3, 3), (1, 1, 1, 1), (2, 2, 3, 3), (0, 1, 3, 3)):
        layer = OPERATOR.propose(Kernel(torch.full(shape, number, dtype=torch.float64), None))
        assert layer is None or number in (1.0, 1e300)
