"""The parts that look learned and compute signal processing, with the traps that stand beside them."""

from itertools import pairwise

import torch
from red_heart_learned import mlp
from torch import Tensor, nn
from torch.nn import functional as F


def linears(*widths: int, bias: bool = True) -> nn.Sequential:
    """Linear layers with nothing between."""
    return nn.Sequential(*(nn.Linear(before, after, bias=bias) for before, after in pairwise(widths)))


def relu_net(*widths: int) -> nn.Sequential:
    """Linear layers with ReLUs between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class ResonanceEngine(nn.Module):
    """Resonating modes, a learned convolution and a learned matcher."""

    def __init__(self) -> None:
        super().__init__()
        self.wavelet_transform = nn.Conv1d(1, 64, 5, padding=2)
        self.mode_bank = linears(256, 2161, 7 * 256)
        self.pattern_matcher = mlp(199, 1536, 128)
        # Not batch first: on (batch, 1, 128) it attends across the batch, as the original's does.
        self.time_freq_fusion = nn.MultiheadAttention(128, 4, batch_first=False)

    def forward(self, frame: Tensor, spectrum: Tensor) -> Tensor:
        """Frame (batch, 256) and spectrum (batch, 128) -> (batch, 128)."""
        wavelet = F.gelu(self.wavelet_transform(frame.unsqueeze(1))).mean(-1)
        power = self.mode_bank(frame).unflatten(-1, (7, 256)).square().mean(-1)
        pattern = self.pattern_matcher(torch.cat([spectrum, wavelet, power], dim=-1)).unsqueeze(1)
        fused: Tensor = self.time_freq_fusion(pattern, pattern, pattern)[0]
        return fused.squeeze(1)


class Reverb(nn.Module):
    """Early reflections through 32 mixed taps, beside a late tail."""

    def __init__(self) -> None:
        super().__init__()
        self.delay_line = nn.Parameter(torch.empty(32, 256))
        self.tap_mix = nn.Parameter(torch.empty(32))
        self.tank = linears(256, 1492, 1492, 256)

    def forward(self, frame: Tensor) -> Tensor:
        """(batch, 256) -> (batch, 256)."""
        response = self.tap_mix @ self.delay_line
        early = F.conv1d(F.pad(frame, (255, 0)).unsqueeze(1), response.flip(0)[None, None]).squeeze(1)
        late: Tensor = self.tank(frame)
        return early + late


class EmotionDspSimulator(nn.Module):
    """Signal processing through dense weights, and a learned synthesiser that reads it."""

    time_grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.freq_analyzer = linears(256, 512, 128)
        self.adsr_generator = relu_net(1, 2048, 2048, 7)
        self.valence_arousal = linears(768, 832, 832, 2, bias=False)
        self.resonance_engine = ResonanceEngine()
        self.reverb_system = Reverb()
        self.equaliser = linears(256, 1882, 1882, 256)
        self.compressor = relu_net(1, 512, 512, 1)
        self.synthesiser = mlp(962, 1024, 480, 7)
        self.register_buffer("time_grid", torch.empty(64, 1), persistent=False)

    def forward(self, frame: Tensor, embedding: Tensor) -> dict[str, Tensor]:
        """Frame (batch, 256) and embedding (batch, 768) -> six named outputs."""
        spectrum = self.freq_analyzer(frame)
        envelope = self.adsr_generator(self.time_grid).flatten().expand(frame.shape[0], -1)
        valence_arousal = self.valence_arousal(embedding)
        resonance = self.resonance_engine(frame, spectrum)
        wet = self.reverb_system(frame)
        compressed = self.compressor(self.equaliser(wet).unsqueeze(-1)).squeeze(-1)
        read = torch.cat([spectrum, envelope, valence_arousal, resonance, wet], dim=-1)
        return {
            "spectrum": spectrum,
            "valence_arousal": valence_arousal,
            "resonance": resonance,
            "wet": wet,
            "compressed": compressed,
            "emotions": self.synthesiser(read),
        }


class TransformBank(nn.Module):
    """Four classical transforms, each as a chain of two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.dct = linears(256, 1024, 256)
        self.dwt = linears(256, 1200, 256)
        self.hilbert = linears(256, 1300, 256)
        self.mel = linears(129, 3559, 64)

    def forward(self, frame: Tensor) -> dict[str, Tensor]:
        """(batch, 256) -> dct, dwt, hilbert (batch, 256) and mel (batch, 64)."""
        power = torch.view_as_real(torch.fft.rfft(frame)).square().sum(-1) / 256
        return {
            "dct": self.dct(frame),
            "dwt": self.dwt(frame),
            "hilbert": self.hilbert(frame),
            "mel": self.mel(power),
        }
