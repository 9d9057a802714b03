"""What looks replaceable and is not, and models of every shape that must go through unharmed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from between import BATCH, WIDTH, Net
from pipeline import (
    draw,
    found,
    names,
    offered,
    scan,
    seeded,
    size,
    skipped,
    untouched,
)
from torch import Tensor, nn

from paramaudit.audit import Options, scan_loaded
from paramaudit.errors import CaptureError, NotAuditableError
from paramaudit.records import Loaded

# --- chance --------------------------------------------------------------------------------------


def test_what_is_drawn_at_random_is_no_constant():
    class Noise(Net):
        def between(self, h: Tensor) -> Tensor:
            return h + torch.randn(20, dtype=h.dtype) * self.a.weight.norm()

    model = seeded(Noise)
    result = scan(model, BATCH)
    assert not found(result, "constant")
    x = draw(7, WIDTH, seed=3)
    assert not torch.equal(*(next(iter(result.refactored.call(x).values())) for _ in range(2)))


@pytest.mark.parametrize("kind", ["attention", "rrelu"])
def test_constants_under_dropout_are_no_constants(kind):
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents = nn.Parameter(torch.zeros(1, 3, WIDTH))
            self.keys = nn.Parameter(torch.zeros(1, 5, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            if kind == "attention":
                drop = 0.5 if self.training else 0.0
                value = F.scaled_dot_product_attention(self.latents, self.keys, self.keys, dropout_p=drop)
            else:
                value = F.rrelu(self.latents, training=self.training)
            return x + value.mean((0, 1))

    model = seeded(Latents)
    assert "constant" in names(scan(model, BATCH))
    assert "constant" not in offered(scan(model, BATCH, mode="train"))


# --- numbers that are no numbers -----------------------------------------------------------------


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["a.weight", "b.bias"])
def test_numbers_that_are_not_finite_are_never_exact(where, value):
    model = seeded(Net)
    with torch.no_grad():
        model.get_parameter(where).view(-1)[0] = value
    result = scan(model, BATCH)
    assert untouched(result, model)
    x = draw(7, WIDTH, seed=3)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(next(iter(result.refactored.call(x).values())), expected, equal_nan=True)
    assert "NaN or infinite" in skipped(result)


class Counter(nn.Module):
    """Counts its calls in a buffer that is read between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.b(self.a(x) * self.calls)


# --- what cannot be captured ---------------------------------------------------------------------


class EvalDropoutAlias(Net):
    """Dropout in eval mode returns its argument itself, which no schema says."""

    def between(self, h: Tensor) -> Tensor:
        dropped = F.dropout(h, 0.5, training=False)
        dropped.relu_()
        return h


class EinsumAlias(Net):
    """So does an einsum that only transposes."""

    def between(self, h: Tensor) -> Tensor:
        torch.einsum("ij->ji", h).relu_()
        return h


class CountsItsCalls(Net):
    """State that is no buffer: the export takes it for a constant."""

    calls = 0

    def between(self, h: Tensor) -> Tensor:
        self.calls += 1
        return h * self.calls


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (EvalDropoutAlias, "does not do what the model does"),
        (EinsumAlias, "does not do what the model does"),
        (CountsItsCalls, "does not return the same twice"),
    ],
)
def test_a_graph_that_does_something_else_is_refused(kind, why):
    with pytest.raises(CaptureError, match=why):
        scan(seeded(kind), BATCH)


class DataDependent(Net):
    def between(self, h: Tensor) -> Tensor:
        return h if h.sum() > 0 else -h


class Item(Net):
    def between(self, h: Tensor) -> Tensor:
        return h[:, : int(h[0, 0].item())]


class Raises(Net):
    def between(self, h: Tensor) -> Tensor:
        if h.shape[0] > 100:
            return h
        if torch.compiler.is_exporting():
            raise ValueError("not like this")
        return h


@pytest.mark.parametrize("kind", [DataDependent, Item, Raises])
def test_what_cannot_be_exported_is_one_clear_error(kind):
    model = seeded(kind)
    with torch.no_grad():
        model.a.bias[0], model.a.weight[0] = 20.0, 0.0
    with pytest.raises(CaptureError) as caught:
        scan(model, BATCH)
    assert str(caught.value).startswith("the model cannot be exported: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_parameter_with_a_name_that_the_graph_needs_is_one_clear_error():
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.code = nn.Parameter(torch.zeros(WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.code

    with pytest.raises(CaptureError, match="code"):
        scan(seeded(Named), BATCH)


def test_stored_numbers_alone_are_no_graph():
    loaded = Loaded("numbers.pt", "state-dict", tensors={"w": torch.zeros(2)})
    found = scan_loaded(loaded, Options(), lambda _stage: None)
    assert found.audit.contract is None
    with pytest.raises(NotAuditableError, match="--factory"):
        _ = found.programs


def test_the_model_is_left_as_it_was():
    model = seeded(Counter).train()
    model.b.eval()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    scan(model, BATCH)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in model.modules()] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert size(model) == WIDTH * 20 + 20 + 20 * 3 + 3
