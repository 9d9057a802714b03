"""The parts that have to be learned; here their weights are random."""

from itertools import pairwise

import torch
from torch import Tensor, nn


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with GELUs between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class Backbone(nn.Module):
    """A pre-norm transformer over the tokens, averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(499, 768))
        # Sequence first: the layers' fused inference kernel asks for batch first, and would hide the graph.
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(768, 12, 3072, dropout=0.0, activation="gelu", norm_first=True)
            for _ in range(7)
        )
        self.norm = nn.LayerNorm(768)

    def forward(self, embedded: Tensor) -> Tensor:
        """(batch, tokens, 768) -> (batch, 768)."""
        x = (embedded + self.positions[: embedded.shape[1]]).transpose(0, 1)
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed.mean(0)


class Mixture(nn.Module):
    """Eight experts of which a hard gate picks one: no gradient reaches the gate, yet it decides."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(768, 8)
        self.experts = nn.ModuleList(mlp(768, 804, 7) for _ in range(8))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 768) -> (batch, 7)."""
        offers = torch.stack([expert(x) for expert in self.experts], dim=1)
        choice = self.gate(x).argmax(-1)
        return offers.gather(1, choice[:, None, None].expand(-1, 1, 7)).squeeze(1)


class Context(nn.Module):
    """Sequence machinery fed a sequence of one."""

    def __init__(self) -> None:
        super().__init__()
        self.temporal = nn.LSTM(768, 512, num_layers=2, bidirectional=True)
        self.fuse = nn.MultiheadAttention(768, 12, batch_first=True)
        self.fuse_mlp = mlp(768, 1024, 768)
        self.tails = nn.ModuleList(
            nn.Sequential(nn.Linear(768, 512), nn.GELU(), nn.Linear(512, 384), nn.Linear(384, 10))
            for _ in range(6)
        )
        self.cov_head = mlp(768, 256, 16384)  # kept by many such models, called by none
        self.mlp = mlp(768, 2398, 2398, 768)

    def forward(self, embedding: Tensor) -> dict[str, Tensor]:
        """(batch, 768) -> temporal (batch, 1024), context (batch, 768), tails (batch, 60)."""
        temporal, _ = self.temporal(embedding.unsqueeze(0))
        token = embedding.unsqueeze(1)
        fused, _ = self.fuse(token, token, token)
        context = self.mlp(embedding + self.fuse_mlp(fused.squeeze(1)))
        tails = torch.cat([tail(context) for tail in self.tails], dim=-1)
        return {"temporal": temporal.squeeze(0), "context": context, "tails": tails}
