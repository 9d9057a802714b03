"""Convolutions of one input that are added are one convolution; scales fold into the one before."""

import pytest
import torch
from pipeline import after, assert_same, draw, names, offered, scan, seeded, size, untouched
from torch import Tensor, nn

IMAGE, LARGER = draw(2, 4, 9, 8), draw(3, 4, 13, 11, seed=3)


class Sum(nn.Module):
    """The sum of branches of one input, then something that is not affine."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        total = self.branches[0](x)
        for branch in self.branches[1:]:
            total = total + branch(x)
        return total.relu()


def conv(taps: object, **options: object) -> nn.Module:
    return nn.Conv2d(4, 4, taps, **options)


def normed(taps: int, out: int = 4, **options: object) -> nn.Module:
    return nn.Sequential(nn.Conv2d(4, out, taps, bias=False, **options), nn.BatchNorm2d(out))


@pytest.mark.parametrize("last", [nn.BatchNorm2d(4), nn.Identity()])
def test_a_repvgg_block_is_one_convolution(last):
    model = seeded(lambda: Sum(normed(3, padding=1), normed(1), last))
    result = scan(model, IMAGE)
    assert "parallel-branches" in names(result)
    assert after(result) == 4 * 4 * 9 + 4
    assert_same(result, model, LARGER)


def test_a_strided_repvgg_block_is_one_convolution():
    model = seeded(lambda: Sum(normed(3, 6, padding=1, stride=2), normed(1, 6, stride=2)))
    result = scan(model, IMAGE)
    assert after(result) == 6 * 4 * 9 + 6
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(("groups", "expected"), [((4, 4), 4 * 9 + 4), ((2, 4), 4 * 2 * 9 + 4)])
def test_grouped_branches_share_the_fewest_groups(groups, expected):
    branches = normed(3, padding=1, groups=groups[0]), normed(1, groups=groups[1]), nn.BatchNorm2d(4)
    model = seeded(lambda: Sum(*branches))
    result = scan(model, IMAGE)
    assert after(result) == expected
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(
    ("branches", "taps"),
    [
        ((conv((1, 3), padding=(0, 1)), conv((3, 1), padding=(1, 0)), conv(3, padding="same")), 9),
        ((conv(3, padding=2, dilation=2), conv(5, padding=4, dilation=2), conv(1)), 25),
        ((conv(2, padding=1), conv(4, padding=2)), 16),
    ],
)
def test_kernels_of_other_shapes_are_padded(branches, taps):
    model = seeded(lambda: Sum(*branches))
    result = scan(model, IMAGE)
    assert after(result) == 16 * taps + 4
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv1d, (20,)), (nn.Conv3d, (5, 4, 6))])
def test_other_dimensions(layer, shape):
    model = seeded(lambda: Sum(layer(4, 4, 3, padding=1), layer(4, 4, 1)))
    result = scan(model, draw(2, 4, *shape))
    assert after(result) == 16 * 3 ** len(shape) + 4
    assert_same(result, model, draw(3, 4, *(n + 1 for n in shape)))


def test_factors_and_other_terms_stay():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = conv(3, padding=1), conv(1), conv(3, padding=1)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return (torch.add(self.a(x) - y.sin(), self.b(x), alpha=-2) - self.c(y)).relu()

    model = seeded(Mixed)
    result = scan(model, IMAGE, IMAGE.flip(0))
    assert names(result) == ["parallel-branches"]
    assert after(result) == 2 * (16 * 9 + 4)
    assert_same(result, model, LARGER, LARGER.flip(1))


@pytest.mark.parametrize(
    "branches",
    [
        (conv(3, padding=1), nn.Sequential(conv(1), nn.ReLU())),
        (conv(3, padding=1), nn.Sequential(nn.ReLU(), conv(1))),
        (conv(3, padding=2, dilation=2), conv(3, padding=1)),  # 25 taps for 9 and 9
        (conv(3, padding=1), nn.Identity()),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), conv(1)),
    ],
)
def test_branches_that_are_more_as_one_or_bent_stay(branches):
    model = seeded(lambda: Sum(*branches))
    result = scan(model, IMAGE)
    assert untouched(result, model)
    assert_same(result, model, LARGER)


def test_other_strides_and_paddings_of_one_size_stay():
    """On 8 x 8 both give 4 x 4, and so do both on every other size that is even."""
    model = seeded(lambda: Sum(conv(2, stride=2), conv(5)))
    result = scan(model, draw(2, 4, 8, 8), static={"x_2": 8, "x_3": 8})
    assert untouched(result, model)
    model = seeded(lambda: Sum(conv(2, stride=2), conv(1, stride=2)))
    result = scan(model, draw(2, 4, 8, 8), static={"x_2": 8, "x_3": 8})
    assert untouched(result, model)


def test_a_branch_that_is_read_elsewhere_stays():
    class Read(Sum):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            a, b = self.branches[0](x), self.branches[1](x)
            return (a + b).relu(), b

    model = seeded(lambda: Read(conv(3, padding=1), conv(1)))
    result = scan(model, IMAGE)
    assert untouched(result, model)


def test_a_shared_convolution_stays():
    shared = conv(1)
    model = seeded(lambda: Sum(nn.Sequential(nn.Tanh(), shared), conv(3, padding=1), shared))
    result = scan(model, IMAGE)
    assert untouched(result, model)
    assert_same(result, model, LARGER)


def test_branches_that_broadcast_stay():
    model = seeded(lambda: Sum(nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 1, 1)))
    result = scan(model, IMAGE)
    assert untouched(result, model)
    assert_same(result, model, LARGER)


def test_batch_norms_in_train_mode_stay_branches():
    model = seeded(lambda: Sum(normed(3, padding=1), normed(1)))
    result = scan(model, IMAGE, mode="train")
    assert untouched(result, model)


# --- scales -------------------------------------------------------------------------------------


class Scaled(nn.Module):
    """A convolution, and a stored tensor that acts on it."""

    def __init__(self, act: object, shape: tuple[int, ...] = (4, 1, 1), bias: bool = True) -> None:
        super().__init__()
        self.conv, self.other, self.act = nn.Conv2d(4, 4, 3, bias=bias), nn.Parameter(torch.ones(shape)), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x), self.other).relu()


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1,), ()])
@pytest.mark.parametrize("act", [torch.mul, torch.div, torch.add, lambda a, b: b * a, lambda a, b: b + a])
def test_a_scale_or_shift_of_channels_folds(act, shape):
    model = seeded(lambda: Scaled(act, shape))
    result = scan(model, IMAGE)
    assert names(result) == ["scale-fold"]
    assert after(result) == 16 * 9 + 4
    assert_same(result, model, LARGER)


def test_a_shift_that_would_need_a_new_bias_of_the_same_size_stays():
    model = seeded(lambda: Scaled(torch.sub, bias=False))
    assert untouched(scan(model, IMAGE), model)


@pytest.mark.parametrize(
    ("act", "shape"),
    [
        (torch.mul, (6,)),  # another one for each column
        (torch.mul, (4, 7, 1)),
        (lambda a, b: b - a.relu(), (4, 1, 1)),
        (lambda a, b: torch.mul(a, b) + a.tanh(), (4, 1, 1)),
        (lambda a, b: torch.div(a, b, rounding_mode="floor"), (4, 1, 1)),
        (lambda a, b: b / a, (4, 1, 1)),
        (torch.pow, (4, 1, 1)),
    ],
)
def test_what_varies_or_is_bent_stays(act, shape):
    model = seeded(lambda: Scaled(act, shape))
    with torch.no_grad():
        model.other.abs_().add_(1)
    result = scan(model, IMAGE)
    assert "scale-fold" not in offered(result)
    assert after(result) == size(model)
