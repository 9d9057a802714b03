"""Small models in float64, one or more for each rewrite, with random numbers in every tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from pipeline import draw, seeded
from torch import Tensor, nn

WIDTH = 6


@dataclass(frozen=True, eq=False)
class Model:
    """A model with example inputs and the rewrite that it is there for."""

    rewrite: str
    name: str
    build: Callable[[], nn.Module]
    inputs: tuple[Tensor, ...] = field(default_factory=lambda: (draw(4, WIDTH),))


class Attention(nn.Module):
    """Attention to one token, or of a sequence to another one."""

    def __init__(self, one_key: bool) -> None:
        super().__init__()
        self.one_key = one_key
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        y = y.unsqueeze(1) if self.one_key else y
        q, k, v = (p.unflatten(-1, (2, 3)).transpose(1, 2) for p in (self.q(x), self.k(y), self.v(y)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Scores(nn.Module):
    """A softmax over one score, times a value."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        score = (self.q(x)[:, None] @ self.k(x)[:, :, None]).softmax(-1)
        return (score @ self.v(x)[:, None]).squeeze(1).tanh()


class Recurrent(nn.Module):
    """A recurrent layer over one step or over a sequence."""

    def __init__(self, cell: type[nn.Module], one_step: bool, **options: object) -> None:
        super().__init__()
        self.one_step, self.cell = one_step, cell(WIDTH, 4, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.cell(x.unsqueeze(1))[0][:, -1] if self.one_step else self.cell(x)[0]
        return result


class Conditioned(nn.Module):
    """A linear layer over the input and a vector that is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(4))
        self.mix, self.head = nn.Linear(WIDTH + 4, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(torch.cat([x, self.vector.expand(x.shape[0], 4)], -1)).tanh())


class Computed(nn.Module):
    """A vector made of stored numbers alone, added to the input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(1, 9), nn.Tanh(), nn.Linear(9, 1))
        self.register_buffer("grid", torch.linspace(0, 1, WIDTH)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.net(self.grid)[:, 0]).tanh()


class Rows(nn.Module):
    """A linear layer of which some outputs are read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, 8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.layer(x)
        return h[:, 2:4].tanh(), h[:, 5].sin()


class Twice(nn.Module):
    """Two layers with the same numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh()).tanh()


def _twice() -> nn.Module:
    model = seeded(Twice)
    model.b.load_state_dict(model.a.state_dict())
    return model


def _paired() -> nn.Module:
    model = seeded(_stack(nn.Linear(WIDTH, 10), nn.ReLU(), nn.Linear(10, 3)))
    with torch.no_grad():
        model[0].weight[5:] = -2.0 * model[0].weight[:5]
        model[0].bias[5:] = -2.0 * model[0].bias[:5]
        model[2].weight[:, 5:] = -0.5 * model[2].weight[:, :5]
    return model


def _dead() -> nn.Module:
    """Two units without incoming weights, one without outgoing ones."""
    model = seeded(_stack(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, 3), nn.Tanh()))
    with torch.no_grad():
        model[0].weight[[1, 5]] = 0.0
        model[2].weight[:, 3] = 0.0
    return model


class Branches(nn.Module):
    """The three branches of a RepVGG block after their batch norms were folded, but for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.wide(x) + self.narrow(x) + self.norm(x)).tanh()


class Scaled(nn.Module):
    """A convolution times a number for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv(x) * self.scale).tanh()


def _stack(*layers: nn.Module) -> Callable[[], nn.Sequential]:
    return lambda: nn.Sequential(*layers)


def _model(rewrite: str, name: str, build: Callable[..., nn.Module], *inputs: Tensor) -> Model:
    return Model(rewrite, name, lambda: seeded(build), inputs or (draw(4, WIDTH),))


SIGNAL, IMAGE, SEQUENCE = draw(2, 3, 20), draw(2, 3, 9, 8), draw(2, 5, WIDTH)
LAYER_NORM, RMS_NORM = nn.LayerNorm, nn.RMSNorm
MODELS: tuple[Model, ...] = (
    _model("batch-norm-fold", "1-D", _stack(nn.Conv1d(3, 5, 3, padding=1), nn.BatchNorm1d(5)), SIGNAL),
    _model(
        "batch-norm-fold",
        "2-D, strided, no bias",
        _stack(nn.Conv2d(3, 4, 3, stride=2, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        IMAGE,
    ),
    _model("batch-norm-fold", "linear", _stack(nn.Linear(WIDTH, 5), nn.BatchNorm1d(5), nn.Tanh())),
    _model("bias-before-norm", "2-D", _stack(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4), nn.Tanh()), IMAGE),
    _model("constant", "a network on a grid", Computed),
    _model("constant-input", "a stored vector", Conditioned),
    Model("dead-units", "three of eight", _dead),
    _model("linear-chain", "1-D", _stack(nn.Conv1d(3, 16, 3, padding=1), nn.Conv1d(16, 2, 2)), SIGNAL),
    _model("linear-chain", "2-D", _stack(nn.Conv2d(3, 24, 2, stride=2), nn.Conv2d(24, 2, 2)), IMAGE),
    Model("duplicate", "equal layers", _twice),
    _model("duplicate", "LSTM", lambda: Recurrent(nn.LSTM, False), SEQUENCE),
    _model("duplicate", "GRU", lambda: Recurrent(nn.GRU, False, bidirectional=True), SEQUENCE),
    _model("duplicate", "RNN", lambda: Recurrent(nn.RNN, False), SEQUENCE),
    _model("norm-affine-fold", "layer norm", _stack(LAYER_NORM(WIDTH), nn.Linear(WIDTH, 3), nn.Tanh())),
    _model("norm-affine-fold", "RMS norm", _stack(RMS_NORM(WIDTH), nn.Linear(WIDTH, 3), nn.Tanh())),
    Model("paired-relu", "five pairs", _paired),
    _model("parallel-branches", "RepVGG", Branches, IMAGE),
    _model("scale-fold", "2-D", Scaled, IMAGE),
    _model("shift-invariant-bias", "cross attention", lambda: Attention(False), SEQUENCE, draw(2, 3, WIDTH)),
    _model("single-key-attention", "a token", lambda: Attention(True), SEQUENCE, draw(2, WIDTH)),
    _model("single-step-recurrence", "LSTM", lambda: Recurrent(nn.LSTM, True)),
    _model("single-step-recurrence", "LSTM, two ways", lambda: Recurrent(nn.LSTM, True, bidirectional=True)),
    _model("single-step-recurrence", "GRU, deep", lambda: Recurrent(nn.GRU, True, num_layers=2)),
    _model("single-step-recurrence", "RNN", lambda: Recurrent(nn.RNN, True)),
    _model("singleton-softmax", "one score", Scores),
    _model("unused", "rows", Rows),
)
