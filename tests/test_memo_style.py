"""Blocks with a norm and a GELU between their layers: no formula is proven, and what is left is stated."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from memo_style import build, rules
from pipeline import after, scan, size
from torch import Tensor, nn

from paramaudit.audit import Scan
from paramaudit.records import Verdict

BLOCKS = ("freq_analyzer", "adsr_generator", "valence_arousal", "reverb")


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Scan]:
    model, inputs = build()
    return model, scan(model, *inputs, rules=rules(tmp_path_factory.mktemp("memo")))


def affine_residual(block: nn.Module, width: int) -> float:
    """What an affine map fitted by numpy-style least squares leaves on fresh normal inputs."""
    generator = torch.Generator().manual_seed(99)
    seen, fresh = (torch.randn(6000, width, generator=generator, dtype=torch.float64) for _ in range(2))
    block = block.double()
    with torch.no_grad():
        outputs, expected = block(seen), block(fresh)
    block.float()
    ones = torch.ones(6000, 1, dtype=torch.float64)
    fit = torch.linalg.lstsq(torch.cat([seen, ones], 1), outputs).solution
    off = torch.cat([fresh, ones], 1) @ fit - expected
    return float(off.norm() / (expected - expected.mean(0)).norm())


@pytest.mark.parametrize("path", BLOCKS)
def test_a_block_with_norms_between_is_unproven_with_its_residual(
    scanned: tuple[nn.Module, Scan], path: str
) -> None:
    model, result = scanned
    (row,) = [row for row in result.audit.modules if row.path == path]
    assert row.verdict is Verdict.UNPROVEN
    stated = re.search(r"the best affine map leaves ([\d.]+)% of its spread", row.reason)
    assert stated is not None
    width = {"adsr_generator": 1, "valence_arousal": 48}.get(path, 64)
    truth = affine_residual(model.get_submodule(path), width)
    assert abs(float(stated[1]) / 100 - truth) < 0.05
    assert truth > 0.2


def test_nothing_of_them_is_swapped(scanned: tuple[nn.Module, Scan]) -> None:
    model, result = scanned
    assert after(result) >= 0.9 * size(model)


def test_an_affine_block_is_not_said_to_leave_anything(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.valence_arousal = nn.Sequential(nn.Linear(48, 96), nn.Linear(96, 2))

        def forward(self, x: Tensor) -> Tensor:
            return self.valence_arousal(x)

    result = scan(Plain(), torch.randn(4, 48), rules=rules(tmp_path))
    (row,) = [row for row in result.audit.modules if row.path == "valence_arousal"]
    assert row.verdict is Verdict.ML_REPLACEABLE
    assert "best affine" not in row.reason
