"""FLOPs of whole graphs: against other counters, against other forms, and what cannot be counted."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from paramaudit.errors import InputError
from paramaudit.measure import flops, flops_by_module


def exported(module: nn.Module, *args: Tensor) -> torch.fx.GraphModule:
    with warnings.catch_warnings():
        # Exporting a recurrent layer makes torch 2.13 warn about the layer's own list of weights.
        warnings.filterwarnings("ignore", message="The tensor attributes self.*_flat_weights")
        return torch.export.export(module, args).module()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, groups=1)
        self.norm = nn.BatchNorm2d(8)
        self.up = nn.ConvTranspose2d(8, 4, 3, stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.up(self.norm(self.conv(x))).permute(0, 2, 3, 1))


def test_fvcore_agrees_where_it_counts() -> None:
    from fvcore.nn import FlopCountAnalysis

    net, x = Net().eval(), torch.randn(2, 3, 9, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces with TorchScript, which torch has deprecated
        multiply_adds = FlopCountAnalysis(net, x).total()
    assert flops(exported(net, x), (x,)).total == 2 * multiply_adds


def test_torch_agrees_on_products() -> None:
    class Products(nn.Module):
        def forward(self, x: Tensor, w: Tensor, k: Tensor) -> tuple[Tensor, ...]:
            return x @ w, F.linear(x, w.mT[0]), F.conv1d(x, k), torch.einsum("bij,bjk->ik", x, w)

    args = (torch.randn(3, 4, 6), torch.randn(3, 6, 5), torch.randn(7, 4, 2))
    with FlopCounterMode(display=False) as counter:
        Products()(*args)
    assert flops(exported(Products(), *args), args).total == counter.get_total_flops()


def test_attention_is_counted_as_its_plain_form() -> None:
    class Plain(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1) @ v

    class Fused(nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v)

    args = (torch.randn(2, 4, 7, 8), torch.randn(2, 4, 9, 8), torch.randn(2, 4, 9, 6))
    plain, fused = (flops(exported(m, *args), args).total for m in (Plain(), Fused()))
    assert plain == fused


def test_attention_is_the_same_without_weights_returned() -> None:
    class Attention(nn.Module):
        def __init__(self, fast: bool) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.fast = fast

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=not self.fast, average_attn_weights=False)[0]

    x = torch.randn(3, 5, 8)
    slow, fast = (flops(exported(Attention(fast).eval(), x), (x,)).total for fast in (False, True))
    assert slow == fast


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_recurrent_layer_is_the_sum_of_its_cells(kind: str) -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = getattr(nn, f"{kind}Cell")(3, 4)

        def forward(self, x: Tensor) -> Any:
            state = None
            for step in x:
                state = self.cell(step, state)
            return state

    x = torch.randn(6, 2, 3)
    layer = getattr(nn, kind)(3, 4)
    assert flops(exported(layer, x), (x,)).total == flops(exported(Unrolled(), x), (x,)).total


def test_a_long_sequence_is_not_unrolled() -> None:
    assert flops(nn.GRU(3, 2), (torch.empty(100_000, 2, 3),)).total == 100_000 * 2 * 80


def test_istft_is_counted_and_has_the_right_shape() -> None:
    class Inverse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.istft(torch.view_as_complex(x), 8, window=torch.ones(8)) + 1

    x = torch.randn(3, 5, 9, 2)
    samples = Inverse()(x).numel()
    # 27 frames: 2.5 x 8 x 3, window 8, overlap 8; envelope 8 + 9 x 8; then a division and the + 1 a sample
    assert flops(exported(Inverse(), x), (x,)).total == 27 * 76 + 80 + 2 * samples


def test_an_unknown_operator_is_named() -> None:
    class Median(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x @ x).median()

    counted = flops(exported(Median(), torch.randn(3, 3)), (torch.randn(3, 3),))
    assert counted.total is None
    assert counted.uncounted == ("aten.median",)


def test_sizes_that_depend_on_the_data_are_not_guessed() -> None:
    class Picked(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[x > 0].sum()

    counted = flops(exported(Picked(), torch.randn(3)), (torch.randn(3),))
    assert counted.total is None
    assert counted.uncounted != ()


def test_someone_elses_operator_is_named() -> None:
    @torch.library.custom_op("paramaudit_test::twice", mutates_args=())
    def twice(x: Tensor) -> Tensor:
        return x * 2

    class Custom(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return twice(x) + 1

    twice.register_fake(torch.empty_like)
    x = torch.randn(3)
    counted = flops(exported(Custom(), x), (x,))
    assert counted.total is None
    assert counted.uncounted == ("paramaudit_test.twice",)


def test_an_operator_without_shapes_is_named() -> None:
    @torch.library.custom_op("paramaudit_test::thrice", mutates_args=())
    def thrice(x: Tensor) -> Tensor:
        return x * 3

    graph = torch.fx.symbolic_trace(nn.ReLU())
    node = next(n for n in graph.graph.nodes if n.op == "output")
    with graph.graph.inserting_before(node):
        node.args = (graph.graph.call_function(torch.ops.paramaudit_test.thrice.default, node.args),)
    graph.recompile()
    counted = flops(graph, (torch.randn(3),))
    assert counted.total is None
    assert counted.uncounted == ("paramaudit_test.thrice",)


def test_control_flow_is_named() -> None:
    class Branch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cond(x.sum() > 0, lambda y: y + 1, lambda y: y * 2 - 1, (x,))

    counted = flops(exported(Branch(), torch.randn(3)), (torch.randn(3),))
    assert counted.total is None
    assert counted.uncounted == ("cond",)


def test_modules_include_their_children_and_sum_to_the_whole() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 8), nn.ReLU()))
    x = torch.randn(2, 4)
    found = {path: f.total for path, f in flops_by_module(exported(model, x), (x,)).items()}
    assert found == {"": 64 + 128 + 16, "0": 64, "1": 144, "1.0": 128, "1.1": 16}


def test_a_module_called_twice_counts_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(self.layer(x))

    x = torch.randn(2, 4)
    assert flops_by_module(exported(Twice(), x), (x,))["layer"].total == 128


def test_a_region_without_gradients_is_counted() -> None:
    class Frozen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                y = x * 2
            return y + x

    x = torch.randn(5, requires_grad=True)
    assert flops(exported(Frozen(), x), (x,)).total == 10


class Filter(nn.Module):
    """A swapped-in layer: a product in the frequency domain."""

    def __init__(self) -> None:
        super().__init__()
        self.response = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.response)


def swapped(x: Tensor, layer: nn.Module) -> torch.fx.GraphModule:
    """A linear layer of a graph replaced by a module call."""
    graph = exported(nn.Sequential(nn.Linear(8, 8), nn.ReLU()), x)
    node = next(n for n in graph.graph.nodes if n.target is torch.ops.aten.linear.default)
    graph.add_submodule("swap", layer)
    with graph.graph.inserting_before(node):
        node.replace_all_uses_with(graph.graph.call_module("swap", node.args[:1]))
    graph.graph.erase_node(node)
    graph.recompile()
    return graph


def test_a_swapped_in_layer_is_looked_into() -> None:
    x = torch.randn(2, 8)
    found = flops_by_module(swapped(x, Filter()), (x,))
    assert found["swap"].total == 120 + 20 + 120  # 2.5 x 16 x 3, 2 x 10, 2.5 x 16 x 3
    assert found[""].total == 276


def test_a_swapped_in_layer_that_cannot_be_looked_into_is_named() -> None:
    class Foreign(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.from_numpy(x.numpy() * 2)

    x = torch.randn(2, 8)
    counted = flops(swapped(x, Foreign()), (x,))
    assert counted.total is None
    assert counted.uncounted == ("Foreign",)


def test_keyword_inputs() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, *, gain: Tensor, shift: Tensor) -> Tensor:
            return x * gain + shift

    named = {"shift": torch.zeros(3), "gain": torch.ones(())}
    program = torch.export.export(Scaled(), (torch.zeros(3),), {k: named[k] for k in ("gain", "shift")})
    assert flops(program.module(), (torch.zeros(3),), named).total == 6


def test_inputs_that_do_not_fit_are_an_error() -> None:
    graph = exported(nn.Linear(4, 4), torch.randn(2, 4))
    for args in [(), (torch.randn(2, 5),), (torch.randn(2, 4), torch.randn(1))]:
        with pytest.raises(InputError):
            flops(graph, args)


def test_counting_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LSTM(4, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(3, 4)
    state = torch.random.get_rng_state()
    flops(model, (x,))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert type(model(x)[0]) is Tensor
