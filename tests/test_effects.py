"""Models that write into tensors, buffers and inputs: what a graph without effects must still say."""

import copy

import pytest
import torch
from between import BATCH, WIDTH, Net
from pipeline import (
    after,
    apart,
    assert_same,
    draw,
    found,
    scan,
    seeded,
    skipped,
    untouched,
)
from torch import Tensor, nn

from paramaudit.audit import Options, scan_loaded
from paramaudit.errors import CaptureError
from paramaudit.records import Loaded


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


def test_numbers_that_an_exported_program_changes_are_no_copies_of_others():
    class Decays(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            self.b.weight.detach().mul_(0.9)
            return self.b(self.a(x).tanh()).tanh()

    model = seeded(Decays)
    model.b.load_state_dict(model.a.state_dict())
    exported = torch.export.export(model, (BATCH,))
    loaded = Loaded("model.pt2", "pt2", exported=exported, args=(BATCH,))
    result = scan_loaded(loaded, Options(), lambda _stage: None)
    assert [f.tensors for f in found(result)] == [("b.bias",)]
    assert "the model itself changes these numbers" in skipped(result)


def test_a_model_that_writes_its_own_parameters_is_refused_with_them_as_they_were():
    class Learns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(9, WIDTH, max_norm=0.5), nn.Linear(WIDTH, 3)

        def forward(self, index: Tensor) -> Tensor:
            self.out.weight.data.mul_(0.5)
            return self.out(self.table(index))

    class Replaces(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(WIDTH, 3)

        def forward(self, index: Tensor) -> Tensor:
            kept = self.out.weight
            self.out.weight = nn.Parameter(kept.detach() * 2)
            return self.out(index[:, None].to(kept.dtype).expand(-1, WIDTH))

    for kind in (Learns, Replaces):
        model = seeded(kind)
        before = {name: (value, value.detach().clone()) for name, value in model.named_parameters()}
        with pytest.raises(CaptureError):
            scan(model, torch.arange(5))
        for name, value in model.named_parameters():
            assert value is before[name][0]
            assert torch.equal(value, before[name][1])
