# ruff: noqa: ARG001, ARG005 - every function takes the same arguments
"""Two programs are paired when they are the same function, and never when they are not."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping

import pytest
import torch
import torch.nn.functional as F
from affine_programs import program
from torch import Tensor, nn

from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program, output_leaves
from paramaudit.pairing import Pairing, pair
from paramaudit.records import Loaded, Tier
from paramaudit.trials import attack


class Call(nn.Module):
    """A function of ``x`` and ``y`` with random stored tensors by name; both are square and of one size."""

    def __init__(self, function: Callable[..., object], seed: int = 0) -> None:
        super().__init__()
        self.function = function
        generator = torch.Generator().manual_seed(seed)
        for name in ("a", "b", "c"):
            self.register_parameter(name, nn.Parameter(torch.randn(4, 4, generator=generator)))
        self.register_buffer("state", torch.randn(4, generator=generator))
        self.register_buffer("other", self.state.clone())

    def forward(self, x: Tensor, y: Tensor) -> object:
        return self.function(self, x, y)


def inputs() -> list[Tensor]:
    return [torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(i)) for i in range(2)]


@functools.cache
def made(function: Callable[..., object], *, mode: str = "eval", static: bool = False) -> Program:
    """The program of a function; only the features are static unless said otherwise."""
    return program(Call(function), *inputs(), static=tuple(range(3)) if static else (-1,), mode=mode)


def changed(function: Callable[..., object], **changes: Tensor) -> Program:
    """The program of a function with other stored tensors."""
    module = Call(function)
    with torch.no_grad():
        for name, value in changes.items():
            getattr(module, name).copy_(value)
    return program(module, *inputs(), static=[-1])


def paired(first: Callable[..., object], second: Callable[..., object], **options: object) -> Pairing:
    return pair(made(first, **options), made(second, **options))  # type: ignore[arg-type]


def same(found: Pairing) -> bool:
    return not found.unpaired and found.tier.safe


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


# --- another function ---------------------------------------------------------------------------

Function = Callable[[Call, Tensor, Tensor], object]
DIFFERENT: Mapping[str, tuple[Function, Function]] = {
    "inputs swapped": (lambda m, x, y: x - y, lambda m, x, y: y - x),
    "operands of a quotient": (lambda m, x, y: x / y, lambda m, x, y: y / x),
    "operands of a product": (lambda m, x, y: x.relu() @ (m.a @ m.b), lambda m, x, y: x.relu() @ (m.b @ m.a)),
    "matrix products": (lambda m, x, y: x @ y.mT, lambda m, x, y: y @ x.mT),
    "order of joined parts": (lambda m, x, y: torch.cat([x, y], 1), lambda m, x, y: torch.cat([y, x], 1)),
    "one input for the other": (lambda m, x, y: x.relu() + y * 0, lambda m, x, y: y.relu() + x * 0),
    "flat or not": (lambda m, x, y: x @ m.a, lambda m, x, y: (x @ m.a).flatten(0, 1)),
    "one more dimension": (lambda m, x, y: x @ m.a, lambda m, x, y: (x @ m.a).unsqueeze(0)),
    "flat inside": (
        lambda m, x, y: (x @ m.a).softmax(0),
        lambda m, x, y: (x @ m.a).flatten(0, 1).softmax(0).view(x.shape),
    ),
    "flat, then summed": (
        lambda m, x, y: (x @ m.a).amax(0).sum(),
        lambda m, x, y: (x @ m.a).flatten(0, 1).amax(0).sum(),
    ),
    "another axis": (lambda m, x, y: x.softmax(1), lambda m, x, y: x.softmax(2)),
    "another epsilon": (
        lambda m, x, y: F.layer_norm(x, (4,), m.state),
        lambda m, x, y: F.layer_norm(x, (4,), m.state, eps=1e-3),
    ),
    "another flag": (lambda m, x, y: F.gelu(x), lambda m, x, y: F.gelu(x, approximate="tanh")),
    "another factor": (lambda m, x, y: torch.add(x, y, alpha=2), lambda m, x, y: torch.add(x, y, alpha=3)),
    "another number": (lambda m, x, y: (x * 2).relu(), lambda m, x, y: (x * 2.5).relu()),
    "through integers": (lambda m, x, y: x, lambda m, x, y: x.int().float()),
    "through half precision": (
        lambda m, x, y: x @ m.a,
        lambda m, x, y: (x.bfloat16() @ m.a.bfloat16()).float(),
    ),
    "another type": (lambda m, x, y: x.double(), lambda m, x, y: x),
    "a constant of another type": (
        lambda m, x, y: torch.ones(4) + 0,
        lambda m, x, y: torch.ones(4, dtype=torch.int64) + 0,
    ),
    "another stored tensor": (lambda m, x, y: x.relu() @ m.a, lambda m, x, y: x.relu() @ m.b),
    "another piece": (lambda m, x, y: x.chunk(2, -1)[0].exp(), lambda m, x, y: x.chunk(2, -1)[1].exp()),
    "another row": (lambda m, x, y: x[0].exp(), lambda m, x, y: x[1].exp()),
}

OF_SIZES: Mapping[str, tuple[Function, Function]] = {
    "times another size": (lambda m, x, y: x * x.shape[0], lambda m, x, y: x * x.shape[1]),
    "over another size": (lambda m, x, y: x / x.shape[0], lambda m, x, y: x / x.shape[1]),
    "size of the other input": (
        lambda m, x, y: x * x.shape[0] + y.sum(),
        lambda m, x, y: x * y.shape[0] + y.sum(),
    ),
    "sum of sizes": (
        lambda m, x, y: x * (x.shape[0] + 2 * x.shape[1]),
        lambda m, x, y: x * (2 * x.shape[0] + x.shape[1]),
    ),
    "swapped reshape": (lambda m, x, y: x, lambda m, x, y: x.reshape(x.shape[1], x.shape[0], 4)),
    "the value of another input": (
        lambda m, x, y: x.relu() * x.sum().item() + y.sum() * 0,
        lambda m, x, y: x.relu() * y.sum().item() + y.sum() * 0,
    ),
    "the count of another input": (
        lambda m, x, y: x.nonzero().shape[0] * x.sum() + y.nonzero().sum(),
        lambda m, x, y: y.nonzero().shape[0] * x.sum() + y.nonzero().sum(),
    ),
}

OF_OUTPUTS: Mapping[str, tuple[Function, Function]] = {
    "swapped": (lambda m, x, y: (x + 1, y * 2), lambda m, x, y: (y * 2, x + 1)),
    "renamed": (lambda m, x, y: {"p": x + 1, "q": y * 2}, lambda m, x, y: {"q": x + 1, "p": y * 2}),
    "another input": (lambda m, x, y: (x, x + y), lambda m, x, y: (y, x + y)),
    "another constant": (lambda m, x, y: (x, 1), lambda m, x, y: (x, True)),
    "nothing": (lambda m, x, y: (x, None), lambda m, x, y: (x, 0)),
}


@pytest.mark.parametrize("static", [False, True])
def test_other_functions_are_not_paired(static):
    def every(which: int) -> Function:
        return lambda m, x, y: {name: pair_[which](m, x, y) for name, pair_ in DIFFERENT.items()}

    first, second = (program(Call(every(i)), *inputs(), static=range(3) if static else [-1]) for i in (0, 1))
    assert set(pair(first, second).unpaired) == set(DIFFERENT)
    assert set(pair(second, first).unpaired) == set(DIFFERENT)
    for one in (first, second):
        assert same(pair(one, one))


@pytest.mark.parametrize("name", OF_SIZES)
def test_other_functions_of_the_sizes_are_not_paired(name):
    first, second = OF_SIZES[name]
    assert not same(paired(first, second))
    assert same(paired(first, first))


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_other_outputs_are_not_paired(name):
    first, second = OF_OUTPUTS[name]
    assert not same(paired(first, second))
    assert same(paired(first, first))


def test_inputs_are_paired_by_place_not_by_name():
    class Other(Call):
        def forward(self, y: Tensor, x: Tensor) -> object:
            return self.function(self, x, y)

    def function(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return x - 2 * y

    first, second = program(Call(function), *inputs()), program(Other(function), *inputs())
    assert not same(pair(first, second))
    assert attack(first, second).refuted


def test_outputs_with_the_same_names_are_paired_by_name():
    def first(m: Call, x: Tensor, y: Tensor) -> object:
        return {"p": x + 1, "q": y * 2}

    def second(m: Call, x: Tensor, y: Tensor) -> object:
        return {"q": y * 2, "p": x + 1}

    assert same(paired(first, second))
    assert not attack(made(first), made(second)).refuted
    assert attack(made(first), made(lambda m, x, y: {"q": x + 1, "p": y * 2})).refuted


def test_sizes_that_only_occur_in_a_multiple_are_the_same_sizes():
    class Pairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x.view(-1, 2, 4)
            return (y * y.shape[0]).relu().flatten(0, 1)

    x = torch.randn(6, 4)
    assert same(pair(program(Pairs(), x, static=[-1]), program(Pairs(), x, static=[-1])))


def test_the_refactored_takes_every_size_that_the_original_takes():
    def total(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return x.sum() + y.sum()

    def joined(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([x, y], 1).sum() * 0 + x.sum() + y.sum()

    fixed, free = made(total, static=True), made(total)
    assert same(pair(fixed, free))
    assert not same(pair(free, fixed))
    assert not same(pair(free, made(joined)))
    x = torch.randn(3, 5, 4)
    one, other = (program(nn.Flatten(0, 1), x, static=s) for s in ([0, -1], [1, -1]))
    assert not same(pair(one, other))


def test_a_branch_on_a_size_is_only_the_branch():
    def branch(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return x.relu() + y if x.shape[0] < 4 else x.relu() - y

    def plain(m: Call, x: Tensor, y: Tensor) -> Tensor:
        return x.relu() + y

    assert same(paired(branch, branch))
    assert same(pair(made(branch), made(plain)))
    assert not same(pair(made(plain), made(branch)))


def test_a_program_that_stops_on_some_inputs_is_another():
    def function(limit: int | None) -> Function:
        def run(m: Call, x: Tensor, y: Tensor) -> Tensor:
            if limit is not None:
                torch._assert_async((x.sum() > limit), "too small")
            return x.relu() + y

        return run

    one, other, free = (made(function(limit)) for limit in (0, 1, None))
    assert same(pair(one, one))
    assert not same(pair(one, other))
    assert not same(pair(free, one))
    assert same(pair(one, free))


def test_inputs_of_one_size_or_of_two():
    def sums(m: Call, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return x.relu() * x.shape[0], y.relu()

    def equal(m: Call, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        assert x.shape == y.shape
        return x.relu() * y.shape[0], y.relu()

    assert same(pair(made(equal), made(sums)))
    assert not same(pair(made(sums), made(equal)))


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
