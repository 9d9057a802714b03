"""Units that are constant or unread go, and those that are nearly so stay."""

import pytest
import torch
from pipeline import after, assert_same, draw, names, scan, seeded, size, untouched
from torch import Tensor, nn

BATCH, MORE = draw(4, 6), draw(7, 6, seed=3)
IMAGE, LARGER = draw(2, 3, 9, 8), draw(3, 3, 12, 11, seed=3)
DEAD = [1, 4, 5]


def changed(change: object, *layers: nn.Module) -> nn.Module:
    """A stack of layers with some numbers changed."""
    model = seeded(lambda: nn.Sequential(*layers))
    with torch.no_grad():
        change(model)
    return model


def no_input(model: nn.Module) -> None:
    model[0].weight[DEAD] = 0.0


def no_output(model: nn.Module) -> None:
    model[2].weight[:, DEAD] = 0.0


ACTIVATIONS = [
    *(nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.ELU(), nn.Hardswish(), nn.LeakyReLU()),
    *(nn.Softplus(), nn.Mish(), nn.Hardtanh(), nn.Sequential(nn.ReLU(), nn.Dropout(0.1))),
]


@pytest.mark.parametrize("change", [no_input, no_output])
@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: type(act).__name__)
def test_dead_units_of_a_multilayer_perceptron_go(act, change):
    model = changed(change, nn.Linear(6, 8), act, nn.Linear(8, 3), nn.Tanh())
    result = scan(model, BATCH)
    assert names(result) == ["dead-units"]
    assert after(result) == 5 * (6 + 1 + 3) + 3
    assert_same(result, model, MORE)


def test_a_gate_written_out_is_followed():
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            return self.second(h * torch.sigmoid(1.702 * h)).tanh()

    model = seeded(Gate)
    with torch.no_grad():
        model.first.weight[2] = 0.0
        model.second.weight[:, 5] = 0.0
    result = scan(model, BATCH)
    assert after(result) == 6 * (6 + 1 + 3) + 3
    assert_same(result, model, MORE)


def test_a_layer_of_nothing_but_dead_units_keeps_one():
    model = changed(lambda m: m[0].weight.zero_(), nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3), nn.Tanh())
    result = scan(model, BATCH)
    assert after(result) <= (6 + 1 + 3) + 3
    assert_same(result, model, MORE)


def test_a_unit_that_every_reader_leaves_out_goes():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.first(x).relu()
            return self.a(h).tanh(), self.b(h).sin()

    model = seeded(Two)
    with torch.no_grad():
        model.a.weight[:, [0, 1]] = 0.0
        model.b.weight[:, [1, 2]] = 0.0
    result = scan(model, BATCH)
    assert after(result) == size(model) - (6 + 1 + 3 + 2)
    assert_same(result, model, MORE)


# --- channels -----------------------------------------------------------------------------------


def test_unread_channels_go():
    model = changed(
        no_output, nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 2, 3, padding=1), nn.Tanh()
    )
    result = scan(model, IMAGE)
    assert after(result) == 5 * (27 + 1 + 18) + 2
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(("padding", "bias", "kept"), [(0, 1.0, 5), (1, -1.0, 5), (1, 1.0, 8)])
def test_a_constant_channel_meets_the_zeros_of_a_padding(padding, bias, kept):
    """Behind a ReLU a negative bias is a zero like theirs; a positive one is not."""

    def change(model: nn.Module) -> None:
        no_input(model)
        model[0].bias[DEAD] = bias

    model = changed(change, nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=padding), nn.Tanh())
    result = scan(model, IMAGE)
    assert after(result) == kept * (27 + 1 + 18) + 2
    assert_same(result, model, LARGER)


@pytest.mark.parametrize("affine", [True, False])
def test_channels_go_through_a_batch_norm(affine):
    norm = nn.BatchNorm2d(8, affine=affine)
    model = changed(no_input, nn.Conv2d(3, 8, 3), nn.ReLU(), norm, nn.Conv2d(8, 2, 2), nn.Tanh())
    result = scan(model, IMAGE)
    (one,) = [f for f in result.audit.findings if f.applied_by_default]
    assert (one.operator, one.requires) == ("dead-units", ("eval mode",))
    assert after(result) == 5 * (27 + 1 + 2 + 8) + 2
    assert_same(result, model, LARGER)


def test_channels_that_a_batch_norm_scales_by_zero_go():
    def slim(model: nn.Module) -> None:
        model[1].weight[DEAD] = 0.0
        model[1].bias[DEAD] = -0.5

    layers = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1)
    model = changed(slim, *layers, nn.Tanh())
    result = scan(model, IMAGE)
    assert after(result) == 5 * (27 + 1 + 18) + 2
    assert_same(result, model, LARGER)


def test_an_inverted_bottleneck_loses_its_dead_channels():
    def dead(model: nn.Module) -> None:
        model[0].weight[1], model[0].bias[1] = 0.0, -1.0
        model[2].weight[4] = 0.0
        model[4].weight[:, 5] = 0.0

    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
    model = changed(
        dead, nn.Conv2d(3, 8, 1), nn.ReLU6(), depthwise, nn.ReLU6(), nn.Conv2d(8, 2, 1), nn.Tanh()
    )
    result = scan(model, IMAGE)
    assert after(result) == 5 * (3 + 1 + 9 + 1 + 2) + 2
    assert_same(result, model, LARGER)


@pytest.mark.parametrize(
    ("between", "columns", "static"),
    [
        ((nn.AdaptiveAvgPool2d(1), nn.Flatten()), 1, {}),
        ((nn.MaxPool2d(2), nn.Flatten()), 9, {"input_2": 9, "input_3": 8}),
        ((nn.AvgPool2d(2), nn.Flatten()), 9, {"input_2": 9, "input_3": 8}),
    ],
)
def test_channels_that_are_flattened_go_with_all_their_columns(between, columns, static):
    model = changed(no_input, nn.Conv2d(3, 8, 3), nn.ReLU(), *between, nn.Linear(8 * columns, 2), nn.Tanh())
    result = scan(model, IMAGE, static=static)
    assert after(result) == 5 * (27 + 1 + 2 * columns) + 2
    assert_same(result, model, draw(3, 3, 9, 8, seed=3))


# --- near misses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0, (1, 2)), (2, (2, 1))])
def test_one_number_keeps_a_unit_alive(place):
    def alive(model: nn.Module) -> None:
        (no_input if place[0] == 0 else no_output)(model)
        model[place[0]].weight[place[1]] = 1e-3

    model = changed(alive, nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3), nn.Tanh())
    result = scan(model, BATCH)
    assert names(result) == ["dead-units"]
    assert after(result) == 6 * (6 + 1 + 3) + 3
    assert_same(result, model, MORE)


@pytest.mark.parametrize(
    "act",
    [
        lambda h, s: (s(h), h),  # returned as well
        lambda h, s: s(h) + h.sum(-1, keepdim=True),
        lambda h, s: s(h + h.roll(1, -1)),
        lambda h, s: s(h.softmax(-1)),
        lambda h, s: s(h[:, [1, 0, 2, 3, 4, 5, 6, 7]].contiguous()),
        lambda h, s: s(nn.functional.layer_norm(h, (8,))),
        lambda h, s: s(h.log()),  # of a negative number nothing can be said
    ],
)
def test_units_that_are_read_elsewhere_or_mixed_stay(act):
    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return act(self.first(x).sigmoid(), self.second)

    model = seeded(Read)
    with torch.no_grad():
        model.first.weight[DEAD] = 0.0
    result = scan(model, BATCH)
    assert "dead-units" not in names(result)
    assert_same(result, model, MORE)


def test_a_shared_layer_keeps_its_dead_units():
    shared = nn.Linear(6, 6)
    model = seeded(lambda: nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh()))
    with torch.no_grad():
        shared.weight[2] = 0.0
    assert "dead-units" not in names(scan(model, BATCH))


def test_a_pool_over_units_mixes_them():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(3, 8, 3), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = nn.functional.max_pool2d(self.first(x).relu(), 2)  # (batch, 8, 10) as one image a channel
            return self.second(h.flatten(0, 1)).tanh()

    model = seeded(Pooled)
    with torch.no_grad():
        model.first.weight[DEAD] = 0.0
    result = scan(model, draw(2, 3, 12), static={"x_2": 12})
    assert untouched(result, model)


def test_a_batch_norm_in_train_mode_keeps_dead_channels():
    layers = nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 2)
    model = changed(no_input, *layers).train()
    assert "dead-units" not in names(scan(model, IMAGE, mode="train"))
