"""Refactorings made by hand are verified with the swaps that they rest on; near misses are not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramaudit import verify
from paramaudit.records import Certificate


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def equivalent(certificate: Certificate) -> bool:
    return certificate.equivalent is True and certificate.tier.safe


# --- two layers merged --------------------------------------------------------------------------


def stacked() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 24), nn.Linear(24, 8), nn.GELU(), nn.Linear(8, 4)).eval()


def merged(*, bias: bool) -> nn.Sequential:
    """``W2 (W1 x + b1) + b2``, by numpy; without ``W2 b1`` where ``bias`` is false."""
    first, second, _, last = stacked()
    w1, b1, w2, b2 = (
        p.detach().double().numpy() for p in (first.weight, first.bias, second.weight, second.bias)
    )
    one = nn.Linear(8, 8)
    with torch.no_grad():
        one.weight.copy_(torch.from_numpy(w2 @ w1))
        one.bias.copy_(torch.from_numpy(w2 @ b1 * bias + b2))
    return nn.Sequential(one, nn.GELU(), last).eval()


def test_merged_layers_are_the_same():
    assert equivalent(verify(stacked(), merged(bias=True), (torch.randn(3, 8),)))


def test_merged_layers_with_a_missing_bias_are_not():
    certificate = verify(stacked(), merged(bias=False), (torch.randn(3, 8),))
    assert certificate.equivalent is False


# --- a dead branch removed ----------------------------------------------------------------------


class Branches(nn.Module):
    """One branch is computed and multiplied by a stored zero."""

    def __init__(self, gate: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.alive, self.dead = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("gate", torch.tensor(gate))

    def forward(self, x: Tensor) -> Tensor:
        unread = self.dead(x).sin()
        return torch.tanh(self.alive(x) + self.gate * F.linear(unread * 0.0 + x, self.dead.weight))


class Alive(nn.Module):
    def __init__(self, other: Branches) -> None:
        super().__init__()
        self.alive = copy.deepcopy(other.alive)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.alive(x))


class Unread(nn.Module):
    """A branch is computed that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.alive, self.dead = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.dead(x).sin()
        return torch.tanh(self.alive(x))


def test_a_removed_branch_that_nobody_reads_is_the_same():
    assert equivalent(verify(Unread().eval(), Alive(Unread()).eval(), (torch.randn(3, 8),)))


def test_a_removed_branch_that_is_alive_is_not():
    model = Branches(1e-3).eval()
    assert verify(model, Alive(model).eval(), (torch.randn(3, 8),)).equivalent is False


# --- a dense transform replaced by an FFT -------------------------------------------------------

N = 32


class Dense(nn.Module):
    """The real DFT as a dense layer of cosine and sine rows."""

    def __init__(self) -> None:
        super().__init__()
        angle = 2 * np.pi * np.outer(np.arange(N // 2 + 1), np.arange(N)) / N
        rows = np.concatenate([np.cos(angle), -np.sin(angle)])
        self.layer = nn.Linear(N, len(rows), bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.from_numpy(rows))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).square()


class Fast(nn.Module):
    def __init__(self, scale: float = 1.0, sign: float = 1.0) -> None:
        super().__init__()
        self.scale, self.sign = scale, sign

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x) * self.scale
        return torch.cat([spectrum.real, self.sign * spectrum.imag], -1).square()


class Shuffled(Fast):
    """The imaginary parts first."""

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(x)
        return torch.cat([spectrum.imag, spectrum.real], -1).square()


class Back(nn.Module):
    """The inverse transform, with a scale that ``norm`` sets."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.complex(x, x.flip(-1)), n=N, norm=self.norm).tanh()


def test_an_fft_in_place_of_a_dense_layer_is_the_same():
    certificate = verify(Dense().eval(), Fast().eval(), (torch.randn(3, N),))
    assert equivalent(certificate)


@pytest.mark.parametrize("other", [Fast(scale=1.0001), Shuffled()], ids=["scaled", "shuffled"])
def test_another_transform_is_not(other):
    assert verify(Dense().eval(), other.eval(), (torch.randn(3, N),)).equivalent is False


def test_an_inverse_transform_with_another_scale_is_not():
    x = torch.randn(3, N // 2 + 1)
    assert verify(Back("backward").eval(), Back("ortho").eval(), (x,)).equivalent is False


# --- batch norm folded --------------------------------------------------------------------------


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(3, 5, 3), nn.BatchNorm1d(5), nn.ReLU(), nn.Conv1d(5, 2, 1))
    with torch.no_grad():
        model[1].running_mean.copy_(torch.randn(5))
        model[1].running_var.copy_(torch.rand(5) + 0.5)
        model[1].weight.copy_(torch.randn(5))
        model[1].bias.copy_(torch.randn(5))
    return model.eval()


def folded(*, eps: float) -> nn.Sequential:
    """``w (k * x + b - m) / sqrt(v + eps) + c`` as one kernel and bias, by numpy."""
    conv, norm, act, last = normed()
    k, b = conv.weight.detach().double().numpy(), conv.bias.detach().double().numpy()
    mean, var = norm.running_mean.double().numpy(), norm.running_var.double().numpy()
    gain = norm.weight.detach().double().numpy() / np.sqrt(var + eps)
    one = copy.deepcopy(conv)
    with torch.no_grad():
        one.weight.copy_(torch.from_numpy(gain[:, None, None] * k))
        one.bias.copy_(torch.from_numpy((b - mean) * gain + norm.bias.detach().double().numpy()))
    return nn.Sequential(one, act, last).eval()


def test_a_folded_batch_norm_is_the_same():
    certificate = verify(normed(), folded(eps=1e-5), (torch.randn(3, 3, 12),))
    assert equivalent(certificate)


def test_a_batch_norm_folded_with_another_epsilon_is_not():
    certificate = verify(normed(), folded(eps=1e-3), (torch.randn(3, 3, 12),))
    assert certificate.equivalent is False
