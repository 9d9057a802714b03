"""A dense transform against a fast one: elementwise comparison rejects what is proven to be rounding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import paramaudit as pa
from paramaudit.records import Tier

SIZE = 1024


class Dense(nn.Module):
    """The real transform of 1024 samples as a matrix, scaled and scaled back in float32."""

    def __init__(self) -> None:
        super().__init__()
        waves = np.fft.rfft(np.eye(SIZE), axis=0)
        self.spectrum = nn.Linear(SIZE, SIZE + 2, bias=False)
        with torch.no_grad():
            third = torch.from_numpy(np.concatenate([waves.real, waves.imag]) / 3).float()
            self.spectrum.weight.copy_(3 * third)

    def forward(self, x: Tensor) -> Tensor:
        return self.spectrum(x)


class Fast(nn.Module):
    """The same by ``torch.fft``, for frames of one size as the matrix takes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != SIZE:
            raise ValueError(SIZE)
        bins = torch.fft.rfft(x)
        return torch.cat([bins.real, bins.imag], -1)


@pytest.fixture
def dense(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> nn.Module:
    monkeypatch.chdir(tmp_path)
    return Dense().eval()


@torch.no_grad()
def test_elementwise_comparison_rejects_the_more_accurate_side(dense: nn.Module) -> None:
    x = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    slow, fast = dense(x), Fast()(x)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        torch.testing.assert_close(fast, slow)
    waves = np.fft.rfft(x.double().numpy())
    true = torch.from_numpy(np.concatenate([waves.real, waves.imag], -1))
    assert float((fast - true).norm()) < float((slow - true).norm())


@pytest.mark.slow
def test_the_certificate_says_rounding_and_shows_both_numbers(dense: nn.Module) -> None:
    certificate = pa.verify(dense, Fast(), torch.randn(3, SIZE))
    assert certificate.equivalent is True
    assert certificate.tier is Tier.ROUNDING
    # the gap bounds, from above, the norm of what float32 did to numpy's numbers
    waves = np.fft.rfft(np.eye(SIZE), axis=0)
    matrix = np.concatenate([waves.real, waves.imag])
    rounding = np.linalg.norm(matrix - dense.spectrum.weight.detach().double().numpy(), 2)
    assert certificate.gap is not None
    assert rounding <= certificate.gap.value <= 1.5 * rounding
    # and apart from it stands what each side was seen to make of its own
    (output,) = certificate.outputs
    assert 0 < output.refactored_error < output.original_error


def test_one_number_in_a_million_off_by_one_per_cent_is_not_rounding(dense: nn.Module) -> None:
    with torch.no_grad():
        dense.spectrum.weight[300, 500] += 0.01
    certificate = pa.verify(dense, Fast(), torch.randn(3, SIZE))
    assert certificate.equivalent is not True
    assert not certificate.tier.safe
