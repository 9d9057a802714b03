"""ReLU units in opposite pairs, and columns of a linear layer that always see the same numbers."""

import pytest
import torch
from pipeline import after, apart, assert_same, draw, found, names, offered, scan, seeded, size, untouched
from torch import Tensor, nn

from paramaudit.prove.pairs import judge_pairs
from paramaudit.records import PairedUnits, Tier

WIDTH = 6
BATCH = draw(4, WIDTH)


# --- paired-relu ---------------------------------------------------------------------------------


def paired(out: int = 3, seed: int = 0) -> nn.Sequential:
    """Linear - ReLU - Linear whose ten hidden units are permuted opposite pairs, scaled by powers of two."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    rows, outer = randn(5, WIDTH + 1), randn(out, 5)
    scale = torch.tensor([0.5, 1.0, 2.0, 4.0, 0.25], dtype=torch.float64)
    order = torch.randperm(10, generator=generator)
    first = torch.cat([rows, -scale[:, None] * rows])[order]
    second = torch.cat([outer, -outer / scale], 1)[:, order]
    model = nn.Sequential(nn.Linear(WIDTH, 10), nn.ReLU(), nn.Linear(10, out)).double()
    with torch.no_grad():
        model[0].weight.copy_(first[:, :-1])
        model[0].bias.copy_(first[:, -1])
        model[2].weight.copy_(second)
        model[2].bias.copy_(randn(out))
    return model.eval()


def test_opposite_units_add_up_to_a_linear_layer():
    model = paired()
    result = scan(model, BATCH)
    (finding,) = found(result)
    assert finding.operator == "paired-relu"
    assert finding.tier in ("exact", "rounding")
    assert after(result) == WIDTH * 3 + 3
    assert_same(result, model, draw(50, WIDTH, seed=3), within=1e-13)


def test_opposite_units_of_float32_weights_are_off_by_rounding():
    model = paired()
    with torch.no_grad():
        model[0].weight[0] *= 0.7
        model[0].bias[0] *= 0.7
        model[2].weight[:, 0] /= 0.7
    model = model.float()
    result = scan(model, BATCH.float())
    (finding,) = found(result)
    assert finding.tier == "rounding"
    assert finding.gap.value <= finding.witness.value
    inputs = draw(50, WIDTH, seed=3)
    assert apart(model(inputs.float()), result.refactored, inputs.float()) < 3e-6


@pytest.mark.parametrize("where", ["first", "bias", "second"])
def test_a_nudged_unit_is_no_longer_safe(where):
    model = paired()
    nudged = {"first": model[0].weight[3], "bias": model[0].bias, "second": model[2].weight[1]}[where]
    with torch.no_grad():
        nudged[2] *= 1.001
    result = scan(model, BATCH)
    assert not found(result, "paired-relu")
    assert after(result) == size(model)


@pytest.mark.parametrize("in_place", [False, True])
def test_in_place_relus_are_relus(in_place):
    model = paired()
    model[1] = nn.ReLU(inplace=in_place)
    assert names(scan(model, BATCH)) == ["paired-relu"]


def test_other_bends_do_not_pair():
    model = paired()
    for bend in (nn.LeakyReLU(0.1), nn.GELU()):
        model[1] = bend
        assert untouched(scan(model, BATCH), model)


def test_units_that_something_else_reads_stay():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = paired()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.net[1](self.net[0](x))
            return self.net[2](h), h

    model = Both().eval()
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_an_odd_unit_keeps_the_block():
    model = paired()
    wider = nn.Sequential(nn.Linear(WIDTH, 11), nn.ReLU(), nn.Linear(11, 3)).double()
    with torch.no_grad():
        wider[0].weight[:10], wider[0].bias[:10] = model[0].weight, model[0].bias
        wider[2].weight[:, :10] = model[2].weight
    assert untouched(scan(wider.eval(), BATCH), wider)


def test_pairs_over_two_layers_collapse_from_the_last_to_the_first():
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = paired(out=WIDTH), paired(seed=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x))

    model = Deep().eval()
    result = scan(model, BATCH)
    assert after(result) == WIDTH * 3 + 3
    assert_same(result, model, draw(7, WIDTH, seed=3))


# --- constant-input ------------------------------------------------------------------------------


class Conditioned(nn.Module):
    """A linear layer over the input and something of width 4 that ``kind`` names."""

    def __init__(self, kind: str, *, bias: bool = True) -> None:
        super().__init__()
        self.kind = kind
        self.vector = nn.Parameter(torch.zeros(4))
        self.rows = nn.Parameter(torch.zeros(50, 4))
        self.mix, self.head = nn.Linear(WIDTH + 4, 5, bias=bias), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        count = x.shape[0]
        if self.kind == "vector":
            part = self.vector.expand(count, 4)
        elif self.kind == "computed":
            part = (self.vector.sin() * 2).unsqueeze(0).expand(count, -1)
        elif self.kind == "rows":
            part = self.rows[:count]
        elif self.kind == "arange":
            part = torch.arange(count, dtype=x.dtype)[:, None] * self.vector
        else:
            part = x[:, :4].sin()
        return self.head(self.mix(torch.cat([x, part], -1)).tanh())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["vector", "computed"])
def test_columns_that_see_one_stored_vector_fold_into_the_bias(kind, bias):
    model = seeded(Conditioned, kind, bias=bias)
    result = scan(model, BATCH)
    (finding,) = found(result, "constant-input")
    assert finding.arguments == {"columns": 4}
    assert after(result) == WIDTH * 5 + 5 + 5 * 2 + 2
    assert_same(result, model, draw(7, WIDTH, seed=3))


@pytest.mark.parametrize("kind", ["rows", "arange", "input"])
def test_columns_that_change_along_the_batch_stay(kind):
    model = seeded(Conditioned, kind)
    result = scan(model, BATCH)
    assert "constant-input" not in offered(result)
    assert "mix.weight" in result.refactored.parameters
    assert result.refactored.parameters["mix.weight"].shape == (5, WIDTH + 4)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_tokens_that_each_see_their_own_row_stay():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.mix = nn.Parameter(torch.zeros(3, 4)), nn.Linear(WIDTH + 4, 5)

        def forward(self, x: Tensor) -> Tensor:
            part = self.rows.expand(x.shape[0], -1, -1)
            return self.mix(torch.cat([x, part], -1)).tanh()

    model = seeded(Positions)
    result = scan(model, draw(2, 3, WIDTH))
    assert "constant-input" not in offered(result)
    assert_same(result, model, draw(7, 3, WIDTH, seed=3))


# --- the proof is of what is written ------------------------------------------------------------


def claimed(pairs: tuple[Tensor, Tensor], first: Tensor, second: Tensor) -> PairedUnits:
    def run(rows: Tensor) -> Tensor:
        return torch.relu(rows @ first[:, :-1].T + first[:, -1]) @ second[:, :-1].T + second[:, -1]

    return PairedUnits(first, second, pairs, run, torch.float64)


def test_a_claim_that_leaves_units_out_is_refuted():
    """Units 4 and 5 have no partner: a bound on the others alone would be zero."""
    first = torch.cat([torch.eye(2), -torch.eye(2), draw(2, 2)]).double()
    first = torch.cat([first, torch.zeros(6, 1, dtype=torch.float64)], 1)
    second = torch.cat([torch.eye(2), -torch.eye(2), draw(2, 2).T], 1).double()
    second = torch.cat([second, torch.zeros(2, 1, dtype=torch.float64)], 1)
    some = claimed((torch.tensor([0, 1]), torch.tensor([2, 3])), first, second)
    assert judge_pairs(some).tier is Tier.REFUTED
    twice = claimed((torch.tensor([0, 1, 0]), torch.tensor([2, 3, 2])), first, second)
    assert judge_pairs(twice).tier is Tier.REFUTED
    whole = claimed((torch.tensor([0, 1]), torch.tensor([2, 3])), first[:4], second[:, [0, 1, 2, 3, 6]])
    assert judge_pairs(whole).tier is Tier.EXACT
