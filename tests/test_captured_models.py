"""Models of every kind go through the pipeline unharmed: dtypes, structures, odd parameters, odd returns."""

import pytest
import torch
from pipeline import after, apart, assert_same, draw, found, names, scan, seeded, size, untouched
from torch import Tensor, nn

WIDTH = 6
BATCH = draw(4, WIDTH)
PAIR = WIDTH * 3 + 3


class Net(nn.Module):
    """A pair of linear layers that merges into ``PAIR`` numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


# --- dtypes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_every_dtype_is_kept(dtype):
    model = seeded(Net).to(dtype)
    result = scan(model, BATCH.to(dtype))
    assert after(result) == PAIR
    assert {p.dtype for p in result.refactored.parameters.values()} == {dtype}
    other = draw(7, WIDTH, seed=3).to(dtype)
    with torch.no_grad():
        exact = seeded(Net).to(dtype).double()(other.double())
    assert apart(exact.to(dtype), result.refactored, other) <= 8 * torch.finfo(dtype).eps


def test_two_dtypes_in_one_model_stay_apart():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Net(), Net()

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x.to(torch.bfloat16)).to(x.dtype)

    model = seeded(Mixed)
    model.b.bfloat16()
    result = scan(model, BATCH)
    assert after(result) == 2 * PAIR
    assert {p.dtype for p in result.refactored.parameters.values()} == {torch.float64, torch.bfloat16}
    other = draw(7, WIDTH, seed=3)
    assert apart(model(other), result.refactored, other) < 0.05


@pytest.mark.parametrize("block", ["no_grad", "autocast", "cond"])
def test_blocks_inside_a_model_stay_as_they_are(block):
    class Blocks(Net):
        def forward(self, x: Tensor) -> Tensor:
            if block == "cond":
                x = torch.cond(x.sum() > 0, torch.sin, torch.cos, (x,))
                return super().forward(x)
            with torch.no_grad() if block == "no_grad" else torch.autocast("cpu", dtype=torch.bfloat16):
                h = self.a(x)
            return self.b(h.to(x.dtype))

    model = seeded(Blocks).float()
    result = scan(model, BATCH.float())
    assert after(result) == (PAIR if block == "cond" else size(model))
    assert_same(result, model, draw(7, WIDTH, seed=3).float(), within=1e-6)


# --- structures ----------------------------------------------------------------------------------


class Keywords(Net):
    def forward(self, x: Tensor, *, gain: Tensor, flip: bool = False) -> Tensor:
        return super().forward(x.flip(-1) if flip else x) * gain


def test_keyword_inputs_are_inputs():
    model = seeded(Keywords)
    result = scan(model, BATCH, kwargs={"gain": draw(4, 1, seed=2), "flip": True})
    assert after(result) == PAIR
    assert [spec.name for spec in result.audit.contract.inputs][:2] == ["x", "gain"]
    assert_same(result, model, draw(7, WIDTH, seed=3), kwargs={"gain": draw(7, 1, seed=4), "flip": True})


class Star(Net):
    def forward(self, *parts: Tensor, gain: Tensor) -> Tensor:
        return super().forward(sum(parts)) * gain


def test_any_number_of_positional_inputs():
    model = seeded(Star)
    result = scan(model, BATCH, draw(4, WIDTH, seed=2), kwargs={"gain": draw(4, 1, seed=5)})
    assert after(result) == PAIR
    inputs = draw(7, WIDTH, seed=3), draw(7, WIDTH, seed=4)
    assert_same(result, model, *inputs, kwargs={"gain": draw(7, 1, seed=6)})


class Structured(Net):
    def forward(self, batch: dict[str, Tensor], rest: tuple[Tensor, list[Tensor]]) -> dict[str, object]:
        x = batch["x"] + rest[0] + rest[1][0]
        return {"main": super().forward(x), "aux": (x.mean(), [x.sin(), None]), "name": "net"}


def test_structured_inputs_and_outputs():
    model = seeded(Structured)

    def inputs(rows: int) -> tuple[dict[str, Tensor], tuple[Tensor, list[Tensor]]]:
        return {"x": draw(rows, WIDTH, seed=2)}, (draw(rows, WIDTH), [draw(rows, WIDTH, seed=3)])

    result = scan(model, *inputs(4))
    assert after(result) == PAIR
    assert result.audit.contract.outputs == ("main", "aux.0", "aux.1.0", "aux.1.1", "name")
    assert_same(result, model, *inputs(7))


def test_scalar_outputs():
    class Loss(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean()

    model = seeded(Loss)
    assert_same(scan(model, BATCH), model, draw(7, WIDTH, seed=3))


def test_a_size_that_is_returned():
    class Sized(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, int]:
            return super().forward(x), x.shape[0]

    model = seeded(Sized)
    result = scan(model, BATCH)
    assert after(result) == PAIR
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_integer_inputs():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.net = nn.Embedding(9, WIDTH, padding_idx=0), Net()

        def forward(self, tokens: Tensor) -> Tensor:
            return self.net(self.table(tokens).sin())

    model = seeded(Tokens)
    result = scan(model, torch.randint(9, (2, 5)))
    assert after(result) == 9 * WIDTH + PAIR
    assert_same(result, model, torch.randint(9, (4, 3)))


def test_an_input_that_is_returned_and_an_output_that_is_returned_twice():
    class Returns(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            h = super().forward(x)
            return x, h, h, x.detach(), h.clone()

    model = seeded(Returns)
    result = scan(model, BATCH)
    assert after(result) == PAIR
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_model_that_returns_its_input_and_nothing_else():
    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return x

    model = seeded(Same)
    result = scan(model, BATCH)
    assert after(result) == 0
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_parameter_that_is_returned_stays():
    class Returns(Net):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(x), self.a.weight

    model = seeded(Returns)
    result = scan(model, BATCH)
    assert "a.weight" in result.refactored.parameters
    assert_same(result, model, draw(7, WIDTH, seed=3))


# --- parameters ----------------------------------------------------------------------------------


def test_no_parameters_at_all():
    result = scan(nn.Softmax(-1), BATCH)
    assert after(result) == 0
    assert not result.audit.findings
    assert_same(result, nn.Softmax(-1), draw(7, WIDTH, seed=3))


def test_a_parameter_without_dimensions():
    class Gain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain, self.net = nn.Parameter(torch.zeros(())), Net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x).tanh() * self.gain

    model = seeded(Gain)
    result = scan(model, BATCH)
    assert after(result) == PAIR + 1
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_an_empty_parameter():
    class Empty(Net):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Parameter(torch.zeros(0, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x, self.extra]))

    model = seeded(Empty)
    assert_same(scan(model, BATCH), model, draw(7, WIDTH, seed=3))


def test_complex_parameters_count_twice_and_work():
    class Filter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            self.gains = nn.Parameter(torch.randn(4, dtype=torch.complex128, generator=generator))
            self.net = Net()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(torch.fft.irfft(torch.fft.rfft(x) * self.gains, WIDTH)).tanh()

    model = seeded(Filter)
    result = scan(model, BATCH)
    assert result.audit.totals.parameters_before == size(model) == 8 + 6 * 20 + 20 + 63
    assert after(result) <= 8 + PAIR
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_complex_model():
    class Complex(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(WIDTH, 9, dtype=torch.complex64)
            self.b = nn.Linear(9, 2, dtype=torch.complex64)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    model = Complex().eval()
    x = BATCH.to(torch.complex64)
    result = scan(model, x)
    assert result.audit.totals.parameters_before == size(model) == 2 * (9 * WIDTH + 9 + 18 + 2)
    assert_same(result, model, x, within=1e-5)


def test_a_frozen_and_a_trained_parameter_are_both_parameters():
    model = seeded(Net)
    model.a.requires_grad_(False)
    result = scan(model, BATCH)
    assert after(result) == PAIR
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_batch_of_one_is_no_fact():
    model = seeded(lambda: nn.Sequential(Net(), nn.BatchNorm1d(3)))
    result = scan(model, draw(1, WIDTH))
    assert result.audit.contract.inputs[0].shape == ("batch", WIDTH)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_an_operator_that_is_not_selected_is_not_looked_for():
    model = seeded(Net)
    assert untouched(scan(model, BATCH, ignore=("linear-chain",)), model)
    assert names(scan(model, BATCH, select=("linear-chain",))) == ["linear-chain"]
    assert not found(scan(model, BATCH, select=("unused",)))
