"""A small classifier, as an example of a model whose cost is held."""

from __future__ import annotations

import torch
from torch import Tensor, nn

HIDDEN = 128


class Classifier(nn.Module):
    """Frames of 64 numbers to one of 10 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, frame: Tensor) -> Tensor:
        """Scores ``(batch, 10)`` of frames ``(batch, 64)``."""
        return self.head(self.encoder(frame))


def build() -> tuple[nn.Module, tuple[Tensor]]:
    """The model and example inputs, as paramaudit asks for them."""
    return Classifier(), (torch.zeros(2, 64),)
