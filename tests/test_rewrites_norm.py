"""Scales and shifts of normalisations that fold into the layer before or after."""

import pytest
import torch
from pipeline import after, assert_same, draw, names, offered, scan, seeded, size, untouched
from torch import Tensor, nn

WIDTH = 6
BATCH = draw(4, WIDTH)


def stack(*layers: nn.Module) -> nn.Module:
    return seeded(lambda: nn.Sequential(*layers))


# --- batch norm into the layer before it -------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d, nn.BatchNorm1d, (9,)),
        (nn.Conv2d, nn.BatchNorm2d, (9, 8)),
        (nn.Conv3d, nn.BatchNorm3d, (5, 4, 3)),
    ],
)
def test_a_batch_norm_after_a_convolution_folds(layer, norm, shape, bias):
    model = stack(layer(2, 5, 3, padding=1, bias=bias), norm(5))
    result = scan(model, draw(2, 2, *shape))
    assert names(result) == ["batch-norm-fold"]
    assert after(result) == 5 * 2 * 3 ** len(shape) + 5
    assert_same(result, model, draw(3, 2, *(n + 2 for n in shape), seed=3))


@pytest.mark.parametrize("groups", [2, 4])
def test_a_batch_norm_after_a_grouped_convolution_folds(groups):
    model = stack(nn.Conv1d(4, 8, 3, groups=groups, stride=2, dilation=2), nn.BatchNorm1d(8, affine=False))
    result = scan(model, draw(2, 4, 20))
    assert names(result) == ["batch-norm-fold"]
    assert after(result) == 8 * (4 // groups) * 3 + 8
    assert_same(result, model, draw(3, 4, 25, seed=3))


def test_a_batch_norm_after_a_linear_layer_folds():
    model = stack(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    result = scan(model, BATCH)
    assert after(result) == WIDTH * 5 + 5 + 5 * 2 + 2
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_batch_norm_over_tokens_is_not_one_over_features():
    """Channels are dimension 1: after a linear layer on (batch, tokens, features) those are the tokens."""
    model = stack(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5))
    result = scan(model, draw(2, 5, WIDTH))
    assert "batch-norm-fold" not in offered(result)
    assert_same(result, model, draw(3, 5, WIDTH, seed=3))


def test_a_batch_norm_of_an_unbatched_convolution_is_over_its_length():
    class Unbatched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(2, 5, 3, padding=1), nn.BatchNorm1d(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x))

    model = seeded(Unbatched)
    result = scan(model, draw(2, 5))
    assert_same(result, model, draw(2, 5, seed=3))


def test_a_relu_between_keeps_the_batch_norm():
    model = stack(nn.Conv1d(2, 5, 3), nn.ReLU(), nn.BatchNorm1d(5))
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))


def test_a_batch_norm_in_train_mode_is_left():
    model = stack(nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5))
    result = scan(model, draw(2, 2, 9), mode="train")
    assert untouched(result, model)
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} <= set(result.refactored.buffers)


def test_a_batch_norm_before_a_padded_convolution_is_left():
    model = stack(nn.BatchNorm1d(2), nn.Conv1d(2, 5, 3, padding=1))
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))


def test_a_convolution_that_is_read_besides_its_norm_stays():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return h + self.norm(h)

    model = seeded(Both)
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))


def test_a_shared_convolution_keeps_its_two_norms():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(2, 5, 3)
            self.a, self.b = nn.BatchNorm1d(5), nn.BatchNorm1d(5)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(self.conv(x)).relu() + self.b(self.conv(x.sin())).relu()

    model = seeded(Shared)
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))


def test_in_place_relus_between_do_not_hide_the_folds():
    model = stack(
        nn.Conv1d(2, 5, 3), nn.BatchNorm1d(5), nn.ReLU(inplace=True), nn.Conv1d(5, 3, 1), nn.BatchNorm1d(3)
    )
    result = scan(model, draw(2, 2, 9))
    assert names(result) == ["batch-norm-fold"] * 2
    assert after(result) == 5 * 2 * 3 + 5 + 3 * 5 + 3
    assert_same(result, model, draw(3, 2, 12, seed=3))


# --- layer norm and RMS norm into the layers after ---------------------------------------------


class Normed(nn.Module):
    """A norm that ``count`` linear layers read; ``also`` says what else does."""

    def __init__(self, norm: nn.Module, count: int = 1, also: str = "", *, bias: bool = True) -> None:
        super().__init__()
        self.norm, self.also = norm, also
        self.heads = nn.ModuleList(nn.Linear(WIDTH, 3, bias=bias) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        h = self.norm(x)
        outs = [head(h).tanh() for head in self.heads]
        if self.also == "residual":
            outs.append(x + h)
        if self.also == "output":
            outs.append(h)
        return tuple(outs)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_a_norm_folds_into_every_linear_layer_that_reads_it(norm, count):
    model = seeded(Normed, norm(WIDTH), count)
    result = scan(model, BATCH)
    assert names(result) == ["norm-affine-fold"]
    assert after(result) == count * (WIDTH * 3 + 3)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_norm_over_tokens_folds_through_views():
    class Views(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return self.heads[0](self.norm(x).transpose(0, 1).reshape(-1, WIDTH)).tanh()

    model = seeded(Views, nn.LayerNorm(WIDTH))
    result = scan(model, draw(2, 4, WIDTH))
    assert names(result) == ["norm-affine-fold"]
    assert_same(result, model, draw(3, 5, WIDTH, seed=3))


@pytest.mark.parametrize("also", ["residual", "output"])
def test_a_norm_that_something_else_reads_keeps_its_affine_part(also):
    model = seeded(Normed, nn.LayerNorm(WIDTH), also=also)
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(7, WIDTH, seed=3))


@pytest.mark.parametrize("how", ["some", "permuted", "joined"])
def test_a_norm_whose_reader_sees_other_features_is_left(how):
    class Others(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(3 if how == "some" else WIDTH, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.norm(x)
            if how == "some":
                h = h[:, 2:5]
            elif how == "permuted":
                h = h.unflatten(-1, (2, 3)).transpose(-1, -2).flatten(-2)
            else:
                h = torch.cat([h[:, 3:], h[:, :3]], -1)
            return self.head(h).tanh()

    model = seeded(Others)
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_shared_reader_keeps_the_norm():
    class Shared(Normed):
        def forward(self, x: Tensor) -> Tensor:
            return self.heads[0](self.norm(x)).tanh() + self.heads[0](x).tanh()

    model = seeded(Shared, nn.LayerNorm(WIDTH))
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_merged_pair_that_is_called_twice_keeps_its_norm():
    """The pair becomes one matrix that two calls read; folding the norm into one of them would copy it."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH)
            self.pair = nn.Sequential(nn.Linear(WIDTH, 9), nn.Linear(9, WIDTH))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pair(self.norm(x)).tanh(), self.pair(x.sin()).tanh()

    model = seeded(Twice)
    result = scan(model, BATCH)
    assert after(result) == 2 * WIDTH + WIDTH * WIDTH + WIDTH
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_fold_that_adds_more_biases_than_it_saves_is_left():
    model = seeded(Normed, nn.LayerNorm(WIDTH), 5, bias=False)
    result = scan(model, BATCH)
    assert untouched(result, model)


def test_a_bias_before_a_group_norm_stays():
    model = stack(nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4))
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))
    assert size(model) == 2 * 4 * 3 + 4 + 8
