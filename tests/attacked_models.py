"""Pairs of models for tests of the attack: one with a hidden difference, one without."""

from __future__ import annotations

import torch
from affine_programs import program
from torch import Tensor, nn

from paramaudit.graph.program import Program

FEATURES = 12


class Hidden(nn.Module):
    """A small network; ``trick`` changes it where an ordinary input never looks."""

    def __init__(self, trick: str = "", seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Linear(FEATURES, 24), nn.GELU(), nn.Linear(24, 4))
        self.late = nn.Linear(4, 1)
        nn.init.constant_(self.late.bias, -40.0)
        self.trick = trick

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return y if not self.trick else TRICKS[self.trick](self, x, y)


# ruff: noqa: ARG005 - every trick takes the same arguments
TRICKS = {
    "a late rectifier": lambda m, x, y: y + 0.5 * torch.relu(x[:, :1] - 6),
    "a branch": lambda m, x, y: torch.where(x[:, 3:4].abs() > 8, 1.5 * y, y),
    "a batch position": lambda m, x, y: torch.cat([y[:20], 1.01 * y[20:]]),
    "one exact value": lambda m, x, y: torch.where(x[:, 7:8] == 4.5, y + 1, y),
    "a thin window": lambda m, x, y: torch.where((x[:, 2:3] - 2.5).abs() < 1e-3, y + 1, y),
    "a unit that is off": lambda m, x, y: y + torch.relu(m.late(y)),
    "only large and negative": lambda m, x, y: y - torch.relu(-x.sum(-1, keepdim=True) - 900),
}


class Tokens(nn.Module):
    """An embedding of which one row may be off."""

    def __init__(self, changed: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(3000, 8), nn.Linear(8, 3)
        if changed is not None:
            with torch.no_grad():
                self.table.weight[changed] += 0.01

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.table(ids).mean(1)).tanh()


class Gate(nn.Module):
    """Scores decide which row of a table scales the input; the scores are ``near`` each other or not."""

    def __init__(self, *, near: bool, order: bool = False, wrong: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        row = torch.randn(6, generator=generator)
        rows = [row, row.clone(), torch.randn(6, generator=generator)]
        rows = rows if near else [torch.randn(6, generator=generator) for _ in rows]
        self.scores = nn.Parameter(torch.stack(rows))
        self.table = nn.Parameter(torch.randn(3, 6, generator=generator))
        self.order = order
        with torch.no_grad():
            if wrong:
                self.table[2] += 0.1

    def forward(self, x: Tensor) -> Tensor:
        if self.order:  # the same sums, from the other end
            scores = (x.flip(-1)[:, None] * self.scores.flip(-1)).sum(-1)
        else:
            scores = (x[:, None] * self.scores).sum(-1)
        return x * self.table[scores.argmax(-1)]


def captured(module: nn.Module, *inputs: Tensor) -> Program:
    """The program, only the features static."""
    static = [-1] if inputs[0].is_floating_point() else ()
    return program(module.eval(), *inputs, static=static)


def rows(count: int = 4) -> Tensor:
    return torch.randn(count, FEATURES, generator=torch.Generator().manual_seed(1))
