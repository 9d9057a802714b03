"""Different exports of one model are the same function, and those of a changed model are not."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from exports import EXPORTS, MODELS, captured, model, plain
from torch import Tensor, nn

from paramaudit import verify
from paramaudit.graph.forms import decomposed, narrowed
from paramaudit.pairing import pair
from paramaudit.records import Tier

# One pair of each kind here; all of them among the slow tests.
SOME = [
    ("norms", "decomposed"),
    ("convolutions", "decomposed"),
    ("attention", "decomposed"),
    ("gru", "decomposed"),
    ("tokens", "strict"),
    ("norms", "static"),
    ("transformer", "unflattened"),
    ("lstm", "saved"),
    ("transformer", "again"),
]
ALL = [(name, how) for name in MODELS for how in EXPORTS]


def check(name: str, how: str) -> None:
    module, x = model(name)
    first, second = captured(plain(module, x), x), captured(EXPORTS[how](module, x), x)
    first = narrowed(first, second)
    found = pair(first, second)
    if found.unpaired:
        found = pair(decomposed(first), decomposed(second))
    assert found.unpaired == {}
    assert found.tier is Tier.EXACT


@pytest.mark.parametrize(("name", "how"), SOME)
def test_another_export_is_the_same_function(name, how):
    check(name, how)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), ALL)
def test_every_export_is_the_same_function(name, how):
    check(name, how)


@pytest.mark.parametrize("name", ["norms", "convolutions"])
def test_another_export_of_a_changed_model_is_not(name):
    module, x = model(name)
    changed = copy.deepcopy(module)
    with torch.no_grad():
        list(changed.parameters())[-1].mul_(1.01).add_(1e-3)
    first, second = captured(plain(module, x), x), captured(EXPORTS["decomposed"](changed, x), x)
    found = pair(decomposed(first), decomposed(second))
    assert found.unpaired or not found.tier.safe


def test_a_static_export_is_compared_on_the_sizes_that_both_take(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, x = model("norms")
    certificate = verify(module, EXPORTS["static"](module, x), (x,))
    assert (certificate.equivalent, certificate.tier) == (True, Tier.EXACT)
    assert [spec.shape for spec in certificate.contract.inputs] == [(3, 5, 8)]
    back = verify(EXPORTS["static"](module, x), module, (x,))
    assert (back.equivalent, back.tier) == (True, Tier.EXACT)


def test_verify_holds_between_a_module_and_its_decomposed_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module, x = model("norms")
    certificate = verify(module, EXPORTS["decomposed"](module, x), (x,))
    assert (certificate.equivalent, certificate.tier) == (True, Tier.EXACT)


# --- the same layers, written in another way ----------------------------------------------------


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x))) + x


class Functional(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return x + F.linear(
            F.gelu(F.linear(x, self.up.weight, self.up.bias)), self.down.weight, self.down.bias
        )


class Products(Layers):
    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(torch.matmul(x, self.up.weight.mT) + self.up.bias)
        return x + (torch.einsum("bi,oi->bo", hidden, self.down.weight) + self.down.bias)


class NoBias(Layers):
    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(F.gelu(x @ self.up.weight.mT + self.up.bias), self.down.weight.mT) + x


@pytest.mark.parametrize("other", [Functional, Products])
def test_layers_written_in_another_way_are_the_same(other, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    certificate = verify(Layers(), other(), (torch.randn(3, 8),))
    assert certificate.equivalent is True
    assert certificate.tier.safe


def test_layers_without_their_bias_are_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert verify(Layers(), NoBias(), (torch.randn(3, 8),)).equivalent is False


@pytest.mark.parametrize("call", [torch.add, torch.mul, torch.maximum])
def test_operands_of_a_sum_or_product_may_be_exchanged(call):
    class Two(nn.Module):
        def __init__(self, swap: bool) -> None:
            super().__init__()
            self.swap = swap

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            p, q = x.exp(), y.tanh()
            return call(q, p).sin() if self.swap else call(p, q).sin()

    x = (torch.randn(3, 4), torch.randn(3, 4))
    programs = [captured(torch.export.export(Two(swap), x), *x) for swap in (False, True)]
    assert pair(*programs).unpaired == {}
