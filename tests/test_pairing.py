# ruff: noqa: ARG001, ARG005 - every function takes the same arguments
"""Two programs are paired when they are the same function, and never when they are not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from affine_programs import program
from paired_programs import Call, Function, changed, made, paired, same
from torch import Tensor, nn

from paramaudit.attack import attack
from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program, output_leaves
from paramaudit.pairing import pair
from paramaudit.records import Loaded, Tier

# --- the same function --------------------------------------------------------------------------


class Block(nn.Module):
    """A small transformer block with a convolution, so that every kind of argument occurs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.act = nn.ReLU(inplace=True)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            scale = x.mean(-1, keepdim=True) * 2
        y = self.layer(x) + scale
        z = self.act(self.norm(self.conv(y.transpose(1, 2))))
        return {"hidden": y, "score": z.mean(-1)}


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_program_is_itself(mode):
    torch.manual_seed(0)
    module = Block()
    x = torch.randn(3, 5, 8)
    found = pair(program(module, x, mode=mode), program(copy.deepcopy(module), x, mode=mode))
    assert found.unpaired == {}
    assert (found.tier, found.differences) == (Tier.EXACT, [])


def test_a_saved_program_is_itself(tmp_path):
    torch.manual_seed(0)
    x = torch.randn(3, 5, 8)
    exported = torch.export.export(Block().eval(), (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    torch.export.save(exported, tmp_path / "model.pt2")
    again = torch.export.load(tmp_path / "model.pt2")
    first, second = (capture(Loaded("", "pt2", exported=e, args=(x,))) for e in (exported, again))
    assert pair(first, second).unpaired == {}


def test_the_order_of_the_graph_does_not_matter():
    def first(m: Call, x: Tensor, y: Tensor) -> Tensor:
        p, q = (x @ m.a).relu(), (y @ m.b).tanh()
        return p * q

    def second(m: Call, x: Tensor, y: Tensor) -> Tensor:
        q = (y @ m.b).tanh()
        p = (x @ m.a).relu()
        return p * q

    assert same(paired(first, second))


def test_names_do_not_matter():
    first, second = (lambda m, x, y: (x @ m.a).relu() @ m.b), (lambda m, x, y: (x @ m.b).relu() @ m.a)
    one = made(first)
    module = Call(first)
    assert same(pair(one, changed(second, a=module.b.detach(), b=module.a.detach())))
    assert not same(pair(one, made(second)))


def test_a_chain_of_a_thousand_calls_is_paired():
    def long() -> Program:
        result = made(lambda m, x, y: x.sin() + y)
        (last,) = output_leaves(result.graph)
        for _ in range(1000):
            with result.graph.inserting_after(last):
                new = result.graph.call_function(torch.ops.aten.sin.default, (last,))
            last.replace_all_uses_with(new, delete_user_cb=lambda user, new=new: user is not new)
            new.meta["val"] = last.meta["val"]
            last = new
        return result

    assert same(pair(long(), long()))


def test_copies_and_eval_dropout_do_not_matter():
    def second(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return F.dropout((x.clone() @ m.a).detach(), 0.3, False).relu().contiguous().to(torch.float32)

    assert same(paired(lambda m, x, y: (x @ m.a).relu(), second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda m, x, y: (x @ m.a @ m.b).relu() @ m.c, lambda m, x, y: (x @ (m.a @ m.b)).relu() @ m.c),
        (
            lambda m, x, y: F.linear(F.linear(x, m.a, m.state), m.b),
            lambda m, x, y: F.linear(x, m.b @ m.a, m.b @ m.state),
        ),
        (lambda m, x, y: x @ m.a + x, lambda m, x, y: x @ (m.a + torch.eye(4))),
        (lambda m, x, y: x * 2 + x * 3, lambda m, x, y: x * 5),
        (lambda m, x, y: x.flatten(0, 1) @ m.a, lambda m, x, y: (x @ m.a).flatten(0, 1)),
        (
            lambda m, x, y: torch.cat([x @ m.a, x @ m.b], -1).exp(),
            lambda m, x, y: (x @ torch.cat([m.a, m.b], 1)).exp(),
        ),
        (
            lambda m, x, y: y + (m.a @ m.state).exp(),
            lambda m, x, y: y + torch.mv(m.a.clone(), m.state).exp(),
        ),
    ],
)
def test_the_same_affine_map_is_paired(first, second):
    assert same(paired(first, second))


def test_layers_that_a_user_merged_are_paired():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.Linear(64, 16), nn.GELU(), nn.Linear(16, 8))
    merged = nn.Sequential(nn.Linear(16, 16), nn.GELU(), copy.deepcopy(model[3]))
    with torch.no_grad():
        merged[0].weight.copy_(model[1].weight @ model[0].weight)
        merged[0].bias.copy_(model[1].weight @ model[0].bias + model[1].bias)
    x = torch.randn(3, 16)
    found = pair(program(model, x), program(merged, x))
    assert found.unpaired == {}
    assert found.tier is Tier.ROUNDING
    assert len(found.differences) == 1
    assert found.gap is not None
    with torch.no_grad():
        merged[0].weight[3, 5] *= 1.01
    assert not same(pair(program(model, x), program(merged, x)))


class Dense(nn.Module):
    """A Fourier transform as two layers, cosine and sine rows first mixed and then unmixed."""

    def __init__(self, n: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        angle = 2 * torch.pi * torch.outer(torch.arange(n // 2 + 1), torch.arange(n)).double() / n
        rows = torch.cat([angle.cos(), -angle.sin()])
        mix = torch.randn(len(rows), len(rows), dtype=torch.float64)
        self.mixed = nn.Parameter((mix @ rows).float())
        self.unmix = nn.Parameter(torch.linalg.inv(mix).float())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.mixed), self.unmix).square()


class Fast(nn.Module):
    """The same by FFT."""

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        return torch.cat([spectrum.real, spectrum.imag], -1).square()


def test_a_transform_in_place_of_dense_layers_is_paired():
    x = torch.randn(3, 16)
    dense = Dense(16)
    assert same(pair(program(dense, x), program(Fast(), x, static=[-1])))
    with torch.no_grad():
        dense.unmix[2, 2] *= 1.01
    assert not same(pair(program(dense, x), program(Fast(), x, static=[-1])))


@pytest.mark.parametrize("name", ["a", "b"])
def test_one_weight_nudged_is_seen(name):
    def function(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return (x @ m.a).relu() @ m.b

    value = getattr(Call(function), name).detach().clone()
    value[1, 2] *= 1.01
    assert not same(pair(made(function), changed(function, **{name: value})))


# --- random numbers -----------------------------------------------------------------------------


def test_dropout_with_another_probability_is_not_paired():
    def function(p: float) -> Function:
        return lambda m, x, y: F.dropout(x, p, True)

    assert same(paired(function(0.5), function(0.5), mode="train"))
    assert not same(paired(function(0.5), function(0.4), mode="train"))
    assert not same(paired(function(0.5), lambda m, x, y: x + 0, mode="train"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 1), (0, 0)),
        ((0, 0), (0, 1)),
        ((0, 1), (1, 0)),
    ],
)
def test_random_numbers_are_the_same_only_when_drawn_together(first, second):
    def function(which: tuple[int, int]) -> Function:
        def run(m: Call, x: Tensor, y: Tensor) -> Tensor:
            draws = [torch.rand_like(x), torch.rand_like(x)]
            return draws[which[0]] + x * draws[which[1]]

        return run

    assert same(paired(function(first), function(first)))
    assert not same(paired(function(first), function(second)))


def test_dropout_is_tried_with_the_same_draws():
    def function(p: float) -> Function:
        return lambda m, x, y: F.dropout(x @ m.a, p, True) + y

    before = torch.get_rng_state()
    assert not attack(made(function(0.5), mode="train"), made(function(0.5), mode="train")).refuted
    assert attack(made(function(0.5), mode="train"), made(function(0.2), mode="train")).refuted
    assert torch.equal(torch.get_rng_state(), before)


# --- memory that is written ---------------------------------------------------------------------


def keeps(update: Callable[[Call, Tensor], object], result: Callable[[Call, Tensor], Tensor]) -> Function:
    """Returns a result, then updates a buffer."""

    def run(m: Call, x: Tensor, y: Tensor) -> Tensor:
        value = result(m, x) + y
        update(m, x)
        return value

    return run


def test_the_same_update_is_paired():
    function = keeps(lambda m, x: m.state.mul_(0.9).add_(x.mean((0, 1))), lambda m, x: x + m.state)
    assert same(paired(function, function))


@pytest.mark.parametrize(
    "other",
    [
        keeps(lambda m, x: m.state.add_(2), lambda m, x: x + m.state),
        keeps(lambda m, x: None, lambda m, x: x + m.state),
        keeps(lambda m, x: m.other.add_(1), lambda m, x: x + m.state),
        keeps(lambda m, x: m.state.add_(1), lambda m, x: x + m.other),
        keeps(lambda m, x: m.state[:2].add_(1), lambda m, x: x + m.state),
        keeps(lambda m, x: (m.state.add_(1), m.other.add_(1)), lambda m, x: x + m.state),
    ],
)
def test_another_update_of_a_buffer_is_not_paired(other):
    function = keeps(lambda m, x: m.state.add_(1), lambda m, x: x + m.state)
    assert not same(paired(function, other))
    assert not same(paired(other, function))


def test_the_time_of_an_update_matters():
    def before(m: Call, x: Tensor, y: Tensor) -> Tensor:
        m.state.add_(1)
        return x + m.state + y

    after = keeps(lambda m, x: m.state.add_(1), lambda m, x: x + m.state)
    assert not same(paired(before, after))


def test_an_input_that_is_written_is_seen():
    def first(m: Call, x: Tensor, y: Tensor) -> Tensor:
        x.add_(1)
        return x * y

    assert not same(paired(first, lambda m, x, y: (x + 1) * y))
    assert not attack(made(first), made(first)).refuted


def test_a_view_of_a_tensor_that_is_written_is_seen():
    def first(m: Call, x: Tensor, y: Tensor) -> Tensor:
        z = x @ m.a
        w = z * 3
        z.relu_()
        return w + z

    def second(m: Call, x: Tensor, y: Tensor) -> Tensor:
        z = x @ m.a
        z.relu_()
        return z * 3 + z

    assert same(paired(first, lambda m, x, y: (x @ m.a) * 3 + (x @ m.a).relu()))
    assert not same(paired(first, second))


def test_an_update_without_gradient_is_seen():
    def function(step: float) -> Function:
        def run(m: Call, x: Tensor, y: Tensor) -> Tensor:
            with torch.no_grad():
                m.state.mul_(step)
            return x + y

        return run

    assert same(paired(function(0.9), function(0.9)))
    assert not same(paired(function(0.9), function(0.8)))


def test_other_blocks_without_gradient_are_not_paired():
    def function(step: float) -> Function:
        def run(m: Call, x: Tensor, y: Tensor) -> Tensor:
            with torch.no_grad():
                z = x * step
            return z + y

        return run

    assert same(paired(function(0.9), function(0.9)))
    assert not same(paired(function(0.9), function(0.8)))
