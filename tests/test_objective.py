"""Swaps that cost time or operations: measured part by part, and refused where the objective says so."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch
from pipeline import after, assert_same, found, load, names, scan
from torch import Tensor, nn

from paramaudit.audit import Options, compare_loaded
from paramaudit.graph.capture import capture
from paramaudit.graph.parts import part
from paramaudit.pays import changed_paths, part_flops, pays_from, speeds, standing
from paramaudit.records import PartSpeed

SIZE = 64


def wavelet(size: int) -> np.ndarray:
    """The db4 transform of one level, periodised, from PyWavelets itself."""
    rows = [np.concatenate(pywt.dwt(row, "db4", mode="periodization")) for row in np.eye(size)]
    return np.stack(rows, axis=1)


class Net(nn.Module):
    """A wavelet matrix, which is slower by its formula at this size, and two layers that are one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.transform = nn.Sequential(nn.Linear(SIZE, SIZE, bias=False))
        self.wide = nn.Sequential(nn.Linear(SIZE, 8 * SIZE), nn.Linear(8 * SIZE, 4))
        with torch.no_grad():
            self.transform[0].weight.copy_(torch.from_numpy(wavelet(SIZE)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.transform(x), self.wide(x.relu())


INPUT = torch.randn(4, SIZE)


def test_a_slower_swap_is_refused_for_latency_and_only_then() -> None:
    model = Net().eval()
    small = scan(model, INPUT)
    assert names(small) == ["linear-chain", "wavelet"]
    fast = scan(model, INPUT, objective="latency")
    assert [f.operator for f in found(fast)] == ["linear-chain"]
    (refused,) = [f for f in fast.audit.findings if f.operator == "wavelet"]
    assert "not applied for --objective latency" in refused.reason
    assert "times as fast on cpu" in refused.reason
    assert after(fast) == after(small) + SIZE * SIZE
    assert refused.id in {r.id for r in fast.plan.refused}
    assert_same(fast, model, torch.randn(7, SIZE), within=1e-5)


def test_more_operations_are_refused_for_flops() -> None:
    class Circle(nn.Module):
        """A circular filter of few points: by FFT it takes more operations than by its matrix."""

        def __init__(self) -> None:
            super().__init__()
            self.filter = nn.Sequential(nn.Linear(5, 5, bias=False))
            kernel = np.random.default_rng(0).standard_normal(5)
            with torch.no_grad():
                self.filter[0].weight.copy_(
                    torch.from_numpy(np.stack([np.roll(kernel, i) for i in range(5)], 1))
                )

        def forward(self, x: Tensor) -> Tensor:
            return self.filter(x)

    model = Circle().eval()
    assert names(scan(model, torch.randn(4, 5))) == ["circulant"]
    kept = scan(model, torch.randn(4, 5), objective="flops")
    assert names(kept) == []
    (refused,) = [f for f in kept.audit.findings if f.operator == "circulant"]
    assert "FLOPs instead of 200" in refused.reason  # 4 rows x 5 x 5 x 2
    assert after(kept) == 25


def test_parts_are_timed_beside_their_originals() -> None:
    model = Net().eval()
    result = scan(model, INPUT)
    paths = changed_paths(result.original, result.refactored)
    assert paths == ["transform", "wide"]
    transform, wide = speeds(result.original, result.refactored, paths, batches=(1, 2048))
    assert transform.ratios["1"] < 1
    assert (transform.path, transform.device) == ("transform", "cpu")
    assert wide.ratios["2048"] > 2
    assert wide.pays_from in (1, 2048)


def test_a_part_alone_computes_what_it_does_in_the_model() -> None:
    model = Net().eval()
    program = capture(load(model, INPUT))
    alone = standing(program, part(program, "wide"))
    assert alone is not None
    (got,) = alone.module(INPUT.relu())
    torch.testing.assert_close(got, model.wide(INPUT.relu()))
    assert part_flops(program, "wide") == 2 * 4 * (SIZE * 8 * SIZE + 8 * SIZE * 4)


@pytest.mark.parametrize(
    ("ratios", "first"),
    [
        ({"1": 0.5, "8": 1.2, "64": 3.0}, 8),
        ({"1": 2.0, "8": 0.9, "64": 1.1}, 64),
        ({"1": 2.0, "8": 1.2, "64": 0.99}, None),
        ({"1": 1.0, "8": 1.0, "64": 1.0}, 1),
        ({"example": 2.0}, None),
    ],
)
def test_a_swap_pays_from_where_no_slower_size_follows(ratios: dict[str, float], first: int | None) -> None:
    assert pays_from(ratios) == first


def test_compare_shows_the_parts() -> None:
    model = Net().eval()
    small = Net().eval()
    small.wide = nn.Sequential(nn.Linear(SIZE, 2), nn.Linear(2, 4))
    result = compare_loaded(load(model, INPUT), load(small, INPUT), Options(), lambda _stage: None)
    (timed,) = result.parts
    assert isinstance(timed, PartSpeed)
    assert timed.path == "wide"
    assert timed.ratios.keys() == {"1", "8", "64"}
