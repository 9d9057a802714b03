"""What a region claims holds: affine in the anchor, the same for every batch row and every batch size."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import pytest
import torch
import torch.nn.functional as F
from affine_programs import (
    OneInput,
    Steps,
    TwoInputs,
    UnfitError,
    check_program,
    check_region,
    program,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from paramaudit.errors import CaptureError
from paramaudit.graph import facts, probe
from paramaudit.graph.affine import region
from paramaudit.graph.program import Program, output_leaves, placeholders
from paramaudit.graph.reads import reads
from paramaudit.prove.affine import judge
from paramaudit.records import Tier

# --- any program --------------------------------------------------------------------------------

SHAPES = [(3, 4), (2, 3, 4), (4, 4, 4), (4,), (2, 3, 2, 4), (3, 2, 6), (2, 2, 2), (3, 6)]
STEPS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 7), st.integers(0, 7), st.integers(0, 7)),
    min_size=3,
    max_size=9,
)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(STEPS, st.sampled_from(SHAPES), st.booleans(), st.booleans(), st.integers(0, 99))
def test_regions_of_any_program_hold(steps, sizes, two, static, seed):
    inputs = [torch.randn(sizes, generator=torch.Generator().manual_seed(seed + i)) for i in range(1 + two)]
    module = (TwoInputs if two else OneInput)(Steps(steps, inputs, seed))
    try:
        check_program(program(module, *inputs, static=[0] if static else []))
    except (UnfitError, CaptureError):
        assume(False)


# --- one call at a time -------------------------------------------------------------------------


Case = tuple[object, ...]


class Calls(nn.Module):
    """Functions of ``x`` and of stored tensors of their own, side by side."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.functions = [case[0] for case in cases]
        self.names: list[list[str]] = []
        for i, (_, _, *constants) in enumerate(cases):
            self.names.append([f"c{i}_{j}" for j in range(len(constants))])
            for name, sizes in zip(self.names[-1], constants, strict=True):
                self.register_buffer(name, torch.randn(sizes, generator=generator))

    def forward(self, x: Tensor) -> tuple[object, ...]:
        stored = [[getattr(self, n) for n in names] for names in self.names]
        return tuple(f(x, *c) for f, c in zip(self.functions, stored, strict=True))


def captured(*cases: Case, static: Sequence[int] = (-1,)) -> Program:
    """The program of functions of one input, whose last dimension is static by default."""
    x = torch.randn(cases[0][1], generator=torch.Generator().manual_seed(5))
    return program(Calls(cases), x, static=static)


def clean_outputs(made: Program) -> list[bool]:
    """Which outputs are clean nodes of the input's region."""
    found = region(placeholders(made.graph)[0], facts.constants(made.graph))
    assert found is not None
    return [isinstance(leaf, fx.Node) and found.clean(leaf) for leaf in output_leaves(made.graph)]


def grouped(cases: Mapping[str, Case]) -> list[list[str]]:
    """Names of cases whose inputs have the same size."""
    groups: dict[object, list[str]] = {}
    for name, case in cases.items():
        groups.setdefault(case[1], []).append(name)
    return list(groups.values())


AFFINE = {
    "linear": (lambda x, w, b: F.linear(x, w, b), (2, 3, 4), (5, 4), (5,)),
    "linear on one row": (lambda x, w: F.linear(x, w), (4,), (5, 4)),
    "matmul": (lambda x, w: x @ w, (2, 3, 4), (4, 5)),
    "mm": (lambda x, w: torch.mm(x, w), (3, 4), (4, 5)),
    "matmul with a vector": (lambda x, w: (x @ w).unsqueeze(-1), (2, 3, 4), (4,)),
    "matrix first": (lambda x, w: w @ x, (4,), (5, 4)),
    "matrix first, on columns": (lambda x, w: (w @ x.unsqueeze(-1)).squeeze(-1), (2, 3, 4), (5, 4)),
    "vector first": (lambda x, w: (w @ x.unsqueeze(-1)), (2, 3, 4), (4,)),
    "addmm": (lambda x, b, w: torch.addmm(b, x, w, beta=2, alpha=3), (3, 4), (5,), (4, 5)),
    "einsum": (lambda x, w: torch.einsum("bti,oi->bto", x, w), (2, 3, 4), (5, 4)),
    "einsum to heads": (lambda x, w: torch.einsum("bti, ihk -> bthk", x, w).flatten(2), (2, 3, 4), (4, 2, 3)),
    "einsum of three": (lambda x, w, v: torch.einsum("oi,bi,i->bo", w, x, v), (3, 4), (5, 4), (4,)),
    "einsum that sums features": (lambda x, w: torch.einsum("bi,o->bo", x, w), (3, 4), (5,)),
    "residual": (lambda x, w: x + x @ w, (2, 3, 4), (4, 4)),
    "weighted residual": (lambda x, w: torch.add(x, x @ w, alpha=-3), (2, 3, 4), (4, 4)),
    "rsub": (lambda x, c: torch.rsub(x, c, alpha=2), (3, 4), (4,)),
    "scale and shift": (lambda x, c: (2 - x * c) / 3 + c, (2, 3, 4), (4,)),
    "a constant with leading ones": (lambda x, c: x * c, (2, 3, 4), (1, 1, 4)),
    "projections joined": (lambda x, a, b: torch.cat([x @ a, x, x @ b], -1), (2, 3, 4), (4, 2), (4, 3)),
    "heads split and merged": (
        lambda x: x.view(*x.shape[:2], 2, 2).transpose(1, 2).transpose(1, 2).reshape(*x.shape[:2], 4),
        (2, 3, 4),
    ),
    "heads mixed by a matrix": (lambda x, w: (w @ x.unflatten(-1, (2, 3))).flatten(-2), (2, 3, 6), (5, 2)),
    "chunks swapped": (lambda x: torch.cat(x.chunk(2, -1)[::-1], -1), (2, 3, 4)),
    "split": (lambda x: x.split([1, 3], dim=-1)[1], (2, 3, 4)),
    "unbind and stack": (lambda x: torch.stack(x.unbind(-1)[::-1], -1), (2, 3, 4)),
    "strided slice": (lambda x: x[..., 1::2], (2, 3, 4)),
    "select": (lambda x: x[..., -1:] + x[..., 0].unsqueeze(-1), (2, 3, 4)),
    "index": (lambda x: x[..., torch.tensor([3, 0, 0])], (2, 3, 4)),
    "index_select": (lambda x: x.index_select(-1, torch.tensor([3, 1])), (2, 3, 4)),
    "roll and flip": (lambda x: x.roll(1, -1).flip(-1), (2, 3, 4)),
    "pad": (lambda x: F.pad(x, (1, -2), value=3.0), (2, 3, 4)),
    "centred": (lambda x: x - x.mean(-1, keepdim=True), (2, 3, 4)),
    "running sum": (lambda x: x.cumsum(-1), (2, 3, 4)),
    "transform": (lambda x: torch.view_as_real(torch.fft.rfft(x, norm="ortho")).flatten(-2), (2, 3, 4)),
    "filter": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * (2 + 1j), n=x.shape[-1]), (2, 3, 4)),
    "convolution of channels and time": (
        lambda x, k: F.conv1d(x.unflatten(-1, (2, 6)), k, padding=1).flatten(1), (3, 12), (5, 2, 3)
    ),
    "batch norm of features": (lambda x, c: F.batch_norm(x, c, c.exp(), c, c), (3, 4), (4,)),
    "repeated along new features": (lambda x: x.unsqueeze(-2).expand(-1, 3, -1).flatten(-2), (2, 4)),
    "outer product with a vector": (lambda x, c: (x.unsqueeze(-1) * c).flatten(-2), (2, 3, 4), (5,)),
    "leading dimensions merged": (lambda x, w: x.flatten(0, 1) @ w, (2, 3, 4), (4, 5)),
    "eval dropout and copies": (lambda x, w: F.dropout(x.clone().detach(), 0.5, False) @ w, (3, 4), (4, 5)),
    "sizes that cancel": (lambda x: x[: x.shape[0]].reshape(x.shape[0], -1), (3, 4)),
    "one column": (lambda x, w: x @ w, (3, 1), (1, 4)),
    "one row, static": (lambda x, w: x @ w, (1, 4), (4, 5)),
}  # fmt: skip

NOT_AFFINE = {
    "relu": (lambda x: x.relu(), (3, 4)),
    "square": (lambda x: x * x, (3, 4)),
    "softmax": (lambda x: x.softmax(-1), (3, 4)),
    "layer norm": (lambda x, c: F.layer_norm(x, (4,), c), (3, 4), (4,)),
    "magnitude": (lambda x: torch.fft.fft(x).abs(), (3, 4)),
    "sum as integers": (lambda x: x.sum(-1, keepdim=True, dtype=torch.int64) * 0.5, (3, 4)),
    "mean in another precision": (lambda x: x.mean(-1, keepdim=True, dtype=torch.float16).float(), (3, 4)),
    "running sum as integers": (lambda x: x.cumsum(-1, dtype=torch.int32) * 0.5, (3, 4)),
    "cast to integers": (lambda x: x.to(torch.int32).to(torch.float32), (3, 4)),
    "through half precision": (lambda x: x.half().float(), (3, 4)),
    "through promotion": (lambda x: (x.bfloat16() * torch.ones((), dtype=torch.float32)).float(), (3, 4)),
    "bits": (lambda x: x.view(torch.int32) * 0.5, (3, 4)),
    "floor division": (lambda x: torch.div(x, 0.3, rounding_mode="floor"), (3, 4)),
    "reciprocal": (lambda x, c: c / x, (3, 4), (4,)),
    "gate": (lambda x, c: torch.where(x > 0, x, c), (3, 4), (4,)),
    "input-dependent weight": (lambda x, c: F.linear(c, x), (3, 4), (2, 4)),
    "input on both sides": (lambda x: F.linear(x, x), (4, 4)),
    "input-dependent kernel": (lambda x, c: F.conv1d(c, x.unsqueeze(1)), (3, 4), (1, 1, 9)),
    "input-dependent scale": (lambda x, c: F.batch_norm(c, x[0], x[0].exp()), (3, 4), (2, 4)),
}  # fmt: skip

ACROSS_THE_BATCH = {
    "swapped batch dimensions": (lambda x: x.transpose(0, 1), (3, 3, 4)),
    "swapped and added": (lambda x: x + x.transpose(0, 1), (3, 3, 4)),
    "transposed square": (lambda x: x + x.t(), (4, 4)),
    "swapaxes by keyword": (lambda x: x.swapaxes(axis0=0, axis1=2), (4, 3, 4)),
    "swapped sizes": (lambda x: x.reshape(x.shape[1], x.shape[0], 4), (2, 3, 4)),
    "wrong merge": (lambda x: x.transpose(1, 2).reshape(x.shape), (2, 3, 4)),
    "wrong merge, equal sizes": (lambda x: x.transpose(1, 2).reshape(x.shape), (4, 4, 4)),
    "all in one": (lambda x: x.reshape(-1), (3, 4)),
    "batch into features": (lambda x: x.reshape(1, -1), (3, 4)),
    "roll of everything": (lambda x: x.roll(1), (3, 4)),
    "roll along the batch": (lambda x: x.roll(1, 0), (3, 4)),
    "flip of both": (lambda x: x.flip([0, 1]), (3, 4)),
    "sum over the batch": (lambda x: x.sum(0, keepdim=True), (3, 4)),
    "sum of all": (lambda x: x.sum().reshape(1), (3, 4)),
    "batch mean taken off": (lambda x: x - x.mean(0), (3, 4)),
    "running sum along the batch": (lambda x: x.cumsum(0), (3, 4)),
    "transform along the batch": (lambda x: torch.fft.fft(x, dim=0).real, (3, 4)),
    "pad along the batch": (lambda x: F.pad(x, (0, 0, 1, 0)), (3, 4)),
    "cat along the batch": (lambda x: torch.cat([x, -x]), (3, 4)),
    "stack along the batch": (lambda x: torch.stack([x, -x]), (3, 4)),
    "part of the batch": (lambda x: x[1:], (3, 4)),
    "every other row": (lambda x: x[::2], (4, 4)),
    "one row for all": (lambda x: x[:1].expand(x.shape[0], -1), (3, 4)),
    "chosen rows": (lambda x: x[torch.tensor([2, 1, 0])], (3, 4)),
    "chosen pairs": (lambda x: x[:, torch.tensor([1, 0]), torch.tensor([2, 3])], (3, 2, 4)),
    "constant along the batch": (lambda x, c: x + c, (4, 4), (4, 1)),
    "constant matrix": (lambda x, c: x * c, (4, 4), (4, 4)),
    "position": (lambda x: x * torch.arange(x.shape[0]).unsqueeze(1), (3, 4)),
    "position, static": (lambda x: x + torch.arange(3.0)[:, None], (3, 4)),
    "bias per row": (lambda x, w, b: F.linear(x, w, b), (3, 4), (5, 4), (3, 5)),
    "addmm with a matrix": (lambda x, b, w: torch.addmm(b, x, w), (3, 4), (3, 5), (4, 5)),
    "a matrix per row": (lambda x, w: x.unsqueeze(1) @ w, (3, 4), (3, 4, 5)),
    "matrix first, over the batch": (lambda x, w: w @ x, (3, 4), (3, 3)),
    "vector weight": (lambda x, w: F.linear(x, w), (2, 3, 4), (4,)),
    "einsum over the batch": (lambda x, w: torch.einsum("bi,cb->ci", x, w), (3, 4), (3, 3)),
    "einsum per row": (lambda x, w: torch.einsum("bi,bo->bo", x, w), (3, 4), (3, 5)),
    "einsum diagonal": (lambda x, w: torch.einsum("bb,o->bo", x, w), (4, 4), (5,)),
    "einsum that moves the batch": (lambda x, w: torch.einsum("bti,i->tbi", x, w), (3, 3, 4), (4,)),
    "unbatched convolution": (lambda x, k: F.conv1d(x, k), (3, 4), (3, 3, 2)),
    "convolution along time": (lambda x, k: F.conv1d(x, k, padding=1), (2, 4, 5), (4, 4, 3)),
    "batch norm of a batch dimension": (lambda x, c: F.batch_norm(x, c, c.exp(), c), (2, 3, 4), (3,)),
    "batch statistics": (lambda x, c: F.batch_norm(x, None, None, c, c, training=True), (3, 4), (4,)),
}  # fmt: skip

BATCH_SIZE = {
    "times the batch size": (lambda x: x * x.shape[0], (3, 4)),
    "over the batch size": (lambda x: x / x.shape[0], (3, 4)),
    "plus the batch size": (lambda x: x + x.shape[0], (3, 4)),
    "shifted by the batch size": (lambda x: torch.add(x, x, alpha=x.shape[0]), (3, 4)),
    "padded by the batch size": (lambda x: F.pad(x, (0, x.shape[0])), (3, 4)),
    "cut at the batch size": (lambda x: x[:, : x.shape[0]], (3, 4)),
}  # fmt: skip


@pytest.mark.parametrize("names", grouped(AFFINE), ids=lambda names: str(AFFINE[names[0]][1]))
def test_affine_calls_are_recognised(names):
    made = captured(*(AFFINE[name] for name in names))
    assert [n for n, clean in zip(names, clean_outputs(made), strict=True) if not clean] == []
    assert check_program(made) >= len(names)


@pytest.mark.parametrize("names", grouped(NOT_AFFINE), ids=lambda names: str(NOT_AFFINE[names[0]][1]))
def test_other_calls_are_not_claimed(names):
    made = captured(*(NOT_AFFINE[name] for name in names))
    assert [n for n, clean in zip(names, clean_outputs(made), strict=True) if clean] == []
    check_program(made)


@pytest.mark.parametrize("name", ACROSS_THE_BATCH | BATCH_SIZE)
def test_the_batch_is_not_mixed(name):
    made = captured((ACROSS_THE_BATCH | BATCH_SIZE)[name])
    assert clean_outputs(made) == [False]
    with contextlib.suppress(UnfitError):
        check_program(made)


@pytest.mark.parametrize("names", grouped(ACROSS_THE_BATCH), ids=lambda n: str(ACROSS_THE_BATCH[n[0]][1]))
def test_a_static_batch_is_not_mixed(names):
    made = captured(*(ACROSS_THE_BATCH[name] for name in names), static=range(4))
    assert [n for n, clean in zip(names, clean_outputs(made), strict=True) if clean] == []
    check_program(made)


def test_another_input_is_no_constant():
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
            return x + y, x @ y, F.linear(x, y), torch.cat([x, y], -1)

    made = program(Two(), torch.randn(4, 4), torch.randn(4, 4), static=[0, 1])
    assert clean_outputs(made) == [False] * 4


def test_a_call_of_a_layer_is_not_looked_into():
    made = captured((lambda x, w: x @ w, (3, 4), (4, 5)))
    (leaf,) = output_leaves(made.graph)
    made.module.add_submodule("layer", nn.ReLU())
    with made.graph.inserting_after(leaf):
        layer = made.graph.call_module("layer", (leaf,))
    layer.meta["val"] = leaf.meta["val"]
    found = region(placeholders(made.graph)[0], facts.constants(made.graph))
    assert layer not in found.layouts
    assert layer not in facts.constants(made.graph)


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
