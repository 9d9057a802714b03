"""What memory that is written, constants and open sizes mean for affine regions."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from affine_programs import (
    UnfitError,
    captured,
    check_program,
    check_region,
    clean_outputs,
    program,
)
from torch import Tensor, fx, nn

from paramaudit.errors import CaptureError
from paramaudit.graph import facts, probe
from paramaudit.graph.affine import region
from paramaudit.graph.program import output_leaves, placeholders
from paramaudit.graph.reads import reads
from paramaudit.prove.affine import judge
from paramaudit.records import Tier

# --- memory that is written ---------------------------------------------------------------------


def raw(module: nn.Module, *inputs: Tensor) -> fx.GraphModule:
    """The exported graph as torch leaves it, calls in place included; the last dimension is static."""
    kinds = torch.export.Dim
    shapes = tuple(
        {d: kinds.STATIC if d == x.dim() - 1 else kinds.AUTO for d in range(x.dim())} for x in inputs
    )
    exported = torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    return exported.module(check_guards=False)


class Written(nn.Module):
    """Every way in which a name stops meaning what it meant."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.lin = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("state", torch.randn(4))
        if kind == "memory that two buffers share":
            self.register_buffer("window", self.state[1:3])

    def forward(self, x: Tensor) -> Tensor:
        y = self.lin(x)
        match self.kind:
            case "view of a written tensor":
                z = y.view(-1)
                y.relu_()
                return z.view_as(y) * 2
            case "tensor whose view is written":
                y[:, 0] = y[:, 1].exp()
                return y * 2
            case "copied before, read after":
                z = y * 1
                z.unsqueeze(0).mul_(x.sum())
                return z + y
            case "passed through dropout":
                z = F.dropout(y, 0.5, self.training)
                z.mul_(x.sum())
                return y * 2
            case "input":
                z = x * 2
                x.add_(1)
                return z + x
            case "constant made in forward":
                z = torch.zeros(4)
                z[0] = x.sum()
                return y + z
            case "buffer":
                self.state.add_(y.detach().mean(0))
                return y + self.state
            case "view of a buffer":
                self.state[0].mul_(2)
                return y + self.state
            case "memory that two buffers share":
                self.state.mul_(2)
                return y[:, :2] + self.window
            case "running statistics":
                y = self.norm(y)
                return x - self.norm.running_mean
            case _:
                with torch.no_grad():
                    self.state.mul_(2)
                return y + self.state


KINDS = [
    "view of a written tensor",
    "tensor whose view is written",
    "copied before, read after",
    "passed through dropout",
    "input",
    "constant made in forward",
    "buffer",
    "view of a buffer",
    "memory that two buffers share",
    "running statistics",
    "buffer without gradient",
]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_no_constant_and_no_anchor(kind):
    module = Written(kind).train("statistics" in kind)
    graph = raw(module, torch.randn(3, 4)).graph
    constant = facts.constants(graph)
    (result,) = output_leaves(graph)
    regions = {node: region(node, constant) for node in graph.nodes}
    claimed = [
        n for n, found in regions.items() if found is not None and n is not result and found.clean(result)
    ]
    assert claimed == []
    assert not facts.stale(graph) & constant


@pytest.mark.parametrize("kind", KINDS)
def test_a_captured_program_has_no_hidden_effects(kind):
    module = Written(kind)
    mode = "train" if "statistics" in kind else "eval"
    if "share" in kind:
        with pytest.raises(CaptureError, match="cannot be followed"):
            program(module, torch.randn(3, 4), static=[-1])
        return
    made = program(module, torch.randn(3, 4), static=[-1], mode=mode)
    with contextlib.suppress(UnfitError):
        check_program(made)
    assert not facts.stale(made.graph) & facts.constants(made.graph)


def test_harmless_calls_in_place_stay_in_the_region():
    made = captured((lambda x, w: (x @ w).add_(1).mul_(2), (3, 4), (4, 4)))
    assert clean_outputs(made) == [True]


# --- constants ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + torch.randn(4),
        lambda x: x + torch.randn(4).bernoulli(0.5),
        lambda x: x + torch.empty(4),
        lambda x: x + x.new_empty(4),
        lambda x: x + F.dropout(torch.ones(4), 0.5),
        lambda x: x + F.rrelu(-torch.ones(4), training=True),
        lambda x: x + F.scaled_dot_product_attention(*[torch.ones(1, 1, 4)] * 3, dropout_p=0.5)[0, 0],
        lambda x: x + torch.arange(x.shape[0]).sum(),
    ],
)
def test_random_and_size_dependent_numbers_are_no_constants(function):
    assert clean_outputs(captured((function, (3, 4)))) == [False]


def test_computed_constants_are_constants():
    def function(x: Tensor, c: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(*[c[None, None]] * 3)[0, 0]
        return x + torch.arange(4).cos() * F.dropout(c, 0.5, False) + attended

    assert clean_outputs(captured((function, (3, 4), (4,)))) == [True]


def test_a_constant_anchor_makes_what_follows_it_variable():
    made = captured((lambda x, c, d: x + F.linear(c * 2, (c * 3).unsqueeze(0)) + d * c, (3, 4), (4,), (4,)))
    constant = facts.constants(made.graph)
    anchor = next(n for n in made.graph.nodes if facts.name(n) == "aten::mul" and n.args[1] == 2)
    assert anchor in constant
    found = region(anchor, constant)
    assert found is not None
    assert not any(facts.name(n) == "aten::linear" and n.args[1] in found.layouts for n in found.layouts)
    assert check_region(found, made.module, (2,)) == 2  # itself, and its product with the constant row


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_not_called_equal(number):
    made = captured((lambda x: (x + number) * 0 + x, (3, 4)))
    found = region(placeholders(made.graph)[0], facts.constants(made.graph))
    (result,) = output_leaves(made.graph)
    view = probe.matrix(made.module, found, found.anchor, result)
    run = probe.runner(made.module, found, found.anchor, result, view.dtype)
    evidence = judge(view, view, run, torch.Generator().manual_seed(0))
    assert evidence.tier is Tier.REFUTED


# --- sizes, and who reads what ------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x[:, 3:] @ w,
        lambda x, w: x[:, : x.shape[1] // 4] @ w,
        lambda x, w: x.unfold(1, 3, 2).transpose(2, 3) @ w,
        lambda x, w: torch.cat([x, x], 1).flatten(0, 1) @ w,
        lambda x, w: (x[1:, 2:] @ w).flatten(0, 1),
    ],
)
def test_anchors_of_any_batch_size_are_probed(function):
    made = captured((function, (5, 8, 4), (4, 3)))
    assert check_program(made, sizes=(5, 9)) > 0


def test_a_probe_does_not_squeeze_the_batch():
    def function(x: Tensor, w: Tensor) -> Tensor:
        return torch.stack([x.unsqueeze(-2).squeeze() @ w, x], 2).flatten(2)

    made = captured((function, (2, 3, 4), (4, 4)))
    assert clean_outputs(made) == [True]
    assert check_program(made) > 0


def test_features_are_read_whatever_the_batch_is():
    made = captured((lambda x, w: (x[:, 3:] @ w)[..., 1:3].exp(), (5, 8, 4), (4, 4)))
    (product,) = (n for n in made.graph.nodes if facts.name(n) == "aten::matmul")
    followed = reads(made.module, product, facts.constants(made.graph))
    assert followed is not None
    assert [read.features for read in followed[1]] == [frozenset({1, 2})]


def test_a_choice_whose_size_is_unknown_is_left_out():
    made = captured((lambda x, c: x[..., c > 0], (3, 4), (4,)))
    assert clean_outputs(made) == [False]


def test_keywords_mean_what_they_mean_by_position():
    made = captured((lambda x, w: x @ w, (3, 4, 4), (4, 4)))
    (product,) = output_leaves(made.graph)
    aten = torch.ops.aten
    with made.graph.inserting_after(product):
        swapped = made.graph.call_function(aten.transpose.int, (product,), {"dim0": 0, "dim1": 1})
        summed = made.graph.call_function(aten.sum.dim_IntList, (product,), {"dim": [0], "keepdim": True})
        shifted = made.graph.call_function(aten.add.Tensor, (product,), {"other": product, "alpha": 2})
    swapped.meta["val"] = product.meta["val"].transpose(0, 1)
    summed.meta["val"] = product.meta["val"].sum([0], keepdim=True)
    shifted.meta["val"] = product.meta["val"]
    found = region(placeholders(made.graph)[0], facts.constants(made.graph))
    assert found is not None
    assert [found.clean(node) for node in (swapped, summed, shifted)] == [False, False, True]
