"""A small model for tests of claims, as the text of a factory and built."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

SOURCE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.merge = nn.Sequential(nn.Linear(16, 32), nn.Linear(32, 4))  # 676 numbers, 68 as one map
        self.front = nn.Linear(16, 18)  # 306 numbers, a Fourier transform
        self.head = nn.Sequential(nn.Linear(16, 8), nn.GELU(), nn.Linear(8, 4))  # 172 numbers
        self.spare = nn.Linear(16, 10)  # 170 numbers that nothing reads
        self.conv = nn.Conv1d(1, 4, 5, padding=2)  # 24 numbers

    def forward(self, x):
        wave = nn.functional.gelu(self.conv(x.unsqueeze(1))).mean(-1)
        return self.merge(x), self.front(x), self.head(x) + wave


def build():
    torch.manual_seed(0)
    net = Net()
    spectrum = torch.fft.rfft(torch.eye(16, dtype=torch.float64), dim=1)
    with torch.no_grad():
        net.front.weight.copy_(torch.cat([spectrum.real, spectrum.imag], 1).T)
        net.front.bias.zero_()
    return net.eval(), (torch.randn(2, 16),)
"""
TOTAL = 676 + 306 + 172 + 170 + 24
LEFT = 68 + 0 + 172 + 0 + 24


def build() -> tuple[nn.Module, tuple[Tensor, ...]]:
    space: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {}
    exec(SOURCE, space)  # noqa: S102 - the text above, which the command line is given as a file too
    return space["build"]()
