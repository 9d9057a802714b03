"""How many numbers are stored, counted by memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from paramaudit.measure import Counts, count


def test_a_plain_layer() -> None:
    assert count(nn.Linear(3, 4)) == Counts(parameters=16, buffers=0, constants=0, indices=0, bytes=64)


def test_tied_weights_count_once() -> None:
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
    model[1].weight = model[0].weight
    assert count(model).parameters == 40
    assert count(dict(model.state_dict())).parameters == 40


def test_tied_by_memory_alone_counts_once() -> None:
    weight = torch.randn(6, 4)
    assert count({"a": nn.Parameter(weight), "b": nn.Parameter(weight.T)}).parameters == 24


@pytest.mark.parametrize(
    ("views", "numbers"),
    [
        (lambda x: [x[:3], x[2:5]], 20),  # rows 0 to 4
        (lambda x: [x[::2]], 12),  # every other row
        (lambda x: [x[:, 1:3]], 12),
        (lambda x: [x[0].expand(9, 4)], 4),
        (lambda x: [x.flatten().unfold(0, 5, 1)], 24),
        (lambda x: [x.T[1:], x[:1]], 19),
        (lambda x: [x[1, 1]], 1),
        (lambda x: [x[:0]], 0),
    ],
)
def test_views_count_what_they_cover(views: Callable[[Tensor], list[Tensor]], numbers: int) -> None:
    storage = torch.randn(6, 4)
    tensors = views(storage)
    counts = count({str(i): tensor for i, tensor in enumerate(tensors)})
    assert counts.parameters == numbers
    assert counts.bytes == 4 * numbers


# size, size, stride, stride, offset
VIEW = st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(0, 5)] * 2, st.integers(0, 8))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.integers(1, 4)] * 2, *[st.integers(0, 5)] * 2, st.integers(0, 8)),
        min_size=1,
        max_size=4,
    )
)
def test_any_strided_views_cover_the_union_of_their_elements(views: list[tuple[int, ...]]) -> None:
    storage = torch.arange(64, dtype=torch.float32)
    tensors = {str(i): storage.as_strided((a, b), (s, t), o) for i, (a, b, s, t, o) in enumerate(views)}
    covered = {int(x) for t in tensors.values() for x in t.flatten()}
    assert count(tensors).parameters == len(covered)


def test_complex_is_two_numbers() -> None:
    z = torch.zeros(5, dtype=torch.complex64)
    assert count({"z": z}) == Counts(10, 0, 0, 0, 40)
    assert count({"z": z, "parts": torch.view_as_real(z)}).parameters == 10


def test_integers_are_indices() -> None:
    counts = count({"order": torch.arange(7), "mask": torch.ones(3, dtype=torch.bool), "w": torch.ones(2)})
    assert counts == Counts(parameters=2, buffers=0, constants=0, indices=10, bytes=56 + 3 + 8)


def test_sparse_tensors_count_what_they_store() -> None:
    dense = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    assert count({"s": dense.to_sparse()}) == Counts(2, 0, 0, 4, 8 + 32)


def test_batch_norm_statistics_are_buffers_in_a_state_dict_too() -> None:
    model = nn.BatchNorm1d(3)
    assert count(model) == count(model.state_dict()) == Counts(6, 6, 0, 1, 48 + 8)


def test_moving_a_weight_elsewhere_saves_nothing() -> None:
    class Layer(nn.Module):
        def __init__(self, kind: str) -> None:
            super().__init__()
            weight = torch.randn(4, 4)
            if kind == "parameter":
                self.weight = nn.Parameter(weight)
            elif kind == "buffer":
                self.register_buffer("weight", weight)
            else:
                self.weight = weight

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight

    for kind, where in (("parameter", "parameters"), ("buffer", "buffers"), ("constant", "constants")):
        program = torch.export.export(Layer(kind), (torch.randn(2, 4),))
        for model in (Layer(kind), program, program.module()):
            counts = count(model)
            assert getattr(counts, where) == 16
            assert counts.stored == 16
            assert counts.bytes == 64


def test_a_parameter_seen_as_a_buffer_is_a_parameter() -> None:
    model = nn.Linear(3, 3, bias=False)
    model.register_buffer("same", model.weight.detach())
    assert count(model) == Counts(9, 0, 0, 0, 36)


def test_a_number_written_into_the_graph_counts() -> None:
    class Window(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * torch.tensor([1.0, 2.0, 3.0])

    program = torch.export.export(Window(), (torch.randn(3),))
    assert count(program).stored == count(program.module()).stored == 3


def test_models_without_memory_can_be_counted() -> None:
    with torch.device("meta"):
        model = nn.Linear(100_000, 100_000)
    assert count(model).parameters == 10_000_100_000
