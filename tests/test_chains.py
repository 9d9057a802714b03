"""Chains of affine calls: the best set of merges, an honest count, the same function."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from affine_programs import program
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramaudit.graph import sites
from paramaudit.graph.program import Program
from paramaudit.graph.run import run
from paramaudit.graph.surgery import Draft
from paramaudit.pairing import pair
from paramaudit.plan.book import Book, Choice
from paramaudit.plan.chains import apply_chains
from paramaudit.records import Tier

MERGES = Choice(select=("linear-chain",))


def merged(original: Program) -> tuple[Program, Book, int]:
    """The program after all merges, what was noted, and how many numbers its graph still reads."""
    draft, book, tried = Draft(original), Book(), set[object]()
    while apply_chains(draft, MERGES, book, tried):
        pass
    count = draft.count()
    return draft.finish(), book, count


def check(module: nn.Module, *inputs: Tensor, left: int, tolerance: float = 1e-12) -> tuple[Program, Book]:
    """Merge a module in float64: so many numbers are left, and it is the same function at every size."""
    module = module.double().eval()
    inputs = tuple(x.double() for x in inputs)
    original = program(module, *inputs, static=[-1])
    before = Draft(original).count()
    result, book, count = merged(original)
    assert count == left
    alone = [f for f in book.findings if f.part_of is None]
    assert sum(f.parameters_before - f.parameters_after for f in alone) == before - left
    assert all(0 <= f.parameters_after < f.parameters_before and f.tensors for f in book.findings)
    assert all(f.tier is Tier.EXACT for f in book.findings)
    for size in (inputs[0].shape[0], 7):
        drawn = [torch.randn(size, *x.shape[1:], dtype=torch.float64) for x in inputs]
        expected, found = (run(p, drawn, {}, torch.float64) for p in (original, result))
        for name, value in expected.items():
            assert found[name].shape == value.shape
            assert (found[name] - value).abs().max() <= tolerance * max(1.0, float(value.abs().max()))
    assert pair(original, result).unpaired == {}
    return result, book


def linears(widths: tuple[int, ...], biases: tuple[bool, ...] | None = None) -> list[nn.Linear]:
    """Random layers of these widths."""
    flags = biases or (True,) * (len(widths) - 1)
    return [nn.Linear(a, b, bias=f) for (a, b), f in zip(itertools.pairwise(widths), flags, strict=True)]


def fewest(widths: tuple[int, ...], biases: tuple[bool, ...]) -> int:
    """The fewest numbers over all ways to cut a chain, each piece as it is or as one matrix."""

    def piece(start: int, stop: int) -> int:
        has_bias = any(biases[start:stop])
        as_is = sum(widths[i + 1] * (widths[i] + biases[i]) for i in range(start, stop))
        return min(as_is, widths[stop] * (widths[start] + has_bias))

    count = len(biases)
    best = []
    for chosen in itertools.product([False, True], repeat=count - 1):
        cuts = [0, *(i + 1 for i, cut in enumerate(chosen) if cut), count]
        best.append(sum(piece(a, b) for a, b in itertools.pairwise(cuts)))
    return min(best)


@pytest.mark.parametrize(
    ("widths", "left"),
    [
        ((64, 512, 64), 64 * 64 + 64),
        ((256, 8, 256), None),
        ((8, 256, 8, 256), 256 * 8 + 256),
        ((16, 16, 16, 16), 16 * 16 + 16),
        ((32, 4, 4, 32), 32 * 4 + 4 + 4 * 32 + 32),
        ((5,) * 9, 5 * 5 + 5),
        ((40, 3, 40, 3, 40), 3 * 40 + 3 + 40 * 3 + 40),
        ((1, 9, 1), 2),
    ],
)
def test_merges_are_the_best(widths, left):
    torch.manual_seed(0)
    count = sum(b * (a + 1) for a, b in itertools.pairwise(widths))
    expected = count if left is None else left
    assert fewest(widths, (True,) * (len(widths) - 1)) == expected
    check(nn.Sequential(*linears(widths)), torch.randn(3, widths[0]), left=expected)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(1, 24), st.booleans()), min_size=3, max_size=7))
def test_no_other_cut_is_smaller(layers):
    torch.manual_seed(len(layers))
    widths = tuple(width for width, _ in layers)
    biases = tuple(bias for _, bias in layers[1:])
    module = nn.Sequential(*linears(widths, biases))
    check(module, torch.randn(2, 3, widths[0]), left=fewest(widths, biases))


@settings(max_examples=6, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.integers(1, 24), min_size=3, max_size=4), st.lists(st.integers(1, 24), min_size=2, max_size=3)
)
def test_nothing_is_merged_across_an_activation(first, second):
    torch.manual_seed(len(first))
    second = [first[-1], *second]
    layers = [*linears(tuple(first)), nn.ReLU(inplace=True), *linears(tuple(second))]
    left = sum(fewest(tuple(w), (True,) * (len(w) - 1)) for w in (first, second))
    check(nn.Sequential(*layers), torch.randn(2, 3, first[0]), left=left)


# --- what else may stand in a chain -------------------------------------------------------------


class Between(nn.Module):
    """Two layers with something in between."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Linear(6, 30), nn.Linear(30, 4)
        self.skip = nn.Linear(6, 30)
        self.gain = nn.Parameter(torch.randn(30))
        self.norm = nn.BatchNorm1d(30)
        nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        match self.kind:
            case "heads":
                y = y.view(*x.shape[:2], 5, 6).transpose(1, 2).transpose(1, 2).flatten(2)
            case "residual":
                y = y + self.skip(x)
            case "gain":
                y = y * self.gain
            case "joined":
                y = torch.cat([y[..., :15], self.skip(x)[..., 15:]], -1)
            case "flattened":
                y = y.flatten(0, 1)
            case "norm":
                y = self.norm(y.flatten(0, 1)).view(y.shape)
            case "dropout":
                y = F.dropout(y.clone(), 0.4, self.training)
            case "time":
                y = y + y.mean(1, keepdim=True)
            case "activation":
                y = y.relu()
        return self.second(y)


@pytest.mark.parametrize(
    ("kind", "used"),
    [
        ("heads", 1),
        ("residual", 2),
        ("gain", 1),
        ("joined", 2),
        ("flattened", 1),
        ("dropout", 1),
        ("norm", 1),
    ],
)
def test_affine_calls_between_layers_are_merged(kind, used):
    torch.manual_seed(0)
    del used
    check(Between(kind), torch.randn(2, 3, 6), left=6 * 4 + 4)


@pytest.mark.parametrize("kind", ["time", "activation"])
def test_other_calls_between_layers_are_not(kind):
    torch.manual_seed(0)
    check(Between(kind), torch.randn(2, 3, 6), left=6 * 30 + 30 + 30 * 4 + 4)


class ReadTwice(nn.Module):
    """The middle of a chain is also an output."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = linears((6, 30, 6, 6))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.second(self.first(x))
        return y, self.third(y)


def test_a_value_that_is_read_elsewhere_is_kept():
    torch.manual_seed(0)
    check(ReadTwice(), torch.randn(3, 6), left=2 * (6 * 6 + 6))


# --- shared and tied numbers --------------------------------------------------------------------


class Shared(nn.Module):
    """Two inputs through the same layers, or through layers that share a weight."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second, self.other = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 32)
        if kind == "tied":
            self.other.weight = self.first.weight
        self.register_buffer("shift", torch.randn(32))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        p, q = self.first(x), self.first(y)
        match self.kind:
            case "factors":
                p, q = torch.add(p, self.shift, alpha=2), torch.add(q, self.shift, alpha=3)
            case "shapes":
                p = p.view(p.shape[0], 4, 8).transpose(1, 2).flatten(1)
                q = q.view(q.shape[0], 8, 4).transpose(1, 2).flatten(1)
            case "orders":
                p, q = self.shift - p, q - self.shift
            case "tied":
                q = self.other(y).relu()
                return self.second(p), q
            case "used":
                return self.second(p), q.relu()
        return self.second(p), self.second(q)


def test_shared_layers_are_merged_once():
    torch.manual_seed(0)
    result, _ = check(Shared("same"), torch.randn(3, 8), torch.randn(3, 8), left=8 * 8 + 8)
    assert len(result.parameters) == 2


@pytest.mark.parametrize("kind", ["factors", "shapes", "orders"])
def test_shared_layers_that_do_different_things_are_not_taken_for_one(kind):
    torch.manual_seed(0)
    module = Shared(kind).double()
    inputs = torch.randn(3, 8).double(), torch.randn(3, 8).double()
    chains = list(sites.chains(Draft(program(module, *inputs, static=[-1]))))
    assert len(chains) == 2
    assert len(sites.twins(chains)) == 2
    check(module, *inputs, left=8 * 32 + 32 + 32 * 8 + 8)


def test_a_weight_that_something_else_reads_is_not_freed():
    torch.manual_seed(0)
    inputs = torch.randn(3, 8), torch.randn(3, 8)
    # first.weight stays for q; first.bias goes where q has a bias of its own
    check(Shared("used"), *inputs, left=8 * 32 + 32 + 8 * 8 + 8)
    check(Shared("tied"), *inputs, left=8 * 32 + 32 + 8 * 8 + 8)


class Tied(nn.Module):
    """A chain whose first and last layer are one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(12, 12, bias=False), nn.Linear(12, 12, bias=False)
        self.last = nn.Linear(12, 12, bias=False)
        self.last.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.middle(self.first(x)))


def test_numbers_that_occur_twice_in_a_chain_are_counted_once():
    torch.manual_seed(0)
    check(Tied(), torch.randn(3, 12), left=144)


class Stored(nn.Module):
    """A chain with a stored matrix that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fixed", torch.randn(16, 16))
        self.last = nn.Linear(16, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x @ self.fixed)


def test_a_buffer_is_no_saving():
    torch.manual_seed(0)
    check(Stored(), torch.randn(3, 16), left=256)


# --- a chain of everything ----------------------------------------------------------------------


def test_stored_float32_numbers_are_rounded_once():
    torch.manual_seed(0)
    module = nn.Sequential(*linears((16, 64, 64, 16))).eval()
    original = program(module, torch.randn(3, 16))
    result, book, count = merged(original)
    assert count == 16 * 16 + 16
    assert [f.tier for f in book.findings] == [Tier.EXACT]
    weight = torch.linalg.multi_dot([layer.weight.detach().double() for layer in reversed(module)])
    (stored,) = (t for t in result.parameters.values() if t.dim() == 2)
    assert torch.equal(stored.detach(), weight.float())


def test_the_original_is_left_alone():
    torch.manual_seed(0)
    module = nn.Sequential(*linears((8, 32, 8)))
    original = program(module, torch.randn(3, 8))
    before = {name: value.clone() for name, value in original.parameters.items()}
    text = str(original.graph)
    merged(original)
    assert str(original.graph) == text
    assert all(torch.equal(before[name], value) for name, value in original.parameters.items())
