"""LSTM, GRU and RNN layers over one step, and the biases of those over many."""

import pytest
import torch
from pipeline import after, assert_same, draw, found, names, scan, seeded, size, skipped, untouched
from torch import Tensor, nn

from paramaudit.errors import CaptureError

WIDTH, HIDDEN = 5, 4
BATCH = draw(2, WIDTH)
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class OneStep(nn.Module):
    """A recurrent layer that is fed one step, of which the last output is used."""

    def __init__(self, cell: str, **options: object) -> None:
        super().__init__()
        self.cell = CELLS[cell](WIDTH, HIDDEN, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x.unsqueeze(1))[0][:, -1]


class Steps(nn.Module):
    """A recurrent layer over a whole sequence."""

    def __init__(self, cell: str, **options: object) -> None:
        super().__init__()
        self.cell = CELLS[cell](WIDTH, HIDDEN, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]


def one_step_count(cell: str, layers: int, directions: int, bias: bool) -> int:
    """3HI + 3H for each LSTM layer and direction, 3HI + 4H for a GRU's, HI + H for an RNN's.

    A GRU's reset gate only acts on the recurrent bias of its candidate: without biases it is dead too.
    """
    gates = {"lstm": 3, "gru": 3 if bias else 2, "rnn": 1}[cell]
    offsets = {"lstm": 3, "gru": 4, "rnn": 1}[cell] * bias
    inputs = [WIDTH, *[HIDDEN * directions] * (layers - 1)]
    return directions * sum(gates * HIDDEN * i + offsets * HIDDEN for i in inputs)


@pytest.mark.parametrize(
    ("layers", "bidirectional", "bias"), [(1, False, True), (1, False, False), (2, True, True)]
)
@pytest.mark.parametrize("cell", CELLS)
def test_one_step_keeps_what_acts_on_it(cell, layers, bidirectional, bias):
    model = seeded(OneStep, cell, num_layers=layers, bidirectional=bidirectional, bias=bias)
    result = scan(model, BATCH)
    assert after(result) == one_step_count(cell, layers, 1 + bidirectional, bias)
    (finding,) = found(result, "single-step-recurrence")
    assert finding.path == "cell"
    assert finding.tier == "exact"
    assert finding.arguments == {
        "cell": "rnn_tanh" if cell == "rnn" else cell,
        "layers": layers,
        "directions": 1 + bidirectional,
    }
    dead = [f.parameters_before - f.parameters_after for f in found(result, "unused")]
    assert (finding.parameters_before, finding.parameters_after - sum(dead)) == (size(model), after(result))
    # torch's own export fixes the batch of a GRU without biases
    assert_same(result, model, draw(7 if bias else 2, WIDTH, seed=3))


def test_a_relu_rnn_is_a_relu_of_its_input():
    model = seeded(OneStep, "rnn", nonlinearity="relu")
    result = scan(model, BATCH)
    assert names(result) == ["single-step-recurrence"]
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_written_zero_state_is_a_zero_state():
    class Explicit(OneStep):
        def forward(self, x: Tensor) -> Tensor:
            zero = torch.zeros(1, x.shape[0], HIDDEN, dtype=x.dtype)
            return self.cell(x.unsqueeze(1), (zero, zero.clone()))[0]

    model = seeded(Explicit, "lstm")
    result = scan(model, BATCH)
    assert after(result) == one_step_count("lstm", 1, 1, True)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_sequence_first_steps_are_the_first_dimension():
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(WIDTH, HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x.unsqueeze(0))[0]

    model = seeded(First)
    result = scan(model, BATCH)
    assert names(result) == ["single-step-recurrence"]
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_batch_of_one_is_not_one_step():
    """``batch_first`` forgotten: the batch is what the layer walks over."""

    class Across(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTM(WIDTH, HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x.unsqueeze(1))[0]

    model = seeded(Across)
    result = scan(model, draw(1, WIDTH))
    assert not found(result, "single-step-recurrence")
    assert_same(result, model, draw(2, WIDTH, seed=3))  # export fixes how long a recurrence is


class State(OneStep):
    """An LSTM step whose initial state is ``start`` everywhere, or an input."""

    def __init__(self, start: float) -> None:
        super().__init__("lstm")
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        state = torch.full((1, x.shape[0], HIDDEN), self.start, dtype=x.dtype)
        return self.cell(x.unsqueeze(1), (state, state))[0]


def test_a_state_that_is_not_zero_keeps_the_recurrence():
    model = seeded(State, 0.5)
    result = scan(model, BATCH)
    assert names(result) == ["duplicate"]
    assert "initial state is not zero" in skipped(result)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_state_that_is_written_after_it_was_zero_keeps_the_recurrence():
    class Written(OneStep):
        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.zeros(1, x.shape[0], HIDDEN, dtype=x.dtype)
            hidden[:, :, :2] += x[:, :2]
            return self.cell(x.unsqueeze(1), (hidden, torch.zeros_like(hidden)))[0]

    model = seeded(Written, "lstm")
    result = scan(model, BATCH)
    assert names(result) == ["duplicate"]
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_state_that_is_an_input_keeps_the_recurrence():
    class Given(OneStep):
        def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
            return self.cell(x.unsqueeze(1), hidden.unsqueeze(0))[0]

    model = seeded(Given, "gru")
    result = scan(model, BATCH, torch.zeros(2, HIDDEN, dtype=torch.float64))
    assert not found(result, "single-step-recurrence")
    assert_same(result, model, draw(7, WIDTH, seed=3), draw(7, HIDDEN, seed=4))


def test_a_final_state_that_is_read_keeps_the_recurrence():
    class Final(OneStep):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            out, (_, cell) = self.cell(x.unsqueeze(1))
            return out, cell

    model = seeded(Final, "lstm")
    result = scan(model, BATCH)
    assert not found(result, "single-step-recurrence")
    assert "final state is read" in skipped(result)
    assert_same(result, model, draw(7, WIDTH, seed=3))


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True)])
def test_a_projected_lstm_is_left(layers, bidirectional):
    model = seeded(OneStep, "lstm", num_layers=layers, bidirectional=bidirectional, proj_size=2)
    result = scan(model, BATCH)
    assert not found(result, "single-step-recurrence")
    assert "projection" in skipped(result)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_dropout_between_layers_in_train_mode_keeps_them():
    model = seeded(OneStep, "lstm", num_layers=2, dropout=0.5)
    assert names(scan(model, BATCH)) == ["single-step-recurrence"]
    result = scan(model, BATCH, mode="train")
    assert not names(result)
    assert "train mode" in skipped(result)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_over_many_steps_only_the_biases_merge(cell, bidirectional):
    model = seeded(Steps, cell, num_layers=2, bidirectional=bidirectional)
    result = scan(model, draw(2, 3, WIDTH))
    gates = {"lstm": 4, "gru": 2, "rnn": 1}[cell]
    assert names(result) == ["duplicate"]
    assert after(result) == size(model) - 2 * (1 + bidirectional) * gates * HIDDEN
    assert_same(result, model, draw(4, 3, WIDTH, seed=3))


@pytest.mark.parametrize("cell", CELLS)
def test_a_length_that_was_one_in_the_example_is_not_one(cell):
    model = seeded(Steps, cell)
    result = scan(model, draw(2, 1, WIDTH))
    assert names(result) == ["duplicate"]
    assert_same(result, model, draw(4, 2, WIDTH, seed=3))


@pytest.mark.parametrize("cell", CELLS)
def test_a_length_declared_one_is_one(cell):
    model = seeded(Steps, cell)
    result = scan(model, draw(2, 3, WIDTH), static={"x_1": 1})
    assert after(result) == one_step_count(cell, 1, 1, True)
    assert_same(result, model, draw(4, 1, WIDTH, seed=3))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_final_state_over_many_steps_survives_the_merge(cell):
    class Final(Steps):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            out, state = self.cell(x)
            return (out, *state) if isinstance(state, tuple) else (out, state)

    model = seeded(Final, cell)
    result = scan(model, draw(2, 3, WIDTH))
    assert names(result) == ["duplicate"]
    assert_same(result, model, draw(4, 3, WIDTH, seed=3))


@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (2, True), (4, False)])
def test_a_projected_lstm_over_many_steps_runs_as_before(layers, bidirectional):
    model = seeded(Steps, "lstm", num_layers=layers, bidirectional=bidirectional, proj_size=2)
    result = scan(model, draw(2, 3, WIDTH))
    assert untouched(result, model)
    assert_same(result, model, draw(4, 3, WIDTH, seed=3))


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_without_biases_has_none_to_merge(cell):
    model = seeded(Steps, cell, bias=False)
    result = scan(model, draw(2, 3, WIDTH))
    assert not names(result)
    assert_same(result, model, draw(4, 3, WIDTH, seed=3))


@pytest.mark.parametrize("cell", CELLS)
def test_a_packed_sequence_is_one_clear_refusal(cell):
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = CELLS[cell](WIDTH, HIDDEN)

        def forward(self, rows: Tensor) -> Tensor:
            sizes = torch.tensor([2, 1])
            return self.cell(nn.utils.rnn.PackedSequence(rows, sizes))[0].data

    with pytest.raises(CaptureError, match="cannot be exported"):
        scan(seeded(Packed), draw(3, WIDTH))
