"""Time, memory, and two models side by side."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from paramaudit.errors import InputError
from paramaudit.measure import compare, cost, interleaved, latency, peak_bytes
from paramaudit.measure.devices import on_device


def exported(module: nn.Module, *args: Tensor) -> torch.fx.GraphModule:
    return torch.export.export(module, args).module()


def slow(x: Tensor) -> Tensor:
    time.sleep(0.004)
    return x


def fast(x: Tensor) -> Tensor:
    time.sleep(0.001)
    return x


def test_the_slower_one_has_the_larger_time() -> None:
    pair = interleaved(slow, fast, (torch.ones(1),), budget_s=0.2)
    assert pair.ratio > 1
    assert pair.ratio == pair.a.median / pair.b.median
    assert 4 <= pair.a.low <= pair.a.median <= pair.a.high
    assert interleaved(fast, slow, (torch.ones(1),), budget_s=0.2).ratio < 1


def test_time_is_bounded_by_the_budget() -> None:
    start = time.perf_counter()
    measured = latency(slow, (torch.ones(1),), budget_s=0.1)
    assert time.perf_counter() - start < 1
    assert 5 <= measured.runs <= 30


def test_a_budget_of_nothing_still_measures_once() -> None:
    assert latency(slow, (torch.ones(1),), budget_s=0).runs == 1


def test_short_functions_are_timed_in_blocks() -> None:
    assert latency(torch.neg, (torch.ones(1),), budget_s=0.05).runs > 100


def test_threads_are_used_and_restored() -> None:
    before = torch.get_num_threads()
    seen = set()
    latency(lambda: seen.add(torch.get_num_threads()), (), budget_s=0, threads=before + 1)
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_gradients_are_off_while_timing_and_as_before_after() -> None:
    seen = set()
    latency(lambda: seen.add(torch.is_grad_enabled()), (), budget_s=0)
    assert seen == {False}
    assert torch.is_grad_enabled()


def test_peak_memory_of_a_chain() -> None:
    model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 256))
    x = torch.randn(64, 256)
    # The linear's output and the ReLU's are alive together: 2 x 64 x 1024 floats.
    assert peak_bytes(exported(model, x), (x,)) == 524_288


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(8, width)
        self.outer = nn.Linear(width, 8)
        self.register_buffer("gain", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x)) * self.gain * torch.tensor(2.0)


def test_compare() -> None:
    x = torch.randn(4, 8)
    wide, narrow = (exported(Net(width), x) for width in (1024, 2))
    result = compare(wide, narrow, (x,), devices=("cpu",), file_bytes=(1000, 10), budget_s=0.1)
    assert result.original.parameters == 1024 * 9 + 1025 * 8
    assert result.refactored.parameters == 18 + 24
    assert result.refactored.buffers == 9  # the gain and the constant
    assert result.refactored.bytes == 4 * (42 + 9)
    assert result.refactored.file_bytes == 10
    assert result.refactored.flops.total == 4 * (2 * 16 * 2 + 16)
    before, after = (c.devices["cpu"] for c in (result.original, result.refactored))
    assert before.latency_ms is not None
    assert after.latency_ms is not None
    assert result.latency["cpu"] == before.latency_ms.median / after.latency_ms.median
    assert before.peak_bytes is not None
    assert before.peak_bytes >= result.original.bytes + 4 * 4 * 1024


def test_a_device_that_is_not_there_is_said_so() -> None:
    x = torch.randn(4, 8)
    model = exported(Net(2), x)
    device = "xpu" if torch.cuda.is_available() else "cuda"
    result = compare(model, model, (x,), devices=(device,), budget_s=0)
    assert result.latency == {}
    assert result.original.devices[device].latency_ms is None
    assert result.original.devices[device].unavailable


def test_keyword_inputs() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Tensor, *, gain: Tensor) -> Tensor:
            return x * gain

    x, gain = torch.ones(3), torch.ones(())
    program = torch.export.export(Scaled(), (x,), {"gain": gain})
    assert cost(program.module(), (x,), {"gain": gain}, budget_s=0).flops.total == 3


def test_inputs_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(InputError):
        cost(exported(Net(2), torch.randn(4, 8)), (torch.randn(4, 9),), budget_s=0)


def test_measuring_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    cost(model, (torch.ones(3, 4),), budget_s=0)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())


def test_a_copy_lives_on_the_other_device_with_its_constants() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.shift = torch.ones(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x) + self.shift + torch.arange(4) + torch.tensor([1.0])

    x = torch.randn(2, 4)
    graph = exported(Placed(), x)
    assert on_device(graph, "cpu") is graph
    assert on_device(graph, "meta")(x.to("meta")).device.type == "meta"
    assert graph(x).device.type == "cpu"


@pytest.mark.gpu
def test_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    x = torch.randn(64, 8)
    result = compare(exported(Net(4096), x), exported(Net(2), x), (x,), devices=("cpu", "cuda"), budget_s=2)
    assert result.latency.keys() == {"cpu", "cuda"}
    for measured in (result.original, result.refactored):
        assert measured.devices["cuda"].latency_ms is not None
        assert measured.devices["cuda"].peak_bytes is not None
    assert result.original.devices["cuda"].peak_bytes >= result.original.bytes + 4 * 64 * 4096
