"""A copy with loss gets the right verdict, and the loss is quantified and located."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from copies import IDS, Model, changed, only, programs, verified
from torch import nn

from paramaudit import verify
from paramaudit.locate import align, changed_numbers, first_difference
from paramaudit.records import Tier
from paramaudit.report.document import document
from paramaudit.report.read import read_certificate


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def bfloat16(_name: str, value: np.ndarray) -> np.ndarray:
    """Round to nearest even at 8 bits of significand, on the bits."""
    bits = value.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def half(_name: str, value: np.ndarray) -> np.ndarray:
    return value.astype(np.float16).astype(np.float32)


def int8(_name: str, value: np.ndarray) -> np.ndarray:
    if value.ndim < 2:
        return value
    rows = value.reshape(len(value), -1)
    scale = np.abs(rows).max(1, keepdims=True) / np.float32(127)
    return (np.rint(rows / scale) * scale).reshape(value.shape)


def uint8(_name: str, value: np.ndarray) -> np.ndarray:
    low, high = np.float32(value.min()), np.float32(value.max())
    if value.ndim < 2:
        return value
    scale = (high - low) / np.float32(255)
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(value / scale) + zero, 0, 255) - zero) * scale


def pruned(_name: str, value: np.ndarray) -> np.ndarray:
    smallest = np.abs(value) < np.quantile(np.abs(value), 0.25)
    return np.where(smallest & (value.ndim > 1), 0, value)


def noise(name: str, value: np.ndarray) -> np.ndarray:
    return value + 1e-3 * np.random.default_rng(len(name)).standard_normal(value.shape)


KINDS = {
    "rounded to bfloat16": bfloat16,
    "rounded to float16": half,
    "rounded to an int8 grid per row": int8,
    "rounded to an int8 grid per tensor": uint8,
    "% of the numbers are zero in the copy (0 % in the original)": pruned,
    "numbers differ": noise,
}


def true_norms(change, weight: str, bias: str) -> tuple[float, float]:
    """Spectral norms of what a change does to ``[W | b]`` and of that map, with numpy."""
    held = {name: value.detach().numpy() for name, value in Model().named_parameters()}
    before = np.column_stack([held[weight], held[bias]]).astype(float)
    after = [np.asarray(change(name, held[name].copy()), dtype=np.float32) for name in (weight, bias)]
    gap = np.linalg.norm(np.column_stack(after).astype(float) - before, 2)
    return float(gap), float(np.linalg.norm(before, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_loss_is_named_for_every_module(kind):
    first, second = programs(KINDS[kind])
    found = {c.tensors: c for c in changed_numbers(first, second, align(first, second))}
    named = {name for names in found for name in names}
    before = {name: value.detach().numpy() for name, value in Model().named_parameters()}
    assert named == {n for n, v in before.items() if (KINDS[kind](n, v.copy()).astype(np.float32) != v).any()}
    assert all(kind in change.reason for change in found.values())
    names = ("block.self_attn.in_proj_weight", "block.self_attn.in_proj_bias")
    attention = next(change for tensors, change in found.items() if names[0] in tensors)
    gap, norm = true_norms(KINDS[kind], *names)
    assert attention.path == "block.self_attn"
    assert attention.gap is not None
    assert attention.relative is not None
    assert gap <= attention.gap.value <= 1.001 * gap
    assert gap / norm <= attention.relative <= 1.01 * gap / norm
    assert attention.tier in (Tier.BOUNDED, Tier.REFUTED)


def test_a_kind_is_said_only_where_every_number_is_of_it():
    def almost(name: str, value: np.ndarray) -> np.ndarray:
        value = bfloat16(name, value)
        value.flat[0] += np.float32(1e-3)
        return value

    first, second = programs(almost)
    assert not any("bfloat16" in c.reason for c in changed_numbers(first, second, align(first, second)))


def test_one_number_is_named():
    def change(value: np.ndarray) -> np.ndarray:
        value[3, 7] = 0.5
        return value

    certificate = verified(only("block.linear1.weight", change))
    assert certificate.equivalent is False
    assert certificate.counterexample is not None
    (difference,) = certificate.differences
    assert (difference.path, difference.tensors) == ("block.linear1", ("block.linear1.weight",))
    assert difference.reason.startswith("one number differs: [3, 7] is 0.5 in place of")
    assert certificate.located is not None
    assert certificate.located.path == "block.linear1"
    assert certificate.located.error > 64 * certificate.located.rounding


def test_a_factor_is_named():
    first, second = programs(only("norm.weight", lambda value: value * np.float32(1.01)))
    (difference,) = changed_numbers(first, second, align(first, second))
    assert difference.reason == "every number is 1.01 times what it was"
    assert difference.relative == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("tokens.weight", "tokens"),
        ("norm.bias", "norm"),
        ("block.self_attn.out_proj.weight", "block.self_attn"),
        ("conv.weight", "conv"),
        ("head.bias", "head"),
    ],
)
def test_the_first_difference_is_located(name, path):
    noise = np.random.default_rng(0)
    first, second = programs(only(name, lambda value: value + 0.1 * noise.standard_normal(value.shape)))
    place, why = first_difference(first, second, align(first, second), [IDS])
    assert why == ""
    assert place is not None
    assert place.path == path
    assert place.rounding < 1e-4
    assert place.error > 0.05


def test_the_gap_of_a_convolution_holds():
    first, second = programs(only("conv.weight", lambda value: np.where(value > 0, 1.2 * value, value)))
    (difference,) = changed_numbers(first, second, align(first, second))
    before = Model().conv.weight.detach().numpy().astype(float)
    off = np.where(before > 0, 0.2 * before, 0)
    # the convolution's norm is the largest singular value of its frequency response
    angles = np.exp(-2j * np.pi * np.outer(np.arange(512) / 512, np.arange(3)))
    true = max(np.linalg.norm(np.tensordot(off, row, ([2], [0])), 2) for row in angles)
    assert difference.gap is not None
    assert true * (1 - 1e-6) <= difference.gap.value <= 3 * true


class Renamed(nn.Module):
    """The same model under other names."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Sequential(model.tokens, model.norm), model.block, model.conv
        self.d = model.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.d(self.c(self.b(self.a(ids)).mT).mT.relu())


def test_other_module_names_do_not_matter():
    model = Model().eval()
    copy = changed(model, only("block.linear2.bias", lambda value: value * np.float32(1.5)))
    certificate = verify(model, Renamed(copy).eval(), (IDS,))
    assert certificate.equivalent is False
    assert [d.tensors for d in certificate.differences] == [("block.linear2.bias",)]
    assert certificate.located is not None
    assert certificate.located.path == "block.linear2"


def test_another_architecture_is_not_located():
    model, other = nn.Linear(4, 3), nn.Sequential(nn.Tanh(), nn.Linear(4, 3), nn.Sigmoid())
    certificate = verify(model, other, (torch.randn(2, 4),))
    assert certificate.equivalent is False
    assert certificate.differences == ()
    place = certificate.located
    assert place is not None or certificate.not_located  # the outputs stand for each other by their place


def test_a_healthy_copy_has_no_differences():
    certificate = verified(lambda _name, value: value)
    assert (certificate.equivalent, certificate.tier) == (True, Tier.EXACT)
    assert certificate.differences == ()
    assert certificate.located is None


def test_a_rounded_linear_model_is_bounded_within_the_tolerance():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    copy, x = changed(model, bfloat16), torch.randn(3, 16)
    loose = verify(model, copy, (x,), tolerance=0.01)
    assert (loose.equivalent, loose.tier, loose.counterexample) == (True, Tier.BOUNDED, None)
    assert loose.gap is not None
    assert 0 < loose.gap.value <= 0.01
    assert len(loose.differences) == 2
    for options in ({}, {"tolerance": 1e-6}):
        tight = verify(model, copy, (x,), **options)
        assert tight.equivalent is False
        assert tight.counterexample is not None
        assert {d.reason for d in tight.differences} == {"rounded to bfloat16"}


def test_differences_are_saved_and_read_back():
    certificate = verified(only("head.weight", lambda value: value * np.float32(1.5)))
    saved = json.loads(json.dumps(document(certificate)))
    assert saved["differences"][0]["path"] == "head"
    assert saved["located"]["path"] == "head"
    assert read_certificate(saved).differences == certificate.differences
    assert read_certificate(saved).located == certificate.located
    for field in ("differences", "located", "not_located"):
        del saved[field]
    assert read_certificate(saved).differences == ()
    assert certificate.counterexample is not None
    assert Path(certificate.counterexample).exists()
