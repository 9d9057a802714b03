"""Numbers that nobody reads, that are stored twice, or that can be computed once and for all."""

import pytest
import torch
from pipeline import after, assert_same, draw, found, names, scan, seeded, size, skipped, untouched
from torch import Tensor, nn
from torch.nn.utils import parametrizations

WIDTH = 6
BATCH = draw(4, WIDTH)


# --- unused --------------------------------------------------------------------------------------


class Branches(nn.Module):
    """A head that is returned, one that is computed and dropped, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.dropped, self.never = nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.dropped(x)
        return {"main": self.used(x).tanh(), "aux": (x @ self.used.weight.T).sin()}


def test_parameters_that_no_output_depends_on_are_unused():
    model = seeded(Branches)
    result = scan(model, BATCH)
    assert {f.path: f.parameters_before for f in found(result, "unused")} == {
        "dropped": WIDTH * 4 + 4,
        "never": WIDTH * 5 + 5,
    }
    assert after(result) == WIDTH * 3 + 3
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_only_the_outputs_that_are_read_count():
    model = seeded(Branches)
    result = scan(model, BATCH, read=("aux",))
    assert after(result) == WIDTH * 3
    assert result.audit.contract.outputs == ("aux",)


@pytest.mark.parametrize("how", ["slice", "split", "chunk", "select", "narrow"])
def test_rows_that_are_dropped_are_unused(how):
    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.layer(x)
            if how == "slice":
                kept = h[:, 2:3], h[:, 5:6]
            elif how == "split":
                _, *kept, _ = h.split([3, 1, 1, 3], -1)
            elif how == "chunk":
                kept = h.chunk(8, -1)[2:4]
            elif how == "select":
                kept = h[:, 0], h[:, 7]
            else:
                kept = h.narrow(-1, 6, 1), h.narrow(-1, 0, 1)
            return kept[0].tanh(), kept[1].sin()

    model = seeded(Rows)
    result = scan(model, BATCH)
    assert names(result) == ["unused"]
    assert after(result) == 2 * (WIDTH + 1)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_rows_that_something_else_reads_stay():
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(WIDTH, 8)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            h = self.layer(x)
            return h[:, :2].tanh(), h.norm(dim=-1)

    model = seeded(Both)
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_positions_are_unused_only_where_the_length_is_declared():
    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(20, WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return (x + self.table[: x.shape[1]]).tanh()

    model = seeded(Positions)
    free = scan(model, draw(2, 5, WIDTH))
    assert untouched(free, model)
    assert_same(free, model, draw(3, 9, WIDTH, seed=3))
    fixed = scan(model, draw(2, 5, WIDTH), static={"x_1": 5})
    assert names(fixed) == ["unused"]
    assert after(fixed) == 5 * WIDTH
    assert_same(fixed, model, draw(3, 5, WIDTH, seed=3))


def test_a_gate_behind_a_hard_choice_lives():
    """Its gradient is zero everywhere; a gradient is no evidence."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(WIDTH, 2)
            self.experts = nn.ModuleList(nn.Linear(WIDTH, 3) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            chosen = nn.functional.one_hot(self.gate(x).argmax(-1), 2).to(x.dtype)
            return (torch.stack([e(x).tanh() for e in self.experts], -1) * chosen[:, None]).sum(-1)

    model = seeded(Gated)
    model(BATCH).sum().backward()
    assert model.gate.weight.grad is None
    result = scan(model, BATCH)
    assert untouched(result, model)
    assert_same(result, model, draw(50, WIDTH, seed=3))


# --- duplicates and tied weights -----------------------------------------------------------------


class Pair(nn.Module):
    """Two layers of one shape behind bends, so that nothing but their numbers can be shared."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh()).tanh()


def test_equal_numbers_are_stored_once():
    model = seeded(Pair)
    model.b.load_state_dict(model.a.state_dict())
    result = scan(model, BATCH)
    assert sorted(f.arguments["of"] for f in found(result, "duplicate")) == ["a.bias", "a.weight"]
    assert after(result) == WIDTH * WIDTH + WIDTH
    assert_same(result, model, draw(7, WIDTH, seed=3))


def test_numbers_that_differ_in_the_last_bit_are_not_equal():
    model = seeded(Pair)
    model.b.load_state_dict(model.a.state_dict())
    with torch.no_grad():
        for layer in (model.b.weight[2], model.b.bias):
            layer[3] = torch.nextafter(layer[3], torch.tensor(9.0, dtype=torch.float64))
    assert untouched(scan(model, BATCH), model)


def test_zeros_of_other_signs_are_not_equal():
    class Reciprocal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Parameter(torch.zeros(3)) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return torch.atan2(self.a, x) - torch.atan2(self.b, x)

    model = seeded(Reciprocal)
    with torch.no_grad():
        model.a.copy_(torch.tensor([1.0, 0.0, 2.0]))
        model.b.copy_(torch.tensor([1.0, -0.0, 2.0]))
    result = scan(model, draw(4, 3))
    assert untouched(result, model)
    assert_same(result, model, -draw(4, 3, seed=3).abs())


def test_constant_tensors_are_no_copies():
    model = seeded(Pair)
    nn.init.zeros_(model.a.bias)
    nn.init.zeros_(model.b.bias)
    assert not found(scan(model, BATCH), "duplicate")


def test_a_table_tied_to_the_output_layer_counts_once_and_frees_nothing():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.norm = nn.Embedding(20, WIDTH), nn.LayerNorm(WIDTH)
            self.out = nn.Linear(WIDTH, 20, bias=False)
            self.out.weight = self.table.weight

        def forward(self, tokens: Tensor) -> Tensor:
            return self.out(self.norm(self.table(tokens)))

    model = seeded(Tied)
    result = scan(model, torch.randint(20, (2, 5)))
    assert result.audit.totals.parameters_before == 20 * WIDTH + 2 * WIDTH
    assert untouched(result, model)
    assert_same(result, model, torch.randint(20, (3, 7)))


def test_two_parameters_over_one_memory_count_once_and_free_nothing():
    class OneMemory(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            memory = draw(WIDTH, WIDTH)
            self.norm = nn.LayerNorm(WIDTH, dtype=torch.float64)
            self.a, self.b = nn.Parameter(memory), nn.Parameter(memory)

        def forward(self, x: Tensor) -> Tensor:
            h = nn.functional.linear(self.norm(x), self.a).tanh()
            return nn.functional.linear(h, self.b).tanh()

    model = OneMemory().eval()
    nn.init.normal_(model.norm.weight)
    result = scan(model, BATCH)
    assert result.audit.totals.parameters_before == WIDTH * WIDTH + 2 * WIDTH
    assert after(result) == WIDTH * WIDTH + 2 * WIDTH
    assert_same(result, model, draw(7, WIDTH, seed=3))


# --- constants -----------------------------------------------------------------------------------


class Computed(nn.Module):
    """A value made of stored numbers alone, added to the input."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.net = nn.Sequential(nn.Linear(1, 9), nn.ReLU(), nn.Linear(9, 1))
        self.f, self.h = nn.Parameter(torch.zeros(WIDTH, WIDTH)), nn.Parameter(torch.zeros(WIDTH, WIDTH))
        self.register_buffer("grid", torch.linspace(0, 1, WIDTH)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "envelope":
            value = self.net(self.grid)[:, 0]
        elif self.kind == "gain":
            value = torch.linalg.solve(self.f @ self.f.T + self.h @ self.h.T, self.f) @ self.h[:, 0]
        elif self.kind == "random":
            value = self.net(torch.rand(WIDTH, 1, dtype=x.dtype))[:, 0]
        else:
            value = self.net(torch.arange(x.shape[0], dtype=x.dtype)[:, None])
        return (x + value).tanh()


@pytest.mark.parametrize(("kind", "dead"), [("envelope", 2 * WIDTH * WIDTH), ("gain", 28)])
def test_what_no_input_reaches_is_stored_as_a_value(kind, dead):
    model = seeded(Computed, kind)
    result = scan(model, BATCH)
    assert sorted(names(result)) == ["constant", *["unused"] * len(found(result, "unused"))]
    assert sum(f.parameters_before for f in found(result, "unused")) == dead
    assert after(result) == WIDTH
    assert_same(result, model, draw(7, WIDTH, seed=3))


@pytest.mark.parametrize("kind", ["random", "batch"])
def test_what_is_drawn_or_follows_the_batch_is_no_constant(kind):
    model = seeded(Computed, kind)
    result = scan(model, BATCH)
    assert not found(result, "constant")
    assert {"net.0.weight", "net.2.weight"} <= set(result.refactored.parameters)
    if kind == "batch":
        assert_same(result, model, draw(7, WIDTH, seed=3))


def test_a_constant_that_is_no_smaller_is_left():
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.u, self.v = nn.Parameter(torch.zeros(WIDTH)), nn.Parameter(torch.zeros(WIDTH))

        def forward(self, x: Tensor) -> Tensor:
            return (x + torch.outer(self.u, self.v)).tanh()

    model = seeded(Large)
    assert untouched(scan(model, draw(2, WIDTH, WIDTH)), model)


def test_a_weight_norm_becomes_its_weight():
    model = seeded(lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(WIDTH, 4)), nn.Tanh()))
    result = scan(model, BATCH)
    assert names(result) == ["constant"]
    assert after(result) == size(model) - 4
    assert not skipped(result)
    assert_same(result, model, draw(7, WIDTH, seed=3))
