"""Small models of many kinds, and ways to export each: strict, static, decomposed, saved, unflattened."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from paramaudit.graph.capture import capture
from paramaudit.graph.program import Program
from paramaudit.records import Loaded

AUTO = Dim.AUTO


class Norms(nn.Module):
    """A perceptron with norms, several non-linearities and a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.norm, self.act = nn.LayerNorm(8), nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(F.silu(self.act(self.up(self.norm(x)))))
        return F.softmax(x + y, -1) * torch.sigmoid(y)


class Convolutions(nn.Module):
    """Convolutions with batch and group norm, pooling and a flattening head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.two, self.group = nn.Conv2d(4, 4, 3, stride=2), nn.GroupNorm(2, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = F.max_pool2d(F.relu(self.bn(self.conv(x))), 2)
        return self.head(F.adaptive_avg_pool2d(F.leaky_relu(self.group(self.two(y))), 1).flatten(1))


class Attention(nn.Module):
    """Multi-head attention with a residual and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return self.norm(x + y)


class Recurrent(nn.Module):
    """A recurrent layer over a few steps."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cell, self.out = kind(8, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0].tanh())


class Tokens(nn.Module):
    """An embedding plus a positional parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.place = nn.Embedding(11, 8), nn.Parameter(torch.randn(1, 5, 8))
        self.out = nn.Linear(8, 4)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(F.gelu(self.tokens(ids) + self.place, approximate="tanh"))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "norms": (Norms, lambda: torch.randn(3, 5, 8)),
    "convolutions": (Convolutions, lambda: torch.randn(3, 3, 10, 10)),
    "attention": (Attention, lambda: torch.randn(3, 5, 8)),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True, norm_first=True),
        lambda: torch.randn(3, 5, 8),
    ),
    "lstm": (lambda: Recurrent(nn.LSTM), lambda: torch.randn(3, 4, 8)),
    "gru": (lambda: Recurrent(nn.GRU), lambda: torch.randn(3, 2, 8)),
    "tokens": (Tokens, lambda: torch.arange(15).reshape(3, 5) % 11),
}


def model(name: str) -> tuple[nn.Module, Tensor]:
    """The model, with running statistics that are not the initial ones, and an example input."""
    torch.manual_seed(0)
    module, x = MODELS[name][0](), MODELS[name][1]()
    if name == "convolutions":
        module.train()
        module(x)
    return module.eval(), x


def plain(module: nn.Module, x: Tensor, *, strict: bool = False, batch: object = AUTO) -> ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about the flat weights of its recurrent layers
        return torch.export.export(module, (x,), dynamic_shapes=({0: batch},), strict=strict)


def saved(module: nn.Module, x: Tensor) -> ExportedProgram:
    file = io.BytesIO()
    torch.export.save(plain(module, x), file)
    file.seek(0)
    return torch.export.load(file)


def unflattened(module: nn.Module, x: Tensor) -> ExportedProgram:
    again = torch.export.unflatten(plain(module, x))
    return torch.export.export(again, (x,), dynamic_shapes=(({0: AUTO},),), strict=False)


def quiet(export: Callable[[nn.Module, Tensor], ExportedProgram]) -> Callable[..., ExportedProgram]:
    """Without torch's warnings about its own calls."""

    @functools.wraps(export)
    def run(module: nn.Module, x: Tensor) -> ExportedProgram:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return export(module, x)

    return run


EXPORTS: dict[str, Callable[[nn.Module, Tensor], ExportedProgram]] = {
    "strict": lambda module, x: plain(module, x, strict=True),
    "static": lambda module, x: plain(module, x, batch=Dim.STATIC),
    "decomposed": quiet(lambda module, x: plain(module, x).run_decompositions()),
    "saved": quiet(saved),
    "unflattened": quiet(unflattened),
    "again": quiet(lambda module, x: plain(plain(module, x).module(), x)),
}


def captured(exported: ExportedProgram, *inputs: Tensor) -> Program:
    return capture(Loaded("", "pt2", exported=exported, args=inputs))
