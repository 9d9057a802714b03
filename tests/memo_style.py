"""Blocks as memos describe them, written the way such code is: LayerNorm and GELU between the layers."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import Tensor, nn

RULES = """
[[rule]]
id = "frequencies"
path = "freq_analyzer"
class = "ml-replaceable"
operator = "rdft"
numbers = 0

[[rule]]
id = "adsr"
path = "adsr_generator"
class = "ml-replaceable"
operator = "envelope"
numbers = 28

[[rule]]
id = "mood"
path = "valence_arousal"
class = "ml-replaceable"
operator = "linear-chain"

[[rule]]
id = "reverb"
path = "reverb"
class = "ml-replaceable"
operator = "delay"
accepts = ["fir", "comb"]
"""
FRAME, EMBEDDING, CURVES = 64, 48, 7


def block(*sizes: int) -> nn.Sequential:
    """Linear layers with a norm and a GELU after each but the last."""
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(inside, outside), nn.LayerNorm(outside), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Reverb(nn.Module):
    """Learned delay lines that tap the frame, and a small network that mixes them."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_line = nn.Parameter(torch.randn(32, FRAME) / FRAME**0.5)
        self.norm, self.mix = nn.LayerNorm(32), block(32, 2 * FRAME, FRAME)

    def forward(self, frame: Tensor) -> Tensor:
        return self.mix(self.norm(frame @ self.delay_line.T))


class MemoStyle(nn.Module):
    """The four blocks side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.freq_analyzer = block(FRAME, 2 * FRAME, FRAME)
        self.adsr_generator = block(1, 40, 40, CURVES)
        self.valence_arousal = block(EMBEDDING, 96, 2)
        self.reverb = Reverb()

    def forward(self, frame: Tensor, embedding: Tensor, time: Tensor) -> tuple[Tensor, ...]:
        return (
            self.freq_analyzer(frame),
            self.adsr_generator(time),
            self.valence_arousal(embedding),
            self.reverb(frame),
        )


def build(seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with random weights, and inputs."""
    torch.manual_seed(seed)
    return MemoStyle().eval(), (torch.randn(4, FRAME), torch.randn(4, EMBEDDING), torch.rand(4, 1))


def rules(folder: Path) -> Path:
    """The memo's rules as a file."""
    path = folder / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    return path
