"""What a region claims holds: affine in the anchor, the same for every batch row and every batch size."""

from __future__ import annotations

import contextlib

import pytest
import torch
import torch.nn.functional as F
from affine_programs import (
    UnfitError,
    captured,
    check_program,
    clean_outputs,
    grouped,
    program,
)
from affine_steps import OneInput, Steps, TwoInputs
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramaudit.errors import CaptureError
from paramaudit.graph import facts
from paramaudit.graph.affine import region
from paramaudit.graph.program import output_leaves, placeholders

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
