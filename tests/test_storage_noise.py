"""Noise of shorter storage is called by its name; truths are torch's own casts and the textbook quantiser."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from paramaudit.numerics.storage import storage_noise, told


def table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.logspace(-3, 3, 24, dtype=torch.float64)[:, None]
    return torch.randn(24, 40, dtype=torch.float64, generator=generator) * scale


def int8_rows(values: Tensor) -> Tensor:
    step = values.abs().amax(1, keepdim=True) / 127
    return (values / step).round() * step


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_cast_is_named(dtype: torch.dtype, seed: int) -> None:
    values = table(seed)
    assert storage_noise(values.to(dtype).double(), values) == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_eight_bits_are_named(seed: int) -> None:
    values = table(seed)
    assert storage_noise(int8_rows(values), values).startswith("int8")


def test_a_fit_may_be_a_part_of_a_step_off() -> None:
    values = table(4)
    held = int8_rows(values)
    off = 0.2 * held.abs().amax(1, keepdim=True) / 127
    assert storage_noise(held, values + off).startswith("int8")
    assert storage_noise(held, values + 5 * off) == ""


def test_numbers_that_lie_on_no_steps_were_not_stored_in_them() -> None:
    values = table(5)
    steps = values.abs().amax(1, keepdim=True) / 127
    generator = torch.Generator().manual_seed(1)
    noise = steps * (torch.rand(values.shape, dtype=torch.float64, generator=generator) - 0.5)
    assert storage_noise(values + noise, values) == ""


def test_subnormal_numbers_of_half_precision() -> None:
    values = torch.tensor([[1.0, 3.3e-6, -7.7e-8, 2e-9]], dtype=torch.float64)
    assert storage_noise(values.half().double(), values) == "float16"


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_larger_noise_has_no_name(noise: float) -> None:
    values = table(0)
    generator = torch.Generator().manual_seed(9)
    off = values * (1 + noise * torch.randn(values.shape, dtype=torch.float64, generator=generator))
    assert storage_noise(off, values) == ""
    assert told(off, values) == ""


def test_one_number_too_far_off_is_enough() -> None:
    values = table(1)
    held = values.bfloat16().double()
    held[3, 7] *= 1.02
    assert storage_noise(held, values) != "bfloat16"


def test_no_difference_needs_no_explanation() -> None:
    assert storage_noise(table(2), table(2)) == ""
    assert storage_noise(torch.zeros(0, 4), torch.zeros(0, 4)) == ""
    assert storage_noise(torch.tensor([[float("nan")]]), torch.zeros(1, 1)) == ""


@pytest.mark.parametrize("size", [1e-16, 1e-9, 1e-5])
def test_noise_far_below_a_format_is_not_its_noise(size: float) -> None:
    values = table(3)
    assert storage_noise(values * (1 + size), values) == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_zeros_that_were_computed_do_not_hide_a_cast(dtype: torch.dtype) -> None:
    """``cos`` and ``sin`` of a transform are zero up to rounding at places, by any formula in another way."""
    place = torch.arange(60, dtype=torch.float64)
    angles = place[:, None] * place * (2 * torch.pi / 60)
    meant = (torch.fft.fft(torch.eye(60, dtype=torch.float64)).imag).neg()
    held = angles.sin().to(dtype).double()
    assert storage_noise(held, meant) == str(dtype).removeprefix("torch.")
    assert storage_noise(angles.sin(), meant) == ""
