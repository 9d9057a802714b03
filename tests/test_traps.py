"""What looks replaceable and is not, and models of every shape that must go through unharmed."""

import copy

import pytest
import torch
import torch.nn.functional as F
from pipeline import (
    after,
    apart,
    assert_same,
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

from paramaudit.errors import CaptureError, NotAuditableError

WIDTH = 6
BATCH = draw(4, WIDTH)


class Net(nn.Module):
    """Two linear layers that are one if nothing happens between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))


# --- effects -------------------------------------------------------------------------------------


class ReluInPlace(Net):
    def between(self, h: Tensor) -> Tensor:
        return h.relu_()


class ViewWritten(Net):
    """A view is written, and the tensor behind it is read."""

    def between(self, h: Tensor) -> Tensor:
        h[:, :5].mul_(2.0)
        return h


class ColumnSet(Net):
    def between(self, h: Tensor) -> Tensor:
        h[:, 3] = h[:, 4].sin()
        return h


class EarlierView(Net):
    """The view is taken before the tensor is written, and read after."""

    def between(self, h: Tensor) -> Tensor:
        view = h.unflatten(-1, (4, 5))
        h.add_(h.sin())
        return view.flatten(-2)


class TransposedInPlace(Net):
    def between(self, h: Tensor) -> Tensor:
        h.t().clamp_(min=0.0)
        return h


class WrittenByMask(Net):
    def between(self, h: Tensor) -> Tensor:
        return h.masked_fill_(h < 0, 0.0)


class FilledTable(Net):
    """A tensor of zeros that is filled piece by piece."""

    def between(self, h: Tensor) -> Tensor:
        out = torch.zeros_like(h)
        out[:, :10] = h[:, :10].relu()
        out[:, 10:] += h[:, 10:]
        return out


@pytest.mark.parametrize(
    "kind",
    [
        *(ReluInPlace, ViewWritten, ColumnSet, EarlierView, TransposedInPlace, WrittenByMask, FilledTable),
    ],
)
def test_what_is_written_in_place_is_seen(kind):
    model = seeded(kind)
    result = scan(model, BATCH)
    assert not found(result, "unused")
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_constant_that_is_written_is_no_constant():
    class Filled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vector = nn.Parameter(torch.zeros(WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            grid = torch.zeros(3, WIDTH, dtype=x.dtype)
            grid[1:] = self.vector
            grid[0] += x.mean(0)
            return (grid.sum(0) + x).tanh()

    model = seeded(Filled)
    result = scan(model, BATCH)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_an_input_that_is_written_is_written_afterwards_too():
    class Writes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x.relu_()))

    model = seeded(Writes)
    example, mine, other = BATCH.clone(), draw(7, WIDTH, seed=3), draw(7, WIDTH, seed=3)
    result = scan(model, example)
    assert torch.equal(example, BATCH)
    assert after(result) == WIDTH * 3 + 3
    with torch.no_grad():
        expected = model(mine)
    (got,) = result.refactored.call(other).values()
    torch.testing.assert_close(got, expected)
    assert torch.equal(mine, other)


class Counter(nn.Module):
    """Counts its calls in a buffer that is read between two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        return self.b(self.a(x) * self.calls)


def test_a_buffer_that_is_written_goes_on_being_written():
    model = seeded(Counter)
    result = scan(model, BATCH)
    assert float(model.calls) == 0
    assert untouched(result, model)
    x = draw(7, WIDTH, seed=3)
    for program in (result.original, result.refactored):
        counted, start = copy.deepcopy(model), float(program.module.calls)
        counted.calls.fill_(start)
        for count in range(1, 4):
            with torch.no_grad():
                expected = counted(x)
            assert apart(expected, program, x) < 1e-10
            assert float(program.module.calls) == start + count


def test_running_statistics_in_train_mode_go_on_being_written():
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.unread = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
            self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)

        def forward(self, x: Tensor) -> Tensor:
            self.unread(x)
            return self.b(self.a(self.norm(x)))

    model = seeded(Watched)
    result = scan(model, BATCH, mode="train")
    assert not model.training
    x = draw(7, WIDTH, seed=3)
    trained = copy.deepcopy(model).train()
    with torch.no_grad():
        expected = trained(x)
    assert apart(expected, result.refactored, x) < 1e-10
    for name in ("norm", "unread"):
        torch.testing.assert_close(
            getattr(result.refactored.module, name).running_mean, getattr(trained, name).running_mean
        )


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
    from paramaudit.audit import Options, scan_loaded
    from paramaudit.records import Loaded

    loaded = Loaded("numbers.pt", "state-dict", tensors={"w": torch.zeros(2)})
    with pytest.raises(NotAuditableError, match="--factory"):
        scan_loaded(loaded, Options(), lambda _stage: None)


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
