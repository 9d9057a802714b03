"""Biases that the next call subtracts again, and those that only seem so."""

import pytest
import torch
from pipeline import after, assert_same, draw, names, offered, scan, seeded, size, untouched
from torch import Tensor, nn

IMAGE, LARGER = draw(2, 3, 9, 8), draw(3, 3, 12, 11, seed=3)
TOKENS, MORE = draw(2, 5, 6), draw(3, 7, 6, seed=3)


def stack(*layers: nn.Module) -> nn.Module:
    return seeded(lambda: nn.Sequential(*layers))


class Then(nn.Module):
    """A layer, and a function of what it returns."""

    def __init__(self, layer: nn.Module, act: object) -> None:
        super().__init__()
        self.layer, self.act = layer, act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(x))


@pytest.mark.parametrize(
    "norm",
    [
        nn.InstanceNorm2d(4),
        nn.InstanceNorm2d(4, affine=True),
        nn.GroupNorm(4, 4),
        nn.BatchNorm2d(4, track_running_stats=False),
    ],
)
def test_a_bias_that_a_norm_over_positions_subtracts_goes(norm):
    model = stack(nn.Conv2d(3, 4, 3, padding=1), norm, nn.ReLU())
    result = scan(model, IMAGE)
    assert names(result) == ["bias-before-norm"]
    assert after(result) == size(model) - 4
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv1d(3, 4, 3), nn.InstanceNorm1d(4), (3, 20)),
        (nn.Conv3d(3, 4, 2), nn.GroupNorm(4, 4), (3, 5, 4, 6)),
        (nn.ConvTranspose2d(3, 4, 3, stride=2), nn.InstanceNorm2d(4), (3, 5, 6)),
        (nn.Linear(6, 4), nn.BatchNorm1d(4, track_running_stats=False), (6,)),
        (nn.Conv2d(3, 4, 3), nn.LayerNorm([7, 6]), (3, 9, 8)),
    ],
)
def test_other_layers(layer, norm, shape):
    model = stack(layer, norm, nn.Tanh())
    result = scan(model, draw(4, *shape))
    assert names(result) == ["bias-before-norm"]
    assert after(result) == size(model) - 4
    assert_same(result, model, draw(7, *shape, seed=3))


@pytest.mark.parametrize(
    "act",
    [
        lambda h: nn.functional.instance_norm((h * 0.5).transpose(2, 3)),
        lambda h: nn.functional.instance_norm(
            h.permute(0, 2, 3, 1).reshape(*h.shape[:1], -1, 4).transpose(1, 2)
        ),
        lambda h: nn.functional.instance_norm(h).tanh() + nn.functional.instance_norm(-h).sin(),
    ],
)
def test_affine_calls_that_treat_all_positions_alike_may_stand_between(act):
    model = seeded(lambda: Then(nn.Conv2d(3, 4, 3), act))
    result = scan(model, IMAGE)
    assert names(result) == ["bias-before-norm"]
    assert_same(result, model, LARGER)


def test_a_dropout_between_needs_eval_mode():
    result = scan(stack(nn.Conv2d(3, 4, 3), nn.Dropout(0.1), nn.InstanceNorm2d(4)), IMAGE)
    (one,) = [f for f in result.audit.findings if f.applied_by_default]
    assert one.requires == ("eval mode",)


@pytest.mark.parametrize(
    "norm",
    [
        nn.GroupNorm(2, 4),  # the mean of two channels
        nn.GroupNorm(1, 4),
        nn.LayerNorm([4, 7, 6]),
        nn.InstanceNorm2d(4, track_running_stats=True),  # in eval mode by what is stored
        nn.LocalResponseNorm(2),
        nn.Sequential(nn.ReLU(), nn.InstanceNorm2d(4)),
        nn.Sequential(nn.ZeroPad2d(1), nn.InstanceNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 3, 3, padding=1, bias=False), nn.ReLU(), nn.InstanceNorm2d(3)),
        nn.Softmax(1),
    ],
)
def test_a_bias_that_is_not_subtracted_stays(norm):
    model = stack(nn.Conv2d(3, 4, 3), norm)
    result = scan(model, IMAGE)
    assert not offered(result) & {"bias-before-norm", "shift-invariant-bias"}
    assert_same(result, model, draw(3, 3, 9, 8, seed=3))


def test_a_bias_before_a_padded_convolution_stays():
    """At the border its zeros stand for values without the bias."""
    model = stack(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 9, 3, padding=1), nn.InstanceNorm2d(9))
    result = scan(model, IMAGE)
    (one,) = [f for f in result.audit.findings if f.applied_by_default]
    assert one.tensors == ("1.bias",)
    assert_same(result, model, LARGER)


@pytest.mark.parametrize("norm", [nn.LayerNorm(6), nn.RMSNorm(6), nn.Softmax(-1), nn.GroupNorm(5, 5)])
def test_norms_over_the_features_keep_the_bias(norm):
    model = stack(nn.Linear(6, 6), norm, nn.Tanh())
    result = scan(model, TOKENS)
    assert untouched(result, model)
    assert_same(result, model, draw(3, 5, 6))


@pytest.mark.parametrize(
    "act",
    [
        lambda h: nn.functional.instance_norm(h) + h.mean().sin(),
        lambda h: (nn.functional.instance_norm(h), h),
        lambda h: nn.functional.instance_norm(h * h.new_ones(6).cumsum(0)),
    ],
)
def test_a_bias_that_is_read_elsewhere_or_varies_stays(act):
    model = seeded(lambda: Then(nn.Conv2d(3, 4, 3), act))
    result = scan(model, IMAGE, static={"x_2": 9, "x_3": 8})
    assert untouched(result, model)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, track_running_stats=True)])
def test_running_statistics_keep_the_bias(norm):
    """Their mean is that of what came in, the bias included."""
    model = stack(nn.Conv2d(3, 4, 3), norm).train()
    result = scan(model, IMAGE, mode="train")
    assert after(result) == size(model)


# --- softmax over positions -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "act", "inputs", "more"),
    [
        (nn.Linear(6, 1), lambda s: s.softmax(1), TOKENS, MORE),
        (nn.Linear(6, 3), lambda s: s.transpose(1, 2).log_softmax(-1), TOKENS, MORE),
        (nn.Conv2d(3, 1, 3), lambda s: s.flatten(2).softmax(-1), IMAGE, LARGER),
        (nn.Conv1d(5, 2, 1), lambda s: (s / 0.3).softmax(2), TOKENS, draw(3, 5, 8)),
    ],
)
def test_the_bias_of_scores_over_positions_goes(layer, act, inputs, more):
    model = seeded(lambda: Then(layer, act))
    result = scan(model, inputs)
    assert names(result) == ["shift-invariant-bias"]
    assert after(result) == layer.weight.numel()
    assert_same(result, model, more)


def test_attention_pooling_keeps_the_bias_of_its_values():
    class Pooling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.score, self.value = nn.Linear(6, 1), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return (self.score(x).softmax(1) * self.value(x).tanh()).sum(1)

    model = seeded(Pooling)
    result = scan(model, TOKENS)
    assert [f.tensors for f in result.audit.findings if f.applied_by_default] == [("score.bias",)]
    assert_same(result, model, MORE)


@pytest.mark.parametrize(
    "act", [lambda s: s.softmax(-1), lambda s: s.sigmoid(), lambda s: s.tanh().softmax(1)]
)
def test_the_bias_of_scores_over_features_stays(act):
    model = seeded(lambda: Then(nn.Linear(6, 3), act))
    assert untouched(scan(model, TOKENS), model)


def test_float32_weights_are_left_as_they_are():
    model = stack(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4)).float()
    result = scan(model, IMAGE.float())
    kept = result.refactored.parameters["0.weight"]
    assert torch.equal(kept, model[0].weight)
    assert "0.bias" not in result.refactored.parameters
