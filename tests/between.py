"""Two linear layers with something between them, and inputs for them."""

from __future__ import annotations

from pipeline import draw
from torch import Tensor, nn

WIDTH = 6
BATCH = draw(4, WIDTH)


class Net(nn.Module):
    """Two linear layers that are one if nothing happens between them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, 20), nn.Linear(20, 3)

    def between(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.between(self.a(x)))
