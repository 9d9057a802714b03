"""verify in train mode: gradients of both models, against what autograd says of formulas written out here."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import paramaudit as pa
from paramaudit.records import Tier


class Net(nn.Module):
    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.drop = nn.Linear(5, 7), nn.Linear(7, 3), nn.Dropout(rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.drop(torch.tanh(self.a(x))))


class Written(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(
            self.drop(torch.tanh(F.linear(x, self.a.weight, self.a.bias))), self.b.weight, self.b.bias
        )


class Straight(Net):
    """The same outputs, but no gradient goes into the first layer's bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.drop(torch.tanh(F.linear(x, self.a.weight) + self.a.bias.detach())))


class Swapped(Net):
    """Half of the input's gradient is lost."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.drop(torch.tanh(self.a(0.5 * x + 0.5 * x.detach()))))


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_the_same_function_has_the_same_gradients(rate: float) -> None:
    found = pa.verify(Net(rate), Written(rate), torch.randn(4, 5), mode="train")
    assert found.equivalent is True
    assert found.gradients is not None
    assert found.gradients.tier is Tier.TESTED
    assert found.gradients.unmatched == ()
    assert found.gradients.checked == 15  # four parameters and the input, three times
    assert found.gradients.worst <= found.gradients.original_error


@pytest.mark.parametrize(("other", "what"), [(Straight, "a.bias"), (Swapped, "input x")])
def test_other_gradients_are_another_model_in_training(other: type[Net], what: str) -> None:
    found = pa.verify(Net(), other(), torch.randn(4, 5), mode="train", allow=frozenset({Tier.TESTED}))
    assert found.equivalent is False
    assert found.gradients is not None
    assert found.gradients.tier is Tier.REFUTED
    assert what in found.reason
    assert found.gradients.worst > 0.1


def test_a_merged_layer_is_unmatched_and_the_rest_is_compared() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.b(self.a(x))))

    class One(nn.Module):
        def __init__(self, two: Two) -> None:
            super().__init__()
            self.b, self.c = nn.Linear(6, 6), two.c
            with torch.no_grad():
                self.b.weight.copy_((two.b.weight.double() @ two.a.weight.double()).float())
                self.b.bias.copy_((two.b.weight.double() @ two.a.bias.double() + two.b.bias.double()).float())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.b(x)))

    two = Two()
    found = pa.verify(two, One(two), torch.randn(5, 6), mode="train")
    assert found.equivalent is True
    assert found.gradients is not None
    assert found.gradients.unmatched == ("a.bias", "a.weight", "b.bias", "b.weight")
    assert found.gradients.checked == 9


def test_random_numbers_of_another_kind_cannot_be_compared() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) + torch.rand_like(x)

    found = pa.verify(Noisy(), Noisy(), torch.randn(3, 4), mode="train")
    assert found.equivalent is None
    assert found.gradients is None
    assert "draws random numbers" in found.reason


def test_gradients_are_not_asked_for_in_eval_mode() -> None:
    assert pa.verify(Net(), Written(), torch.randn(4, 5)).gradients is None
