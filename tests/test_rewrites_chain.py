"""Affine after affine with nothing between, along linear layers and convolutions."""

import pytest
import torch
from pipeline import after, assert_same, draw, found, names, safe, scan, seeded, size, untouched
from torch import Tensor, nn

BATCH = draw(3, 6)


def stack(*layers: nn.Module) -> nn.Module:
    return seeded(lambda: nn.Sequential(*layers))


class Middle(nn.Module):
    """Two linear layers, and what else reads the value between them."""

    def __init__(self, use: str) -> None:
        super().__init__()
        self.a, self.b, self.use = nn.Linear(6, 8), nn.Linear(8, 3), use

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = self.a(x)
        if self.use == "output":
            return self.b(h), h
        return self.b(h) if self.use == "nothing" else (self.b(h), h.sigmoid())


class Affine(nn.Module):
    """Affine maps that are no linear layers: a product, a residual, a concatenation, a gain, a sum."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(6, 6), nn.Linear(12 if kind == "cat" else 6, 2)
        self.m = nn.Parameter(torch.zeros(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        if self.kind == "matmul":
            h = h @ self.m
        elif self.kind == "residual":
            h = x + h
        elif self.kind == "cat":
            h = torch.cat([h, x.flip(-1)], -1)
        elif self.kind == "gain":
            h = 0.5 * h * self.m[0] - self.m[1]
        elif self.kind == "tokens":
            h = h.unflatten(-1, (2, 3)).sum(1).repeat_interleave(2, -1)
        return self.b(h)


@pytest.mark.parametrize("bias", [True, False])
def test_two_linear_layers_are_one(bias):
    model = stack(nn.Linear(6, 8, bias=bias), nn.Linear(8, 3, bias=bias))
    result = scan(model, BATCH)
    assert names(result) == ["linear-chain"]
    assert after(result) == 6 * 3 + 3 * bias
    assert_same(result, model, draw(5, 6, seed=3))


def test_eval_dropout_is_nothing_between_and_train_dropout_is_something():
    model = stack(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    result = scan(model, BATCH)
    assert after(result) == 6 * 3 + 3
    assert_same(result, model, draw(5, 6, seed=3))
    assert untouched(scan(model, BATCH, mode="train"), model)


@pytest.mark.parametrize("layer", [nn.ReLU(), nn.GELU(), nn.Softmax(-1), nn.LayerNorm(8), nn.Hardtanh(-9, 9)])
def test_a_bend_between_keeps_both(layer):
    model = stack(nn.Linear(6, 8), layer, nn.Linear(8, 3))
    result = scan(model, BATCH)
    assert not found(result, "linear-chain")
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_narrow_middle_is_smaller_as_it_is():
    model = stack(nn.Linear(6, 2), nn.Linear(2, 6))
    result = scan(model, BATCH)
    assert "linear-chain" not in names(result)
    assert after(result) <= size(model)
    assert_same(result, model, draw(5, 6, seed=3))


@pytest.mark.parametrize("use", ["output", "elsewhere"])
def test_a_middle_that_is_read_keeps_its_layer(use):
    model = seeded(Middle, use)
    result = scan(model, BATCH)
    assert {"a.weight", "a.bias"} <= set(result.refactored.parameters)
    assert after(result) == min(size(model), 6 * 8 + 8 + 6 * 3 + 3)
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_middle_that_is_read_counts_as_kept():
    """Merged, the second layer alone would grow from 30 numbers to 66."""
    model = seeded(lambda: nn.Sequential(nn.Linear(10, 4), nn.Linear(4, 6)))
    assert after(scan(model, draw(3, 10))) == 10 * 6 + 6

    class Read(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = model

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.pair[0](x)
            return self.pair[1](h), h.sigmoid()

    assert untouched(scan(Read(), draw(3, 10)), model)


@pytest.mark.parametrize("kind", ["matmul", "residual", "cat", "gain"])
def test_other_affine_calls_are_part_of_a_chain(kind):
    model = seeded(Affine, kind)
    result = scan(model, BATCH)
    assert after(result) == 6 * 2 + 2
    assert safe(result)
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_chain_over_a_sequence_holds_for_every_length():
    model = stack(nn.Linear(6, 8), nn.Linear(8, 3))
    result = scan(model, draw(2, 4, 6))
    assert after(result) == 6 * 3 + 3
    assert_same(result, model, draw(3, 7, 6, seed=3))


def test_a_chain_goes_on_behind_a_flattened_sequence():
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).reshape(-1, 8)).tanh()

    model = seeded(Flattened)
    result = scan(model, draw(2, 4, 6))
    assert after(result) == 6 * 3 + 3
    assert_same(result, model, draw(3, 7, 6, seed=3))


def test_relu_of_x_times_w_is_not_affine_in_x():
    """It agrees with ``x @ W.T`` on every basis vector and at zero."""

    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8, bias=False), nn.Linear(8, 3, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(torch.relu(x)))

    model = seeded(Bent)
    result = scan(model, BATCH)
    assert after(result) == 6 * 3
    assert_same(result, model, -draw(5, 6, seed=3).abs())


def test_a_shared_pair_is_swapped_once_at_every_call():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 6))
            self.alias = self.pair

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.pair(x).relu(), self.alias(x.sin()).sum(-1)

    model = seeded(Twice)
    result = scan(model, BATCH)
    assert after(result) == 6 * 6 + 6
    assert len(found(result)) == 1
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_shared_layer_in_two_pairs_is_freed_only_when_both_go():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(6, 20)
            self.b, self.c = nn.Linear(20, 2), nn.Linear(20, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.b(self.a(x)), self.c(self.a(x.sin()))

    model = seeded(Shared)
    result = scan(model, BATCH)
    assert after(result) <= size(model)
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_matrix_that_is_also_read_as_numbers_stays():
    class ReadToo(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.b(self.a(x)), x.sin() @ self.a.weight.T

    model = seeded(ReadToo)
    result = scan(model, BATCH)
    assert "a.weight" in result.refactored.parameters
    assert_same(result, model, draw(5, 6, seed=3))


def test_a_layer_of_one_input_is_a_layer():
    model = stack(nn.Linear(1, 8), nn.Linear(8, 1), nn.Tanh(), nn.Linear(1, 3))
    result = scan(model, draw(3, 1))
    assert after(result) == 1 + 1 + 6
    assert_same(result, model, draw(5, 1, seed=3))


# --- convolutions ------------------------------------------------------------------------------


def convolutions(first: nn.Module, second: nn.Module) -> tuple[nn.Module, Tensor, Tensor]:
    model = stack(first, second)
    shape = (12,) if first.weight.dim() == 3 else (9, 8)
    channels = first.weight.shape[1] * first.groups
    return model, draw(2, channels, *shape), draw(3, channels, *(n + 4 for n in shape), seed=3)


@pytest.mark.parametrize(
    ("first", "second", "kernel"),
    [
        (nn.Conv1d(2, 8, 3, padding=2), nn.Conv1d(8, 2, 1), (3,)),
        (nn.Conv1d(2, 8, 3, stride=2), nn.Conv1d(8, 2, 3), (7,)),
        (nn.Conv2d(1, 8, 1, bias=False), nn.Conv2d(8, 2, (3, 1), stride=(1, 2)), (3, 1)),
    ],
)
def test_convolutions_without_padding_between_merge(first, second, kernel):
    model, example, other = convolutions(first, second)
    result = scan(model, example)
    (finding,) = found(result)
    assert finding.operator == "linear-chain"
    taps = int(torch.tensor(kernel).prod())
    assert after(result) == 2 * first.weight.shape[1] * taps + 2
    assert_same(result, model, other)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nn.Conv1d(2, 8, 3), nn.Conv1d(8, 2, 3, padding=1)),  # its zeros stand for values never computed
        (nn.Conv1d(2, 8, 3), nn.Conv1d(8, 2, 3, padding="same")),
        (nn.Conv1d(2, 8, 3), nn.Conv1d(8, 2, 1, padding=1)),
        (nn.Conv1d(2, 8, 3, groups=2), nn.Conv1d(8, 2, 1)),
        (nn.Conv1d(2, 8, 3), nn.Conv1d(8, 2, 2, dilation=2)),
        (nn.Conv1d(6, 2, 5), nn.Conv1d(2, 6, 5)),  # larger as one
    ],
)
def test_convolutions_that_are_not_one_smaller_one_stay(first, second):
    model, example, other = convolutions(first, second)
    result = scan(model, example)
    assert untouched(result, model)
    assert_same(result, model, other)


def test_a_middle_convolution_that_is_read_stays():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(2, 8, 3), nn.Conv1d(8, 2, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.a(x)
            return self.b(h), h

    model = seeded(Both)
    result = scan(model, draw(2, 2, 9))
    assert untouched(result, model)
    assert_same(result, model, draw(3, 2, 12, seed=3))
