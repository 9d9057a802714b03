"""Copies of a small model with loss of several kinds, each made by its textbook formula with numpy."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable

import numpy as np
import torch
from affine_programs import program
from torch import Tensor, nn

from paramaudit import verify
from paramaudit.graph.program import Program
from paramaudit.records import Certificate

Change = Callable[[str, np.ndarray], np.ndarray]


class Model(nn.Module):
    """Every kind of layer whose numbers may be lost: tokens, norm, attention, convolution, linear."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens = nn.Embedding(11, 16)
        self.norm = nn.LayerNorm(16)
        self.block = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True)
        self.conv = nn.Conv1d(16, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.block(self.norm(self.tokens(ids)))
        return self.head(self.conv(x.mT).mT.relu())


IDS = torch.arange(22).reshape(2, 11) % 11


def changed(model: nn.Module, change: Change) -> nn.Module:
    """A copy whose parameters are what ``change`` makes of each, as numpy arrays."""
    result = copy.deepcopy(model)
    with torch.no_grad():
        for name, value in result.named_parameters():
            value.copy_(torch.from_numpy(np.asarray(change(name, value.numpy().copy()), dtype=np.float32)))
    return result


@functools.cache
def original() -> Program:
    return program(Model(), IDS)


def programs(change: Change) -> tuple[Program, Program]:
    return original(), program(changed(Model(), change), IDS)


def verified(change: Change, **options: object) -> Certificate:
    model = Model().eval()
    return verify(model, changed(model, change), (IDS,), **options)


def only(wanted: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A change of one parameter."""
    return lambda name, value: change(value) if name == wanted else value
