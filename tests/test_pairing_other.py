# ruff: noqa: ARG001, ARG005 - every function takes the same arguments
"""Two programs that are not the same function are never paired."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from affine_programs import program
from paired_programs import Call, Function, inputs, made, paired, same
from torch import Tensor, nn

from paramaudit.attack import attack
from paramaudit.pairing import pair

# --- another function ---------------------------------------------------------------------------

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
